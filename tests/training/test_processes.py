"""Two processes that train one model, started as a user would start them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from stopping import stopping_at
from tiny import tiny_task
from together import SETTINGS, fit

from coursekit.cli import main
from coursekit.errors import TrainingError
from coursekit.runs import Run
from coursekit.storage import states
from coursekit.training.processes import Processes, processes

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("accelerate")
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch was built without torch.distributed"
)
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ACCELERATE = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
    *("--main_process_port", "0"),  # one that is free
]


def environment(cache: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
    return os.environ | {
        "OMP_NUM_THREADS": "1", "COURSEKIT_CACHE": str(cache), "PYTHONPATH": path, **more
    }  # fmt: skip


# ---------------------------------------------------------------- the same as one


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    """What two processes have left, all strategies in one job."""
    folder = tmp_path_factory.mktemp("job")
    program = Path(__file__).with_name("together.py")
    done = subprocess.run(
        [*TORCHRUN, str(program), str(folder)],
        capture_output=True, text=True, timeout=300, env=environment(folder / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_train_what_one_trains(name, job):
    together, alone = Run.load(job / name), fit(name)
    assert together.cost["steps"] == alone.cost["steps"]
    assert list(together.history["phase"]) == list(alone.history["phase"])
    rates = [c for c in alone.history if c.startswith("learning_rate.")]
    np.testing.assert_allclose(together.history[rates], alone.history[rates], rtol=1e-6)
    for column in {"loss", "masked_loss", "penalty"} & set(alone.history):
        np.testing.assert_allclose(together.history[column], alone.history[column], atol=1e-4)
    one, two = (run.predictions["score"].to_numpy(float) for run in (alone, together))
    spread = np.ptp(one)
    assert spread > 0.02  # it has learned something that could have come out otherwise
    np.testing.assert_allclose(two, one, atol=1e-3 * spread, rtol=0)
    *rest, last = together.notes
    assert [*rest, last] == [*alone.notes[:-1], "trained by 2 processes together", alone.notes[-1]]
    if name == "patience":
        assert "ended by patience" in rest[0]
        assert together.cost["epochs"] < 30
    if name in ("transitions", "all at once"):
        assert sum("ended by patience" in note for note in rest) == 3
        assert sum("began with the weights of epoch" in note for note in rest) == 2
    if name == "all at once":
        assert rest[0].startswith("phase 0 ended by patience after epoch 1")
        assert rest[1] == "phase 1 began with the weights of epoch 0, the best"
        assert {"masked_loss", "penalty"} <= set(together.history)


@pytest.mark.slow
def test_memory_that_runs_out_in_one_process(job):
    short, whole = Run.load(job / "short of memory"), Run.load(job / "full")
    scores = whole.predictions["score"].to_numpy(float)
    np.testing.assert_allclose(short.predictions["score"], scores, atol=1e-3 * np.ptp(scores))
    assert [note for note in short.notes if note not in whole.notes] == [
        "out of memory in step 1: from there on at most 2 molecules go through the model at once; "
        "a step still learns from as many as before"
    ]


def test_what_two_processes_agree_on(job):
    """The program has checked, in either process, what it could; this is what it found."""
    assert json.loads((job / "facts.json").read_text()) == {
        "size": 2,
        # All of train, half of valid and half of test, in four epochs and as many validations;
        # before them four made-up ones in either mode, and four others, padded and then as one row.
        "molecules through a frozen block": [30 + 6 + 6 + 4 + 4 + 4 + 1] * 2,
        "rows for the tracker": [4 * 3 + 3, 0],  # steps and validations
        "stopped by ctrl-C": [[True, 3]] * 2,
        "finished, it says": [1, 0],
        "has states": [[True, True], [False, False]],
        "molecules at once": [[4, 2], [4, 2]],  # in the first step, and later
        "out of memory, it says": [1, 0],
        "notes differ": False,
        "draws differ": True,
        "same weights": True,
        "no folder": "checkpoints are no longer saved",
        "told": "process 1 (here) means to make another run than process 0 (there): seed is 0 "
        "there and 1 here. Give all processes of a job the same arguments.",
        "told in all": True,
    }


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_are_the_window_and_nothing_twice(size):
    window = [np.arange(0, 7), np.arange(7, 9), np.arange(9, 10), np.arange(10, 17)]
    shares = [Processes(rank, size).share(window) for rank in range(size)]
    rows = [row for share in shares for part in share for row in part]
    assert sorted(rows) == list(range(17))
    assert all(len(part) for share in shares for part in share)
    if size == 2:  # two batches each, whole
        assert [len(part) for part in shares[0]] == [7, 1]
    if size == 3:  # one batch each, and a third of the last
        assert [[len(part) for part in share] for share in shares] == [[7, 3], [2, 2], [1, 2]]


def test_several_processes_need_accelerate(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(TrainingError, match=r"pip install 'coursekit\[distributed\]'"):
        processes()


# ---------------------------------------------------------------- killed

EPOCHS = 12


def command(folder: Path) -> list[str]:
    return [
        *("train", "--strategy", "progressive", "--epochs", str(EPOCHS), "--batch-size", "8"),
        *("--task", str(folder / "task"), "--out", str(folder / "run")),
    ]


def start(arguments: list[str], **options: str) -> subprocess.Popen:
    return subprocess.Popen(
        arguments, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment(**options),
    )  # fmt: skip


def wait_for_another_state(folder: Path, process: subprocess.Popen) -> None:
    before = states(folder)
    while states(folder) == before:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def kill(process: subprocess.Popen, rank: int) -> None:
    """SIGKILL the process of this rank, which torchrun has started."""
    import psutil

    for child in psutil.Process(process.pid).children():
        if child.environ().get("RANK") == str(rank):
            child.kill()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a process that can be killed")
def test_a_killed_process_ends_the_job_and_any_number_goes_on(tmp_path, monkeypatch):
    tiny_task().save(tmp_path / "task")
    saved, cache = tmp_path / "run" / "states", tmp_path / "cache"

    # By hand, as on hosts without a launcher that looks after them: the other one ends by itself.
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = str(server.getsockname()[1])
    here = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    program = [sys.executable, "-m", "coursekit", *command(tmp_path)]
    one, two = (start(program, cache=cache, RANK=r, LOCAL_RANK=r, **here) for r in ("0", "1"))
    wait_for_another_state(saved, one)
    two.kill()
    two.communicate()
    said, _ = one.communicate(timeout=300)
    assert one.returncode == 1, said
    assert "Error: process 0 of 2 has lost another process of this job" in said
    assert "the same command goes on from there" in said

    # Under torchrun, and this time the process that saves.
    job = start([*TORCHRUN, "-m", "coursekit", *command(tmp_path)], cache=cache)
    wait_for_another_state(saved, job)
    kill(job, rank=0)
    said, _ = job.communicate(timeout=300)
    assert job.returncode not in (0, None), said
    assert said.count("ProgressiveUnfreeze: goes on, from") == 1
    assert "Signal 9 (SIGKILL)" in said
    assert not Path(tmp_path / "run" / "record.json").exists()

    # One process trains another epoch, the two bring it to its end, and one finds it finished.
    monkeypatch.setenv("COURSEKIT_CACHE", str(cache))
    with stopping_at("end_epoch", 1):
        CliRunner().invoke(main, command(tmp_path))
    job = start([*ACCELERATE, "-m", "coursekit", *command(tmp_path)], cache=cache)
    said, _ = job.communicate(timeout=300)
    assert job.returncode == 0, said
    assert said.count("record: ") == 1
    run = Run.load(tmp_path / "run")
    assert run.cost["epochs"] == EPOCHS
    assert "trained by 2 processes together" in run.notes
    assert [note.split(":")[0] for note in run.notes if note.startswith("saved by")] == [
        "saved by 2 processes and gone on with by 1",
        "saved by 1 process and gone on with by 2",
    ]
    ended = CliRunner().invoke(main, command(tmp_path))
    assert ended.exit_code == 0, ended.output
    assert "is finished; its result is given back" in ended.output
    again = Run.load(tmp_path / "run").predictions
    np.testing.assert_allclose(again["score"], run.predictions["score"], atol=1e-6)
