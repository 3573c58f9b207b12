"""Records of a lesson's solved notebook, kept so that an example class needs no training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coursekit.errors import GradingError
from coursekit.grading.harvest import harvest, profile_in
from coursekit.lessons.notebooks import run_notebook, solution_notebook
from coursekit.lessons.source import LessonSource
from coursekit.runs import decode_record, encode_record
from coursekit.storage import write_json


@dataclass(frozen=True)
class SolvedRuns:
    """What a solved notebook carries.

    Args:
        profile: that it was run with.
        records: one for each run that trained.
    """

    profile: str
    records: tuple[dict[str, Any], ...]

    def save(self, path: Path) -> None:
        """Write them into a file; :func:`load_solved_runs` reads it."""
        packed = [encode_record(one) for one in self.records]
        write_json(path, {"profile": self.profile, "records": packed})


def load_solved_runs(path: Path) -> SolvedRuns:
    """Read what :meth:`SolvedRuns.save` wrote.

    Raises:
        GradingError: there is no such file.
    """
    if not path.is_file():
        raise GradingError(
            f"there is no {path}; python -m coursekit.classroom.solved_runs makes it"
        )
    data = json.loads(path.read_text(encoding="utf-8"))
    return SolvedRuns(data["profile"], tuple(decode_record(one) for one in data["records"]))


def solve(source: LessonSource, profile: str = "quick") -> SolvedRuns:
    """Run a lesson's solution, and keep the records of what it trained."""
    done = run_notebook(solution_notebook(source), profile)
    html = [
        text if isinstance(text, str) else "".join(text)
        for cell in done.cells
        for output in cell.get("outputs", [])
        if (text := output.get("data", {}).get("text/html"))
    ]
    found = harvest(html)
    # Baselines are made again wherever a notebook is run.
    trained = tuple(dict(one.record) for one in found.runs if not one.run.history.empty)
    return SolvedRuns(profile_in(html), trained)


def main(lesson: str) -> None:
    """Write ``autograder/example/NN.json`` of a checkout, in whose root this is called."""
    from coursekit.lessons.source import read_source

    (path,) = Path("solutions").glob(f"{lesson}_*.py")
    target = Path("autograder") / "example" / f"{lesson}.json"
    solve(read_source(path)).save(target)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    import sys

    main(sys.argv[1])
