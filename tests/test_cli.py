"""The command line: what it prints, how it fails, and that it goes on where it was stopped."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
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
    return load_selection("sample", check_smiles=False).iloc[:3_000].reset_index(drop=True)


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
    assert "3,000 rows" in result.output
    assert "SMILES parsed: 3,000" in result.output
    assert "dropped" not in result.output
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

    bad.loc[[30, 31], "smiles"] = "C1CC("
    bad.to_parquet(path, index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once, in the report
        kept = call("data", "check", path, "--keep-valid")
    assert kept.exit_code == 0, kept.output
    assert "2,997 rows" in kept.output
    assert "dropped of 3,000: 1 (negative count)" in kept.output
    assert "dropped of 3,000: 2 (unparsable SMILES)" in kept.output


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    result = call("data", "check", tmp_path / "none.parquet")
    assert result.exit_code == 1
    assert "none.parquet" in result.output


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"<html>log in</html>", "not a parquet file"),
        (b"", "the file is empty"),
        (b"PAR1 and no more", "cut off"),
    ],
)
def test_what_is_no_table_is_refused(source: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(source)
    result = call("data", "check", path)
    assert result.exit_code == 1
    assert words in result.output
    assert "table.parquet" in result.output


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


@pytest.mark.skipif(sys.platform == "win32", reason="needs a folder that nobody can write")
@pytest.mark.parametrize("command", ["data simulate", "data enumerate", "train"])
def test_a_place_that_cannot_be_written_is_a_sentence(
    command: str, task_folder: Path, tmp_path: Path
) -> None:
    """And it comes before the work: simulating the whole library, or training, takes minutes."""
    (tmp_path / "file").write_text("in the way")
    more = ("--task", task_folder, "--epochs", 10**6) if command == "train" else ()
    result = call(*command.split(), *more, "--out", tmp_path / "file" / "deep" / "out")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert re.search(r"Error: .*file.*: Not a directory\. Is the path right", result.output)


@pytest.mark.parametrize(
    "command",
    [
        ("data", "simulate", "--out", "x"),
        ("data", "enumerate", "--out", "x"),
        ("pretrain", "x.smi", "--out", "x"),
        ("train", "--out", "x"),
        ("demo", "--out", "x"),
    ],
    ids=" ".join,
)
def test_a_negative_seed_is_refused_at_once(command: tuple[str, ...]) -> None:
    result = call(*command, "--seed", -1)
    assert result.exit_code == 2
    assert "-1 is not in the range" in result.output
    assert not Path("x").exists()


def test_fetch_says_where_the_files_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def fetched(target: str, full: bool, url: str | None, accept_licence: bool | None):  # type: ignore[no-untyped-def]
        asked.extend((target, full, url, accept_licence))
        return {"ddr1_full": tmp_path / "ddr1.parquet"}

    download = importlib.import_module("coursekit.data.download")
    monkeypatch.setattr(download, "fetch", fetched)
    result = call("data", "fetch", "ddr1", "--full", "--url", "https://mirror.example")
    # Without --accept-licence nothing is accepted in the user's name: None asks.
    assert asked == ["ddr1", True, "https://mirror.example", None]
    assert result.output.split() == ["ddr1_full", str(tmp_path / "ddr1.parquet")]


def test_pretraining_on_a_handful(tmp_path: Path) -> None:
    corpus = tmp_path / "few.smi"
    corpus.write_text("\n".join("C" * n + end for n in range(1, 31) for end in "NOF") + "\n")
    settings = ("--epochs", 1, "--blocks", 2, "--hidden", 16, "--heads", 2, "--batch-size", 16)
    result = call("pretrain", corpus, *settings, "--out", tmp_path / "encoder")
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "encoder" / "config.json").read_text())
    assert (facts["num_hidden_layers"], facts["hidden_size"]) == (2, 16)
    assert "held-out few" in result.output

    missing = call("pretrain", tmp_path / "none.smi", "--out", tmp_path / "other")
    assert missing.exit_code == 1
    assert "none.smi" in missing.output


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
        # Plan and cost before anything trains.
        said = [result.output.index(w) for w in ("phase epochs ", "expected: about ", "record: ")]
        assert said == sorted(said)
        assert Run.load(folder).strategy["lr"] == 1e-3
    again = train("full", tmp_path / "full")
    assert "finished" in again.output
    assert "expected:" not in again.output
    assert (again.exit_code, Run.load(tmp_path / "full").seed) == (0, 0)

    table = call("evaluate", *folders)
    assert table.exit_code == 0, table.output
    assert all(f"\n{name} " in table.output for name in STRATEGIES)
    csv = call("evaluate", *folders, "--csv", "--part", "valid").output
    assert csv.startswith("approach,easy AUROC,")
    assert r"\toprule" in call("evaluate", *folders, "--latex").output
    both = call("evaluate", *folders, "--latex", "--csv")
    assert (both.exit_code, "choose one" in both.output) == (2, True)


def test_a_schedule_from_a_file(task_folder: Path, tmp_path: Path) -> None:
    def train(strategy: str, schedule: Path) -> Result:
        return call(
            *("train", "--strategy", strategy, "--task", task_folder, "--epochs", 1),
            *("--schedule", schedule, "--out", tmp_path / "run"),
        )

    path = tmp_path / "schedule.yaml"
    path.write_text("0:\n  params: ['head.*']\n1:\n  params: [block.5]\n", encoding="utf-8")
    result = train("scheduled", path)
    assert result.exit_code == 0, result.output
    assert "head.1.weight … head.1.bias" in result.output  # what the entry matched
    assert Run.load(tmp_path / "run").strategy["schedule"]["1"] == {"params": ["block.5"]}
    other = train("full", path)
    assert (other.exit_code, "needs --strategy scheduled" in other.output) == (2, True)
    missing = train("scheduled", tmp_path / "none.yaml")
    assert missing.exit_code == 1
    assert "none.yaml cannot be read" in missing.output


def test_a_learning_rate_is_looked_for(task_folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "sweep.png"
    result = call(
        *("find-lr", "--strategy", "frozen", "--task", task_folder, "--steps", 20, "--sweeps", 2),
        *("--out", picture),
    )
    assert result.exit_code == 0, result.output
    assert "HeadOnlyFinetune: " in result.output
    assert "2 sweeps" in result.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_strategy_is_recommended(task_folder: Path) -> None:
    result = call("recommend", "--budget", 60, "--task", task_folder)
    assert result.exit_code == 0, result.output
    assert re.match(r"Try [a-zA-Z ]+ first: \w+ at a learning rate of ", result.output)
    for words in ("Why", "such molecules are foreign", "What this does not know"):
        assert words in result.output
    refused = call("recommend", "--budget", -1, "--task", task_folder)
    assert refused.exit_code == 1
    assert "budget is -1.0; a positive number of minutes" in refused.output


@pytest.fixture(scope="module")
def trained(task_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one short run."""
    out = tmp_path_factory.mktemp("runs") / "frozen"
    result = call(
        *("train", "--strategy", "frozen", "--task", task_folder, "--epochs", 2, "--out", out)
    )
    assert result.exit_code == 0, result.output
    return out


def test_rows_are_told_apart(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders of one name are two rows, and ``.`` is called what it is."""
    shutil.copytree(trained, tmp_path / "again" / "frozen")
    two = call("evaluate", trained, tmp_path / "again" / "frozen", "--csv").output.splitlines()
    assert [line.split(",")[0] for line in two[1:]] == [
        str(trained),
        str(tmp_path / "again" / "frozen"),
    ]
    monkeypatch.chdir(trained)
    assert call("evaluate", ".", "--csv").output.splitlines()[1].startswith("frozen,")


def test_a_verdict_is_given_once(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    printed = " ".join(call("evaluate", trained, tmp_path / "copy").output.split())
    assert printed.count("cannot be told apart") == 1


def test_what_is_no_run_is_refused(trained: Path, tmp_path: Path) -> None:
    result = call("evaluate", trained / "record.json")
    assert (result.exit_code, "is a file" in result.output) == (2, True)
    empty = call("evaluate", tmp_path)
    assert (empty.exit_code, "no record.json" in empty.output) == (1, True)
    shutil.copytree(trained, tmp_path / "spoiled")
    path = tmp_path / "spoiled" / "record.json"
    path.write_text(path.read_text()[:-200])
    spoiled = call("evaluate", tmp_path / "spoiled")
    assert spoiled.exit_code == 1
    assert "Traceback" not in spoiled.output


def test_another_run_does_not_take_the_place_of_this_one(trained: Path, task_folder: Path) -> None:
    before = (trained / "record.json").read_bytes()
    result = call("train", "--strategy", "full", "--task", task_folder, "--out", trained)
    assert result.exit_code == 1
    assert "another run" in result.output
    assert (trained / "record.json").read_bytes() == before


def test_the_demo_s_options_arrive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[object] = []
    demo = importlib.import_module("coursekit.demo")
    monkeypatch.setattr(demo, "run_demo", lambda *args, say: given.extend(args))
    options = ("--out", tmp_path, "--seed", 3, "--encoder", "e", "--task", "t")
    assert call("demo", *options).exit_code == 0
    assert given == [str(tmp_path), 3, "e", "t"]


def test_ctrl_c_anywhere_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    doctor = importlib.import_module("coursekit.doctor")
    monkeypatch.setattr(doctor, "examine", stopped)
    result = call("doctor")
    assert result.exit_code == 130
    assert result.output.strip().startswith("Interrupted.")


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


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    """No traceback on a terminal, one under COURSEKIT_DEBUG, and a closed pipe is no error."""
    command = [sys.executable, "-m", "coursekit"]
    check = [*command, "data", "check", str(tmp_path / "none.parquet")]
    plain = subprocess.run(check, capture_output=True, text=True)
    assert (plain.returncode, plain.stdout) == (1, "")
    assert plain.stderr.startswith("Error: ")
    assert "Traceback" not in plain.stderr
    debug = {**os.environ, "COURSEKIT_DEBUG": "1"}
    assert "Traceback" in subprocess.run(check, capture_output=True, text=True, env=debug).stderr
    piped = subprocess.Popen([*command, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert piped.stdout is not None
    assert piped.stderr is not None
    piped.stdout.close()
    assert b"Traceback" not in piped.stderr.read()
    piped.stderr.close()
    assert piped.wait() == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal for ctrl-C")
def test_ctrl_c_keeps_what_was_done(task_folder: Path, tmp_path: Path) -> None:
    """Stopped in the middle, it ends with 130 and no record; the same command ends the run."""
    command = [
        *(sys.executable, "-m", "coursekit", "train", "--task", str(task_folder)),
        *("--epochs", "8", "--batch-size", "4", "--out", str(tmp_path / "run")),
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
    assert run.cost["epochs"] == 8
    assert not run.interrupted
