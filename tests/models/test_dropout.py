"""Dropout out of sixteen bits a unit: as often, as independent and as exact as torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from families import small_classifier
from torch import nn

from coursekit.models.dropout import FEWEST, STEPS, attention, dropout, quick_dropout

MANY = 1 << 20
LANES = 4  # units that one draw decides


def kept(share: float, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return dropout(torch.ones(MANY), share) > 0


def within_chance(found: float, expected: float, numbers: int) -> bool:
    return abs(found - expected) < 5 * math.sqrt(expected * (1 - expected) / numbers)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.144, 0.5, 0.9])
def test_as_many_are_dropped_as_are_asked_for(share: float) -> None:
    for lane in kept(share).view(-1, LANES).T:
        assert within_chance(float(lane.float().mean()), 1 - share, MANY // LANES)


def test_units_of_one_draw_do_not_know_of_each_other() -> None:
    lanes = kept(0.3).view(-1, LANES).T
    for first in range(LANES):
        for second in range(first):
            both = float((lanes[first] & lanes[second]).float().mean())
            assert within_chance(both, 0.7**2, MANY // LANES)
    following = float((lanes[0][1:] & lanes[0][:-1]).float().mean())
    assert within_chance(following, 0.7**2, MANY // LANES)


def test_what_is_kept_is_scaled_by_the_share_that_is_really_dropped() -> None:
    """0.1 is no multiple of 2**-16; the expected value is exact all the same."""
    x = torch.linspace(-2, 2, FEWEST, requires_grad=True)
    out = dropout(x, 0.1)
    there = out != 0
    scale = STEPS / (STEPS - round(0.1 * STEPS))
    assert scale != 1 / 0.9
    assert torch.equal(out[there], x[there] * scale)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, there * scale)


def test_the_seed_decides() -> None:
    assert torch.equal(kept(0.2, seed=3), kept(0.2, seed=3))
    assert not torch.equal(kept(0.2, seed=3), kept(0.2, seed=4))


@pytest.mark.parametrize("units", [FEWEST, FEWEST + 1, FEWEST + 3])
def test_any_shape_and_any_number_of_units(units: int) -> None:
    x = torch.ones(2, units).T
    assert dropout(x, 0.5).shape == x.shape
    assert 0.45 < float(dropout(x, 0.5).bool().float().mean()) < 0.55


@pytest.mark.parametrize(("units", "share"), [(FEWEST - 1, 0.5), (FEWEST, 0.0), (FEWEST, 1.0)])
def test_torch_does_what_is_not_worth_it(units: int, share: float) -> None:
    torch.manual_seed(0)
    expected = nn.functional.dropout(torch.ones(units), share)
    torch.manual_seed(0)
    assert torch.equal(dropout(torch.ones(units), share), expected)


def test_half_precision_stays_half() -> None:
    assert dropout(torch.ones(FEWEST, dtype=torch.bfloat16), 0.1).dtype == torch.bfloat16


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs_where_nothing_is_dropped(masked: bool, scale: float | None) -> None:
    torch.manual_seed(0)
    parts = [torch.randn(3, 2, 7, 5, requires_grad=True) for _ in range(3)]
    seen = torch.arange(7) < torch.tensor([7, 4, 2])[:, None, None, None] if masked else None
    found = attention(*parts, seen, 0.0, scale)
    expected = nn.functional.scaled_dot_product_attention(*parts, seen, scale=scale)
    assert torch.allclose(found, expected, atol=1e-6)
    weights = torch.randn_like(found)
    for own, other in zip(
        torch.autograd.grad((found * weights).sum(), parts),
        torch.autograd.grad((expected * weights).sum(), parts),
        strict=True,
    ):
        assert torch.allclose(own, other, atol=1e-5)


def test_attention_weights_are_dropped() -> None:
    """With the one as value, an output is the sum of the weights that are left, scaled."""
    query, key = torch.randn(8, 4, 40, 8), torch.randn(8, 4, 40, 8)
    sums = attention(query, key, torch.ones_like(key), None, 0.25)
    assert sums.std() > 0.05
    assert abs(float(sums.mean()) - 1) < 0.02


def test_a_models_layers_are_quick_inside_and_themselves_after() -> None:
    model = small_classifier("bert").train()
    model.open_groups(["head", "block.2"])
    model.train()
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Dropout)}
    with quick_dropout(model):
        quick = {name for name, layer in layers.items() if "forward" in vars(layer)}
        assert quick == {name for name, layer in layers.items() if layer.training}
        assert 0 < len(quick) < len(layers)
        x = torch.ones(FEWEST)
        for name, layer in layers.items():
            torch.manual_seed(0)
            expected = dropout(x, layer.p) if name in quick else x
            torch.manual_seed(0)
            assert torch.equal(layer(x), expected)
    assert not any("forward" in vars(layer) for layer in layers.values())


def test_a_layer_with_a_forward_of_its_own_keeps_it() -> None:
    layer = nn.Dropout(0.5)
    layer.forward = lambda x: x * 2  # type: ignore[method-assign]
    with quick_dropout(layer):
        assert torch.equal(layer(torch.ones(FEWEST)), torch.full((FEWEST,), 2.0))
    assert torch.equal(layer(torch.ones(FEWEST)), torch.full((FEWEST,), 2.0))
