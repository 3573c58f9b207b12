"""Take as many binders, easy and hard negatives as balance and the stated mix of kinds allow."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor

import pandas as pd

from coursekit.data.nearest import Pool

HARD_KINDS = ("disynthon", "similarity", "matrix")
"""Kinds of hard negative, in the order in which they fill in for each other."""

EASY_KINDS = ("easy", "enumerated")
"""Kinds of easy negative: out of the file, and where it has too few, out of the library."""

Frames = dict[str, pd.DataFrame]


def choose(
    binders: pd.DataFrame,
    pools: Mapping[str, Pool],
    shares: Mapping[str, float],
    negatives_per_binder: float,
) -> Frames:
    """Choose molecules of every kind.

    Args:
        binders: the binders drawn, in random order.
        pools: kind of negative -> where to take it from.
        shares: kind of hard negative -> its part of all hard negatives.
        negatives_per_binder: easy negatives for each binder, and as many hard ones.

    Returns:
        ``"binder"`` and every kind in ``pools`` -> molecules chosen. There are no binders among
        them only where there are too few negatives for a single one; then everything that could
        have been taken is in the other kinds.
    """
    wanted = round(negatives_per_binder * len(binders))
    easy: Frames = {}
    for kind in EASY_KINDS:
        easy[kind] = pools[kind].take(wanted - _count(easy))
    hard = {kind: pools[kind].take(floor(shares[kind] * wanted)) for kind in HARD_KINDS}
    for kind in HARD_KINDS:
        more = pools[kind].take(wanted - _count(hard))
        if len(more):
            hard[kind] = pd.concat([hard[kind], more])
    most = min(_count(easy) // negatives_per_binder, _count(hard) // negatives_per_binder)
    n_binders = int(min(len(binders), most))
    n_negatives = round(negatives_per_binder * n_binders)
    if n_negatives == 0:
        return {"binder": binders.head(0), **easy, **hard}
    chosen = {"binder": binders.head(n_binders)}
    for kind in EASY_KINDS:
        chosen[kind] = easy[kind].head(n_negatives - (_count(chosen) - n_binders))
    takes = _mix({kind: len(frame) for kind, frame in hard.items()}, shares, n_negatives)
    return chosen | {kind: hard[kind].head(takes[kind]) for kind in HARD_KINDS}


def _mix(available: Mapping[str, int], shares: Mapping[str, float], wanted: int) -> dict[str, int]:
    """How many hard negatives of each kind: by share, and others where a kind runs short."""
    take = {kind: min(available[kind], floor(shares[kind] * wanted)) for kind in HARD_KINDS}
    for kind in HARD_KINDS:
        take[kind] += min(available[kind] - take[kind], wanted - sum(take.values()))
    return take


def _count(frames: Frames) -> int:
    return sum(map(len, frames.values()))
