"""Gradient checkpointing: the same gradients in less memory, on every family."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from families import FAMILIES
from tiny import EPOCHS, STRATEGIES

from coursekit.errors import TrainingError
from coursekit.training.recompute import gradient_checkpointing
from coursekit.training.session import Session
from coursekit.training.step import gradients

FULL = STRATEGIES["full"]


def one_step(strategy, model, task, wanted):
    """Gradients of one step, and how many numbers its graphs kept for them."""
    session = Session(replace(strategy, batch_size=30), model, task, 1, 0, None, None)
    session.open_phase()
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor.detach()

    with (
        gradient_checkpointing(model, wanted),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        gradients(session, session.windows(0)[0], 30)
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return found, sum(kept)


@pytest.mark.parametrize("name", ["full", "partial", "adapters"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_the_same_with_dropout_on(name, family, task, make_model):
    """Also where the blocks below are frozen, and nothing that comes in wants a gradient."""
    strategy = STRATEGIES[name]
    plain, much = one_step(strategy, make_model(family), task, False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again, little = one_step(strategy, make_model(family), task, True)
    assert len(plain) == len(again) > 1
    for parameter, value in plain.items():
        assert torch.equal(value, again[parameter]), parameter
        assert value.abs().sum() > 0 or "lora_A" in parameter, parameter
    assert little < 0.5 * much


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_a_run_has_the_same_bits_and_leaves_it_off(strategy, task, make_model, assert_same_bits):
    runs = []
    for wanted in (False, True):
        model = make_model()
        cached = model.encoder.config.use_cache
        chosen = replace(strategy, gradient_checkpointing=wanted)
        runs.append(chosen.fit(model, task, epochs=EPOCHS))
        assert not any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
        assert model.encoder.config.use_cache is cached
    assert_same_bits(*runs)


def test_it_is_off_after_an_error_and_stays_where_it_was_on(make_model):
    model = make_model()

    def flags():
        return {block.gradient_checkpointing for block in model.blocks}

    def work():
        assert flags() == {True}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), gradient_checkpointing(model, True):
        work()
    assert flags() == {False}
    with gradient_checkpointing(model, True):
        with gradient_checkpointing(model, True):
            pass
        assert flags() == {True}  # whoever had it on, keeps it
    assert flags() == {False}


def test_an_encoder_that_cannot_says_so_before_anything_trains(task, make_model, weights):
    model = make_model()
    before = weights(model)
    model.encoder.supports_gradient_checkpointing = False
    words = r"gradient_checkpointing is True, but BertModel \(bert\) does not support it.*lower"
    with pytest.raises(TrainingError, match=words):
        replace(STRATEGIES["adapters"], gradient_checkpointing=True).fit(model, task, epochs=1)
    assert set(weights(model)) == set(before)  # not even adapters were put in
    assert model.fitted == []


@pytest.mark.parametrize("wanted", [1, "yes", None])
def test_a_wish_that_is_none(wanted):
    with pytest.raises(TrainingError, match=r"gradient_checkpointing is .*; True or False"):
        replace(FULL, gradient_checkpointing=wanted)
