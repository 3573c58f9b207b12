"""The master of an assignment: the notebook that students were given, and what counts in it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from coursekit.errors import GradingError
from coursekit.grading.notebook import Kind

Role = Literal["given", "solution", "check", "written"]
_ID = r"\d\d\.\d{1,2}"
_CHECK = re.compile(rf"""\bcheck\(\s*["']({_ID})["']""")
_MENTION = re.compile(rf"(?<![\w.])({_ID})(?![\w]|\.\d)")


@dataclass(frozen=True)
class MasterCell:
    """One cell of the master.

    Args:
        kind: "code", "markdown" or "raw".
        source: what students were given.
        grade_id: nbgrader's id; "" for cells that nbgrader does not follow.
        issued_id: ``metadata.id``, "" without one.
        role: "solution" (code to be written), "written" (text or code that a person grades),
            "check" (graded by the judge), "given" (everything else, restored as it was).
        points: most points of a check or written cell, else 0.
    """

    kind: Kind
    source: str
    grade_id: str
    issued_id: str
    role: Role
    points: float

    @property
    def editable(self) -> bool:
        """Whether the student's text counts here."""
        return self.role in ("solution", "written")

    @cached_property
    def checks(self) -> tuple[str, ...]:
        """Exercises whose check is called in this cell."""
        return checks_in(self.source)

    @cached_property
    def mentions(self) -> tuple[str, ...]:
        """Exercises that this cell's comments or text name."""
        return mentions_in(self.source, self.kind)


@dataclass(frozen=True)
class Master:
    """The notebook that students were given.

    Args:
        name: of the notebook, without its ending.
        cells: all cells, in order.
    """

    name: str
    cells: tuple[MasterCell, ...]

    @cached_property
    def exercises(self) -> tuple[str, ...]:
        """Ids of all exercises that are checked, in order."""
        return tuple(dict.fromkeys(e for cell in self.cells for e in cell.checks))

    @cached_property
    def max_points(self) -> float:
        """Most points that the notebook can bring."""
        return sum(cell.points for cell in self.cells)


def checks_in(source: str) -> tuple[str, ...]:
    """Ids in ``check("02.4", ...)`` calls of a source, in order, each once."""
    return tuple(dict.fromkeys(_CHECK.findall(source)))


def mentions_in(source: str, kind: Kind) -> tuple[str, ...]:
    """Exercise ids in the comments of code, or anywhere in text, each once."""
    if kind == "code":
        source = "\n".join(line.split("#", 1)[1] for line in source.split("\n") if "#" in line)
    return tuple(dict.fromkeys(_MENTION.findall(source)))


def read_master(path: str | Path) -> Master:
    """Read the student version of a lesson, as ``nbgrader generate_assignment`` writes it.

    Raises:
        GradingError: not a notebook with nbgrader's metadata, or with ids or points that would
            make two cells one or give points that are no number.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        cells = tuple(_master_cell(item) for item in data["cells"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GradingError(
            f"{path} is no master notebook ({type(error).__name__}: {error}); expected a notebook "
            "of format 4 as 'nbgrader generate_assignment' writes it."
        ) from error
    ids = [cell.grade_id for cell in cells if cell.grade_id]
    repeated = sorted({i for i in ids if ids.count(i) > 1})
    if repeated:
        raise GradingError(f"{path}: the grade_ids {repeated} occur more than once; make them one.")
    graded = [cell for cell in cells if cell.role in ("check", "written")]
    if not graded:
        raise GradingError(
            f"{path}: no cell has nbgrader metadata with grade: true; is it the student version?"
        )
    bad = [c.grade_id for c in graded if not (math.isfinite(c.points) and c.points >= 0)]
    if bad:
        raise GradingError(f"{path}: the points of {bad} are not finite numbers from 0 up.")
    return Master(path.stem, cells)


def _master_cell(item: dict[str, Any]) -> MasterCell:
    source = item["source"]
    source = source if isinstance(source, str) else "".join(source)
    metadata = item.get("metadata", {})
    marks = metadata.get("nbgrader", {})
    grade, solution = bool(marks.get("grade")), bool(marks.get("solution"))
    role: Role = "given"
    if solution or marks.get("task"):
        role = "written" if grade or marks.get("task") else "solution"
    elif grade:
        role = "check"
    points = float(marks.get("points", 0.0)) if role in ("check", "written") else 0.0
    return MasterCell(
        kind=item["cell_type"],
        source=source.replace("\r\n", "\n"),
        grade_id=str(marks.get("grade_id", "")),
        issued_id=str(metadata.get("id", "")),
        role=role,
        points=points,
    )
