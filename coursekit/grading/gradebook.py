"""Grades in nbgrader's gradebook: one transaction for a submission, and nothing of a person's lost.

The tables are nbgrader's own (any SQLAlchemy URL, SQLite by default), so formgrader, exports and
late penalties work on as before. Written here are ``auto_score``, ``needs_manual_grade``,
``auto_comment`` and the flag; ``manual_score``, ``extra_credit`` and ``manual_comment`` are read at
most.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coursekit.errors import GradingError
from coursekit.grading.master import Master, MasterCell

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

MAX_COMMENT = 4_000
ATTEMPTS = 8
_STUDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}")


@dataclass(frozen=True)
class CellGrade:
    """What one graded cell gets.

    Args:
        grade_id: nbgrader's name of the cell.
        auto_score: from 0 to the most there is; None where only a person can give points.
        needs_person: whether somebody has to look at it.
        comment: shown under the student's cell; "" for none.
    """

    grade_id: str
    auto_score: float | None
    needs_person: bool
    comment: str = ""


def check_student_id(student: str) -> str:
    """The id, if it can safely be part of file names, tables and command lines.

    Raises:
        GradingError: it has other characters, or begins like an option or a hidden file.
    """
    if not isinstance(student, str) or not _STUDENT.fullmatch(student) or ".." in student:
        raise GradingError(
            f"the student id {student!a:.60} cannot be used: letters, digits and . _ @ + - are "
            "expected, beginning with a letter or digit. Rename the submission's folder."
        )
    return student


def register_assignment(db_url: str, assignment: str, master: Master) -> None:
    """Make sure that the gradebook knows the assignment, its notebook and its cells.

    What ``nbgrader generate_assignment`` has entered stays as it is.

    Raises:
        GradingError: the gradebook cannot be opened, or has other cells or points than the master.
    """
    with opened(db_url) as book:
        from nbgrader.api import MissingEntry

        book.update_or_create_assignment(assignment)
        try:
            notebook = book.find_notebook(master.name, assignment)
        except MissingEntry:
            notebook = book.add_notebook(master.name, assignment)
        known = {cell.name: cell.max_score for cell in notebook.grade_cells}
        wanted = {c.grade_id: c.points for c in _graded(master)}
        if known and known != wanted:
            odd = sorted(set(known.items()) ^ set(wanted.items()))
            raise GradingError(
                f"the gradebook has other graded cells for {assignment} than {master.name}: "
                f"{odd[:6]}. Was the assignment generated anew? Use another gradebook, or the "
                "notebook that was released."
            )
        for cell in _graded(master):
            book.update_or_create_grade_cell(
                cell.grade_id, master.name, assignment, max_score=cell.points, cell_type=cell.kind
            )
        for cell in _editable(master):
            book.update_or_create_solution_cell(cell.grade_id, master.name, assignment)
        for cell in (one for one in master.cells if one.grade_id):
            book.update_or_create_source_cell(
                cell.grade_id,
                master.name,
                assignment,
                cell_type=cell.kind,
                source=cell.source,
                locked=not cell.editable,
                checksum=_checksum(cell),
            )


def _checksum(cell: MasterCell) -> str:
    """As nbgrader computes it, so that its own autograde can put a locked cell back."""
    from nbformat import from_dict
    from nbgrader.utils import compute_checksum

    graded, solution = cell.role in ("check", "written"), cell.editable
    marks = {"grade_id": cell.grade_id, "grade": graded, "solution": solution}
    marks |= {"locked": not cell.editable, "points": cell.points}
    plain = {"cell_type": cell.kind, "source": cell.source, "metadata": {"nbgrader": marks}}
    return str(compute_checksum(from_dict(plain)))


def students_recorded(db_url: str, assignment: str) -> set[str]:
    """Students with a submission of the assignment in the gradebook."""
    with opened(db_url) as book:
        return {one.student_id for one in book.assignment_submissions(assignment)}


def record_grades(
    db_url: str,
    assignment: str,
    master: Master,
    student: str,
    grades: Sequence[CellGrade],
    flagged: bool,
) -> bool:
    """Write all grades of one submission, or none of them.

    Args:
        db_url: of the gradebook.
        assignment: its name there.
        master: the notebook's master; every graded cell of it must be among ``grades``.
        student: id, added to the gradebook where it is new.
        grades: one for each graded cell; comments for solution cells may be among them.
        flagged: whether a person has to look at the submission as a whole.

    Returns:
        Whether anything changed: the same submission twice changes nothing.

    Raises:
        GradingError: a score outside its range, a cell that the gradebook does not know, or a
            gradebook that stays locked.
    """
    check_student_id(student)
    checked = {grade.grade_id: _checked(grade, master) for grade in grades}
    missing = [c.grade_id for c in _graded(master) if c.grade_id not in checked]
    if missing:
        raise GradingError(f"no grade was given for {missing}; each graded cell needs one.")
    from sqlalchemy.exc import IntegrityError, OperationalError

    for attempt in range(ATTEMPTS):
        with opened(db_url) as book:
            try:
                changed = _write(book, assignment, master.name, student, checked, flagged)
                book.db.commit()
                return changed
            except (OperationalError, IntegrityError) as error:
                # Another grader was writing, or added the student a moment ago: look again.
                book.db.rollback()
                if attempt == ATTEMPTS - 1:
                    raise GradingError(
                        f"the gradebook could not be written ({type(error).__name__}); is another "
                        "program holding it, or its disk full?"
                    ) from error
            except BaseException:
                book.db.rollback()
                raise
        time.sleep(random.uniform(0.05, 0.2) * 2**attempt)
    raise AssertionError("not reached")


def flag(db_url: str, assignment: str, notebook: str, student: str) -> None:
    """Mark a submission that is in the gradebook for a person's attention."""
    with opened(db_url) as book:
        book.find_submission_notebook(notebook, assignment, student).flagged = True
        book.db.commit()


def _write(
    book: Gradebook,
    assignment: str,
    notebook: str,
    student: str,
    grades: Mapping[str, CellGrade],
    flagged: bool,
) -> bool:
    from nbgrader import api

    base = book.db
    home = (
        base.query(api.Notebook)
        .join(api.Assignment, api.Assignment.id == api.Notebook.assignment_id)
        .filter(api.Notebook.name == notebook, api.Assignment.name == assignment)
        .one_or_none()
    )
    if home is None:
        raise GradingError(f"the gradebook does not know {notebook} of {assignment}; register it.")
    if base.get(api.Student, student) is None:
        base.add(api.Student(id=student))
    made = _one(base, api.SubmittedAssignment, assignment_id=home.assignment_id, student_id=student)
    handed = _one(base, api.SubmittedNotebook, assignment_id=made.id, notebook_id=home.id)
    _set(base, handed, flagged=flagged)
    graded = {cell.name: cell for cell in home.grade_cells}
    solutions = {cell.name: cell for cell in home.solution_cells}
    unknown = set(grades) - set(graded) - set(solutions)
    if unknown:
        raise GradingError(
            f"the gradebook has no cells {sorted(unknown)}; register the assignment."
        )
    for name, cell in graded.items():
        _enter(base, _one(base, api.Grade, cell_id=cell.id, notebook_id=handed.id), grades[name])
    for name, cell in solutions.items():
        comment = grades[name].comment if name in grades else ""
        note = _one(base, api.Comment, cell_id=cell.id, notebook_id=handed.id)
        _set(base, note, auto_comment=comment or None)
    return bool(base.info.pop("changed", False))


def _enter(base: Any, entry: Any, grade: CellGrade) -> None:
    """The automatic score; a person's stays, and is put up for review where the answer changed."""
    person = grade.needs_person or grade.auto_score is None
    if entry.manual_score is not None:
        # Somebody has decided already. Only a new automatic score is news to them.
        news = entry.auto_score != grade.auto_score
        person = entry.needs_manual_grade or news
    _set(base, entry, auto_score=grade.auto_score, needs_manual_grade=person)


def _one(base: Any, table: Any, **keys: Any) -> Any:
    """The row with these keys, made where there is none."""
    found = base.query(table).filter_by(**keys).one_or_none()
    if found is None:
        found = table(**keys)
        base.add(found)
        base.flush()
        base.info["changed"] = True
    return found


def _set(base: Any, row: Any, **values: Any) -> None:
    for name, value in values.items():
        if getattr(row, name) != value:
            setattr(row, name, value)
            base.info["changed"] = True


def _checked(grade: CellGrade, master: Master) -> CellGrade:
    most = {c.grade_id: c.points for c in _graded(master)}.get(grade.grade_id, 0.0)
    score = grade.auto_score
    # Written so that NaN is refused as well.
    if score is not None and not (isinstance(score, float | int) and 0 <= score <= most):
        raise GradingError(
            f"{grade.grade_id}: a score of {score!r} was to be recorded; 0 to {most:g} is possible."
        )
    return CellGrade(
        grade.grade_id,
        None if score is None else float(score),
        grade.needs_person,
        grade.comment[:MAX_COMMENT],
    )


def _graded(master: Master) -> list[MasterCell]:
    return [c for c in master.cells if c.role in ("check", "written")]


def _editable(master: Master) -> list[MasterCell]:
    return [c for c in master.cells if c.editable]


@contextmanager
def opened(db_url: str) -> Iterator[Gradebook]:
    """Nbgrader's gradebook at a SQLAlchemy URL, closed afterwards.

    Raises:
        GradingError: it cannot be opened or made.
    """
    from nbgrader.api import Gradebook

    if shutil.which("alembic") is None:
        # A new gradebook is made with this program, which lies beside this Python.
        beside = str(Path(sys.executable).parent)
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), beside])
    try:
        book = Gradebook(db_url)
    except Exception as error:
        raise GradingError(
            f"the gradebook {_without_password(db_url)} cannot be opened "
            f"({type(error).__name__}: {str(error)[:200]})."
        ) from error
    try:
        yield book
    finally:
        book.close()


def _without_password(db_url: str) -> str:
    return re.sub(r"//[^/@]*@", "//...@", db_url)
