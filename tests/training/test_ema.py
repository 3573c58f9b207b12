"""The moving average of weights, against sums by hand and against what others' users met."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import EPOCHS, STRATEGIES
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from coursekit.errors import TrainingError
from coursekit.storage import load_state, states
from coursekit.training import FinetuneStrategy, FullFinetune, Phase, ScheduledFinetune
from coursekit.training.ema import MovingAverage, apply_ema
from coursekit.training.session import Session
from coursekit.training.transition import Transition

ALL = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
FULL = replace(STRATEGIES["full"], ema=0.9)


@pytest.fixture
def trail(monkeypatch):
    """What trained after each optimizer step, in the order of steps."""
    found: list[dict[str, torch.Tensor]] = []
    update = MovingAverage.update

    def keep(self):
        found.append(
            {n: p.detach().clone() for n, p in self.model.named_parameters() if p.requires_grad}
        )
        update(self)

    monkeypatch.setattr(MovingAverage, "update", keep)
    return found


def by_hand(start, trail, decay):
    """The averages after each step, in double precision, from the definition."""
    averages: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    found = []
    for weights in trail:
        for name, value in weights.items():
            n = counts.setdefault(name, 0)
            share = min(decay, (1 + n) / (10 + n))
            before = averages.get(name, start[name].double())
            averages[name] = share * before + (1 - share) * value.double()
            counts[name] += 1
        found.append({name: averages[name] for name in weights})
    return found


def going_on(strategy):
    """The strategy without going back to the best epoch, whose average the weights would take."""
    scheduled = isinstance(strategy, ScheduledFinetune)
    return replace(strategy, restore_best=False) if scheduled else strategy


@ALL
def test_the_model_ends_with_the_averages_of_the_best_epoch(
    strategy, task, make_model, weights, trail
):
    strategy = replace(going_on(strategy), ema=0.8)
    model = make_model()
    strategy.prepare(model)
    start = weights(model)
    run = strategy.fit(model, task, epochs=EPOCHS, seed=2)
    validated = run.history[run.history["split"] == "valid"].reset_index(drop=True)
    best = int(validated["loss"].idxmin())
    expected = by_hand(start, trail, 0.8)[4 * best + 3]  # four steps an epoch
    found = weights(model)
    assert set(expected) <= set(found)
    for name, value in found.items():
        if name in expected:
            assert torch.allclose(value, expected[name].float(), atol=1e-6, rtol=0), name
            last = trail[4 * best + 3][name]
            assert not torch.equal(value, last) or torch.equal(last, start[name]), name
        else:  # frozen then, and as it was when it last trained
            past = [then[name] for then in trail[: 4 * best + 4] if name in then]
            assert torch.equal(value, (past or [start[name]])[-1]), name


def test_beyond_the_warm_up_it_is_torchs_averaged_model():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    average = MovingAverage(model, 0.05)  # below the warm-up's first share: no warm-up
    average.follow()
    oracle = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.05))
    oracle.update_parameters(model)  # torch takes its first update as the start
    for _ in range(5):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        average.update()
        oracle.update_parameters(model)
    for name, value in oracle.module.named_parameters():
        assert torch.equal(average.values[name], value)


@ALL
def test_validation_sees_the_averages_and_training_does_not(strategy, task, make_model):
    """The path of the weights is the same to the bit with and without an average."""
    seen = {}
    for decay in (None, 0.8):
        validated: list[torch.Tensor] = []
        model = make_model()
        model.head.register_forward_pre_hook(
            lambda head, _, v=validated: (
                None if head.training else v.append(head[1].weight.detach().clone())
            )
        )
        run = replace(going_on(strategy), ema=decay).fit(model, task, epochs=EPOCHS, seed=2)
        seen[decay] = run.history, validated
    (plain, raw), (averaged, means) = seen[None], seen[0.8]
    trained = plain["split"] == "train"
    np.testing.assert_array_equal(plain["loss"][trained], averaged["loss"][trained])
    epochs = int(plain["loss"][~trained].notna().sum())  # those that have a classifier
    assert len(raw) == len(means) > epochs
    assert not any(torch.equal(a, b) for a, b in zip(raw[:epochs], means[:epochs], strict=True))
    assert not np.isclose(plain["loss"][~trained], averaged["loss"][~trained], atol=1e-7).any()


def test_a_short_run_is_not_stuck_at_its_start(task, make_model):
    """A decay for a thousand steps, in a run of twelve."""
    plain = replace(FULL, ema=None).fit(make_model(), task, epochs=EPOCHS)
    slow = replace(FULL, ema=0.999).fit(make_model(), task, epochs=EPOCHS)
    first, last = (run.history["loss"][run.history["split"] == "valid"] for run in (plain, slow))
    assert last.iloc[-1] == pytest.approx(first.iloc[-1], abs=0.02)
    start = np.log(2)
    assert last.iloc[-1] < start
    assert 0.999**12 > 0.98  # without the warm-up, all but a fiftieth would be the start


# ---------------------------------------------------------------- who is averaged


class Rising(FinetuneStrategy):
    """The top block trains first, and then only the head."""

    def phases(self, model, epochs):
        return [Phase({"block.2": self.lr}, 1), Phase({"head": self.lr}, epochs - 1)]


def test_newcomers_join_at_their_value_and_the_frozen_leave(task, make_model, weights):
    model = make_model()
    session = Session(Rising(batch_size=8, ema=0.9, lr=1e-3), model, task, 2, 0, None, None)
    session.open_phase()
    block = {n for n in session.average.values if "layer.2" in n}
    assert set(session.average.values) == block == set(model.groups["block.2"])
    start = weights(model)
    assert all(torch.equal(value, start[n]) for n, value in session.average.values.items())
    session.average.updates = dict.fromkeys(block, 50)
    session.at.phase = 1
    with torch.no_grad():
        model.head[1].weight.fill_(7.0)
    session.open_phase()
    assert set(session.average.values) == set(model.groups["head"])
    assert float(session.average.values["head.1.weight"].min()) == 7.0
    assert set(session.average.updates.values()) == {0}  # so its warm-up begins now


def test_it_holds_no_copy_of_what_is_frozen(task, make_model):
    model = make_model()
    session = Session(replace(STRATEGIES["head"], ema=0.9), model, task, 1, 0, None, None)
    session.open_phase()
    held = sum(value.numel() for value in session.average.values.values())
    assert held == model.count(["head"]) < model.count() / 100


def test_applied_before_the_first_update_nothing_changes(make_model, weights):
    model = make_model()
    before, average = weights(model), MovingAverage(model, 0.99)
    average.follow()
    with apply_ema(model, average.values):
        inside = weights(model)
    for found in (inside, weights(model)):
        assert all(torch.equal(value, before[name]) for name, value in found.items())


class Returning(FinetuneStrategy):
    """A schedule that goes back to the best epoch where a phase ends."""

    def phases(self, model, epochs):
        head = {"head": self.lr}
        more = {**head, "block.2": self.lr}
        return [
            Phase(head, patience=1, transition=Transition()),
            Phase(more, transition=Transition()),
        ]


def test_a_return_to_the_best_returns_to_its_averages(
    task, make_model, weights, trail, monkeypatch, assert_same_bits, tmp_path
):
    opened: list[tuple[dict, dict, dict]] = []
    follow = MovingAverage.follow

    def watch(self):
        follow(self)
        averages = {name: value.clone() for name, value in self.values.items()}
        opened.append((weights(self.model), averages, dict(self.updates)))

    monkeypatch.setattr(MovingAverage, "follow", watch)
    strategy = Returning(batch_size=8, lr=1.0, ema=0.5, decay="constant", warmup=0)
    model = make_model()
    start = weights(model)
    run = strategy.fit(model, task, epochs=6, checkpoint_dir=tmp_path)
    note = next(note for note in run.notes if note.startswith("phase 1 began with the weights of"))
    best = int(note.split("epoch ")[1].split(",")[0])
    now, averages, updates = opened[1]
    expected = by_hand(start, trail, 0.5)[4 * best + 3]["head.1.weight"].float()
    assert torch.allclose(now["head.1.weight"], expected, rtol=1e-5)
    assert set(updates.values()) == {0}
    assert all(torch.equal(value, now[name]) for name, value in averages.items())
    # Killed as the phase began, it goes on with the same bits.
    for found in states(tmp_path)[-1:]:
        shutil.rmtree(found)
    assert_same_bits(strategy.fit(make_model(), task, epochs=6, checkpoint_dir=tmp_path), run)


# ---------------------------------------------------------------- whatever happens


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_inside_leaves_the_models_own_weights(error, make_model, weights):
    model = make_model()
    before = weights(model)
    averages = {name: torch.full_like(value, 3.0) for name, value in before.items()}

    def work():
        assert model.head[1].weight[0, 0].item() == 3.0
        raise error

    with pytest.raises(error), apply_ema(model, averages):
        work()
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


def test_an_error_half_way_in_too(make_model, weights):
    model = make_model()
    before = weights(model)
    averages = {name: torch.full_like(value, 3.0) for name, value in before.items()}
    averages["head.1.weight"] = torch.zeros(5, 5)  # cannot be put in, and comes last but one
    with pytest.raises(RuntimeError), apply_ema(model, averages):
        pass
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


def test_an_error_in_validation_leaves_the_weights_of_training(task, make_model, weights, trail):
    model = make_model()

    def broken(head, _):
        if not head.training:
            raise RuntimeError("no more")

    model.head.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="no more"):
        FULL.fit(model, task, epochs=1)
    found = weights(model)
    assert all(torch.equal(found[name], value) for name, value in trail[-1].items())


@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_loss_that_is_no_number_gives_the_best_averages_back(
    where, task, make_model, weights, trail
):
    model, epochs = make_model(), []

    def poison(head, _):
        if len(epochs) == 2 and head.training == (where == "training"):
            with torch.no_grad():
                head[1].weight.fill_(float("nan"))

    model.head.register_forward_pre_hook(poison)
    start = weights(model)
    with pytest.raises(TrainingError, match="the model has the weights of epoch 1 back"):
        FULL.fit(
            model, task, epochs=4, tracker=lambda r: r["split"] == "valid" and epochs.append(r)
        )
    assert epochs[1]["loss"] < epochs[0]["loss"]
    expected = by_hand(start, trail, 0.9)[7]
    for name, value in weights(model).items():
        if name in expected:
            assert torch.allclose(value, expected[name].float(), atol=1e-6, rtol=0), name


def test_ctrl_c_before_the_first_validation_leaves_the_averages(
    task, make_model, weights, trail, scores_of
):
    model = make_model()
    start, presses = weights(model), []

    def press(head, _):
        if head.training:
            presses.append(1)
            if len(presses) == 3:
                signal.raise_signal(signal.SIGINT)

    hook = model.head.register_forward_pre_hook(press)
    run = FULL.fit(model, task, epochs=1)
    hook.remove()
    assert run.interrupted
    expected = by_hand(start, trail, 0.9)[2]
    for name, value in expected.items():
        assert torch.allclose(weights(model)[name], value.float(), atol=1e-6, rtol=0), name
    again = model.predict(list(task.test["smiles"]))
    assert scores_of(run, "test") == pytest.approx(again, abs=1e-6)


# ---------------------------------------------------------------- kept


def test_a_state_has_weights_averages_and_counter(task, make_model, tmp_path, trail):
    """A resumed run goes on from the weights, not from their averages, and counts on."""
    FULL.fit(make_model(), task, epochs=2, checkpoint_dir=tmp_path)
    tensors, facts = load_state(states(tmp_path)[-1])
    assert set(facts["ema_updates"].values()) == {8}
    name = "head.1.weight"
    assert torch.equal(tensors[f"model.{name}"], trail[-1][name])
    assert not torch.equal(tensors[f"ema.{name}"], tensors[f"model.{name}"])
    best = [key for key in tensors if key.startswith("best.")]
    assert torch.equal(tensors[f"best.{name}"], tensors[f"ema.{name}"])
    assert len(best) == len(make_model().state_dict())
    without = tmp_path / "without"
    replace(FULL, ema=None).fit(make_model(), task, epochs=1, checkpoint_dir=without)
    tensors, facts = load_state(states(without)[0])
    assert not facts["ema_updates"]
    assert not [key for key in tensors if key.startswith("ema.")]


@pytest.mark.parametrize("decay", [1, -0.1, float("nan"), "0.9"])
def test_a_decay_that_is_none(decay):
    with pytest.raises(TrainingError, match=r"ema is .*; None, or a decay from 0 to less than 1"):
        FullFinetune(ema=decay)
