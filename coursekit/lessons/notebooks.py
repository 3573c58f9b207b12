"""Notebooks out of a lesson's source: the learner's by nbgrader, the solution by running it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from coursekit.checks import find
from coursekit.errors import CourseKitError
from coursekit.lessons.environment import PROFILE, RUNS
from coursekit.lessons.front_end import CONTROLS
from coursekit.lessons.source import LessonSource, SourceCell, learner_cells, solution_cells
from coursekit.version import __version__

if TYPE_CHECKING:
    from nbformat import NotebookNode

STUB = "...  # your code here"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
FOLD = re.compile(r"<details><summary>[^<]*\(compressed\)</summary>.*?</details>", re.DOTALL)
"""What carries answers and records in the HTML of an output."""


def learner_notebook(source: LessonSource) -> NotebookNode:
    """The notebook that learners get, by nbgrader's own generate step, without outputs."""
    import nbformat

    with TemporaryDirectory() as folder:
        given = Path(folder) / "source" / "lesson"
        given.mkdir(parents=True)
        before = source_notebook(source)
        nbformat.write(before, given / f"{source.name}.ipynb")
        _generate(Path(folder))
        made = Path(folder) / "release" / "lesson" / f"{source.name}.ipynb"
        notebook = nbformat.read(made, as_version=4)
    for cell, old in zip(notebook.cells, before.cells, strict=True):
        cell.id = old.id
    notebook.metadata = before.metadata
    return notebook


def source_notebook(source: LessonSource) -> NotebookNode:
    """The instructor's notebook, which ``nbgrader generate_assignment`` makes the learner's of."""
    return _notebook(source, learner_cells(source), graded=True)


def learner_steps(save: bool = True) -> list[Any]:
    """Nbgrader's steps from the instructor's notebook to the learner's, and one of ours.

    Args:
        save: whether the cells are entered into the gradebook.
    """
    from nbgrader.converters import GenerateAssignment
    from nbgrader.preprocessors import ClearSolutions, SaveCells

    steps: list[Any] = []
    for step in GenerateAssignment.class_traits()["preprocessors"].default():
        if save or step is not SaveCells:
            steps.append(step)
        if step is ClearSolutions:
            steps.append(_no_loose_stubs())
    return steps


def solution_notebook(source: LessonSource, wrong: bool = False) -> NotebookNode:
    """The notebook with all answers in it, not yet run; with ``wrong`` the wrong ones too."""
    return _notebook(source, solution_cells(source, wrong), graded=False)


def run_notebook(notebook: NotebookNode, profile: str, allow_errors: bool = False) -> NotebookNode:
    """A copy of a notebook, run in an empty folder from top to bottom.

    Each cell's metadata say when it ran (see :func:`coursekit.lessons.times.minutes_by_exercise`).

    Raises:
        CourseKitError: a cell failed; the message has its last line.
    """
    import copy

    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor

    done = copy.deepcopy(notebook)
    with TemporaryDirectory() as folder:
        environment = {**os.environ, PROFILE: profile}
        environment.pop(RUNS, None)  # what is kept goes beside the notebook, which is nowhere
        client = NotebookClient(
            done,
            timeout=1200,
            kernel_name="python3",
            allow_errors=allow_errors,
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            raise CourseKitError(f"a cell of the notebook failed: {error}") from error
    done.metadata.pop("language_info", None)
    # What a slow moment cut in two is one text again.
    done, _ = CoalesceStreamsPreprocessor().preprocess(done, {})
    return done


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Cells as they are kept: without times, bars that are done, and controls.

    The cell that hands in keeps its fold, with every answer and record in it, so that a solution
    is a whole submission and its numbers can be computed again; each check's own fold goes.
    """
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            shown = [(output, output.get("data", {})) for output in cell.outputs]
            cell.outputs = [o for o, d in shown if d != {"text/plain": ""} and CONTROLS not in d]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data and "ck.handin(" not in cell.source:
                data["text/html"] = FOLD.sub("", data["text/html"])
    return notebook


def as_text(notebook: NotebookNode) -> str:
    """The notebook as the text of its file."""
    import nbformat

    return nbformat.writes(notebook) + "\n"


def _generate(folder: Path) -> None:
    from nbgrader.converters import GenerateAssignment
    from traitlets.config import Config

    config = Config()
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.assignment_id = "lesson"
    config.GenerateAssignment.no_database = True
    config.ClearSolutions.code_stub = {"python": STUB}
    config.ClearSolutions.begin_solution_delimeter = "BEGIN SOLUTION"
    config.Application.log_level = "ERROR"
    config.GenerateAssignment.preprocessors = learner_steps(save=False)
    here = Path.cwd()
    try:
        from nbgrader.coursedir import CourseDirectory

        generator = GenerateAssignment(
            coursedir=CourseDirectory(config=config), config=config, create_assignment=True
        )
        generator.start()
    except (Exception, SystemExit) as error:
        raise CourseKitError(f"nbgrader could not make the learner's notebook: {error}") from error
    finally:
        os.chdir(here)  # nbgrader changes into its folders


def _no_loose_stubs() -> type:
    """A step of nbgrader's: where a cell has placeholders, a stub beside them is one too many."""
    from nbgrader.preprocessors import NbGraderPreprocessor

    class NoLooseStubs(NbGraderPreprocessor):  # type: ignore[misc]
        def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
            lines = cell.source.splitlines()
            cell.source = "\n".join(line for line in lines if line != STUB)
            return cell, resources

    return NoLooseStubs


def _notebook(source: LessonSource, cells: list[SourceCell], graded: bool) -> NotebookNode:
    import nbformat.v4 as v4

    made = []
    for number, cell in enumerate(cells):
        new = v4.new_code_cell if cell.kind == "code" else v4.new_markdown_cell
        one = new(cell.text)
        one.id = _cell_id(source, cells, number)
        if cell.role in ("answer", "check"):
            one.metadata["id"] = one.id
            if graded:
                one.metadata["nbgrader"] = _marks(cell, one.id)
        made.append(one)
    about = {"lesson": source.lesson, "kit": __version__}
    return v4.new_notebook(cells=made, metadata={"kernelspec": dict(KERNEL), "coursekit": about})


def _cell_id(source: LessonSource, cells: list[SourceCell], number: int) -> str:
    """A name for the cell that does not change while others come and go."""
    cell = cells[number]
    if not cell.role:
        place = sum(not c.role and c.kind == cell.kind for c in cells[:number])
        return f"{source.lesson}-{cell.kind}-{place + 1}"
    same = [c for c in cells[:number] if (c.role, c.exercise) == (cell.role, cell.exercise)]
    name = f"{cell.role}-{cell.exercise.replace('.', '-')}"
    return f"{name}-{len(same) + 1}" if same else name


def _marks(cell: SourceCell, grade_id: str) -> dict[str, Any]:
    """Metadata of nbgrader's schema 3."""
    exercise = find(cell.exercise)
    answer = cell.role == "answer"
    grade = exercise.by_person if answer else not exercise.by_person
    marks = {
        "schema_version": 3,
        "grade_id": grade_id,
        "grade": grade,
        "solution": answer,
        "locked": not answer,
        "task": False,
    }
    return marks | ({"points": exercise.points} if grade else {})
