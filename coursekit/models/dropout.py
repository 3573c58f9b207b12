"""Dropout on a processor at a fraction of what torch's own takes there.

Torch draws a float for each unit, by one core, which with ChemBERTa's shape was a seventh of a
training step (``benchmarks/profile_steps.py``). Sixteen bits say as much: here one draw of 64
decides four units. The share that is dropped is then a multiple of 2**-16, and what is kept is
scaled by that very share, so that the expected value stays exact. The draws are SFC64's, twice as
fast as torch's; each time it begins at a number from torch's generator, and so goes on with a run
that is resumed.

Dropout: Srivastava et al. 2014, Journal of Machine Learning Research 15, 1929. SFC64:
Doty-Humphrey, PractRand; numpy has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

STEPS = 1 << 16
FEWEST = 1 << 14  # units; with fewer there is nothing to gain, and torch's own is called


def dropout(x: torch.Tensor, share: float) -> torch.Tensor:
    """Set units to zero at random and scale the others up.

    Args:
        x: of any shape.
        share: of units that are dropped, from 0 to 1.

    Returns:
        A new tensor of the same shape and type.
    """
    level = round(share * STEPS)
    if x.device.type != "cpu" or x.numel() < FEWEST or not 0 < level < STEPS:
        return nn.functional.dropout(x, share)
    begin = int(torch.empty((), dtype=torch.int64).random_())
    draws = np.random.SFC64(begin).random_raw(-(-x.numel() // 4)).view(np.int16)[: x.numel()]
    kept = torch.empty(x.shape, dtype=torch.int8)
    written = kept.numpy().view(np.bool_).reshape(-1)
    np.greater_equal(draws, np.int16(level - STEPS // 2), out=written)
    return _Dropped.apply(x, kept, STEPS / (STEPS - level))  # type: ignore[no-any-return]


class _Dropped(torch.autograd.Function):
    """A tensor times what is kept of it (int8, 0 or 1) times a number.

    Comparing and converting take longer than the rest where torch goes by way of its bool.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kept: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return kept.to(x.dtype).mul_(x).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return kept.to(gradients[0].dtype).mul_(gradients[0]).mul_(ctx.scale), None, None


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seen: torch.Tensor | None,
    share: float,
    scale: float | None = None,
) -> torch.Tensor:
    """Attention of which some weights are dropped.

    Torch's ``scaled_dot_product_attention`` writes all weights down as well where it drops any on
    a processor, with its own dropout.

    Args:
        query: (B, heads, T, D), as are ``key`` and ``value``.
        key: see there.
        value: see there.
        seen: True where a token may be looked at, to be broadcast to (B, heads, T, T); at least
            one for each that looks. None for everywhere.
        share: of the weights.
        scale: of the products; by default 1 over the root of D.

    Returns:
        (B, heads, T, D).
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    products = query @ (key * scale).transpose(-1, -2)  # (B, heads, T, T)
    if seen is not None:
        # Added, and not filled in: there is no gradient to be filled in too.
        products = products + torch.zeros_like(seen, dtype=query.dtype).masked_fill_(
            ~seen, -torch.inf
        )
    return dropout(products.softmax(-1), share) @ value


@contextmanager
def quick_dropout(model: nn.Module) -> Iterator[None]:
    """Inside, the model's dropout layers that are in training mode call ``dropout``.

    Args:
        model: its layers stay what they are; one that was given a ``forward`` of its own keeps it.
    """
    layers = [
        module
        for module in model.modules()
        if type(module) is nn.Dropout
        and module.training
        and not module.inplace
        and "forward" not in module.__dict__
    ]
    for layer in layers:
        layer.__dict__["forward"] = partial(dropout, share=layer.p)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]
