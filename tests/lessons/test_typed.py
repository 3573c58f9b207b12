"""setup, check, hint, show_solution, progress and handin, called as from a script."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

import coursekit as ck
from coursekit.checks import AnswerSheet, exercises
from coursekit.errors import AnswerError, CourseKitError
from coursekit.lessons import environment
from coursekit.lessons.front_end import front_end
from coursekit.lessons.install import install_command, missing_packages
from coursekit.lessons.profiles import PROFILES
from coursekit.version import __version__


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for each test, and the state of a kernel that has just started."""
    monkeypatch.setenv("COURSEKIT_RUNS", str(tmp_path / "runs"))
    restart(monkeypatch)
    yield tmp_path / "runs"
    restart(monkeypatch)


def restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_current", None)
    monkeypatch.setattr(environment, "_journals", {})


def tanimoto(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


# --- setup


def test_setup_says_what_it_found_and_chose(capsys: pytest.CaptureFixture[str]) -> None:
    env = ck.setup("quick", lesson="00", made_with=__version__)
    printed = capsys.readouterr().out
    for word in ("Python", "CPU", "fp32", "quick", "minute", "sample", "coursekit-mini", "seed"):
        assert word in printed
    assert "Note" not in printed
    assert env.pick(quick=1, cpu=5) == 1
    assert env.home.is_dir()


def test_a_notebook_of_another_version_is_named_with_the_installed_one() -> None:
    env = ck.setup("cpu", lesson="00", made_with="9.9.9")
    assert "9.9.9" in env.notices[0]
    assert __version__ in env.notices[0]


def test_seeds_make_the_same_numbers() -> None:
    def drawn() -> tuple[float, float, float]:
        ck.setup("quick", seed=7)
        return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002

    assert drawn() == drawn()


def test_a_profile_takes_the_value_of_the_next_smaller_one() -> None:
    assert PROFILES["full"].pick({"quick": 2, "cpu": 5}) == 5
    assert PROFILES["quick"].pick({"quick": 2, "cpu": 5}) == 2
    with pytest.raises(CourseKitError, match="quick"):
        PROFILES["quick"].pick({"cpu": 5})
    with pytest.raises(CourseKitError, match="gpu"):
        PROFILES["cpu"].pick({"gpu": 5})
    with pytest.raises(CourseKitError, match="huge"):
        ck.setup("huge")


def test_the_environment_variable_chooses_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_PROFILE", "full")
    assert ck.setup().profile.name == "full"
    assert ck.setup("quick").profile.name == "quick"


def test_a_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_RUNS", "/proc/none/runs")
    with pytest.raises(CourseKitError, match="COURSEKIT_RUNS"):
        ck.setup("quick")


def pretend(monkeypatch: pytest.MonkeyPatch, **names: object) -> None:
    shell = SimpleNamespace(kernel=object(), user_ns=names)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_front_ends_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VSCODE_PID", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert front_end() == "Python"
    shell = SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert front_end() == "IPython"
    pretend(monkeypatch)
    assert front_end() == "Jupyter"
    pretend(monkeypatch, __vsc_ipynb_file__="lesson.ipynb")
    assert front_end() == "VS Code"
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    assert front_end() == "Colab"


def test_on_colab_drive_is_offered_and_not_demanded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    env = ck.setup("quick")
    assert env.front_end == "Colab"
    assert "drive.mount" in env.notices[-1]
    assert "without, everything works the same" in env.notices[-1]
    assert env.home == home
    monkeypatch.setattr(environment, "_DRIVE", home.parent)  # mounted
    assert ck.setup("quick").notices == ()


def test_only_what_is_missing_would_be_installed_and_nothing_beside_it() -> None:
    assert not set(missing_packages()) & {"torch", "numpy", "rdkit"}
    command = install_command(["rdkit"])
    assert command[-2:] == ["--no-deps", "rdkit"]
    assert "-U" not in command


# --- checks


def test_a_right_and_a_wrong_answer(capsys: pytest.CaptureFixture[str]) -> None:
    ck.check("00.4", lambda a, b: (a == b).mean())
    assert "wrong (0.6 of 2 points)" in capsys.readouterr().out
    assert ck.check("00.4", tanimoto) is None
    assert "✓ Exercise 00.4: right (2 of 2 points)" in capsys.readouterr().out


def test_too_few_answers_are_told_what_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    ck.check("00.1", 0.5)
    assert 'check("00.1", share_unseen, median_load, selection)' in capsys.readouterr().out


def test_an_unknown_exercise_is_an_error_that_names_the_others() -> None:
    with pytest.raises(AnswerError, match=r"00\.1"):
        ck.check("00.9", 1)


def test_under_stock_nbgrader_a_check_is_worth_its_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stock nbgrader takes a cell's value for its points, and no value for full marks."""
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert ck.check("00.4", ...) == 0.0
    assert ck.check("00.4", tanimoto) == 2.0


def test_the_sheet_is_written_where_a_grader_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSEKIT_ANSWERS", str(tmp_path / "sheet.json"))
    ck.check("00.4", tanimoto)
    assert AnswerSheet.load(tmp_path / "sheet.json").values("00.4")["tanimoto"][1] == 1.0


# --- hints and solutions


def test_hints_come_in_order_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    ck.hint("00.2")
    first = capsys.readouterr().out
    assert "Hint 1 of 2 for 00.2" in first
    assert 'Next: ck.hint("00.2", 2)' in first
    ck.hint("00.2", 2)
    assert "no further hint" in capsys.readouterr().out
    ck.hint("00.2", 3)
    assert "hints 1 to 2" in capsys.readouterr().out


def test_a_check_names_the_next_help(capsys: pytest.CaptureFixture[str]) -> None:
    for level, call in enumerate(
        ('ck.hint("00.4")', 'ck.hint("00.4", 2)', 'ck.show_solution("00.4")')
    ):
        if level:
            ck.hint("00.4", level)
        for answer in (..., lambda a, b: 0):
            capsys.readouterr()
            ck.check("00.4", answer)
            assert f"Stuck? `{call}`" in capsys.readouterr().out
    ck.check("00.4", tanimoto)
    assert "Stuck?" not in capsys.readouterr().out


def test_the_success_list_is_shown_before_the_first_try_and_in_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the end with a question for an assistant; in between the message is what counts."""
    item = "- I can work out the similarity of two short lists of bits by hand."
    for answer, listed, asked in ((..., 1, 0), (lambda a, b: 0, 0, 0), (tanimoto, 1, 1)):
        ck.check("00.4", answer)
        said = capsys.readouterr().out
        assert said.count(f"Success list:\n{item}\n") == listed
        assert said.count('Ask your assistant: "Which two molecules') == asked


def test_a_solution_takes_a_second_deliberate_call(capsys: pytest.CaptureFixture[str]) -> None:
    ck.show_solution("00.4")
    asked = capsys.readouterr().out
    assert "sure=True" in asked
    assert "both / either" not in asked
    ck.show_solution("00.4", sure=True)
    assert "return both / either" in capsys.readouterr().out


def test_every_shown_solution_of_a_check_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    ck.show_solution("00.4", sure=True)
    code = capsys.readouterr().out.partition("\n")[2]
    names: dict[str, object] = {}
    exec(code, names)
    ck.check("00.4", names["tanimoto"])
    assert "right" in capsys.readouterr().out


# --- progress


def test_progress_is_kept_across_restarts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ck.check("00.4", tanimoto)
    ck.hint("00.2", 1)
    restart(monkeypatch)
    capsys.readouterr()
    ck.progress("00")
    shown = capsys.readouterr().out
    assert "1 of 6 exercises done, 2 of 12 points" in shown
    assert "right (2 of 2 points); on an earlier day" in shown
    assert "not attempted yet (3 points); hints to level 1" in shown


@pytest.mark.parametrize("spoiled", ["", "{", '{"version": 1}', '{"version": 1, "results": [{}]}'])
def test_a_spoiled_journal_is_begun_anew(
    home: Path, monkeypatch: pytest.MonkeyPatch, spoiled: str
) -> None:
    ck.check("00.4", tanimoto)
    (home / "lesson-00" / "progress.json").write_text(spoiled)
    restart(monkeypatch)
    assert environment.journal("00").results == {}
    ck.check("00.4", tanimoto)
    assert json.loads((home / "lesson-00" / "progress.json").read_text())["version"] == 1


def test_a_full_disk_costs_the_memory_and_nothing_else(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    (home / "lesson-00").write_text("a file where the folder would be")
    ck.check("00.4", tanimoto)
    ck.progress("00")
    shown = capsys.readouterr().out
    assert "right (2 of 2 points)" in shown
    assert "not kept across restarts" in shown


def test_without_a_lesson_progress_asks_for_one() -> None:
    with pytest.raises(AnswerError, match="which lesson"):
        ck.progress()
    ck.setup("quick", lesson="00")
    ck.progress()


def test_handing_in_says_what_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    ck.check("00.4", tanimoto)
    capsys.readouterr()
    ck.handin("00")
    shown = capsys.readouterr().out
    others = [one.id for one in exercises("00") if one.id != "00.4"]
    assert f"Still open: {', '.join(others)}." in shown
    assert "this one .ipynb" in shown
