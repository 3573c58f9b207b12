"""Grades for Canvas, Moodle and spreadsheets: names are strangers' texts, and nothing is lost."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from small import ROOT

pytest.importorskip("nbgrader")
from nbgrader.api import Gradebook

from coursekit.classroom.export import Grade, read_grades, safe_text, write_grades
from coursekit.cli import main
from coursekit.errors import GradingError
from coursekit.grading.gradebook import CellGrade, record_grades, register_assignment
from coursekit.grading.master import read_master

NAMES = {
    "ada": ("Ada, née Byron", 'King "of" Lovelace', "ada@example.org", "1001"),
    "bob": ("=HYPERLINK(\"http://evil\",\"A\")", "@SUM(1)", "+1@example.org", "-2"),
    "li": ("明", "李\n小", "li@example.org", "1003"),
    "eva": ("Eva", "Späth", "", ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four students: graded, waiting for a person, late, and nothing handed in."""
    place = tmp_path_factory.mktemp("course")
    (place / "course.yaml").write_text("late: {share_per_day: 0.1}\n")
    url = f"sqlite:///{place / 'gradebook.db'}"
    (notebook,) = (ROOT / "notebooks").glob("01_*.ipynb")
    master = read_master(notebook)
    register_assignment(url, "01", master)
    graded = [c for c in master.cells if c.role in ("check", "written")]
    for student in ("ada", "bob", "li"):
        waiting = student == "bob"
        grades = [
            CellGrade(c.grade_id, c.points if c.role == "check" else 0.0, waiting) for c in graded
        ]
        record_grades(url, "01", master, student, grades, flagged=False)
    with Gradebook(url) as book:
        for student, (first, last, email, lms) in NAMES.items():
            book.update_or_create_student(
                student, first_name=first, last_name=last, email=email, lms_user_id=lms
            )
        book.update_or_create_assignment("01", duedate="2026-03-01 12:00:00 UTC")
        book.update_or_create_submission("01", "li", timestamp="2026-03-02 11:00:00 UTC")
    return place


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def exported(folder: Path, to: str) -> tuple[list[list[str]], str]:
    out = folder / f"{to}.csv"
    line = ["export", "--to", to, "--out", str(out), "--course", str(folder)]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    return rows(out.read_bytes().decode("utf-8-sig")), done.output


def test_canvas(folder: Path) -> None:
    found, said = exported(folder, "canvas")
    assert found == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "01"],
        [CANVAS_ROW, "", "", "", "", "15"],
        ['King "of" Lovelace, Ada, née Byron', "1001", "", "ada", "", "12"],
        ["'@SUM(1), =HYPERLINK(\"http://evil\",\"A\")", "'-2", "", "bob", "", ""],
        ["Späth, Eva", "", "", "eva", "", ""],
        ["李 小, 明", "1003", "", "li", "", "10.8"],  # a day late
    ]  # fmt: skip
    assert "2 final, 1 wait for a person, 1 missing" in said
    assert "bob (01)" in said


def test_moodle(folder: Path) -> None:
    found, _ = exported(folder, "moodle")
    assert found[0] == ["Username", "ID number", "First name", "Last name", "Email address", "01"]
    assert [row[0] for row in found[1:]] == ["ada", "bob", "eva", "li"]
    assert [row[-1] for row in found[1:]] == ["12", "", "", "10.8"]
    assert found[2][4] == "'+1@example.org"


def test_csv(folder: Path) -> None:
    found, _ = exported(folder, "csv")
    table = [dict(zip(found[0], row, strict=True)) for row in found[1:]]
    assert [(r["student_id"], r["state"], r["points"], r["late_penalty"]) for r in table] == [
        ("ada", "final", "12", "0"),
        ("bob", "waiting", "12", "0"),
        ("eva", "missing", "", "0"),
        ("li", "final", "10.8", "1.2"),
    ]
    assert {r["max_points"] for r in table} == {"15"}


def test_an_assignment_that_is_not_there(folder: Path) -> None:
    url = f"sqlite:///{folder / 'gradebook.db'}"
    with pytest.raises(GradingError, match="no assignment 09; it has 01"):
        read_grades(url, ["09"])


CANVAS_ROW = "    Points Possible"
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["=1+1", " =1", "\t=1", "\u202e=1", "-1", "\uff1d1", CANVAS_ROW]
)


@settings(max_examples=200, deadline=None)
@given(
    names=st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=5),
    points=st.none() | st.floats(0, 100),
    to=st.sampled_from(["canvas", "moodle", "csv"]),
)
def test_any_name_stays_in_its_field(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[tuple[str, str, str]],
    points: float | None,
    to: str,
) -> None:
    state = "missing" if points is None else "final"
    grades = [
        Grade(f"s{number}", first, last, email, "", "01", 15.0, state, points)
        for number, (first, last, email) in enumerate(names)
    ]
    path = write_grades(grades, to, tmp_path_factory.getbasetemp() / "any.csv")
    found = rows(path.read_bytes().decode("utf-8-sig"))
    assert len({len(row) for row in found}) == 1
    assert len(found) == len(names) + (2 if to == "canvas" else 1)
    for row in found:
        for cell in row:
            assert not cell.lstrip().startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20"))
            assert not [c for c in cell if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert [row[0] for row in found].count(CANVAS_ROW) == (to == "canvas")
    if to == "moodle":
        for row, (first, last, email) in zip(found[1:], names, strict=True):
            assert row[2:5] == [safe_text(first), safe_text(last), safe_text(email)]
    if points is not None and to == "csv":
        assert float(found[1][6]) == pytest.approx(points, abs=5e-5)


def test_ordinary_names_are_left_as_they_are() -> None:
    for name in ("Ada", "O'Brien", "李小明", "Nuñez-García", "Łukasz", "Ada, née Byron"):
        assert safe_text(name) == name
