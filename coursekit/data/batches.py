"""Tokens without padding, and batches of molecules of like length.

A batch costs what its longest molecule costs. There are two ways around that. Pretraining has
batches enough to sort within large shuffled chunks and to shuffle the batches afterwards
(``bucketed_batches``). Fine-tuning has few steps, and each should speak for all lengths: its steps
take random molecules (``random_windows``), and it is within a step that molecules of like length
come together, as groups of a packed pass (``groups_of_like_length``) or, where an encoder cannot be
packed, as passes of their own (``passes``). The gradient stays that of the random batch. What each
way costs on a processor is measured in ``benchmarks/steps.py``; who wants the first in fine-tuning
sets ``group_by_length``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from coursekit.errors import EncoderError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

CHUNK_OF_BATCHES = 16
PORTION = 4096


def encode(
    tokenizer: PreTrainedTokenizerFast, smiles: Sequence[str], max_tokens: int | None = None
) -> list[np.ndarray]:
    """Turn SMILES into token ids, ragged, special tokens included.

    Args:
        tokenizer: any Hugging Face tokenizer.
        smiles: N strings.
        max_tokens: longer inputs are cut, with one warning that counts them; the tokenizer's own
            limit by default.

    Returns:
        N int64 arrays, each as long as its molecule.

    Raises:
        EncoderError: if the tokenizer knows none of a molecule's characters, or if something is
            no string.
    """
    smiles = _strings(smiles)
    limit = min(max_tokens or 10**6, tokenizer.model_max_length)
    encoded: list[list[int]] = []
    # In portions: the tokenizer's own result takes about 8 kB a molecule until it is let go.
    for start in range(0, len(smiles), PORTION):
        portion = smiles[start : start + PORTION]
        encoded += tokenizer(portion, return_attention_mask=False, verbose=False)["input_ids"]
    long = [i for i, ids in enumerate(encoded) if len(ids) > limit]
    if long:
        warnings.warn(
            f"{len(long)} of {len(encoded)} molecules have more than {limit} tokens and are cut, "
            f"the first: {smiles[long[0]]}",
            stacklevel=2,
        )
        cut = tokenizer(
            [smiles[i] for i in long],
            truncation=True,
            max_length=limit,
            return_attention_mask=False,
        )["input_ids"]
        for i, ids in zip(long, cut, strict=True):
            encoded[i] = ids
    _check_known(tokenizer, smiles, encoded)
    return [np.asarray(ids, dtype=np.int64) for ids in encoded]


def _strings(smiles: Sequence[str]) -> list[str]:
    if isinstance(smiles, str):
        raise EncoderError(
            f"encode: a list of SMILES is expected, not one string; give [{smiles!r}]"
        )
    smiles = list(smiles)
    wrong = next((i for i, s in enumerate(smiles) if not isinstance(s, str)), None)
    if wrong is not None:
        raise EncoderError(f"encode: molecule {wrong} is {smiles[wrong]!r}; a SMILES is expected")
    return smiles


def _check_known(
    tokenizer: PreTrainedTokenizerFast, smiles: Sequence[str], encoded: list[list[int]]
) -> None:
    unknown = tokenizer.unk_token_id
    strange = [i for i, ids in enumerate(encoded) if unknown is not None and unknown in ids]
    special = set(tokenizer.all_special_ids)
    for i in strange:
        if set(encoded[i]) <= special:
            raise EncoderError(
                f"encode: the tokenizer knows nothing in {smiles[i]!r}; is it made for SMILES?"
            )
    if strange:
        warnings.warn(
            f"{len(strange)} of {len(encoded)} molecules have atoms that the tokenizer does not "
            f"know and the encoder cannot tell apart, the first: {smiles[strange[0]]}",
            stacklevel=3,
        )


def bucketed_batches(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Group molecules of like length.

    Args:
        lengths: tokens per molecule, shape (N,).
        batch_size: molecules in a batch; the last one may be smaller, none is dropped.
        rng: shuffles; without it molecules come sorted by length, longest first, as suits
            evaluation (the largest batch meets the memory limit at once).

    Returns:
        Arrays of molecule positions; together a permutation of ``range(N)``.
    """
    if rng is None:
        order = np.argsort(-lengths, kind="stable")
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    order = rng.permutation(len(lengths))
    batches: list[np.ndarray] = []
    chunk = batch_size * CHUNK_OF_BATCHES
    for start in range(0, len(order), chunk):
        part = order[start : start + chunk]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def random_windows(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Positions of ``n`` molecules in random order, ``size`` at a time; the last may be fewer."""
    order = rng.permutation(n)
    return [order[i : i + size] for i in range(0, n, size)]


def passes(
    rows: np.ndarray,
    lengths: np.ndarray,
    largest: int,
    tokens: int | None = None,
    padded: bool = True,
) -> list[np.ndarray]:
    """Divide molecules into forward passes of like length, longest first.

    Args:
        rows: positions of the molecules.
        lengths: tokens per molecule, shape (N,), for all positions.
        largest: molecules in one pass at most.
        tokens: in one pass at most, though never less than one molecule.
        padded: whether each molecule counts as many tokens as the longest of its pass.

    Returns:
        Arrays of positions; together a permutation of ``rows``.
    """
    rows = rows[np.argsort(-lengths[rows], kind="stable")]
    found = []
    start = 0
    while start < len(rows):
        each = lengths[rows[start : start + largest]]
        fit = len(each)
        if tokens is not None:
            taken = np.cumsum(np.full_like(each, each[0]) if padded else each)
            fit = max(1, int(np.searchsorted(taken, tokens, side="right")))
        found.append(rows[start : start + fit])
        start += fit
    return found


def groups_of_like_length(lengths: np.ndarray, overhead: int) -> list[np.ndarray]:
    """Divide molecules into groups, each padded to its longest, at the least cost.

    Args:
        lengths: tokens per molecule, shape (N,).
        overhead: what a group costs beside its tokens, in tokens.

    Returns:
        Arrays of positions, longest first; together a permutation of ``range(N)``. No other
        division has fewer tokens, padding and overhead included.
    """
    order = np.argsort(-lengths, kind="stable")
    longest = lengths[order]
    many = len(order)
    # Cost of the longest k molecules, and where the last group of these begins.
    cost, begins = np.zeros(many + 1, dtype=np.int64), np.zeros(many + 1, dtype=np.int64)
    for end in range(1, many + 1):
        each = cost[:end] + (end - np.arange(end)) * longest[:end]
        begins[end] = each.argmin()
        cost[end] = each[begins[end]] + overhead
    found: list[np.ndarray] = []
    while many:
        found.append(order[begins[many] : many])
        many = int(begins[many])
    return found[::-1]


def pad(
    tokens: Sequence[np.ndarray], pad_id: int, width: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad to the longest of the batch, and no further if not told to.

    Args:
        tokens: token ids of B molecules.
        pad_id: stands behind the shorter ones.
        width: tokens that T is at least.

    Returns:
        Token ids (B, T) and attention mask (B, T), both int64.
    """
    import torch

    shape = len(tokens), max(width, *(len(ids) for ids in tokens))
    ids = np.full(shape, pad_id, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    for row, molecule in enumerate(tokens):
        ids[row, : len(molecule)] = molecule
        mask[row, : len(molecule)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)
