"""Resampling of molecules within each class, and both metrics of all resamples at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CLASSES = ("binder", "easy", "hard")
_BLOCK_CELLS = 2_000_000  # resamples x molecules held at once: about 100 MB of work space


def bootstrap(pair: Mapping[str, Floats], n_boot: int, seed: int) -> tuple[Floats, Floats]:
    """Scores of ``n_boot`` resamples, drawn within the binders and within the negatives.

    Args:
        pair: scores of the binders and of one kind of negatives, by class name.
        n_boot: how many resamples.
        seed: seed of the draws.

    Returns:
        AUROC (n_boot,) and average precision (n_boot,).
    """
    # One stream per class: easy and hard scores share the drawn binders, and any two runs on the
    # same molecules share every draw.
    generators = [np.random.default_rng([seed, CLASSES.index(name)]) for name in pair]
    binders, negatives = pair.values()
    found = [
        replicates(binders, negatives, *counts)
        for counts in draws([len(binders), len(negatives)], n_boot, generators)
    ]
    auroc, average_precision = zip(*found, strict=True)
    return np.concatenate(auroc), np.concatenate(average_precision)


def draws(
    sizes: Sequence[int], n_boot: int, generators: Sequence[np.random.Generator]
) -> Iterator[list[npt.NDArray]]:
    """How often each molecule of each class is drawn, in blocks of (resamples, molecules)."""
    block = max(1, _BLOCK_CELLS // sum(sizes))
    for start in range(0, n_boot, block):
        rows = min(block, n_boot - start)
        counts = []
        for size, generator in zip(sizes, generators, strict=True):
            drawn = generator.integers(0, size, size=(rows, size))
            drawn += size * np.arange(rows)[:, None]  # one bin per resample and molecule
            counts.append(np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size))
        yield counts


def replicates(
    binders: Floats, negatives: Floats, binder_counts: npt.NDArray, negative_counts: npt.NDArray
) -> tuple[Floats, Floats]:
    """AUROC and average precision of many resamples at once, exactly as scikit-learn's.

    A resample is given by how often it holds each molecule, so the scores are sorted once for all
    resamples, and both metrics are sums along the sorted molecules. Equal scores form one
    threshold: the trapezoid of the ROC curve then counts ties as one half, and the steps of the
    precision-recall curve treat them as one, which is what scikit-learn does.

    Args:
        binders: scores (P,).
        negatives: scores (N,).
        binder_counts: how often each binder was drawn, (B, P).
        negative_counts: how often each negative was drawn, (B, N).

    Returns:
        AUROC (B,) and average precision (B,).
    """
    scores = np.concatenate([binders, negatives])
    order = np.argsort(-scores, kind="stable")
    thresholds = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    counts = np.hstack([binder_counts, negative_counts])[:, order].astype(np.int64)  # (B, P + N)
    is_binder = order < len(binders)
    true = np.cumsum(counts * is_binder, axis=1)[:, thresholds].astype(np.float64)  # (B, T)
    false = np.cumsum(counts * ~is_binder, axis=1)[:, thresholds].astype(np.float64)
    new_true, new_false = np.diff(true, prepend=0.0), np.diff(false, prepend=0.0)
    n_true, n_false = true[:, -1], false[:, -1]
    auroc = (new_false * (true - new_true / 2)).sum(axis=1) / (n_true * n_false)
    # Before the first drawn molecule there is nothing to be precise about, and no step either.
    precision = true / np.maximum(true + false, 1.0)
    average_precision = (new_true * precision).sum(axis=1) / n_true
    return auroc, average_precision
