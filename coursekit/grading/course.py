"""An instructor's folder: what was given out, what came back, and what it is held against.

::

    course.yaml           settings; each has a default
    hidden/02.py          hidden checks of a lesson (see judge.load_hidden)
    rubrics/02.md         what a person looks for, under a heading for each exercise
    blind/                what ``coursekit blind make`` wrote, for layers of verification
    release/02/           the notebook as nbgrader generated it; else the one in ``notebooks``
    submitted/ada/02/     what a student handed in: a notebook, records beside it, or one zip
    personal/02.json      to whom a task of their own was given; secret.key goes with it
    gradebook.db          nbgrader's gradebook, unless the settings name a server
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from coursekit.checks import Check, exercises
from coursekit.data import BindingTask, load_task
from coursekit.data.blind import LABELS_FILE, BlindSet
from coursekit.errors import AnswerError, GradingError
from coursekit.grading.judge import load_hidden
from coursekit.grading.lateness import Late
from coursekit.grading.master import Master, read_master
from coursekit.grading.personal import read_personal
from coursekit.grading.submission import Assignment

SETTINGS = "course.yaml"
_HEADING = re.compile(r"^## *(\d\d\.\d{1,2})[^\n]*$", re.MULTILINE)


@dataclass(frozen=True)
class Course:
    """The settings of an instructor's folder; :func:`open_course` reads them.

    Args:
        folder: the folder itself.
        course: its name, as nbgrader's exchange knows it.
        gradebook: a SQLAlchemy URL, or the path of an SQLite file from the folder on.
        notebooks: folder of the learners' notebooks, for lessons not released from here.
        solutions: folder of the lessons' sources, for ``nbgrader generate_assignment``.
        tasks: arguments of ``load_task`` for each task that runs may be on.
        train: whether ``fit`` may train in the sandbox where no record was handed in.
        late: what late submissions cost.
        image: of a container with coursekit installed, for where bubblewrap cannot run.
        gpus: that students train on, such as ``"*T4*"``: an audit allows their runs more.
    """

    folder: Path
    course: str = "coursekit"
    gradebook: str = "gradebook.db"
    notebooks: Path = Path("../notebooks")
    solutions: Path = Path("../solutions")
    tasks: tuple[Mapping[str, Any], ...] = ({"name": "sample"},)
    train: bool = False
    late: Late = field(default_factory=Late)
    image: str = ""
    gpus: tuple[str, ...] = ()

    @property
    def db_url(self) -> str:
        """Of the gradebook."""
        if "://" in self.gradebook:
            return self.gradebook
        return f"sqlite:///{self.folder / self.gradebook}"

    def notebook(self, lesson: str) -> Path:
        """The file that students were given.

        Raises:
            GradingError: there is none, or more than one.
        """
        for folder, pattern in (
            (self.folder / "release" / lesson, "*.ipynb"),
            (self.folder / self.notebooks, f"{lesson}_*.ipynb"),
        ):
            found = sorted(folder.glob(pattern))
            if len(found) > 1:
                raise GradingError(f"{folder} has {len(found)} notebooks of {lesson}; keep one.")
            if found:
                return found[0]
        raise GradingError(
            f"there is no notebook of lesson {lesson!r:.20} in {self.folder / 'release'} or "
            f"{(self.folder / self.notebooks).resolve()}; run nbgrader generate_assignment {lesson}"
        )

    def master(self, lesson: str) -> Master:
        """The notebook that students were given; errors as in :meth:`notebook`."""
        return read_master(self.notebook(lesson))

    def hidden(self, lesson: str) -> dict[str, Check]:
        """The lesson's hidden checks; none where there is no file of them."""
        path = self.folder / "hidden" / f"{lesson}.py"
        return load_hidden(path) if path.is_file() else {}

    def rubrics(self, lesson: str) -> dict[str, str]:
        """What a person looks for, by exercise; empty where there is no file of rubrics."""
        path = self.folder / "rubrics" / f"{lesson}.md"
        if not path.is_file():
            return {}
        _, *parts = _HEADING.split(path.read_text(encoding="utf-8"))
        return {id: text.strip() for id, text in zip(parts[::2], parts[1::2], strict=True)}

    def assignment(self, lesson: str) -> Assignment:
        """What submissions of a lesson are held against.

        Raises:
            GradingError: no such lesson, notebook or hidden check; or a task that cannot be made.
        """
        try:
            asked = tuple(exercises(lesson))
        except AnswerError as error:
            raise GradingError(str(error)) from error
        tasks = tuple(_task(tuple(sorted(one.items()))) for one in self.tasks)
        hidden = self.hidden(lesson)
        unknown = sorted(set(hidden) - {one.id for one in asked})
        if unknown:
            raise GradingError(f"hidden/{lesson}.py has checks of {unknown}: no such exercises.")
        source = self.folder / "hidden" / f"{lesson}.py"
        kept = sorted((self.folder / "blind").rglob(LABELS_FILE))
        return Assignment(
            lesson,
            self.master(lesson),
            asked,
            tasks,
            hidden,
            hidden_digest=sha256(source.read_bytes()).hexdigest() if hidden else "",
            train=self.train,
            blind=tuple(map(BlindSet.load, kept)),
            personal=read_personal(self.folder, lesson),
        )

    def submissions(self, lesson: str) -> dict[str, Path]:
        """What was handed in, by student: the folder, or the zip that is alone in it."""
        found = {}
        for place in sorted((self.folder / "submitted").glob(f"*/{lesson}")):
            if place.is_dir() and not place.parent.name.startswith("."):
                found[place.parent.name] = submitted_file(place)
        return found


def submitted_file(folder: Path) -> Path:
    """What counts in a folder of ``submitted/``: the folder itself, or its only zip."""
    files = [p for p in folder.iterdir() if p.name != "timestamp.txt" and p.name[0] != "."]
    if len(files) == 1 and files[0].suffix.lower() == ".zip" and not files[0].is_symlink():
        return files[0]
    return folder


def open_course(folder: str | Path = ".") -> Course:
    """Read the settings of an instructor's folder.

    Raises:
        GradingError: the file is no YAML, or has settings that do not exist or have other types.
    """
    import yaml

    folder = Path(folder).resolve()
    path = folder / SETTINGS
    if not path.is_file():
        raise GradingError(
            f"there is no {SETTINGS} in {folder}. Go to the instructor's folder, such as the "
            "autograder/ of a checkout, or name it with --course."
        )
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GradingError(f"{path} cannot be read as YAML: {error}") from error
    known = {one.name for one in fields(Course)} - {"folder"}
    if not isinstance(settings, dict) or not set(settings) <= known:
        odd = sorted(map(str, set(settings) - known)) if isinstance(settings, dict) else settings
        raise GradingError(f"{path}: {odd!r:.80} is no setting; there are {', '.join(known)}.")
    try:
        for name in ("notebooks", "solutions"):
            if name in settings:
                settings[name] = Path(settings[name])
        if "late" in settings:
            settings["late"] = Late(**settings["late"])
        if "tasks" in settings:
            settings["tasks"] = tuple(dict(one) for one in settings["tasks"])
        if "gpus" in settings:
            settings["gpus"] = tuple(map(str, settings["gpus"]))
        return Course(folder, **settings)
    except (TypeError, ValueError) as error:
        raise GradingError(f"{path}: a setting has the wrong form ({error}).") from error


@lru_cache(maxsize=8)
def _task(arguments: tuple[tuple[str, Any], ...]) -> BindingTask:
    return load_task(**dict(arguments))
