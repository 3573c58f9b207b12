"""``coursekit grade``: an instructor's folder from one command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("nbgrader")
import nbformat
from nbgrader.api import Gradebook
from small import RIGHT_TANIMOTO, WORDS, answered

from coursekit.cli import main

pytestmark = pytest.mark.usefixtures("needs_sandbox")


def grade(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["grade", "00", "--course", str(folder), *more])


def rows(folder: Path) -> dict[str, tuple[float, float, bool]]:
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        return {
            one.student_id: (
                one.score,
                one.late_submission_penalty or 0.0,
                one.notebooks[0].flagged,
            )
            for one in book.assignment_submissions("00")
        }


def test_a_lesson_is_graded_as_nbgraders_own_commands_would_leave_it(
    course_folder: Path, hand_in: Callable[..., Path]
) -> None:
    right = {"00.4": RIGHT_TANIMOTO, "00.6": WORDS}
    hand_in("ada", answered(right), "2026-03-05 12:00:00 UTC")
    hand_in("cut", json.dumps(answered(right))[:900])
    hand_in("zoe", answered(right), "yesterday")
    found = grade(course_folder, "--jobs", "1")
    assert found.exit_code == 0, found.output
    assert "00: 3 submissions, 1 at a time, sandbox: bubblewrap" in found.output
    assert "zoe: timestamp.txt is no time" in found.output
    assert "0 graded, 2 partial, 1 needs a person" in found.output
    assert "cut: it could not be read" in found.output
    assert rows(course_folder) == {
        "ada": (2.0, 0.0, False),
        "cut": (0.0, 0.0, True),
        "zoe": (2.0, 0.0, True),
    }
    for student in ("ada", "cut", "zoe"):
        kept = course_folder / "autograded" / student / "00"
        nbformat.validate(nbformat.read(kept / "00_small.ipynb", as_version=4))
        assert json.loads((kept / "report.json").read_text())["key"]
        assert (course_folder / "feedback" / student / "00" / "00_small.html").is_file()
    again = grade(course_folder)
    assert "3 of them unchanged" in again.output

    # Another hidden check is another assignment.
    (course_folder / "hidden").mkdir()
    (course_folder / "hidden" / "00.py").write_text(
        "from coursekit.checks import Wrong\n"
        "def check_00_4(values):\n    raise Wrong('nobody is right', share=0.5)\n"
    )
    third = grade(course_folder, "--student", "ada", "--jobs", "1")
    assert third.exit_code == 0, third.output
    assert "0 of them unchanged" in third.output
    assert rows(course_folder)["ada"][0] == 1.0
    assert rows(course_folder)["zoe"][0] == 2.0


def test_what_cannot_be_graded_is_said_in_a_sentence(
    course_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nothing of 00 was handed in by anybody" in grade(course_folder).output
    (course_folder / "submitted" / "ada" / "00").mkdir(parents=True)
    assert "by bob; expected" in grade(course_folder, "--student", "bob").output
    found = CliRunner().invoke(main, ["grade", "00", "--course", str(tmp_path)])
    assert "there is no course.yaml" in found.output
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = grade(course_folder)
    assert refused.exit_code == 1
    assert "there is no sandbox" in refused.output
