"""``make lessons``: write every notebook and the texts out of ``solutions/NN_name.py``.

Running it again changes nothing. The learner's notebook and the texts are made the same every time.
The executed solution is run again, and its file is left alone where what it shows has not changed
(:func:`coursekit.lessons.compared.differences`): figures and times are never the same twice.
Exercises that took another time than their lesson states are named.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from coursekit.lessons.compared import differences
from coursekit.lessons.notebooks import (
    as_text,
    learner_notebook,
    run_notebook,
    solution_notebook,
    tidy,
)
from coursekit.lessons.source import LessonSource, read_source
from coursekit.lessons.texts import FOLDER, lesson_text
from coursekit.lessons.times import minutes_by_exercise

PROFILE = "cpu"


def sources(root: Path) -> list[Path]:
    """The lessons' sources below a checkout."""
    return sorted((root / "solutions").glob("[0-9][0-9]_*.py"))


def made_files(root: Path, source: LessonSource) -> dict[Path, str]:
    """What follows from a source without running it: path to content."""
    return {
        root / "coursekit" / "lessons" / FOLDER.name / f"{source.lesson}.json": (
            source.texts().to_json()
        ),
        root / "notebooks" / f"{source.name}.ipynb": as_text(learner_notebook(source)),
        root / "autograder" / "rubrics" / f"{source.lesson}.md": source.rubrics(),
    }


def write_lesson(root: Path, path: Path) -> list[str]:
    """Write all files of one lesson; returns what changed and what does not fit, in words."""
    import nbformat

    source = read_source(path)
    changed = []
    for target, content in made_files(root, source).items():
        if not target.is_file() or target.read_text(encoding="utf-8") != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
            changed.append(f"{target.relative_to(root)} written")
    lesson_text.cache_clear()
    target = path.with_suffix(".ipynb")
    ran = run_notebook(solution_notebook(source), PROFILE)
    changed += [
        f"{id} computed for {minutes:.1f} min, its lesson says {source.times[id].cpu:g}"
        for id, minutes in minutes_by_exercise(ran).items()
        if not source.times[id].fits(minutes)
    ]
    executed = tidy(ran)
    if target.is_file():
        found = differences(nbformat.read(target, as_version=4), executed)
        if not found:
            return changed
        changed.append(f"{target.relative_to(root)} written: {found[0]}")
    else:
        changed.append(f"{target.relative_to(root)} written")
    target.write_text(as_text(executed), encoding="utf-8")
    return changed


def main(root: Path) -> None:
    """Write all lessons, and say how long each took."""
    for path in sources(root):
        began = time.monotonic()
        changed = write_lesson(root, path)
        print(f"{path.stem}: {time.monotonic() - began:.0f} s; {'; '.join(changed) or 'no change'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
