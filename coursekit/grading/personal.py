"""Tasks that each student has alone, and whose task a run was made on.

A student's task is named by a keyed digest (HMAC-SHA256) of their id under the course's secret, so
that nobody can tell another's task from their own, and the grader needs no list. The name stands in
the notebook that the student was given; what matters here is computed anew.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

from coursekit.data.binding_task import BindingTask
from coursekit.data.variants import variant_of
from coursekit.errors import GradingError
from coursekit.grading.gradebook import check_student_id
from coursekit.grading.master import Master, MasterCell
from coursekit.grading.verify import Layer
from coursekit.runs import Run

SECRET_FILE = "secret.key"
SETUP = "ck.setup("


@dataclass(frozen=True)
class Personal:
    """How the tasks of a lesson are given out.

    Args:
        secret: of the course.
        base: name of the selection that all are drawn from.
        students: to whom, so that a stranger's task gets a name.
    """

    secret: str = field(repr=False)
    base: str
    students: tuple[str, ...]

    def task_name(self, student: str) -> str:
        """The student's name for ``load_task``."""
        digest = hmac.new(self.secret.encode(), student.encode(), sha256).hexdigest()
        return f"{self.base}@{digest[:16]}"

    def owner(self, task_name: str) -> str | None:
        """The student who was given a task, None if nobody was."""
        return next((one for one in self.students if self.task_name(one) == task_name), None)

    def master(self, master: Master, student: str) -> Master:
        """The master as this student was given it: with their task in the setup cell."""
        return replace(master, cells=tuple(self._cell(one, student) for one in master.cells))

    def _cell(self, cell: MasterCell, student: str) -> MasterCell:
        if cell.kind != "code":
            return cell
        return replace(cell, source=self.source(cell.source, student))

    def source(self, text: str, student: str) -> str:
        """The text of a code cell, with the student's task where it is the setup cell."""
        return text.replace(SETUP, f'{SETUP}task="{self.task_name(student)}", ', 1)

    def layers(
        self,
        student: str,
        runs: Iterable[Run],
        answers: Mapping[str, Mapping[str, Any]],
        own: BindingTask,
    ) -> list[Layer]:
        """Layer "task": whether runs and answers are of the student's own task.

        Args:
            student: id.
            runs: all that were handed in.
            answers: by exercise, as they were read.
            own: the student's task; shares of it are as good.
        """
        found = [(run.name, run.task) for run in runs]
        for exercise, values in answers.items():
            for name, value in values.items():
                facts = value.task if isinstance(value, Run) else value
                if isinstance(facts, Mapping) and {"name", "fingerprint"} <= set(facts):
                    found.append((f"{exercise} {name!a:.40}", facts))
        strange = [(what, facts) for what, facts in found if not _is(facts, own)]
        if not strange:
            state, reason = ("holds", "all is of the student's own task")
            return [Layer("task", "runs", state, reason)] if found else []  # type: ignore[arg-type]
        return [
            Layer("task", what, "fails", self._whose(str(facts["name"]), student))
            for what, facts in dict(strange).items()
        ]

    def _whose(self, task_name: str, student: str) -> str:
        owner = self.owner(task_name)
        if owner == student:
            return "it bears the name of the student's own task, and has other molecules"
        if owner is not None:
            return f"made on the task that was given to {owner}"
        return f"made on {task_name!a:.40}, a task that was given to nobody"


def _is(facts: Mapping[str, Any], own: BindingTask) -> bool:
    settings = facts.get("settings", facts)
    share = settings.get("share", 1.0) if isinstance(settings, Mapping) else 1.0
    if not isinstance(share, float) or not 0 < share <= 1:
        return False
    return bool(own.share(share).fingerprint == facts["fingerprint"])


def read_personal(folder: Path, lesson: str) -> Personal | None:
    """How a lesson was given out by ``coursekit assign --seed-from``; None if it was not.

    Raises:
        GradingError: it was, but the course's secret or the list is gone or damaged.
    """
    path = folder / "personal" / f"{lesson}.json"
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Personal(_secret(folder), str(data["base"]), tuple(map(str, data["students"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GradingError(
            f"{path} or {SECRET_FILE} beside it cannot be read ({type(error).__name__}); without "
            "both nobody can tell which task a student was given. Restore them from a backup."
        ) from error


def course_secret(folder: Path) -> str:
    """The course's secret, made where there is none, readable by its owner alone."""
    path = folder / SECRET_FILE
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _secret(folder)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(token_hex(32) + "\n")
    return _secret(folder)


def check_base(name: str) -> str:
    """The name, if tasks can be drawn from it.

    Raises:
        GradingError: it is a variant already.
    """
    if variant_of(name) is not None or "@" in name:
        raise GradingError(f"{name!r:.40} is a student's task already; name a selection.")
    return name


def check_students(students: Iterable[str]) -> tuple[str, ...]:
    """The ids, each once and fit for file names.

    Raises:
        GradingError: none, one twice, or one that cannot be used.
    """
    found = tuple(check_student_id(one) for one in students)
    if not found or len(set(found)) < len(found):
        raise GradingError("expected student ids, each once; is a line of the list there twice?")
    return found


def _secret(folder: Path) -> str:
    text = (folder / SECRET_FILE).read_text(encoding="ascii").strip()
    if len(text) < 32:
        raise ValueError("the secret is too short")
    return text
