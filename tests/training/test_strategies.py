from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import STRATEGIES

from coursekit.errors import TrainingError
from coursekit.training import (
    FinetuneStrategy,
    FullFinetune,
    HeadOnlyFinetune,
    Phase,
    ProgressiveUnfreeze,
    rebuild,
)
from coursekit.training.strategies import layered


class SixBlocks:
    """All that a plan asks of a model."""

    groups = dict.fromkeys(["embeddings", *(f"block.{i}" for i in range(6)), "head"], ())

    def count(self, names):
        return len(list(names))


MODEL = SixBlocks()


def test_head_only_trains_the_head():
    (phase,) = HeadOnlyFinetune(lr=0.1, patience=2).plan(MODEL, 7).phases
    assert (dict(phase.learning_rates), phase.epochs, phase.patience) == ({"head": 0.1}, 7, 2)


def test_layer_wise_decay_in_closed_form():
    (phase,) = FullFinetune(lr=1e-3, layer_lr_decay=0.5).plan(MODEL, 4).phases
    powers = {"head": 0, "block.5": 0, "block.4": 1, "block.3": 2, "block.0": 5, "embeddings": 6}
    assert len(phase.learning_rates) == 8
    for group, power in powers.items():
        assert phase.learning_rates[group] == pytest.approx(1e-3 * 0.5**power)
    (flat,) = FullFinetune(lr=1e-3, layer_lr_decay=1.0).plan(MODEL, 4).phases
    assert set(flat.learning_rates.values()) == {1e-3}


def test_progressive_opens_from_the_top():
    plan = ProgressiveUnfreeze(lr=1e-3, unfreeze_every=2, block_lr_scale=0.5).plan(MODEL, 20)
    names = list(MODEL.groups)
    assert [list(phase.learning_rates) for phase in plan.phases] == [
        names[-1 - opened :] for opened in range(8)
    ]
    assert [phase.epochs for phase in plan.phases] == [2] * 7 + [6]
    # A group has the same peak in every phase, and decays as in FullFinetune.
    rates = layered(names, 1e-3, 0.5)
    assert all(rates[g] == r for phase in plan.phases for g, r in phase.learning_rates.items())


@given(st.integers(1, 40), st.integers(1, 9), st.none() | st.integers(0, 9))
def test_progressive_takes_exactly_the_epochs_asked_for(epochs, every, most):
    plan = ProgressiveUnfreeze(unfreeze_every=every, max_unfrozen=most).plan(MODEL, epochs)
    assert sum(phase.epochs for phase in plan.phases) == epochs
    assert all(phase.epochs == every for phase in plan.phases[:-1])
    opened = [set(phase.learning_rates) for phase in plan.phases]
    assert all(len(b) == len(a) + 1 and a < b for a, b in pairwise(opened))
    blocks = {group for group in opened[-1] if group.startswith("block.")}
    if most is not None:
        assert len(blocks) <= most
        assert "embeddings" not in opened[-1]


def test_only_the_last_phase_of_progressive_waits_for_patience():
    plan = ProgressiveUnfreeze(patience=3).plan(MODEL, 12)
    assert [phase.patience for phase in plan.phases] == [None] * 7 + [3]


@pytest.mark.parametrize("epochs", [0, -3])
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_no_epochs(strategy, epochs, make_model):
    with pytest.raises(TrainingError, match=f"epochs is {epochs}; at least 1"):
        strategy.plan(make_model(), epochs)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lr": 0}, "lr is 0; a positive number"),
        ({"lr": float("nan")}, "lr is nan; a positive"),
        ({"lr": "3e-4"}, "lr is '3e-4'; a positive"),
        ({"clip": float("inf")}, "clip is inf; a positive"),
        ({"batch_size": 0}, "batch_size is 0; a whole number from 1 on"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; 0 or a positive"),
        ({"warmup": -1}, "warmup is -1"),
        ({"decay": "exponential"}, "decay is 'exponential'; one of linear, cosine, constant"),
        ({"monitor": "accuracy"}, "monitor is 'accuracy'; one of loss, auroc_easy"),
        ({"monitor": ["loss"]}, "monitor is"),
        ({"precision": "fp8"}, "precision is 'fp8'; one of auto, fp32"),
        ({"unfreeze_every": 0}, "unfreeze_every is 0; a whole number from 1 on"),
        ({"max_unfrozen": -1}, "max_unfrozen is -1; None, or a whole number from 0 on"),
    ],
)
def test_a_bad_setting_is_named_at_once(arguments, words):
    with pytest.raises(TrainingError, match=f"^ProgressiveUnfreeze: {words}"):
        ProgressiveUnfreeze(**arguments)


# ---------------------------------------------------------------- described and made again

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.floats(1e-6, 1),
        "batch_size": st.integers(1, 512),
        "accumulate": st.integers(1, 8),
        "decay": st.sampled_from(["linear", "cosine", "constant"]),
        "patience": st.none() | st.integers(1, 9),
        "monitor": st.sampled_from(["loss", "auroc_hard"]),
    },
)


@settings(max_examples=30)
@given(st.sampled_from([HeadOnlyFinetune, FullFinetune, ProgressiveUnfreeze]), SETTINGS)
def test_a_strategy_is_rebuilt_from_its_description(cls, arguments):
    strategy = cls(**arguments)
    assert rebuild(strategy.describe()) == strategy
    assert strategy.describe()["strategy"] == cls.__name__


def test_a_strategy_of_ones_own_is_rebuilt_with_its_own_settings():
    @dataclass(frozen=True, kw_only=True)
    class Chosen(FinetuneStrategy):
        groups: tuple[str, ...] = ("head",)
        share: dict[str, float] = field(default_factory=dict)

        def phases(self, model, epochs):
            return [Phase(dict.fromkeys(self.groups, self.lr), epochs)]

    chosen = Chosen(groups=("block.5", "head"), share={"a": 0.5}, lr=0.25)
    assert rebuild(chosen.describe()) == chosen
    (phase,) = chosen.plan(MODEL, 3).phases
    assert dict(phase.learning_rates) == {"block.5": 0.25, "head": 0.25}


def test_what_cannot_be_rebuilt():
    with pytest.raises(TrainingError, match=r"no strategy 'Nobody'; known are \["):
        rebuild({"strategy": "Nobody"})
    with pytest.raises(TrainingError, match="no strategy None"):
        rebuild({})
    with pytest.raises(TrainingError, match=r"FullFinetune has no argument \['momentum'\]"):
        rebuild({"strategy": "FullFinetune", "momentum": 0.9})


def test_a_strategy_without_phases_says_what_is_missing():
    class Empty(FinetuneStrategy):
        pass

    with pytest.raises(TrainingError, match="Empty has no phases"):
        Empty().plan(MODEL, 3)
