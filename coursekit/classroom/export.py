"""Grades out of nbgrader's gradebook, as files that Canvas, Moodle and spreadsheets read.

Every field is quoted where CSV asks for it, and text that a spreadsheet would take for a formula
gets an apostrophe before it: a name is a stranger's text too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coursekit.errors import GradingError
from coursekit.grading.gradebook import opened
from coursekit.storage import atomic_file

# With their wide forms, which some spreadsheets take for the same.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
# Line ends, which importers cut at, and what turns text around or is not shown.
_UNWANTED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]+"
)


@dataclass(frozen=True)
class Grade:
    """What one student has in one assignment.

    Args:
        student: id.
        first_name: "" if not known; so the next three.
        last_name: see above.
        email: see above.
        lms_id: the learning platform's own id.
        assignment: name.
        max_points: most there are, reflections included.
        state: "final"; "waiting", where a person still has to decide; "missing", where nothing
            was handed in.
        points: what counts, lateness taken off; None where it is missing.
        penalty: points taken off for lateness.
    """

    student: str
    first_name: str
    last_name: str
    email: str
    lms_id: str
    assignment: str
    max_points: float
    state: str
    points: float | None
    penalty: float = 0.0


def read_grades(db_url: str, assignments: Sequence[str] = ()) -> list[Grade]:
    """All students' grades, ordered by student and assignment.

    Args:
        db_url: of the gradebook.
        assignments: names; all if empty.

    Raises:
        GradingError: an assignment that the gradebook does not have, or none at all.
    """
    with opened(db_url) as book:
        known = {one.name: one for one in book.assignments}
        wanted = list(assignments) or sorted(known)
        unknown = [name for name in wanted if name not in known]
        if unknown or not wanted:
            raise GradingError(
                f"the gradebook has no assignment {', '.join(unknown) or 'at all'}; it has "
                f"{', '.join(sorted(known)) or 'none'}."
            )
        grades = []
        for student in sorted(book.students, key=lambda one: str(one.id)):
            handed_in = {one.assignment.name: one for one in student.submissions}
            for name in wanted:
                found = handed_in.get(name)
                penalty, points, state = 0.0, None, "missing"
                if found is not None and _anything(found):
                    penalty = float(found.late_submission_penalty or 0.0)
                    points = max(0.0, float(found.score) - penalty)
                    waiting = found.needs_manual_grade or any(n.flagged for n in found.notebooks)
                    state = "waiting" if waiting else "final"
                grades.append(
                    Grade(
                        str(student.id),
                        student.first_name or "",
                        student.last_name or "",
                        student.email or "",
                        student.lms_user_id or "",
                        name,
                        float(known[name].max_score),
                        state,
                        points,
                        penalty,
                    )
                )
        return grades


def write_grades(grades: Sequence[Grade], to: str, path: str | Path) -> Path:
    """Write a file for one platform, whole or not at all.

    Canvas and Moodle get final points only: a blank there changes nothing, a number would be
    taken for the last word. ``csv`` has every state in a column.

    Args:
        grades: of :func:`read_grades`.
        to: "canvas", "moodle" or "csv".
        path: of the file.

    Returns:
        The path.
    """
    rows = FORMATS[to](grades)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([_cell(one) for one in row] for row in rows)
    with atomic_file(Path(path)) as temporary:
        # With its mark, for a spreadsheet takes UTF-8 without one for another encoding; the
        # platforms' importers take neither mark nor bytes amiss.
        encoding = "utf-8-sig" if to == "csv" else "utf-8"
        temporary.write_text(text.getvalue(), encoding=encoding, newline="")
    return Path(path)


class _Ours(str):
    """A text that is written as it stands: no person's, whatever people are called."""

    __slots__ = ()


def safe_text(text: str) -> str:
    """A text that no spreadsheet runs and no importer cuts a line at."""
    clean = _UNWANTED.sub(" ", text).strip()
    return f"'{clean}" if clean.startswith(_FORMULA) else clean


def _canvas(grades: Sequence[Grade]) -> Iterable[list[str | float | None]]:
    """Canvas finds students by ID or login; a column without an assignment's id makes a new one."""
    names, maxima = _assignments(grades)
    yield ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *names]
    yield [_Ours("    Points Possible"), "", "", "", "", *maxima]  # known by its spaces
    for own in _by_student(grades):
        one = own[names[0]]
        name = ", ".join(part for part in (one.last_name, one.first_name) if part) or one.student
        yield [name, one.lms_id, "", one.student, "", *_final(own, names)]


def _moodle(grades: Sequence[Grade]) -> Iterable[list[str | float | None]]:
    """Moodle asks which column names the student; username, ID number or email will do."""
    names, _ = _assignments(grades)
    yield ["Username", "ID number", "First name", "Last name", "Email address", *names]
    for own in _by_student(grades):
        one = own[names[0]]
        about = [one.student, one.lms_id, one.first_name, one.last_name, one.email]
        yield [*about, *_final(own, names)]


def _csv(grades: Sequence[Grade]) -> Iterable[list[str | float | None]]:
    yield [
        "assignment", "student_id", "last_name", "first_name", "email", "state", "points",
        "late_penalty", "max_points",
    ]  # fmt: skip
    for one in grades:
        yield [
            one.assignment, one.student, one.last_name, one.first_name, one.email, one.state,
            one.points, one.penalty, one.max_points,
        ]  # fmt: skip


FORMATS: dict[str, Callable[[Sequence[Grade]], Iterable[list[str | float | None]]]] = {
    "canvas": _canvas,
    "moodle": _moodle,
    "csv": _csv,
}


def _cell(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, _Ours):
        return value
    return safe_text(value or "")


def _assignments(grades: Sequence[Grade]) -> tuple[list[str], list[float]]:
    found = {one.assignment: one.max_points for one in grades}
    return list(found), list(found.values())


def _by_student(grades: Sequence[Grade]) -> Iterable[dict[str, Grade]]:
    students: dict[str, dict[str, Grade]] = {}
    for one in grades:
        students.setdefault(one.student, {})[one.assignment] = one
    return students.values()


def _final(own: dict[str, Grade], names: Sequence[str]) -> list[float | None]:
    return [own[name].points if own[name].state == "final" else None for name in names]


def _anything(submission: object) -> bool:
    """Whether something was graded: an extension alone makes an entry too."""
    grades = [grade for one in submission.notebooks for grade in one.grades]  # type: ignore[attr-defined]
    return any(
        grade.auto_score is not None or grade.manual_score is not None or grade.needs_manual_grade
        for grade in grades
    )
