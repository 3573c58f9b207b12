"""A small lesson of three exercises, and notebooks as students hand them in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from coursekit.checks import Exercise, Wrong, expect
from coursekit.classroom.handed_in import cell_with
from coursekit.grading.master import Master, _master_cell

SETUP = "import math\n\nimport coursekit as ck\n\ncounts = [3, 4, 8]"
STUBS = {
    "97.1": "# 97.1 The mean of the counts\nmean = ...",
    "97.2": "# 97.2 AUROC by counting pairs: binders, negatives -> a number\n"
    "def auroc(binders, negatives):\n    return ...\n\nvalue = auroc([3, 2], [1, 2])",
}
RIGHT = {
    "97.1": "# 97.1 The mean of the counts\nmean = sum(counts) / len(counts)",
    "97.2": "# 97.2 AUROC by counting pairs: binders, negatives -> a number\n"
    "def auroc(binders, negatives):\n"
    "    wins = [(b > n) + (b == n) / 2 for b in binders for n in negatives]\n"
    "    return sum(wins) / len(wins)\n\nvalue = auroc([3, 2], [1, 2])",
}
CHECKS = {"97.1": 'ck.check("97.1", mean)', "97.2": 'ck.check("97.2", value)'}
WRITTEN = "**97.3** Why are hard negatives hard?\n\n*Your answer:*"


def _cell(kind: str, source: str, grade_id: str = "", **marks: Any) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    if grade_id:
        common = {"schema_version": 3, "grade_id": grade_id, "task": False, "locked": False}
        cell["metadata"] = {"id": grade_id, "nbgrader": common | marks}
    return cell


def student_version() -> dict[str, Any]:
    """What students were given, as nbgrader writes it."""
    todo = {"grade": False, "solution": True, "locked": False}
    graded = {"grade": True, "solution": False, "locked": True}
    cells = [
        _cell("markdown", "# Lesson 97\n\nA short lesson."),
        _cell("code", SETUP),
        _cell("markdown", "## Exercise 97.1\n\nTake the mean of `counts`."),
        _cell("code", STUBS["97.1"], "solution-97-1", **todo),
        _cell("code", CHECKS["97.1"], "check-97-1", points=2, **graded),
        _cell("markdown", "## Exercise 97.2\n\nWrite AUROC."),
        _cell("code", STUBS["97.2"], "solution-97-2", **todo),
        _cell("code", CHECKS["97.2"], "check-97-2", points=5, **graded),
        _cell("markdown", WRITTEN, "written-97-3", grade=True, solution=True, points=3),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}


def the_master() -> Master:
    return Master("97_tiny", tuple(_master_cell(cell) for cell in student_version()["cells"]))


def solved(answers: Mapping[str, str] = RIGHT, text: str = "") -> dict[str, Any]:
    """The student version with cells filled in."""
    notebook = student_version()
    for exercise, source in answers.items():
        find(notebook, exercise)["source"] = source
    if text:
        notebook["cells"][-1]["source"] = f"{WRITTEN}\n\n{text}"
    return notebook


def find(notebook: dict[str, Any], exercise: str) -> dict[str, Any]:
    """The cell that holds the solution of an exercise."""
    return cell_with(notebook, f"solution-{exercise.replace('.', '-')}")


def dump(notebook: Any) -> bytes:
    return json.dumps(notebook).encode()


def exercises() -> tuple[Exercise, ...]:
    """What is checked: a mean, an AUROC that half may be given for, and a text for a person."""

    def mean(value: Any) -> str:
        expect.close("mean", value, 5.0)
        return "5 it is."

    def auroc(value: Any) -> str:
        try:
            expect.close("value", value, 0.875)
        except Wrong as wrong:
            near = isinstance(value, float) and 0.4 < value < 1
            raise Wrong(wrong.message, share=0.25 if near else 0.0) from None
        return ""

    def text(value: Any) -> str:
        return "A person reads it."

    return (
        Exercise("97.1", "The mean", 2, ("mean",), mean),
        Exercise("97.2", "AUROC", 5, ("value",), auroc),
        Exercise("97.3", "Why", 3, ("text",), text, by_person=True),
    )
