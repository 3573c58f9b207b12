"""What a person sees and decides in nbgrader's formgrader.

The notebook shown there is the one that was graded: the student's code as text, outputs
sanitized, and beside them what only graders may read: the reasons for which a person is needed,
notes of hidden checks, and the rubric of each reflection.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from coursekit.grading.execute import CellRun
from coursekit.grading.feedback import Settled, sanitized
from coursekit.grading.gradebook import opened
from coursekit.grading.judge import Judged
from coursekit.grading.master import Master, MasterCell
from coursekit.grading.report import Graded
from coursekit.storage import atomic_file

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def write_for_formgrader(
    graded: Graded, master: Master, rubrics: Mapping[str, str], folder: str | Path
) -> Path:
    """Write the notebook that formgrader shows, whole or not at all.

    Args:
        graded: a submission; one that could not be read becomes the master with a note.
        master: what was given.
        rubrics: by exercise.
        folder: of this student in ``autograded/``.

    Returns:
        The path of the notebook.
    """
    target = Path(folder) / f"{master.name}.ipynb"
    with atomic_file(target) as temporary:
        text = json.dumps(formgrader_notebook(graded, master, rubrics), indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    return target


def formgrader_notebook(
    graded: Graded, master: Master, rubrics: Mapping[str, str]
) -> dict[str, Any]:
    """The notebook as data of nbformat 4.5."""
    cells = [_markdown("coursekit-outcome", _outcome(graded))]
    by_id = {one.exercise: one for one in graded.judged}
    runs = {} if graded.execution is None else graded.execution.cells
    shown: list[tuple[MasterCell | None, str, str, CellRun | None]]
    if graded.rebuilt is None:
        shown = [(c, c.kind, c.source, None) for c in master.cells]
    else:
        shown = [(c.master, c.kind, c.source, runs.get(c.number)) for c in graded.rebuilt.cells]
    for number, (given, kind, source, run) in enumerate(shown):
        cell = _cell(f"cell-{number}", given, kind, source, run)
        if given is not None and given.checks and kind == "code":
            verdicts = [_verdict(by_id[e]) for e in given.checks if e in by_id]
            cell["outputs"] += [_display({"text/html": "".join(verdicts)})] if verdicts else []
        cells.append(cell)
        for exercise in given.mentions if given is not None and given.role == "written" else ():
            if exercise in rubrics:
                # Behind the answer, and outside of it: formgrader's cells are found by their id.
                text = f"**Rubric of {exercise}** (for graders)\n\n{rubrics[exercise]}"
                cells.append(_markdown(f"rubric-{exercise.replace('.', '-')}", text))
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}


def settled(db_url: str, assignment: str, master: Master, student: str) -> Settled | None:
    """What the gradebook says of a submission by now; None if it has none."""
    with opened(db_url) as book:
        from nbgrader.api import MissingEntry

        try:
            notebook = book.find_submission_notebook(master.name, assignment, student)
        except MissingEntry:
            return None
        cells = {cell.grade_id: cell for cell in master.cells}
        points: dict[str, float] = {}
        waiting = False
        for grade in notebook.grades:
            waiting |= bool(grade.needs_manual_grade)
            ids = _exercises(cells.get(grade.name))
            if len(ids) == 1 and (grade.manual_score is not None or grade.extra_credit):
                points[ids[0]] = float(grade.score)
        comments = {
            exercise: comment.manual_comment
            for comment in notebook.comments
            if comment.manual_comment
            for exercise in _exercises(cells.get(comment.name))[:1]
        }
        penalty = float(notebook.late_submission_penalty or 0.0)
        return Settled(float(notebook.score), penalty, waiting, points, comments)


def _exercises(cell: MasterCell | None) -> tuple[str, ...]:
    return () if cell is None else tuple(dict.fromkeys((*cell.checks, *cell.mentions)))


def _cell(
    name: str, given: MasterCell | None, kind: str, source: str, run: CellRun | None
) -> dict[str, Any]:
    if kind != "code":
        mine = given is None or given.role == "written"
        cell = _markdown(name, _quoted(source) if mine else source)
    else:
        cell = {
            "cell_type": "code",
            "id": name,
            "metadata": {},
            "source": source,
            "execution_count": None,
            "outputs": [] if run is None else list(_outputs(run)),
        }
    if given is not None and given.grade_id:
        marks = {
            "schema_version": 3,
            "grade_id": given.grade_id,
            "cell_type": kind,
            "grade": given.role in ("check", "written"),
            "solution": given.editable,
            "locked": not given.editable,
            "task": False,
        }
        if marks["grade"]:
            marks["points"] = given.points
        cell["metadata"]["nbgrader"] = marks
    return cell


def _outputs(run: CellRun) -> Iterable[dict[str, Any]]:
    if run.output.text:
        yield {"output_type": "stream", "name": "stdout", "text": run.output.text}
    for display in run.output.displays:
        if "image/png" in display:
            try:
                raw = base64.b64decode("".join(display["image/png"].split()), validate=True)
            except (binascii.Error, ValueError):
                continue
            yield _display({"image/png": base64.b64encode(raw).decode("ascii")})
        elif "text/html" in display:
            yield _display({"text/html": f"<div>{sanitized(display['text/html'])}</div>"})
        else:
            yield _display({"text/plain": display.get("text/plain", "")[:20_000]})
    if run.output.error is not None:
        name, message, traceback = run.output.error
        yield {
            "output_type": "error",
            "ename": name,
            "evalue": message,
            "traceback": traceback.split("\n"),
        }
    if run.why:
        yield _display({"text/plain": run.why})


def _verdict(one: Judged) -> str:
    state = "for a person to grade" if one.by_person and not one.person else one.state
    lines = [f"<strong>{one.exercise}: {state}</strong>, {one.points:g} of {one.max_points:g}"]
    lines += [escape(text) for text in (one.message, one.note) if text]
    return f"<p>{'<br>'.join(lines)}</p>"


def _outcome(graded: Graded) -> str:
    lines = [f"{graded.score:g} of {graded.max_score:g} points; {graded.state}"]
    lines += [graded.warning] if graded.warning else []
    lines += [f"needs a person, because {reason}" for reason in graded.reasons]
    lines += [str(layer) for layer in graded.layers if layer.state != "fails"]
    lines += graded.findings
    return f"**coursekit's outcome** (for graders)\n\n{_quoted(chr(10).join(lines))}"


def _quoted(text: str) -> str:
    """Text of strangers as markdown that shows it and does nothing else: no HTML, no links."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _markdown(name: str, text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def _display(data: dict[str, str]) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": data}
