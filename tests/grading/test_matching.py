"""Cells find their exercise again, and the notebook that is graded is the master's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from course import CHECKS, RIGHT, STUBS, dump, find, solved, student_version, the_master
from hypothesis import given, settings
from hypothesis import strategies as st

from coursekit.classroom.handed_in import code_cell, saved_by_colab, without_metadata
from coursekit.errors import GradingError
from coursekit.grading.master import read_master
from coursekit.grading.notebook import Cell, read_notebook
from coursekit.grading.notebook import Notebook as Read
from coursekit.grading.rebuild import Rebuilt, rebuild

MASTER = the_master()


def rebuilt(notebook: dict[str, Any]) -> Rebuilt:
    return rebuild(MASTER, read_notebook(dump(notebook)))


def sources(found: Rebuilt) -> list[str]:
    return [cell.source for cell in found.code]


FULL = [solved()["cells"][i]["source"] for i in (1, 3, 4, 6, 7)]


def test_as_it_was_given_nothing_is_touched() -> None:
    found = rebuilt(student_version())
    assert not any(cell.touched for cell in found.cells)
    assert found.findings == ()
    assert [cell.master for cell in found.cells] == list(MASTER.cells)


@pytest.mark.parametrize("saved", [lambda n: n, saved_by_colab, without_metadata])
def test_right_solutions_are_found_whatever_saved_them(saved: Any) -> None:
    found = rebuilt(saved(solved(text="They share a disynthon with a binder.")))
    assert sources(found) == FULL
    assert "disynthon" in found.cells[-1].source
    assert found.cells[-1].touched


def test_lost_metadata_is_said_once() -> None:
    assert rebuilt(without_metadata(solved())).findings == (
        "nbgrader's metadata is lost in all cells; they were found by their text",
    )


def test_without_any_id_likeness_and_place_find_the_cells() -> None:
    notebook = without_metadata(solved())
    for cell in notebook["cells"]:
        for exercise in RIGHT:
            cell["source"] = cell["source"].replace(f"# {exercise} ", "# ")
    found = rebuilt(notebook)
    assert all(RIGHT[e].replace(f"# {e} ", "# ") in sources(found) for e in RIGHT)
    assert sum("likeness" in finding for finding in found.findings) == 2


def test_a_fresh_copy_does_not_replace_what_was_written() -> None:
    notebook = solved()
    copied = copy.deepcopy(find(student_version(), "97.2"))
    notebook["cells"].insert(7, copied)
    found = rebuilt(notebook)
    assert sources(found) == FULL
    assert any("2 times" in finding for finding in found.findings)


def test_of_two_versions_the_later_one_counts_and_the_earlier_one_runs() -> None:
    notebook = solved()
    earlier = copy.deepcopy(find(notebook, "97.1"))
    earlier["source"] = "# 97.1 first try\nmean = 3"
    notebook["cells"].insert(3, earlier)
    found = rebuilt(notebook)
    assert [c.source for c in found.cells if c.master and c.master.grade_id == "solution-97-1"] == [
        RIGHT["97.1"]
    ]
    assert sources(found) == [FULL[0], "# 97.1 first try\nmean = 3", *FULL[1:]]


def test_a_split_cell_runs_whole() -> None:
    notebook = solved()
    head, tail = RIGHT["97.2"].split("\n\n")
    find(notebook, "97.2")["source"] = head
    notebook["cells"].insert(7, code_cell(tail))
    found = rebuilt(notebook)
    assert sources(found) == [*FULL[:3], head, tail, FULL[4]]
    assert found.findings == ("a code cell of the student's own, run where added",)


def test_two_answers_in_one_cell() -> None:
    notebook = solved()
    both = RIGHT["97.1"] + "\n" + RIGHT["97.2"]
    notebook["cells"][3]["source"] = both
    del notebook["cells"][6]
    found = rebuilt(notebook)
    assert sources(found) == [FULL[0], both, FULL[2], FULL[4]]
    assert any("same cell as solution-97-1" in finding for finding in found.findings)


def test_moved_cells_run_in_the_given_order() -> None:
    notebook = solved()
    notebook["cells"].append(notebook["cells"].pop(3))
    found = rebuilt(notebook)
    assert sources(found) == FULL
    assert any("moved" in finding for finding in found.findings)
    first = solved()
    first["cells"] = first["cells"][::-1]
    assert sources(rebuilt(first)) == FULL


def test_retyped_cells_are_found_by_their_text() -> None:
    notebook = solved()
    cell = find(notebook, "97.2")
    notebook["cells"][notebook["cells"].index(cell)] = code_cell(RIGHT["97.2"])
    found = rebuilt(notebook)
    assert sources(found) == FULL
    assert found.findings == ("solution-97-2: retyped; found by its text",)


def test_a_deleted_solution_leaves_what_was_given() -> None:
    notebook = solved()
    del notebook["cells"][6]
    found = rebuilt(notebook)
    assert sources(found) == [*FULL[:3], STUBS["97.2"], FULL[4]]
    assert any("missing" in finding for finding in found.findings)


@pytest.mark.parametrize(
    "change",
    [
        lambda cell: cell.update(source="pass"),
        lambda cell: cell.update(source=RIGHT["97.2"] + "\n" + CHECKS["97.2"]),
        lambda cell: cell.update(cell_type="markdown"),
        lambda cell: cell.update(source='ck.check("97.2", 1.0)  # always'),
        lambda cell: cell["metadata"]["nbgrader"].update(points=1000, grade=False),
        lambda cell: cell["metadata"].update(tags=["skip-execution", ""]),
        lambda cell: cell["metadata"].pop("nbgrader"),
    ],
)
def test_check_cells_are_the_masters(change: Any) -> None:
    notebook = solved()
    change(notebook["cells"][7])
    found = rebuilt(notebook)
    checks = [c for c in found.cells if c.master and c.master.role == "check"]
    assert [(c.source, c.master.points) for c in checks] == [
        (CHECKS["97.1"], 2),
        (CHECKS["97.2"], 5),
    ]


def test_a_deleted_check_cell_is_back() -> None:
    notebook = solved()
    del notebook["cells"][7]
    found = rebuilt(notebook)
    assert sources(found) == FULL
    assert any("restored: check-97-2" in finding for finding in found.findings)


def test_code_in_a_markdown_cell_is_run_as_code() -> None:
    notebook = solved()
    find(notebook, "97.1")["cell_type"] = "markdown"
    found = rebuilt(notebook)
    assert sources(found) == FULL
    assert any("was a markdown cell" in finding for finding in found.findings)


def test_changed_given_cells_are_restored() -> None:
    notebook = solved()
    notebook["cells"][1]["source"] += "\ncounts = [5]"
    found = rebuilt(notebook)
    assert sources(found) == FULL
    assert any("had been changed" in finding for finding in found.findings)


def test_ids_that_are_swapped_in_metadata_do_not_matter() -> None:
    notebook = solved()
    one, two = find(notebook, "97.1"), find(notebook, "97.2")
    one["metadata"], two["metadata"] = two["metadata"], one["metadata"]
    assert sources(rebuilt(notebook)) == FULL


def test_everything_pasted_into_one_cell() -> None:
    notebook = student_version()
    notebook["cells"] = [code_cell("\n".join(FULL))]
    found = rebuilt(notebook)
    assert "\n".join(FULL) in sources(found)
    assert sources(found)[-1] == CHECKS["97.2"]


def test_an_empty_notebook_is_the_untouched_master() -> None:
    notebook = student_version() | {"cells": []}
    found = rebuilt(notebook)
    assert sources(found) == sources(rebuilt(student_version()))
    assert len([f for f in found.findings if "missing" in f]) == 3


texts = st.sampled_from(
    [*RIGHT.values(), *STUBS.values(), *CHECKS.values(), "", "x = 1", "# 97.1 97.2", "%%bash\nls"]
)
cells = st.builds(
    Cell,
    kind=st.sampled_from(["code", "markdown", "raw"]),
    source=texts,
    grade_id=st.sampled_from([None, "solution-97-1", "check-97-1", "written-97-3", "other"]),
    issued_id=st.sampled_from([None, "solution-97-2", "solution-97-1"]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(cells, max_size=14))
def test_whatever_comes_the_masters_cells_come_once_and_in_order(some: list[Cell]) -> None:
    found = rebuild(MASTER, Read(tuple(some)))
    kept = [cell for cell in found.cells if cell.master is not None]
    assert [cell.master for cell in kept] == list(MASTER.cells)
    for cell in kept:
        assert cell.kind == cell.master.kind
        if not cell.master.editable:
            assert cell.source == cell.master.source
    # No text of a code cell is lost: it runs, or it is a copy of what was given.
    given_texts = {cell.source.strip() for cell in MASTER.cells}
    for cell in some:
        if cell.kind == "code" and cell.source.strip() not in given_texts | {""}:
            where = [c.source for c in found.cells]
            assert cell.source in where or any("changed" in f for f in found.findings)


def test_a_master_must_be_one(tmp_path: Path) -> None:
    def write(notebook: Any) -> Path:
        path = tmp_path / "97_tiny.ipynb"
        path.write_bytes(dump(notebook))
        return path

    master = read_master(write(student_version()))
    assert master == MASTER
    assert master.exercises == ("97.1", "97.2")
    assert master.max_points == 10
    twice = student_version()
    twice["cells"].append(twice["cells"][3])
    with pytest.raises(GradingError, match="more than once"):
        read_master(write(twice))
    nan = student_version()
    nan["cells"][4]["metadata"]["nbgrader"]["points"] = "nan"
    with pytest.raises(GradingError, match="finite"):
        read_master(write(nan))
    for bad in ([], {"cells": [3]}, without_metadata(student_version())):
        with pytest.raises(GradingError):
            read_master(write(bad))
