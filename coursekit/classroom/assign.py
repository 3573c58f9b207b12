"""Notebooks to give out in which each student has a task of their own."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from coursekit.errors import GradingError
from coursekit.grading.course import Course
from coursekit.grading.personal import (
    SETUP,
    Personal,
    check_base,
    check_students,
    course_secret,
    read_personal,
)
from coursekit.storage import atomic_file, write_json


def assign_personal(course: Course, lesson: str, students: Sequence[str]) -> list[Path]:
    """Write a notebook for each student, and note to whom.

    Called again it adds students; those who have a notebook get the same one.

    Args:
        course: the instructor's folder; its secret is made where there is none.
        lesson: two digits.
        students: ids.

    Returns:
        ``personal/NN/<student>/NN_name.ipynb``, one for each student.

    Raises:
        GradingError: an id that cannot be used, a lesson without a setup cell, or a course of
            several tasks.
    """
    if len(course.tasks) != 1:
        raise GradingError("personal tasks are drawn from one; course.yaml names several.")
    base = check_base(str(course.tasks[0].get("name", "sample")))
    before = read_personal(course.folder, lesson)
    known = before.students if before is not None else ()
    everybody = tuple(dict.fromkeys((*known, *check_students(students))))
    personal = Personal(course_secret(course.folder), base, everybody)
    path = course.notebook(lesson)
    given = json.loads(path.read_text(encoding="utf-8"))
    setups = [
        number
        for number, cell in enumerate(given["cells"])
        if cell["cell_type"] == "code" and SETUP in "".join(cell["source"])
    ]
    if not setups:
        raise GradingError(f"{path.name} has no cell with {SETUP}...): a task cannot be put in.")
    written = []
    for student in students:
        cells = list(given["cells"])
        for number in setups:
            text = "".join(cells[number]["source"])
            cells[number] = cells[number] | {"source": personal.source(text, student)}
        target = course.folder / "personal" / lesson / student / path.name
        with atomic_file(target) as temporary:
            text = json.dumps(given | {"cells": cells}, indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        written.append(target)
    listed = {"lesson": lesson, "base": base, "students": list(everybody)}
    write_json(course.folder / "personal" / f"{lesson}.json", listed)
    return written


def read_students(path: str | Path) -> list[str]:
    """Ids out of a CSV with a column ``id``, as ``nbgrader db student import`` takes it.

    Raises:
        GradingError: no such column.
    """
    text = Path(path).read_text(encoding="utf-8-sig")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if "id" not in (rows.fieldnames or []):
        raise GradingError(f"{path} has no column 'id'; its first line names {rows.fieldnames}.")
    return [row["id"].strip() for row in rows if (row["id"] or "").strip()]
