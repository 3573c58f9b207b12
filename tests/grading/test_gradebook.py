"""The gradebook: nbgrader's own, written whole or not at all, and nothing of a person's lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from course import student_version, the_master

from coursekit.errors import GradingError
from coursekit.grading.gradebook import (
    CellGrade,
    check_student_id,
    record_grades,
    register_assignment,
)
from coursekit.grading.master import read_master

pytest.importorskip("nbgrader")
from nbgrader.api import Gradebook

MASTER = the_master()


@pytest.fixture(scope="session")
def empty_gradebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gradebook") / "gradebook.db"
    register_assignment(f"sqlite:///{path}", "97", MASTER)
    return path


@pytest.fixture
def gradebook(empty_gradebook: Path, tmp_path: Path) -> str:
    path = tmp_path / "gradebook.db"
    path.write_bytes(empty_gradebook.read_bytes())
    return f"sqlite:///{path}"


def grades(
    first: float = 2.0, second: float = 3.5, written: float | None = None
) -> list[CellGrade]:
    return [
        CellGrade("check-97-1", first, False, "well done"),
        CellGrade("check-97-2", second, False),
        CellGrade("written-97-3", written, written is None),
        CellGrade("solution-97-1", None, False, "97.1: right."),
    ]


def record(url: str, found: list[CellGrade], student: str = "ada", flagged: bool = False) -> bool:
    return record_grades(url, "97", MASTER, student, found, flagged)


def dump(url: str) -> list[str]:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as base:
        return sorted(base.iterdump())


def test_cells_are_entered_as_nbgrader_would(tmp_path: Path) -> None:
    """With checksums, and with locked cells that bring no points: its own autograde needs both."""
    (path,) = (Path(__file__).resolve().parents[2] / "notebooks").glob("02_*.ipynb")
    register_assignment(f"sqlite:///{tmp_path / 'gradebook.db'}", "02", read_master(path))
    data = json.loads(path.read_text(encoding="utf-8"))["cells"]
    marked = [cell for cell in data if "nbgrader" in cell["metadata"]]
    cells = [
        cell["metadata"]["nbgrader"]
        | {"source": "".join(cell["source"]), "kind": cell["cell_type"]}
        for cell in marked
    ]
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        for cell in cells:
            kept = book.find_source_cell(cell["grade_id"], path.stem, "02")
            assert (kept.checksum, kept.source) == (cell["checksum"], cell["source"])
            assert (kept.locked, kept.cell_type) == (cell["locked"], cell["kind"])
    assert any(not c["grade"] and not c["solution"] for c in cells)


def test_grades_are_nbgraders(gradebook: str) -> None:
    assert record(gradebook, grades(), flagged=True)
    with Gradebook(gradebook) as book:
        submission = book.find_submission("97", "ada")
        assert submission.score == 5.5
        assert submission.max_score == 10
        assert submission.needs_manual_grade
        notebook = submission.notebooks[0]
        assert notebook.flagged
        assert {g.name: g.auto_score for g in notebook.grades} == {
            "check-97-1": 2.0, "check-97-2": 3.5, "written-97-3": None
        }  # fmt: skip
        assert {c.name: c.auto_comment for c in notebook.comments}[
            "solution-97-1"
        ] == "97.1: right."


def test_the_same_submission_twice_changes_nothing(gradebook: str) -> None:
    assert record(gradebook, grades())
    before = dump(gradebook)
    assert not record(gradebook, grades())
    register_assignment(gradebook, "97", MASTER)
    assert dump(gradebook) == before
    assert record(gradebook, grades(first=1.0))
    assert dump(gradebook) != before


def test_what_a_person_wrote_stays(gradebook: str) -> None:
    record(gradebook, grades())
    with Gradebook(gradebook) as book:
        grade = book.find_grade("written-97-3", "97_tiny", "97", "ada")
        grade.manual_score, grade.extra_credit, grade.needs_manual_grade = 2.5, 0.5, False
        other = book.find_grade("check-97-1", "97_tiny", "97", "ada")
        other.manual_score, other.needs_manual_grade = 0.0, False
        book.find_comment("solution-97-1", "97_tiny", "97", "ada").manual_comment = "see me"
        book.db.commit()
    assert not record(gradebook, grades())
    record(gradebook, grades(first=1.0, second=5.0))
    with Gradebook(gradebook) as book:
        grade = book.find_grade("written-97-3", "97_tiny", "97", "ada")
        assert (grade.score, grade.needs_manual_grade) == (3.0, False)
        other = book.find_grade("check-97-1", "97_tiny", "97", "ada")
        assert (other.score, other.auto_score) == (0.0, 1.0)
        assert other.needs_manual_grade  # there is something new to look at
        assert book.find_grade("check-97-2", "97_tiny", "97", "ada").score == 5.0
        assert book.find_comment("solution-97-1", "97_tiny", "97", "ada").comment == "see me"


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.5, 2.5, "2", True * 9])
def test_no_score_outside_its_range(gradebook: str, score: float) -> None:
    before = dump(gradebook)
    with pytest.raises(GradingError, match="is possible"):
        record(gradebook, grades(first=score))
    assert dump(gradebook) == before


def test_one_transaction(gradebook: str) -> None:
    before = dump(gradebook)
    with pytest.raises(GradingError, match="no grade was given"):
        record(gradebook, grades()[:2])
    with pytest.raises(GradingError, match="no cells"):
        record(gradebook, [*grades(), CellGrade("other", None, False)])
    assert dump(gradebook) == before
    with pytest.raises(GradingError, match="does not know"):
        record_grades(gradebook, "98", MASTER, "ada", grades(), False)


@pytest.mark.parametrize("name", ["", "../ada", "-rf", ".hidden", "a/b", "a\u202eb", "a b", "a..b",
                                  "=cmd()", "x" * 101, "a\0"])  # fmt: skip
def test_student_ids_that_could_do_harm(gradebook: str, name: str) -> None:
    with pytest.raises(GradingError, match="student id"):
        record(gradebook, grades(), student=name)
    assert check_student_id("ada.lovelace+1@example.org")


def test_another_master_is_noticed(gradebook: str) -> None:
    cells = tuple(replace(c, points=7.0) if c.grade_id == "check-97-1" else c for c in MASTER.cells)
    with pytest.raises(GradingError, match="other graded cells"):
        register_assignment(gradebook, "97", replace(MASTER, cells=cells))


def test_a_gradebook_that_nbgrader_made_is_used_as_it_is(tmp_path: Path) -> None:
    """``nbgrader generate_assignment`` has entered the assignment; we record into it."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    source = tmp_path / "source/97/97_tiny.ipynb"
    source.parent.mkdir(parents=True)
    source.write_text(json.dumps(student_version()))
    config = Config()
    config.CourseDirectory.root = str(tmp_path)
    here = os.getcwd()
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{path}"
    try:
        result = NbGraderAPI(config=config).generate_assignment("97")
    finally:
        os.chdir(here)
        os.environ["PATH"] = path
    assert result["success"], result
    url = f"sqlite:///{tmp_path}/gradebook.db"
    before = dump(url)
    register_assignment(url, "97", MASTER)
    assert [line for line in dump(url) if "grade_cell" in line] == [
        line for line in before if "grade_cell" in line
    ]
    record(url, grades())
    with Gradebook(url) as book:
        assert book.find_submission("97", "ada").score == 5.5


WRITER = """
import sys
sys.path.insert(0, {tests!r})
from test_gradebook import grades, record
for number in range(8):
    record({url!r}, grades(first=number % 3), student=f"s{{number}}")
"""


def test_two_graders_at_once(gradebook: str) -> None:
    code = WRITER.format(tests=str(Path(__file__).parent), url=gradebook)
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    graders = [subprocess.Popen([sys.executable, "-c", code], env=variables) for _ in range(2)]
    assert [grader.wait(timeout=120) for grader in graders] == [0, 0]
    with Gradebook(gradebook) as book:
        scores = {s.student.id: s.score for s in book.assignment_submissions("97")}
    assert scores == {f"s{n}": n % 3 + 3.5 for n in range(8)}


def test_a_gradebook_that_cannot_be_opened(tmp_path: Path) -> None:
    bad = tmp_path / "gradebook.db"
    bad.write_text("this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(GradingError, match="cannot be opened"):
        register_assignment(f"sqlite:///{bad}", "97", MASTER)
    with pytest.raises(GradingError, match=r"cannot be opened") as error:
        register_assignment("postgresql://ada:secret@localhost:1/x", "97", MASTER)
    assert "secret" not in str(error.value)
