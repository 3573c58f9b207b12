"""A whole class: every submission that is new or changed, many at a time, each recorded at once.

Workers turn files into outcomes; this process alone writes gradebook, reports and feedback. What is
recorded is whole, in the order gradebook, feedback, report, so that a grader that is killed at any
moment loses the submissions in hand and nothing else: without its report a submission is graded
again, to the same outcome. Several graders share a course: each submission has a lock.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from coursekit.errors import CourseKitError
from coursekit.grading.feedback import write_feedback
from coursekit.grading.gradebook import (
    check_student_id,
    record_grades,
    register_assignment,
    students_recorded,
)
from coursekit.grading.report import Graded
from coursekit.grading.submission import Assignment, cell_grades, ungraded
from coursekit.grading.unit import Unit, digest, read_unit
from coursekit.grading.workers import WorkerDied
from coursekit.interrupt import Interruptible

Say = Callable[[str], None]
REPORT = "report.json"
STATES = ("graded", "partial", "needs a person")


class Workers(Protocol):
    """Who grades units: processes of this machine, or a cluster."""

    @property
    def places(self) -> int:
        """How many units they want in hand now."""

    def submit(self, unit: Unit) -> Future[Graded]:
        """Grade a unit; the future may raise :class:`coursekit.errors.GradingError`."""

    def close(self) -> None:
        """Stop, whatever is in hand."""


@dataclass(frozen=True)
class Places:
    """Where outcomes are recorded.

    Args:
        gradebook: SQLAlchemy URL.
        folder: ``autograded/`` of a course: a submission's report and feedback are in
            ``<student>/<assignment>/``.
        finish: does what else belongs to a recorded submission, before its report marks it as
            done; takes the outcome and that folder, and may be called again for the same outcome.
    """

    gradebook: str
    folder: Path
    finish: Callable[[Graded, Path], None] = lambda graded, folder: None

    def of(self, student: str, assignment: str) -> Path:
        """The folder of one submission."""
        return self.folder / student / assignment


@dataclass
class Summary:
    """How a class stands after a run.

    Args:
        reports: by student, of this run or of an earlier one where nothing had changed.
        unchanged: students whose submission, and what it is held against, is as it was.
        failed: students whose submission could not be graded or recorded, with the reason; the
            next run tries again.
        interrupted: whether somebody stopped the run.
        seconds: that it took.
    """

    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    unchanged: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    seconds: float = 0.0

    def of(self, state: str) -> list[str]:
        """Students whose submission is in a state."""
        return sorted(s for s, report in self.reports.items() if report["state"] == state)

    def __str__(self) -> str:
        counts = [f"{len(self.of(state))} {state}" for state in STATES]
        lines = [
            f"{', '.join(counts)}; {len(self.unchanged)} of them unchanged; {self.seconds:.0f} s"
        ]
        people = self.of("needs a person")
        lines += ["needs a person, because"] if people else []
        lines += [f"  {s}: {'; '.join(self.reports[s]['reasons'])}" for s in people]
        lines += ["not graded; the same command tries again:"] if self.failed else []
        lines += [f"  {s!a}: {why}" for s, why in sorted(self.failed.items())]
        warnings = {r["warning"] for r in self.reports.values() if r.get("warning")}
        return "\n".join([*sorted(warnings), *lines])


def grade_class(
    assignment: Assignment,
    submissions: Mapping[str, Path],
    places: Places,
    workers: Workers,
    say: Say = lambda line: None,
) -> Summary:
    """Grade all submissions that are new or changed.

    Args:
        assignment: what they are held against.
        submissions: by student, a notebook, folder or zip.
        places: where outcomes are recorded.
        workers: who grades.
        say: takes a line for each submission.

    Returns:
        How the whole class stands, earlier outcomes included.

    Raises:
        GradingError: the gradebook cannot be used at all. What happens to one submission is in the
            summary.
    """
    start, rules = time.monotonic(), digest(assignment)
    with _lock(places.folder / ".gradebook", wait=True):
        register_assignment(places.gradebook, assignment.name, assignment.master)
    desk = _Desk(assignment, places, rules)
    waiting = deque(sorted(submissions))
    elsewhere: list[str] = []
    running: dict[Future[Graded], tuple[Unit, FileLock]] = {}
    with Interruptible() as ctrl_c:
        while (waiting or running or elsewhere) and not ctrl_c.asked:
            while waiting and len(running) < workers.places:
                student = waiting.popleft()
                try:
                    taken = desk.take(student, submissions[student])
                except Timeout:
                    elsewhere.append(student)
                    continue
                if taken is not None:
                    running[workers.submit(taken[0])] = taken
            if not running:
                time.sleep(0.2 if elsewhere else 0)
                waiting.extend(elsewhere)  # another grader has them, or will have had
                elsewhere.clear()
                continue
            for future in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
                unit, lock = running.pop(future)
                line = desk.record(unit, future)
                lock.release()
                left = len(waiting) + len(running) + len(elsewhere)
                say(f"{line}   ({left} left{_time_left(desk.done, left, start)})")
        for _, lock in running.values():
            lock.release()
        desk.summary.interrupted = ctrl_c.asked
    desk.summary.seconds = time.monotonic() - start
    return desk.summary


class _Desk:
    """Takes submissions in, and records what comes back."""

    def __init__(self, assignment: Assignment, places: Places, rules: str) -> None:
        self.assignment, self.places, self.rules = assignment, places, rules
        self.done, self.summary = 0, Summary()
        self._recorded = students_recorded(places.gradebook, assignment.name)

    def take(self, student: str, path: Path) -> tuple[Unit, FileLock] | None:
        """A submission that is to be graded, with its lock; None where nothing is to be done.

        Raises:
            Timeout: another grader has it.
        """
        try:
            check_student_id(student)
            folder = self.places.of(student, self.assignment.name)
            lock = _lock(folder / ".grading")
            lock.acquire()
        except Timeout:
            raise
        except (CourseKitError, OSError) as error:
            self.summary.failed[student] = str(error)
            return None
        unit = read_unit(student, path, self.assignment, self.rules)
        before = _read(folder / REPORT)
        if before.get("key") == unit.key and not before.get("fault") and self._has(student):
            self.summary.reports[student] = before
            self.summary.unchanged.add(student)
            lock.release()
            return None
        return unit, lock

    def _has(self, student: str) -> bool:
        """Whether the gradebook has the student; another grader may just have entered them."""
        if student not in self._recorded:
            self._recorded = students_recorded(self.places.gradebook, self.assignment.name)
        return student in self._recorded

    def record(self, unit: Unit, future: Future[Graded]) -> str:
        """Write an outcome down; returns a line about it."""
        student, name = unit.student, self.assignment.name
        self.done += 1
        try:
            found = future.result()
        except WorkerDied as error:
            found = ungraded(student, self.assignment, f"grading stopped: {error}", fault=True)
            found = replace(found, key=unit.key)
        except Exception as error:  # of the worker's machine, not of the submission
            self.summary.failed[student] = f"{type(error).__name__}: {str(error)[:300]}"
            return f"{student}: not graded"
        try:
            self._write(found, self.places.of(student, name))
        except (CourseKitError, OSError) as error:
            self.summary.failed[student] = f"it could not be recorded: {error}"
            return f"{student}: not recorded"
        self.summary.reports[student] = found.to_plain()
        points = f"{found.score:g} of {found.max_score:g}"
        return f"{student}: {found.state}, {points}, {found.seconds:.1f} s"

    def _write(self, found: Graded, folder: Path) -> None:
        record_grades(
            self.places.gradebook,
            found.assignment,
            self.assignment.master,
            found.student,
            cell_grades(found, self.assignment.master),
            flagged=found.state == "needs a person",
        )
        write_feedback(found, folder)
        self.places.finish(found, folder)
        found.save(folder)  # last: from here on the submission counts as done


def _lock(path: Path, wait: bool = False) -> FileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_suffix(".lock"), timeout=-1 if wait else 0)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _time_left(done: int, left: int, start: float) -> str:
    if not (done and left):
        return ""
    seconds = (time.monotonic() - start) / done * left
    return f", about {seconds / 60:.0f} min" if seconds >= 90 else f", about {seconds:.0f} s"
