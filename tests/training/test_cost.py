"""What a run will cost: measured on a copy, put together for the whole run."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from tiny import EPOCHS, STRATEGIES

from coursekit.data.batches import encode
from coursekit.errors import TrainingError
from coursekit.training import (
    EWC,
    L2SP,
    FullFinetune,
    HeadOnlyFinetune,
    PartialFinetune,
    ProgressiveUnfreeze,
    ScheduledFinetune,
    cost,
    expected_cost,
)

FULL = FullFinetune(batch_size=4)


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


def test_memory_is_what_graphs_optimizer_and_best_weights_hold(task, make_model):
    """Counted by hand where no graph goes through the encoder: the head's alone is a few kB."""
    model = make_model()
    found = expected_cost(HeadOnlyFinetune(batch_size=4), model, task).memory * 2**20
    head = model.count(["head"])
    best = sum(v.numel() * v.element_size() for v in model.state_dict().values())
    held = best + head * 4 + 2 * head * 4  # best weights, gradients, two moments
    assert held < found < held + 20_000


def test_kept_states_are_part_of_memory(task, make_model, monkeypatch):
    """One vector per token of the train and the valid part at each depth that is kept."""
    model = make_model()
    parts = list(task.train["smiles"]), list(task.valid["smiles"])
    tokens = sum(len(t) for part in parts for t in encode(model.tokenizer, part))

    def more(strategy):
        kept, none = (
            expected_cost(replace(strategy, cache=cache, batch_size=54), model, task, 3).table
            for cache in ("fp32", "off")
        )
        return (kept["memory, MB"] - none["memory, MB"]) * 2**20 / (tokens * model.width * 4)

    # The head's phase keeps what two blocks and what one block leave, for those that open later.
    assert more(ProgressiveUnfreeze()).tolist() == pytest.approx([2, 2, 1], abs=0.1)
    monkeypatch.setenv("COURSEKIT_CACHE_MEMORY", "0")
    assert more(PartialFinetune(blocks=2)).item() < 0.1


def test_averages_and_anchors_are_part_of_memory(task, make_model):
    model = make_model()
    plain = expected_cost(FULL, model, task).memory
    encoder = sum(p.numel() for p in model.encoder.parameters()) * 4 / 2**20
    averaged = expected_cost(replace(FULL, ema=0.9), model, task).memory
    assert averaged - plain == pytest.approx(model.count() * 4 / 2**20, rel=0.02)
    held = expected_cost(replace(FULL, penalties=(L2SP(1.0),)), model, task).memory
    assert held - plain == pytest.approx(encoder, rel=0.1)


def test_what_saves_memory_is_foretold(task, make_model):
    plain = expected_cost(replace(FULL, batch_size=24), make_model(), task).memory
    smaller = expected_cost(FULL, make_model(), task).memory
    again = replace(FULL, batch_size=24, gradient_checkpointing=True)
    assert smaller < 0.8 * plain
    assert expected_cost(again, make_model(), task).memory < 0.8 * plain
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
