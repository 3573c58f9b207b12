"""nbgrader's own commands, with coursekit's engine behind them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

pytest.importorskip("nbgrader")
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from small import RIGHT_TANIMOTO, ROOT, WORDS, answered, small_lesson
from traitlets.config.loader import PyFileConfigLoader

from coursekit.grading.gradebook import opened
from coursekit.grading.lateness import extend

pytestmark = pytest.mark.usefixtures("needs_sandbox")
EVIL = "from IPython.display import HTML\nHTML('<script>evil()</script><b onclick=evil()>x</b>')"


def nbgrader(folder: Path) -> Any:
    """What formgrader's buttons call, with the config that it reads."""
    config = PyFileConfigLoader("nbgrader_config.py", str(folder)).load_config()
    return NbGraderAPI(config=config)


def rows(folder: Path) -> dict[str, tuple[float, bool, bool]]:
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        return {
            one.student_id: (one.score, one.needs_manual_grade, one.notebooks[0].flagged)
            for one in book.assignment_submissions("00")
        }


def decide(folder: Path, student: str, points: float, comment: str) -> None:
    """What formgrader writes when a person gives points."""
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        grade = book.find_grade("answer-00-6", "00_small", "00", student)
        grade.manual_score, grade.needs_manual_grade = points, False
        book.find_comment("answer-00-6", "00_small", "00", student).manual_comment = comment
        book.db.commit()


def test_a_class_by_nbgraders_buttons(course_folder: Path, hand_in: Callable[..., Path]) -> None:
    right = {"00.4": RIGHT_TANIMOTO, "00.6": WORDS}
    hand_in("ada", answered(right))
    hand_in("bob", answered(right, EVIL), "2026-03-05 12:00:00 UTC")
    hand_in("cut", json.dumps(answered(right))[:900])
    late = hand_in("kim", answered({"00.6": WORDS}), "2026-03-03 12:00:00 UTC")
    (late / "grades.txt").symlink_to(course_folder / "course.yaml")
    hand_in("zoe", answered(right), "yesterday")
    api = nbgrader(course_folder)
    found = api.autograde("00", "*")
    assert found["success"], found
    assert rows(course_folder) == {
        "ada": (2.0, True, False),
        "bob": (2.0, True, False),
        "cut": (0.0, True, True),
        "kim": (0.0, True, False),
        "zoe": (2.0, True, True),  # when it came in is for a person to find out
    }
    # The notebook that formgrader shows: rubric beside the answer, nothing that acts.
    shown = course_folder / "autograded" / "bob" / "00" / "00_small.ipynb"
    notebook = nbformat.read(shown, as_version=4)
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    answer = next(
        n for n, c in enumerate(notebook.cells)
        if c.metadata.get("nbgrader", {}).get("grade_id") == "answer-00-6"
    )  # fmt: skip
    assert ids[answer + 1] == "rubric-00-6"
    assert "One point each" in notebook.cells[answer + 1].source
    assert "evil" not in shown.read_text().replace("evil()</script><b onclick=evil()>", "")
    html = [o.data["text/html"] for c in notebook.cells for o in c.get("outputs", [])
            if "text/html" in o.get("data", {})]  # fmt: skip
    assert any("<b>x</b>" in text for text in html)
    assert any("00.4: right" in text for text in html)
    assert "cut off" in (course_folder / "autograded/cut/00/00_small.ipynb").read_text()
    assert not list(course_folder.glob("autograded/kim/00/grades.txt"))

    # Due dates and an extension; a person reads; the page has it all.
    with opened(f"sqlite:///{course_folder / 'gradebook.db'}") as book:
        book.update_or_create_assignment("00", duedate="2026-03-01 12:00:00 UTC")
    extend(f"sqlite:///{course_folder / 'gradebook.db'}", "00", "kim", 2)
    for student in ("ada", "bob", "kim"):
        decide(course_folder, student, 3.0, f"Well said, <{student}>.")
    found = api.generate_feedback("00")
    assert found["success"], found
    pages = {p.parent.parent.name: p for p in course_folder.glob("feedback/*/00/00_small.html")}
    assert set(pages) == {"ada", "bob", "cut", "kim", "zoe"}
    bob = pages["bob"].read_text()
    assert "<strong>3 of 15\npoints</strong>. All of it is graded." in bob  # 5, less 4 days of 10 %
    assert "cost 2 points" in bob
    assert "graded by a person" in bob
    assert "Well said, &lt;bob&gt;." in bob
    assert "<script>evil" not in bob
    assert "default-src 'none'" in bob
    assert "One point each" not in bob
    assert "cost" not in pages["kim"].read_text()
    assert "A person will look" in pages["cut"].read_text()
    assert "still to be read" in pages["zoe"].read_text()

    # Grading once more changes no mark of a person's; what is graded already is left alone.
    before = rows(course_folder)
    stamp = (course_folder / "autograded/ada/00/feedback.json").stat().st_mtime_ns
    assert api.autograde("00", "*", force=False)["success"]
    assert (course_folder / "autograded/ada/00/feedback.json").stat().st_mtime_ns == stamp
    assert api.autograde("00", "ada")["success"]
    assert rows(course_folder) == before
    assert rows(course_folder)["ada"] == (5.0, False, False)


def test_a_student_id_that_cannot_be_used_stops_nobody(
    course_folder: Path, hand_in: Callable[..., Path]
) -> None:
    hand_in("=cmd", small_lesson())
    hand_in("ada", small_lesson())
    found = nbgrader(course_folder).autograde("00", "*")
    assert not found["success"]
    assert "student id" in found["log"]
    assert set(rows(course_folder)) == {"ada"}


def test_generate_assignment_gives_out_the_committed_notebook(course_folder: Path) -> None:
    found = nbgrader(course_folder).generate_assignment("01")
    assert found["success"], found
    (made,) = (course_folder / "release" / "01").glob("*.ipynb")
    committed = ROOT / "notebooks" / made.name
    ours, theirs = (nbformat.read(path, as_version=4) for path in (made, committed))
    assert [c.source for c in ours.cells] == [c.source for c in theirs.cells]
    assert [c.metadata for c in ours.cells] == [c.metadata for c in theirs.cells]
    assert "BEGIN SOLUTION" not in made.read_text()
    with Gradebook(f"sqlite:///{course_folder / 'gradebook.db'}") as book:
        cells = {c.name: c.max_score for c in book.find_notebook(made.stem, "01").grade_cells}
    assert cells["answer-01-6"] == 3.0
    assert sum(cells.values()) == 15.0


def test_a_command_that_judges_nothing_does_not_wait_for_torch() -> None:
    look = "import sys, coursekit.classroom.nbgrader_engine; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", look], check=True, timeout=120)


def test_the_commands_say_what_is_missing(course_folder: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "nbgrader", *words]
        return subprocess.run(line, cwd=course_folder, capture_output=True, text=True, timeout=120)

    nothing = run("autograde", "00")
    assert nothing.returncode == 1
    assert "No submissions were matched" in nothing.stderr
    assert "Traceback" not in nothing.stderr
    unknown = run("generate_feedback", "77")
    assert unknown.returncode == 1
    assert "there is no notebook of lesson '77'" in unknown.stderr
