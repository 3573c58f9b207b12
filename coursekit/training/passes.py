"""What goes through the model at once: steps of an epoch, their forward passes, and one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from coursekit.data.batches import (
    bucketed_batches,
    groups_of_like_length,
    pad,
    passes,
    random_windows,
)
from coursekit.models.packed import Group, pool_packed

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier
    from coursekit.training.prefix import Below
    from coursekit.training.strategy import FinetuneStrategy

# In one pass on a processor; a GPU wants the whole batch at once. Measured on encoders 128 and 384
# wide, and from 256 tokens on where small passes are what saves padding.
PASS_TOKENS = {"cpu": 2560}
PADDED_TOKENS = {"cpu": 768}
# What one more group costs attention in a packed pass, in tokens; measured best of 10 to 60.
GROUP_TOKENS = 20


def steps_of_an_epoch(
    strategy: FinetuneStrategy, lengths: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Positions of the molecules that each optimizer step of an epoch learns from.

    Args:
        strategy: its batch size, and how many batches make a step.
        lengths: of the molecules (N,); looked at where batches are grouped by them.
        rng: shuffles.
    """
    size, some = strategy.batch_size, strategy.accumulate
    if not strategy.group_by_length:
        return random_windows(len(lengths), size * some, rng)
    batches = bucketed_batches(lengths, size, rng)
    return [np.concatenate(batches[i : i + some]) for i in range(0, len(batches), some)]


def passes_of_a_step(
    strategy: FinetuneStrategy,
    rows: np.ndarray,
    lengths: np.ndarray,
    device: torch.device,
    packed: bool,
) -> list[np.ndarray]:
    """Divide the molecules of a step into forward passes.

    Args:
        strategy: its batch size is the most that one pass holds.
        rows: positions of the molecules.
        lengths: tokens of each molecule (N,), for all positions.
        device: that they run on.
        packed: whether they are packed, or padded to the longest of their pass.

    Returns:
        Arrays of positions, those of like length together.
    """
    small = not packed and not strategy.group_by_length  # so that little is padding
    tokens = (PADDED_TOKENS if small else PASS_TOKENS).get(device.type)
    return passes(rows, lengths, strategy.batch_size, tokens, padded=not packed)


def pool_rows(
    model: Classifier,
    tokens: Sequence[np.ndarray],
    rows: np.ndarray,
    below: Below,
    first: int | None,
) -> torch.Tensor:
    """Pooled vectors of some molecules, in one pass.

    Args:
        model: of width H.
        tokens: token ids, molecule by molecule.
        rows: B positions.
        below: what is known of ``tokens``.
        first: see ``coursekit.models.packed.first_position``; None pads them.

    Returns:
        (B, H), in the order of ``rows``.
    """
    if first is None:
        return model.pool(*model.batch([tokens[i] for i in rows]), below.start(rows, model.device))

    def group(rows: np.ndarray) -> Group:
        ids, mask = pad([tokens[i] for i in rows], model.tokenizer.pad_token_id)
        return Group(ids, mask, below.start(rows, model.device))  # on a processor

    parts = groups_of_like_length(np.array([len(tokens[i]) for i in rows]), GROUP_TOKENS)
    vectors = pool_packed(model, [group(rows[part]) for part in parts], first)
    return vectors[torch.from_numpy(np.argsort(np.concatenate(parts)))]
