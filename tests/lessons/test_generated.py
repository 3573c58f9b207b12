"""What is committed follows from the sources; the learner's notebook is one that nbgrader takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from coursekit.checks import exercises
from coursekit.lessons.compared import differences
from coursekit.lessons.generate import made_files, sources
from coursekit.lessons.notebooks import solution_notebook
from coursekit.lessons.source import BEGIN, LessonSource, read_source

pytest.importorskip("nbgrader")
pytest.importorskip("jupytext")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=sources(ROOT), ids=lambda path: path.stem)
def source(request: pytest.FixtureRequest) -> LessonSource:
    return read_source(request.param)


@pytest.fixture(scope="module")
def given(source: LessonSource) -> Any:
    return nbformat.read(ROOT / "notebooks" / f"{source.name}.ipynb", as_version=4)


def test_committed_files_follow_from_the_source(source: LessonSource) -> None:
    """Fails where somebody edited a source, or a notebook, without ``make lessons``."""
    for path, content in made_files(ROOT, source).items():
        assert path.read_text(encoding="utf-8") == content, f"{path}: run make lessons"


def test_nbgrader_finds_its_metadata_good(given: Any) -> None:
    from nbgrader.nbgraderformat.v3 import MetadataValidatorV3

    nbformat.validate(given)
    MetadataValidatorV3().validate_nb(given)
    marked = [cell for cell in given.cells if "nbgrader" in cell.metadata]
    assert {cell.metadata.nbgrader.schema_version for cell in marked} == {3}


def test_each_exercise_is_named_in_text_in_grade_id_and_in_metadata_id(
    source: LessonSource, given: Any
) -> None:
    cells = {cell.id: cell for cell in given.cells}
    for one in exercises(source.lesson):
        dashed = one.id.replace(".", "-")
        answer, check = cells[f"answer-{dashed}"], cells[f"check-{dashed}"]
        assert answer.source.startswith(f"# {one.id} ")
        assert f'ck.check("{one.id}"' in check.source
        for cell in (answer, check):
            assert cell.metadata.id == cell.metadata.nbgrader.grade_id == cell.id
        graded = answer if one.by_person else check
        assert graded.metadata.nbgrader.grade
        assert graded.metadata.nbgrader.points == one.points
        assert answer.metadata.nbgrader.solution
        assert not check.metadata.nbgrader.solution


def test_learners_get_no_solution_no_wrong_answer_and_no_output(
    source: LessonSource, given: Any
) -> None:
    text = "\n".join(cell.source for cell in given.cells)
    assert BEGIN not in text
    assert "# gets:" not in text
    for one in exercises(source.lesson):
        for cell in source.of("answer", one.id):
            last = cell.solution.strip().splitlines()[-1].strip()
            assert last == '"""' or last not in text
    assert not any(cell.get("outputs") for cell in given.cells)
    assert len({cell.id for cell in given.cells}) == len(given.cells)


def test_the_solution_on_disk_is_of_this_source(source: LessonSource) -> None:
    kept = nbformat.read(ROOT / "solutions" / f"{source.name}.ipynb", as_version=4)
    made = solution_notebook(source)
    assert [(c.id, c.source) for c in kept.cells] == [(c.id, c.source) for c in made.cells]
    assert all(c.outputs for c in kept.cells if c.id.startswith("check"))
    *before, last = [
        "".join(o.get("data", {}).get("text/html", "") for o in c.get("outputs", []))
        for c in kept.cells
    ]
    html = "".join(before)
    assert "(compressed)" not in html
    assert last.count("(compressed)") == 1  # everything is there once
    for image in re.findall("<img [^>]*>", html):
        assert re.search('alt="[^"]{40,}"', image)


def a_notebook(html: str, source: str = "ck.compare(runs)") -> Any:
    output = nbformat.v4.new_output("display_data", data={"text/html": html})
    cell = nbformat.v4.new_code_cell(source, outputs=[output])
    cell.id = "one"
    return nbformat.v4.new_notebook(cells=[cell])


COSTS = "<th>molecules/s</th><tr><td>0.812</td><td>{}</td><td>{}</td></tr>"
EXPECTED = "<th>minutes</th><tr><td>60</td>\n <td>{}</td>\n <td>{}</td></tr>"
FOLDED = "<details><summary>All (compressed)</summary><pre>{}</pre></details>"
IMAGE = '<img alt="AUROC {}" src="data:image/png;base64,{}"'


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("<td>0.812</td>", "<td>0.815</td>", ""),
        ("<td>0.812</td>", "<td>0.862</td>", "0.862 where 0.812"),
        ("<td>1,200</td>", "<td>1,210</td>", ""),
        ("<td>23%</td>", "<td>29%</td>", "29% where 23%"),
        ("forest is ahead", "logistic is ahead", "other words"),
        (COSTS.format("7.1", "900"), COSTS.format("70.1", "90"), ""),
        (IMAGE.format("0.5", "AA=="), IMAGE.format("0.5", "BB=="), ""),
        (IMAGE.format("0.5", "AA=="), IMAGE.format("0.7", "AA=="), "0.7 where 0.5"),
        ("took 3.5 seconds", "took 9 seconds", ""),
        ("Expected: about 1.4 min on", "Expected: about 50 s on", ""),
        ("1.4 minibatches", "9.4 minibatches", "9.4 where 1.4"),
        (EXPECTED.format("0.09", "0.51"), EXPECTED.format("2.10", "0.51"), ""),
        (EXPECTED.format("0.09", "0.51"), EXPECTED.format("0.09", "0.61"), "0.61 where 0.51"),
        ("done" + FOLDED.format("a1"), "done" + FOLDED.format("b2"), ""),
    ],
)
def test_notebooks_are_the_same_where_a_reader_sees_the_same(
    before: str, after: str, said: str
) -> None:
    found = differences(a_notebook(before), a_notebook(after))
    assert bool(found) == bool(said)
    assert said in " ".join(found)


def test_another_text_cell_or_output_is_a_difference() -> None:
    one = a_notebook("same")
    assert differences(one, a_notebook("same", "ck.handin()"))
    assert differences(one, nbformat.v4.new_notebook())
    silent = a_notebook("same")
    silent.cells[0].outputs = []
    assert differences(one, silent)
