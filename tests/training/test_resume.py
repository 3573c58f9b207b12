from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from stopping import stopping_after
from tiny import EPOCHS, STRATEGIES, tiny_task

from coursekit.errors import TrainingError
from coursekit.runs import Run
from coursekit.storage import load_state, states
from coursekit.training import FinetuneStrategy, FullFinetune, Phase, embeddings, session, state
from coursekit.training.session import Session
from coursekit.training.step import step

FULL = STRATEGIES["full"]
ALL = pytest.mark.parametrize("name", STRATEGIES)
SEED = 3


@pytest.fixture
def killed() -> Callable[..., None]:
    """Train with a state at each step, and stop dead after so many."""

    def train(strategy, model, task, folder: Path, steps: int, **more: Any) -> None:
        with stopping_after(steps):
            strategy.fit(
                model, task, **{"epochs": EPOCHS, "seed": SEED, "checkpoint_dir": folder} | more
            )

    return train


@pytest.fixture(scope="module")
def whole() -> dict[str, tuple[Any, dict[str, torch.Tensor]]]:
    """Uninterrupted runs and their weights, the oracle of this file."""
    from families import small_classifier

    found = {}
    for name, strategy in STRATEGIES.items():
        model = small_classifier("bert")
        run = strategy.fit(model, tiny_task(), epochs=EPOCHS, seed=SEED)
        found[name] = run, {k: v.clone() for k, v in model.state_dict().items()}
    return found


@pytest.fixture
def assert_as_whole(whole, assert_same_bits):
    def check(name: str, run, model) -> None:
        expected, weights = whole[name]
        assert_same_bits(run, expected)
        for key, value in model.state_dict().items():
            assert torch.equal(value, weights[key]), key
        assert run.cost["steps"] == expected.cost["steps"]
        assert run.strategy == expected.strategy

    return check


# ---------------------------------------------------------------- spoiled


@pytest.mark.parametrize("name", ["full", "averaged", "adapters", "scheduled"])
@pytest.mark.parametrize("at_step", [6, 8])  # within an epoch, and at the end of one
def test_a_spoiled_state_is_never_saved(
    name, at_step, task, make_model, tmp_path, monkeypatch, assert_as_whole
):
    """Its loss was a number still: the weights stopped being one in the update that followed."""

    def spoil(self: Session) -> None:
        if self.at.step == at_step:
            with torch.no_grad():
                self.model.head[1].weight[0, 0] = -torch.inf
        really(self)

    really = Session.save_if_due
    monkeypatch.setattr(session, "SAVE_SECONDS", -1.0)
    words = rf"head\.1\.weight has a value that is not finite at step {at_step} \(epoch 1, phase"
    with monkeypatch.context() as patch:
        patch.setattr(Session, "save_if_due", spoil)
        with pytest.raises(TrainingError, match=words):
            STRATEGIES[name].fit(
                make_model(), task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path
            )
    assert states(tmp_path)
    for folder in states(tmp_path):
        tensors, facts = load_state(folder)
        assert facts["position"]["step"] < at_step
        assert all(v.isfinite().all() for v in tensors.values() if v.is_floating_point())
    model = make_model()
    run = STRATEGIES[name].fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    assert_as_whole(name, run, model)


def test_a_moment_is_looked_at_too(task, make_model):
    found = Session(FULL, make_model(), task, EPOCHS, 0, None, None)
    found.open_phase()
    step(found, found.windows(0)[0])
    assert state.spoiled(found.model, found.optimizer) is None
    moments = next(iter(found.optimizer.state.values()))
    moments["exp_avg_sq"].view(-1)[0] = torch.nan
    assert state.spoiled(found.model, found.optimizer).startswith("exp_avg_sq.")


# ---------------------------------------------------------------- killed

KILLS = 60
STRIKES = int(os.environ.get("COURSEKIT_KILL_SEED", "5"))  # another seed, other moments


@pytest.fixture(scope="module")
def battlefield(tmp_path_factory) -> Path:
    """States of processes that were really killed, and what became of them."""
    folder = tmp_path_factory.mktemp("killed")
    program = Path(__file__).with_name("killed.py")
    threads, each = str(torch.get_num_threads()), -(-KILLS // len(STRATEGIES))
    done = subprocess.run(
        [sys.executable, str(program), str(folder), threads, str(STRIKES), str(each)],
        capture_output=True,
        text=True,
        env=os.environ | {"COURSEKIT_CACHE": str(folder / "cache")},
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    (folder / "found.json").write_text(f"[{','.join(lines)}]")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that can be killed")
def test_killed_at_any_moment_and_gone_on_with_a_run_ends_with_the_same_bits(battlefield):
    found = json.loads((battlefield / "found.json").read_text())
    assert [one["strategy"] for one in found] == list(STRATEGIES)
    for one in found:
        assert not one["wrong"], one
        assert one["ends"] >= 1
    steps = [step for one in found for step in one["steps"]]
    assert len(steps) >= 50
    # Four steps an epoch, and in a progressive run an epoch a phase: most died in the midst of one.
    assert sum(step % 4 != 0 for step in steps) >= 10, found
    assert len(set(steps)) >= 8, found


def test_a_finished_head_is_given_back_without_the_encoder(task, make_model, monkeypatch, tmp_path):
    strategy, folder = STRATEGIES["head"], tmp_path / "states"
    run = strategy.fit(make_model(), task, epochs=EPOCHS, seed=SEED, checkpoint_dir=folder)
    monkeypatch.setattr(embeddings, "_memory", {})
    model = make_model(seed=8)
    model.origin = make_model().origin
    model.encoder.register_forward_pre_hook(lambda *_: pytest.fail("the encoder ran"))
    again = strategy.fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=folder)
    pd.testing.assert_frame_equal(again.predictions, run.predictions)


def test_vectors_computed_by_a_killed_process_are_found_again(
    battlefield, task, make_model, monkeypatch
):
    """By content: another process, another model object, weights out of a state."""
    monkeypatch.setenv("COURSEKIT_CACHE", str(battlefield / "cache"))
    monkeypatch.setattr(embeddings, "_memory", {})  # what this process has in memory
    folder = battlefield / "head-killed"
    model, seen = make_model(seed=8), []
    model.origin = make_model().origin
    encoder = model.encoder.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    STRATEGIES["head"].fit(model, task, epochs=EPOCHS, seed=SEED, resume_from=folder)
    encoder.remove()
    assert sum(seen) <= 12  # at most the test part, which is predicted only at the end of a run


@pytest.mark.parametrize("steps", [1, 4, 6, 11])
@ALL
def test_every_place_in_a_phase_and_an_epoch(
    name, steps, task, make_model, killed, assert_as_whole, tmp_path
):
    """Four steps an epoch: amid one, at its end, and in the first or a later phase."""
    strategy = STRATEGIES[name]
    killed(strategy, make_model(), task, tmp_path, steps)
    assert states(tmp_path)[-1].name == f"state-{steps:09d}"
    torch.manual_seed(999)
    model = make_model()
    run = strategy.fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    assert_as_whole(name, run, model)


def test_patience_goes_on_waiting(task, make_model, killed, assert_same_bits, tmp_path):
    strategy = replace(STRATEGIES["progressive"], patience=2, monitor="auroc_hard", max_unfrozen=1)
    whole = strategy.fit(make_model(), task, epochs=12, seed=SEED)
    ended = [note for note in whole.notes if "ended by patience" in note]
    assert len(ended) == 1
    killed(strategy, make_model(), task, tmp_path, whole.cost["steps"] - 1, epochs=12)
    run = strategy.fit(make_model(), task, epochs=12, seed=SEED, checkpoint_dir=tmp_path)
    assert_same_bits(run, whole)
    assert run.notes == whole.notes


def test_accumulation_goes_on(task, make_model, killed, assert_same_bits, tmp_path):
    strategy = replace(FULL, accumulate=3)
    killed(strategy, make_model(), task, tmp_path, 3)
    run = strategy.fit(make_model(), task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    assert_same_bits(run, strategy.fit(make_model(), task, epochs=EPOCHS, seed=SEED))


# ---------------------------------------------------------------- stopped by ctrl-C


@ALL
def test_ctrl_c_gives_the_run_so_far_and_it_goes_on(
    name, task, make_model, assert_as_whole, tmp_path, monkeypatch
):
    strategy, model = STRATEGIES[name], make_model()
    handler = signal.getsignal(signal.SIGINT)
    taken: list[int] = []

    def press(self, through):
        taken.append(1)
        if len(taken) == 6:
            signal.raise_signal(signal.SIGINT)
        return set_rates(self, through)

    set_rates = Session.set_learning_rates
    with monkeypatch.context() as patch:
        patch.setattr(Session, "set_learning_rates", press)
        run = strategy.fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert run.notes == (
        "interrupted in epoch 1, after step 6; fit again with the same checkpoint_dir to go on",
        # A contrastive epoch leaves no classifier that could be the best.
        *(["weights of epoch 0, the best by loss"] if name != "contrastive" else []),
    )
    assert run.cost["steps"] == 6
    assert list(run.history["step"]) == [1, 2, 3, 4, 4, 5, 6]
    assert len(run.predictions) == 24
    assert type(run).from_record(run.record()).notes == run.notes

    # The same cell again, with the same model, now trained, in hand.
    run = strategy.fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    assert_as_whole(name, run, model)
    assert model.fitted == [type(strategy).__name__]
    assert not any(note.startswith(("interrupted", "the model had")) for note in run.notes)


def test_ctrl_c_before_the_first_validation(task, make_model):
    model = make_model()
    model.head.register_forward_pre_hook(
        lambda head, _: signal.raise_signal(signal.SIGINT) if head.training else None
    )
    run = FULL.fit(model, task, epochs=2)
    assert run.notes == ("interrupted in epoch 0, after step 1",)
    assert len(run.history) == 1
    assert type(run).from_record(run.record()).history["auroc_hard"].isna().all()


def test_a_second_ctrl_c_stops_at_once(task, make_model):
    model = make_model()

    def press_twice(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    model.head.register_forward_pre_hook(press_twice)
    with pytest.raises(KeyboardInterrupt):
        FULL.fit(model, task, epochs=2)


# ---------------------------------------------------------------- damaged, missing, full


def turn_a_bit(file: Path) -> None:
    """In the middle, where a tensor's values are: nothing but a checksum can see it."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "a bit in tensors": lambda s: turn_a_bit(s / "tensors.safetensors"),
    "a bit in facts": lambda s: turn_a_bit(s / "facts.json"),
    "cut tensors": lambda s: os.truncate(s / "tensors.safetensors", 5_000),
    "empty tensors": lambda s: (s / "tensors.safetensors").write_bytes(b""),
    "no tensors": lambda s: (s / "tensors.safetensors").unlink(),
    "cut facts": lambda s: os.truncate(s / "facts.json", 100),
    "other facts": lambda s: (s / "facts.json").write_text("[]"),
    "no facts": lambda s: (s / "facts.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_state_falls_back_to_the_one_before(
    damage, task, make_model, killed, assert_as_whole, tmp_path
):
    killed(FULL, make_model(), task, tmp_path, 6)
    before, newest = states(tmp_path)
    damage(newest)
    model = make_model()
    run = FULL.fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    assert_as_whole("full", run, model)
    assert run.notes[0] == "state-000000006 is damaged and was passed over"
    assert before.name == "state-000000005"
    run.record()


def test_where_all_states_are_damaged_it_starts_anew_and_says_so(
    task, make_model, killed, assert_as_whole, tmp_path, capsys
):
    killed(FULL, make_model(), task, tmp_path, 11)
    for found in states(tmp_path):
        DAMAGES["cut tensors"](found)
    model = make_model()
    killed(FULL, model, task, tmp_path, 2)
    assert "state-000000010 is damaged" in capsys.readouterr().out
    # The new states, with lower numbers, are not swept away in favor of the damaged ones.
    assert [s.name for s in states(tmp_path)] == ["state-000000001", "state-000000002"]
    model = make_model()
    run = FULL.fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    assert_as_whole("full", run, model)
    assert [note.split(" is ")[0] for note in run.notes[:2]] == [
        "state-000000011",
        "state-000000010",
    ]
    assert run.notes[2] == "no whole state was left: training started anew"


@ALL
def test_a_full_disk_stops_saving_and_not_training(
    name, task, make_model, assert_as_whole, tmp_path, monkeypatch, capsys
):
    saved: list[int] = []
    really_save = state.save_state

    def full(folder, step, tensors, facts):
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        saved.append(step)
        return really_save(folder, step, tensors, facts)

    monkeypatch.setattr(session, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(state, "save_state", full)
    model = make_model()
    run = STRATEGIES[name].fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    assert saved == [1, 2]
    assert_as_whole(name, run, model)
    assert run.notes[0] == "checkpoints are no longer saved"
    assert "No space left" in capsys.readouterr().out

    monkeypatch.undo()  # there is space again, and what was saved is whole
    model = make_model()
    run = STRATEGIES[name].fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    assert_as_whole(name, run, model)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_fills_in_the_middle_of_a_state(tmp_path, task, make_model, assert_as_whole):
    """The system itself takes no more, half-way through the tensors of the third state."""
    program = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from families import small_classifier
from tiny import EPOCHS, STRATEGIES, tiny_task
from coursekit.models import dropout
from coursekit.training import session, state
session.SAVE_SECONDS, dropout.FEWEST = -1.0, 1  # as in this process
really_save, folder = state.save_state, Path(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
def save(folder, step, tensors, facts):
    if step == 3:
        size = (folder / "state-000000002" / "tensors.safetensors").stat().st_size // 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    return really_save(folder, step, tensors, facts)
state.save_state = save
run = STRATEGIES["full"].fit(
    small_classifier("bert"), tiny_task(), epochs=EPOCHS, seed=3, checkpoint_dir=folder / "states"
)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
run.save(folder / "run")
"""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), str(here.parent.parent)]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), *paths],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FullFinetune: checkpoints are no longer saved" in done.stdout
    run = Run.load(tmp_path / "run")
    assert run.cost["steps"] == 12
    assert run.notes[0] == "checkpoints are no longer saved"
    saved = tmp_path / "states"
    assert sorted(p.name for p in saved.iterdir()) == ["state-000000001", "state-000000002"]
    model = make_model()
    run = FULL.fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=saved)
    assert_as_whole("full", run, model)


def test_a_folder_that_cannot_be_made(task, make_model, assert_as_whole, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    model = make_model()
    run = FULL.fit(
        model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path / "file" / "states"
    )
    assert_as_whole("full", run, model)
    assert run.notes[0] == "checkpoints are no longer saved"


# ---------------------------------------------------------------- finished, or another run


@ALL
def test_a_finished_run_is_given_back(name, task, make_model, assert_as_whole, tmp_path, capsys):
    strategy = STRATEGIES[name]
    first = strategy.fit(make_model(), task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    model, rows = make_model(), []
    model.head.register_forward_pre_hook(lambda head, _: rows.append(head.training))
    run = strategy.fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)
    assert_as_whole(name, run, model)
    assert not any(rows)
    assert run.notes == first.notes
    assert run.cost["seconds"] == first.cost["seconds"]
    assert model.fitted == [type(strategy).__name__]
    assert "is finished; its result is given back" in capsys.readouterr().out


class Own(FinetuneStrategy):
    def phases(self, model, epochs):
        return [Phase({"head": self.lr}, epochs)]


class Edited(FinetuneStrategy):
    def phases(self, model, epochs):
        return [Phase({"head": self.lr, "block.2": self.lr}, epochs)]


Edited.__name__ = "Own"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strategy": replace(FULL, lr=1e-4)}, "lr is 0.003 there and 0.0001 here"),
        ({"strategy": replace(FULL, layer_lr_decay=0.5)}, "layer_lr_decay is 0.9 there and 0.5"),
        ({"strategy": STRATEGIES["progressive"]}, "strategy is 'FullFinetune' there and 'Prog"),
        ({"seed": 4}, "seed is 3 there and 4 here"),
        ({"epochs": EPOCHS + 1}, "epochs is 3 there and 4 here"),
        ({"model": {"seed": 1}}, "origin is '[0-9a-f]{64}' there and '[0-9a-f]{64}' here"),
        ({"model": {"pooling": "mean"}}, "pooling is 'cls' there and 'mean' here"),
        ({"model": {"family": "electra"}}, "name is 'bert' there and 'electra' here"),
        ({"task": {"split": "other"}}, "task is '[0-9a-f]{64}' there"),
        ({"fitted": ["HeadOnlyFinetune"]}, None),
    ],
)
def test_a_state_of_another_run_is_refused(change, words, task, make_model, killed, tmp_path):
    killed(FULL, make_model(), task, tmp_path, 2)
    model = make_model(**change.get("model", {}))
    model.fitted = change.get("fitted", [])
    other = tiny_task(**change["task"]) if "task" in change else task
    strategy = change.get("strategy", FULL)
    arguments = {"epochs": change.get("epochs", EPOCHS), "seed": change.get("seed", SEED)}
    if words is None:  # a model that was trained since: its weights are put back
        strategy.fit(model, other, checkpoint_dir=tmp_path, **arguments)
        return
    with pytest.raises(TrainingError, match=f"another run: .*{words}.*another checkpoint_dir"):
        strategy.fit(model, other, checkpoint_dir=tmp_path, **arguments)


def test_a_state_of_a_model_with_a_past_is_refused_to_a_fresh_one(
    task, make_model, killed, tmp_path
):
    model = make_model()
    STRATEGIES["head"].fit(model, task, epochs=1)
    killed(FULL, model, task, tmp_path, 2)
    with pytest.raises(TrainingError, match=r"trained by \['HeadOnlyFinetune'\] there and by \[\]"):
        FULL.fit(make_model(), task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)


def test_phases_that_were_edited_are_another_run(task, make_model, killed, tmp_path):
    killed(Own(batch_size=8), make_model(), task, tmp_path, 2)
    with pytest.raises(TrainingError, match="gives other phases there than here"):
        Edited(batch_size=8).fit(
            make_model(), task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path
        )


def test_a_state_of_another_version_is_refused(task, make_model, killed, tmp_path, monkeypatch):
    killed(FULL, make_model(), task, tmp_path, 2)
    monkeypatch.setattr(state, "FORMAT", 99)
    with pytest.raises(TrainingError, match="checkpoint format 1, this coursekit reads 99"):
        FULL.fit(make_model(), task, epochs=EPOCHS, seed=SEED, checkpoint_dir=tmp_path)


# ---------------------------------------------------------------- from another folder


def test_resume_from_another_folder(task, make_model, killed, assert_as_whole, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    killed(FULL, make_model(), task, old, 6)
    kept = sorted(p.name for p in old.iterdir())
    killed(FULL, make_model(), task, new, 9, resume_from=old)
    assert sorted(p.name for p in old.iterdir()) == kept
    shutil.rmtree(old)
    old.mkdir()
    # The same call again: what its own folder holds goes before what it started from.
    model = make_model()
    run = FULL.fit(model, task, epochs=EPOCHS, seed=SEED, checkpoint_dir=new, resume_from=old)
    assert_as_whole("full", run, model)


def test_resume_from_without_a_folder_of_its_own(
    task, make_model, killed, assert_as_whole, tmp_path
):
    killed(FULL, make_model(), task, tmp_path, 6)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    model = make_model()
    run = FULL.fit(model, task, epochs=EPOCHS, seed=SEED, resume_from=tmp_path)
    assert_as_whole("full", run, model)
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}


def test_resume_from_a_folder_without_states(task, make_model, tmp_path):
    with pytest.raises(TrainingError, match=r"resume_from: .*nowhere holds no state to go on from"):
        FULL.fit(make_model(), task, epochs=1, resume_from=tmp_path / "nowhere")


def test_states_are_saved_once_a_minute_and_at_the_end_of_epochs(
    task, make_model, tmp_path, monkeypatch, set_clock
):
    steps: list[int] = []
    now = [0.0]
    monkeypatch.setattr(state, "save_state", lambda folder, step, *_: steps.append(step))
    set_clock(lambda: now[0])
    model = make_model()
    model.head.register_forward_pre_hook(lambda *_: now.__setitem__(0, now[0] + 25.0))
    FullFinetune(batch_size=3).fit(model, task, epochs=1, checkpoint_dir=tmp_path)
    # 25 seconds a step: due after the third, more than a minute later; ten steps an epoch.
    assert steps == [3, 6, 9, 10, 10]
