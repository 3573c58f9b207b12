"""What a run will cost: measured on a copy, put together for the whole run."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pandas as pd
import pytest
import torch
from families import FAMILIES
from tiny import EPOCHS, STRATEGIES

from coursekit.data.batches import encode
from coursekit.data.binding_task import BindingTask
from coursekit.errors import TrainingError
from coursekit.training import (
    EWC,
    L2SP,
    FullFinetune,
    HeadOnlyFinetune,
    LoRAFinetune,
    PartialFinetune,
    ProgressiveUnfreeze,
    ScheduledFinetune,
    cost,
    expected_cost,
    session,
)
from coursekit.training.alive import Alive

FULL = FullFinetune(batch_size=4)
ADAPTERS = LoRAFinetune(batch_size=4, gradient_checkpointing=True)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_has_its_cost_and_the_model_stays(name, task, make_model, weights):
    model, strategy = make_model(), STRATEGIES[name]
    before, groups = weights(model), list(model.groups)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    found = expected_cost(strategy, model, task, EPOCHS)
    assert torch.equal(torch.rand(3), expected)
    assert list(model.groups) == groups
    assert not model.fitted
    for key, value in weights(model).items():
        assert torch.equal(value, before[key]), key
    plan = strategy.plan(model, EPOCHS)
    assert list(found.table["epochs"]) == [phase.epochs for phase in plan.phases]
    assert (found.table["seconds per epoch"] > 0).all()
    assert 0 < found.training < found.total
    assert found.memory == found.table["memory, MB"].max() > 0


def test_it_adds_up(task, make_model, monkeypatch):
    """On a clock that shows one second more at each look: two looks at three steps of 4, and two
    at 12 predictions; and two around what is done once, before training."""
    looks = itertools.count()
    monkeypatch.setattr(cost, "_now", lambda model: float(next(looks)))
    for epochs in (1, 30):
        found = expected_cost(FULL, make_model(), task, epochs)
        training, scoring = 30 / 12, 12 / 12  # seconds an epoch: 30 to train on, 12 to validate
        assert found.training == pytest.approx(epochs * training, abs=0.1)
        assert found.table["seconds per epoch"].item() == pytest.approx(training + scoring)
        last = 24 / 12  # the best model scores the valid part and the test part
        assert found.total == pytest.approx(1 + epochs * (training + scoring) + last, abs=0.1)


def test_no_more_steps_are_timed_than_training_has(task, make_model, monkeypatch):
    """On a clock that stands still, by which no steps are ever enough."""
    monkeypatch.setattr(cost, "_now", lambda model: 0.0)
    seen, real = [], cost.step
    monkeypatch.setattr(
        cost, "step", lambda session, window: seen.append(1) or real(session, window)
    )
    expected_cost(FULL, make_model(), task, epochs=2)
    assert len(task.train) == 30
    timed = len(seen) - 2  # two for their memory
    assert 0 < timed <= 2 * 8


def tensors(expected):
    """Bytes of memory without what is added for all else."""
    return expected.memory * 2**20 - cost.ROOM


@pytest.fixture
def better_each_epoch(monkeypatch):
    """Scores by which an epoch's weights are kept while those of the best before still are.

    Where no later epoch is better, a run takes less than it may.
    """
    losses, real = itertools.count(1, -0.01), session.validation_scores
    monkeypatch.setattr(
        session, "validation_scores", lambda *given: real(*given) | {"loss": next(losses)}
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_memory_is_what_a_run_takes(name, task, make_model, better_each_epoch):
    """Counted while the whole of it trains, on molecules that the cost has not all seen."""
    strategy = replace(STRATEGIES[name], cache="off", batch_size=4)
    expected = tensors(expected_cost(strategy, make_model(), task, EPOCHS))
    model = make_model()
    alive = Alive(model.device)
    with alive:
        strategy.fit(model, task, EPOCHS)
    assert 0.999 < expected / alive.most < 1.2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "strategy", [FULL, LoRAFinetune(batch_size=4, gradient_checkpointing=True)]
)
def test_memory_of_every_family(strategy, family, task, make_model, better_each_epoch):
    model = make_model(family)
    expected = tensors(expected_cost(strategy, model, task, 2))
    alive = Alive(model.device)
    with alive:
        strategy.fit(model, task, 2)
    assert 0.999 < expected / alive.most < 1.2


def test_kept_states_are_part_of_memory(task, make_model, monkeypatch):
    """One vector per token of the train and the valid part at each depth that is kept."""
    model = make_model()
    parts = list(task.train["smiles"]), list(task.valid["smiles"])
    tokens = sum(len(t) for part in parts for t in encode(model.tokenizer, part))

    def more(strategy):
        strategy, found = replace(strategy, cache="fp32", batch_size=54), []
        for room in ("1024", "0"):  # no room: they are in files
            monkeypatch.setenv("COURSEKIT_CACHE_MEMORY", room)
            found.append(expected_cost(strategy, model, task, 3).table["memory, MB"] * 2**20)
        return ((found[0] - found[1]) / (tokens * model.width * 4)).tolist()

    # The head's phase keeps what two blocks and what one block leave, for those that open later.
    assert more(ProgressiveUnfreeze()) == pytest.approx([2, 2, 1], abs=0.1)
    assert more(PartialFinetune(blocks=2)) == pytest.approx([1], abs=0.05)


def test_kept_vectors_are_part_of_memory(task, make_model):
    """Of the whole task: one for each molecule, where the encoder is frozen."""
    many = BindingTask(
        "many", settings={}, train=pd.concat([task.train] * 9), valid=task.valid, test=task.test
    )
    strategy = HeadOnlyFinetune(batch_size=4)
    one, nine = (expected_cost(strategy, make_model(), t).memory for t in (task, many))
    more = 8 * len(task.train) * make_model().width * 4
    assert (nine - one) * 2**20 == pytest.approx(more, rel=0.01)


def test_averages_and_anchors_are_part_of_memory(task, make_model):
    model = make_model()
    plain = expected_cost(FULL, model, task).memory
    encoder = sum(p.numel() for p in model.encoder.parameters()) * 4 / 2**20
    averaged = expected_cost(replace(FULL, ema=0.9), model, task).memory
    assert averaged - plain == pytest.approx(model.count() * 4 / 2**20, rel=0.02)
    held = expected_cost(replace(FULL, penalties=(L2SP(1.0),)), model, task).memory
    assert held - plain == pytest.approx(encoder, rel=0.1)


def test_what_saves_memory_is_foretold(task, make_model):
    plain = tensors(expected_cost(replace(FULL, batch_size=24), make_model(), task))
    smaller = tensors(expected_cost(FULL, make_model(), task))
    again = replace(FULL, batch_size=24, gradient_checkpointing=True)
    assert smaller < 0.8 * plain
    assert tensors(expected_cost(again, make_model(), task)) < 0.8 * plain
    parts = expected_cost(ProgressiveUnfreeze(batch_size=24), make_model(), task, 5).table
    assert parts["memory, MB"].is_monotonic_increasing


def test_of_many_phases_some_are_measured(task, make_model):
    strategy = ScheduledFinetune(generate="pairs", lr=1e-3, patience=1)
    table = expected_cost(strategy, make_model(), task, 30).table
    assert len(table) > 12
    assert table.notna().all().all()


def test_penalties_are_part_of_it(task, make_model):
    with pytest.raises(TrainingError, match="EWC: coursekit does not have"):
        expected_cost(replace(FULL, penalties=(EWC(),)), make_model(), task)


def test_it_is_said_in_one_line_and_shown_as_a_table(task, make_model):
    found = expected_cost(FULL, make_model(), task, 2)
    assert "on this CPU" in str(found)
    assert "<table" in found._repr_html_()
