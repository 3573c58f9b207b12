"""Dropout on a processor at a third of what torch's own takes there.

Torch draws a float for each unit, by one core, which with ChemBERTa's shape was a seventh of a
training step (``benchmarks/profile_steps.py``). Sixteen bits say as much: here one draw of 64
decides four units. The share that is dropped is then a multiple of 2**-16, and what is kept is
scaled by that very share, so that the expected value stays exact. The numbers come from torch's
generator, and so go on with a run that is resumed.

Dropout: Srivastava et al. 2014, Journal of Machine Learning Research 15, 1929.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

STEPS = 1 << 16
LOWEST = torch.iinfo(torch.int64).min
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
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(LOWEST, None)
    kept = draws.view(torch.int16)[: x.numel()] >= level - STEPS // 2
    # The backward pass needs the one byte a unit of ``kept``, where torch's own keeps four.
    return x.mul(kept.view(x.shape)) * (STEPS / (STEPS - level))


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
    products = (query * scale) @ key.transpose(-1, -2)  # (B, heads, T, T)
    if seen is not None:
        products = products.masked_fill_(~seen, -torch.inf)
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
