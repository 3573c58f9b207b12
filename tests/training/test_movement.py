"""How far weights moved: against the distance by hand, at every validation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import EPOCHS, STRATEGIES

from coursekit.runs import Run
from coursekit.runs.record_tables import HISTORY_COLUMNS
from coursekit.storage import load_state, save_state, states
from coursekit.training import ProgressiveUnfreeze, ScheduledFinetune, result

MOVED = "moved."
PROGRESSIVE = STRATEGIES["progressive"]


def distance(names, start: dict[str, torch.Tensor], now: dict[str, torch.Tensor]) -> float:
    way = torch.cat([(now[n] - start[n]).flatten() for n in names])
    return float(way.norm() / torch.cat([start[n].flatten() for n in names]).norm())


@pytest.mark.parametrize("name", ["full", "progressive", "scheduled", "adapters", "contrastive"])
def test_each_validation_has_the_distance_of_each_group(name, task, make_model, weights):
    model, strategy = make_model(), STRATEGIES[name]
    strategy.prepare(model)  # adapters: the weights that training begins from are then there
    start, seen = weights(model), []

    def look(row: dict[str, Any]) -> None:
        told = {k.removeprefix(MOVED): v for k, v in row.items() if k.startswith(MOVED)}
        if row["split"] == "train":
            assert not told
            return
        groups = strategy.parameter_groups(model)
        for group, way in told.items():
            assert way == pytest.approx(distance(groups[group], start, weights(model)), rel=1e-4)
        seen.append(told)

    run = strategy.fit(model, task, epochs=EPOCHS, tracker=look)
    assert len(seen) == run.cost["epochs"]
    trained = {g for phase in run.strategy["phases"] for g in phase["learning_rates"]}
    assert set(seen[-1]) == trained
    assert all(way > 0 for way in seen[-1].values())


def test_a_group_stays_at_zero_until_its_phase_opens_it(task, make_model):
    history = PROGRESSIVE.fit(make_model(), task, epochs=EPOCHS).history
    valid = history[history["split"] == "valid"].set_index("epoch")
    assert list(valid["moved.block.2"] > 0) == [False, True, True]
    assert list(valid["moved.block.1"] > 0) == [False, False, True]
    assert (valid["moved.head"] > 0).all()
    assert "moved.embeddings" not in history  # no phase of three epochs opens them


def test_of_averaged_weights_it_is_the_average_that_moved(task, make_model, weights):
    """The best epoch's weights, which the model has in the end, are those that were validated."""
    model = make_model()
    start = weights(model)
    strategy = replace(PROGRESSIVE, ema=0.8)
    run = strategy.fit(model, task, epochs=EPOCHS)
    valid = run.history[run.history["split"] == "valid"].set_index("epoch")
    best = valid.loc[valid["loss"].idxmin()]
    for group in ("head", "block.2"):
        expected = distance(model.groups[group], start, weights(model))
        assert best[f"moved.{group}"] == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_it_is_measured_from_the_first_weights_also_after_going_on(
    task, make_model, tmp_path, assert_same_bits, monkeypatch
):
    """The model that goes on is the trained one, not a fresh one."""
    whole = PROGRESSIVE.fit(make_model(), task, epochs=EPOCHS, seed=1)
    model = make_model()

    def stop(row: dict[str, Any]) -> None:
        if row["split"] == "valid":
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    options = {"epochs": EPOCHS, "seed": 1, "checkpoint_dir": tmp_path}
    first = PROGRESSIVE.fit(model, task, tracker=stop, **options)
    assert first.interrupted
    run = PROGRESSIVE.fit(model, task, **options)
    assert_same_bits(run, whole)


def test_a_state_from_before_it_was_measured_goes_on_without(task, make_model, tmp_path):
    PROGRESSIVE.fit(make_model(), task, epochs=EPOCHS, checkpoint_dir=tmp_path)
    newest = states(tmp_path)[-1]
    tensors, facts = load_state(newest)
    kept = {k: v for k, v in tensors.items() if not k.startswith("start.")}
    for row in facts["history"]:
        for key in [key for key in row if key.startswith(MOVED)]:
            del row[key]
    facts["position"]["phase"], facts["position"]["phase_epoch"] = EPOCHS - 1, 0
    save_state(tmp_path, facts["position"]["step"] + 1, kept, facts)
    run = PROGRESSIVE.fit(make_model(), task, epochs=EPOCHS, checkpoint_dir=tmp_path)
    assert run.cost["epochs"] == EPOCHS + 1  # one more was trained, from the older state
    assert not [name for name in run.history if name.startswith(MOVED)]


def test_a_record_keeps_it(task, make_model):
    run = PROGRESSIVE.fit(make_model(), task, epochs=EPOCHS)
    again = Run.from_record(run.record())
    for name in [name for name in run.history if name.startswith(MOVED)]:
        assert again.history[name].to_numpy() == pytest.approx(
            run.history[name].to_numpy(), rel=1e-6, nan_ok=True
        )
    record = run.record()
    record["history"]["moved.head"][-1] = -0.1
    with pytest.raises(Exception, match=r"moved\.head"):
        Run.from_record(record)


def test_of_groups_cut_very_fine_the_learning_rates_are_kept(task, make_model, monkeypatch):
    """A history has 200 columns at most; here fewer."""
    strategy = ScheduledFinetune(generate="pairs", batch_size=30, lr=1e-4, patience=1)
    names = list(strategy.fit(make_model(), task, epochs=2).history)
    moved = [name for name in names if name.startswith(MOVED)]
    assert moved
    monkeypatch.setattr(result, "MAX_COLUMNS", len(HISTORY_COLUMNS) + len(moved))
    names = list(strategy.fit(make_model(), task, epochs=2).history)
    assert [name for name in names if name.startswith("learning_rate.")]
    assert not [name for name in names if name.startswith(MOVED)]


def test_what_began_at_zero_has_the_length_itself(task, make_model):
    model = make_model()
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
    run = ProgressiveUnfreeze(batch_size=8, lr=3e-3).fit(model, task, epochs=1)
    now = torch.cat([p.detach().flatten() for p in model.head.parameters()]).norm()
    assert run.history["moved.head"].iloc[-1] == pytest.approx(float(now), rel=1e-4)
