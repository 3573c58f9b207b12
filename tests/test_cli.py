"""The command line: what it prints, how it fails, and that it goes on where it was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from tiny import tiny_task

import coursekit
import coursekit.data.simulate as simulation
from coursekit.cli import STRATEGIES, main
from coursekit.data import load_selection
from coursekit.data.library import Library
from coursekit.runs import Run


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_task().save(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def selection() -> pd.DataFrame:
    """A part of the bundled sample that labels can be made of."""
    return load_selection("sample", check_smiles=False).iloc[:20_000].reset_index(drop=True)


def commands() -> list[tuple[str, ...]]:
    nested = [(name, sub) for name in ("data",) for sub in main.commands[name].commands]  # type: ignore[attr-defined]
    return [(name,) for name in main.commands] + nested


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_says_what_it_does(command: tuple[str, ...]) -> None:
    result = call(*command, "--help")
    assert result.exit_code == 0
    text = result.output.split("Options:")[0].strip().splitlines()
    assert len(text) > 2  # usage, and a sentence


def test_the_version_is_the_package_s() -> None:
    assert coursekit.__version__ in call("--version").output


# ---------------------------------------------------------------------------------------- data


def test_check_shows_how_labels_come_out(selection: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "good.parquet"
    selection.to_parquet(path, index=False)
    result = call("data", "check", path)
    assert result.exit_code == 0, result.output
    assert "20,000 rows" in result.output
    assert all(word in result.output for word in ("binder", "easy", "hard"))


def test_check_refuses_a_bad_file_in_a_sentence(selection: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    bad = selection.copy()
    bad.loc[7, "seq_target_2"] = -1.0
    bad.to_parquet(path, index=False)
    result = call("data", "check", path)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "bad.parquet" in result.output
    assert "seq_target_2" in result.output
    assert "row 7" in result.output

    kept = call("data", "check", path, "--keep-valid")
    assert kept.exit_code == 0, kept.output
    assert "19,999 rows" in kept.output


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    result = call("data", "check", tmp_path / "none.parquet")
    assert result.exit_code == 1
    assert "none.parquet" in result.output


def test_enumerate_writes_the_same_members_each_time(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.smi", "b.smi", "c.smi")]
    for path, seed in zip(files, (1, 1, 2), strict=True):
        assert call("data", "enumerate", "-n", 40, "--seed", seed, "--out", path).exit_code == 0
    first, again, other = (path.read_text().split() for path in files)
    assert first == again != other
    assert len(set(first)) == 40
    library = Library.own()
    assert set(first) == set(library.members(library.sample(40, 1)))


def test_simulate_writes_another_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a part of the library; the whole of it is simulated in test_simulate."""
    part = Library.own().subset(20, 40, 15, seed=0)
    small = partial(simulation.write_sample, library=part, n_top=100, n_background=400)
    monkeypatch.setattr(simulation, "write_sample", small)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        result = call("data", "simulate", "--seed", seed, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert (tmp_path / name / "DATASHEET.md").exists()
        assert (tmp_path / name / "truth.parquet").exists()
    a, b, c = ((tmp_path / name / "selection.parquet").read_bytes() for name in "abc")
    assert a == b != c
    assert len(load_selection(tmp_path / "a" / "selection.parquet")) == 500


def test_fetch_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port on which nothing listens: a sentence, the address in it, and exit code 1."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between its attempts
    address = "http://127.0.0.1:9"
    result = call("data", "fetch", "mapk14", "--accept-licence", "--url", address)
    assert result.exit_code == 1
    assert address in result.output
    assert "Traceback" not in result.output


# ---------------------------------------------------------------------------------------- runs


def test_train_twice_and_evaluate(task_folder: Path, tmp_path: Path) -> None:
    def train(strategy: str, out: Path) -> Result:
        return call(
            *("train", "--strategy", strategy, "--task", task_folder, "--epochs", 1),
            *("--batch-size", 10, "--lr", 1e-3, "--out", out),
        )

    folders = [tmp_path / name for name in STRATEGIES]
    for folder in folders:
        result = train(folder.name, folder)
        assert result.exit_code == 0, result.output
        assert "phase epochs " in result.output  # the plan, before anything trains
        assert Run.load(folder).strategy["lr"] == 1e-3
    again = train("full", tmp_path / "full")
    assert "finished" in again.output
    assert (again.exit_code, Run.load(tmp_path / "full").seed) == (0, 0)

    table = call("evaluate", *folders)
    assert table.exit_code == 0, table.output
    assert all(f"\n{name} " in table.output for name in STRATEGIES)
    csv = call("evaluate", *folders, "--csv", "--part", "valid").output
    assert csv.startswith("approach,easy AUROC,")
    assert r"\toprule" in call("evaluate", *folders, "--latex").output


def test_runs_on_other_molecules_are_not_compared(task_folder: Path, tmp_path: Path) -> None:
    other = tiny_task({"train": 21, "valid": 9, "test": 9}).save(tmp_path / "other task")
    for name, folder in (("one", task_folder), ("two", other)):
        out = tmp_path / name
        call("train", "--strategy", "frozen", "--task", folder, "--epochs", 1, "--out", out)
    result = call("evaluate", tmp_path / "one", tmp_path / "two")
    assert result.exit_code == 1
    assert "one" in result.output
    assert "two" in result.output


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--encoder", "no/such-encoder"), "no/such-encoder"),
        (("--task", "no-such-task"), "no-such-task"),
        (("--epochs", "0"), "epochs"),
        (("--lr", "-1"), "lr"),
    ],
)
def test_what_cannot_be_trained_is_a_sentence(
    arguments: tuple[str, ...], word: str, task_folder: Path, tmp_path: Path
) -> None:
    task = () if "--task" in arguments else ("--task", task_folder)
    result = call("train", *task, *arguments, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert word in result.output
    assert not (tmp_path / "run" / "record.json").exists()


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COURSEKIT_DEBUG", "1")
    result = call("data", "check", tmp_path / "none.parquet")
    assert isinstance(result.exception, coursekit.CourseKitError)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal for ctrl-C")
def test_ctrl_c_keeps_what_was_done(task_folder: Path, tmp_path: Path) -> None:
    """Stopped in the middle, it ends with 130 and no record; the same command ends the run."""
    command = [
        *(sys.executable, "-m", "coursekit", "train", "--task", str(task_folder)),
        *("--epochs", "40", "--batch-size", "4", "--out", str(tmp_path / "run")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    states = tmp_path / "run" / "states"
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    while not list(states.glob("state-*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 130, printed
    assert "interrupted in epoch" in printed
    assert "the same command goes on from there" in printed
    assert not (tmp_path / "run" / "record.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "goes on" in done.stdout
    run = Run.load(tmp_path / "run")
    assert run.cost["epochs"] == 40
    assert not run.interrupted
