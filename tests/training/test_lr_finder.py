"""The learning-rate finder: what it leaves alone, what it does at each step, what it suggests."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import STRATEGIES

from coursekit.errors import TrainingError
from coursekit.training import lr_finder
from coursekit.training.lr_finder import LearningRateSweep, find_learning_rate, steepest

ALL = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
SHORT = {"steps": 20, "sweeps": 1}
FULL = STRATEGIES["full"]


@ALL
def test_the_model_and_the_random_numbers_stay(strategy, task, make_model, weights):
    model = make_model()
    model.train()
    before, groups = weights(model), dict(model.groups)
    torch.manual_seed(4)
    random = torch.get_rng_state()
    found = find_learning_rate(strategy, model, task, **SHORT)
    assert len(found.table) > 5
    assert torch.equal(torch.get_rng_state(), random)
    after = weights(model)
    assert set(after) == set(before)  # no adapters either
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert model.groups == groups
    assert model.fitted == []
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert not any(getattr(m, "gradient_checkpointing", False) for m in model.modules())


@ALL
def test_the_rates_rise_in_the_plans_proportions(strategy, task, make_model, monkeypatch):
    """All that the strategy ever trains takes part, at rates that keep their ratios."""
    taken: list[dict[str, float]] = []
    real = lr_finder.step

    def watch(session, window):
        taken.append({g["name"]: g["lr"] for g in session.optimizer.param_groups})
        return real(session, window)

    monkeypatch.setattr(lr_finder, "step", watch)
    model = make_model()
    found = find_learning_rate(strategy, model, task, 1e-6, 1e-3, **SHORT)
    assert found.table["learning_rate"].to_numpy() == pytest.approx(np.geomspace(1e-6, 1e-3, 20))
    plan = strategy.plan(model, epochs=99)
    last = max(
        (phase.learning_rates for phase in plan.phases),
        key=lambda rates: sum(plan.parameters[group] for group in rates),
    )
    for rates, top in zip(taken, found.table["learning_rate"], strict=True):
        assert {name for name, rate in rates.items() if rate} == set(last)
        assert max(rates.values()) == pytest.approx(top)
        for name, rate in last.items():
            assert rates[name] / top == pytest.approx(rate / max(last.values()))


def test_a_step_is_the_loops_step(task, make_model):
    """At a constant rate, the losses are those of a run."""
    rate = 1e-3
    strategy = replace(FULL, lr=rate, warmup=0, decay="constant")
    run = strategy.fit(make_model(), task, epochs=5, seed=7)
    constant = find_learning_rate(
        strategy, make_model(), task, rate, rate * (1 + 1e-9), steps=20, sweeps=1, seed=7
    )
    trained = run.history[run.history["split"] == "train"]
    # Validation between the epochs draws no random numbers.
    assert constant.table["loss"].to_numpy() == pytest.approx(trained["loss"].to_numpy(), abs=1e-5)


def test_a_seed_is_the_same_sweep_and_each_sweep_another(task, make_model):
    one, other = (
        find_learning_rate(FULL, make_model(), task, steps=20, sweeps=2, seed=1) for _ in range(2)
    )
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    first, second = (rows["loss"].to_numpy() for _, rows in one.table.groupby("sweep"))
    assert not np.allclose(first[:10], second[:10])
    assert len(one.suggestions) == 2


def test_it_stops_where_it_diverges(task, make_model):
    found = find_learning_rate(FULL, make_model(), task, 1e-6, 1e4, steps=60, sweeps=1)
    smoothed = found.table["smoothed"]
    assert len(smoothed) < 60
    bound = lr_finder.DIVERGED * smoothed[:6].max()
    assert (smoothed.iloc[:-1] <= bound).all()
    assert smoothed.iloc[-1] > bound


def test_a_loss_that_is_no_number_ends_the_sweep(task, make_model, monkeypatch):
    real, count = lr_finder.step, []

    def spoiled(session, window):
        count.append(1)
        losses = real(session, window)
        return losses | {"loss": losses["loss"] * (math.nan if len(count) % 20 == 12 else 1)}

    monkeypatch.setattr(lr_finder, "step", spoiled)
    found = find_learning_rate(FULL, make_model(), task, 1e-6, 1e-4, **SHORT)
    assert len(found.table) == 11
    assert np.isfinite(found.table["loss"]).all()


def test_the_loss_is_smoothed_without_bias(task, make_model):
    table = find_learning_rate(FULL, make_model(), task, **SHORT).table
    average = 0.0
    for n, (loss, smoothed) in enumerate(zip(table["loss"], table["smoothed"], strict=True), 1):
        average = 0.9 * average + 0.1 * loss
        assert smoothed == pytest.approx(average / (1 - 0.9**n))


# ---------------------------------------------------------------- what is suggested

RATES = np.geomspace(1e-6, 1, 120)


def curve(loss, noise=0.0):
    drawn = np.random.default_rng(0).normal(0, noise, len(RATES)) if noise else 0.0
    losses = pd.Series(loss(np.log10(RATES)) + drawn)
    return pd.Series(RATES), losses, losses.ewm(alpha=0.1).mean() if noise else losses


@pytest.mark.parametrize("center", [-4.5, -3, -1.5])
def test_the_steepest_place_in_closed_form(center):
    """A logistic fall is steepest at its center; the rise beyond the minimum plays no part."""

    def loss(x):
        fall = 0.7 - 0.3 / (1 + np.exp(-4 * (x - center)))
        return fall + 10 * np.clip(x - center - 1.2, 0, None) ** 2

    assert np.log10(steepest(*curve(loss))) == pytest.approx(center, abs=0.06)
    assert np.log10(steepest(*curve(loss, 0.02))) == pytest.approx(center, abs=0.6)


@pytest.mark.parametrize(
    "loss", [lambda x: 0.7 + 0 * x, lambda x: 0.7 + np.exp(x), lambda x: 0.7 - 1e-3 * (x > -3)]
)
def test_where_it_does_not_fall_nothing_is_suggested(loss):
    assert math.isnan(steepest(*curve(loss, 0.03)))


def sweep(*suggestions):
    table = pd.DataFrame(
        {
            "sweep": np.repeat(range(len(suggestions)), 2),
            "learning_rate": [1e-5, 1e-1] * len(suggestions),
            "loss": [0.7, 0.6] * len(suggestions),
            "smoothed": [0.7, 0.65] * len(suggestions),
        }
    )
    return LearningRateSweep(table, suggestions, "FullFinetune")


def test_what_it_says():
    agreed = sweep(1e-4, 1e-3, math.nan)
    assert agreed.suggestion == pytest.approx(10**-3.5)
    assert agreed.span == (1e-4, 1e-3)
    assert "falls fastest at lr=3.2e-04 (from 1.0e-04 to 1.0e-03 in 3 sweeps)" in str(agreed)
    assert "rough hint" not in str(agreed)
    assert "disagree by more than a factor of 10" in str(sweep(1e-5, 1e-3))
    nothing = sweep(1e-4, math.nan)
    assert nothing.suggestion is None
    assert nothing.span is None
    assert "nothing is suggested" in str(nothing)


@pytest.mark.parametrize("found", [sweep(1e-4, 1e-3), sweep(math.nan)])
def test_its_picture_is_described(found):
    picture = found.plot()
    assert f"{len(found.suggestions)} sweeps. Sweep 0: from 0.700 down to 0.650" in picture.alt
    marked = "Marked: 3.2e-04" if found.suggestion else "Nothing is marked"
    assert marked in picture.alt
    html = found._repr_html_()
    assert "<img alt=" in html
    assert str(found)[:30] in html


def test_the_suggested_rate_learns(task, make_model):
    """Better than a hundredth of it and than a hundred times it, after two epochs."""
    found = find_learning_rate(FULL, make_model(pooling="mean"), task, steps=60, sweeps=2)
    assert found.suggestion is not None
    losses = {}
    for share in (0.01, 1, 100):
        strategy = replace(FULL, lr=share * found.suggestion)
        run = strategy.fit(make_model(pooling="mean"), task, epochs=4)
        losses[share] = run.history.query("split == 'valid'")["loss"].iloc[-1]
    assert losses[1] < min(losses[0.01], losses[100])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lowest": 0}, "lowest is 0 and highest 1.0; two positive numbers, the lower first"),
        ({"lowest": 1e-2, "highest": 1e-3}, "lowest is 0.01 and highest 0.001"),
        ({"highest": math.inf}, "highest inf"),
        ({"steps": 5}, "5 steps in 3 sweeps; at least 20 steps"),
        ({"sweeps": 0}, "80 steps in 0 sweeps"),
    ],
)
def test_a_range_that_is_none(arguments, words, task, make_model):
    with pytest.raises(TrainingError, match=f"find_learning_rate: .*{words}"):
        find_learning_rate(FULL, make_model(), task, **arguments)
