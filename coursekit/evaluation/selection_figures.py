"""What a selection's counts look like: how much is zero, and where enrichment begins."""

from __future__ import annotations

import numpy as np
import pandas as pd

from coursekit.data.schema import COLUMNS, enrichment
from coursekit.errors import ScoreError
from coursekit.evaluation.picture import DASHES, GREY, PALETTE, Picture, new_figure

MOST = 25  # reads: what is above stands at the edge
POINTS = 4_000


def reads_figure(selection: pd.DataFrame, cut: float = 1.0) -> Picture:
    """Reads on the target as a histogram, and target against matrix with the line of enrichment.

    Args:
        selection: with KinDEL's count columns.
        cut: enrichment from which on a molecule counts as enriched.

    Raises:
        ScoreError: a count column is missing, or there is no row.
    """
    names = [c for c in COLUMNS if c.startswith(("seq_target", "seq_matrix"))]
    missing = [name for name in names if name not in selection.columns]
    if missing or selection.empty:
        raise ScoreError(f"reads_figure: needs rows with {names}; missing are {missing}.")
    target, matrix = (
        selection[[c for c in names if c.startswith(f"seq_{arm}")]]
        .sum(axis=1)
        .to_numpy(dtype=np.int64)
        for arm in ("target", "matrix")
    )
    figure, (left, right) = new_figure(9.2, 3.7, columns=2)
    heights = np.bincount(np.minimum(target, MOST), minlength=MOST + 1) / len(target)
    left.bar(np.arange(MOST + 1), heights, color=PALETTE[0])
    left.set(
        title="Reads on the target, three replicates summed",
        xlabel=f"reads ({MOST} stands for {MOST} or more)",
        ylabel="share of molecules",
    )
    rng = np.random.default_rng(0)
    rows = rng.choice(len(target), min(POINTS, len(target)), replace=False)
    shake = rng.uniform(-0.35, 0.35, (2, len(rows)))  # whole numbers would hide behind each other
    enriched = enrichment(target, matrix) >= cut
    for which, color, marker, label in (
        (~enriched, GREY, ".", "below"),
        (enriched, PALETTE[1], "^", f"enrichment {cut:g} or more"),
    ):
        shown = which[rows]
        right.scatter(
            np.minimum(matrix[rows], MOST)[shown] + shake[0, shown],
            np.minimum(target[rows], MOST)[shown] + shake[1, shown],
            s=10, alpha=0.5, color=color, marker=marker, label=label, linewidths=0,
        )  # fmt: skip
    on_matrix = np.arange(MOST + 1)
    grid = enrichment(np.tile(np.arange(4 * MOST), (MOST + 1, 1)), on_matrix[:, None])
    needed = np.argmax(grid >= cut, axis=1)
    right.step(
        on_matrix, needed - 0.5, where="mid", color=PALETTE[6], linestyle=DASHES[1], linewidth=1.4
    )
    right.set(
        title="Target against matrix, one mark a molecule",
        xlabel="reads on the empty matrix",
        ylabel="reads on the target",
        xlim=(-0.8, MOST + 0.8),
        ylim=(-0.8, MOST + 0.8),
    )
    right.legend(loc="lower right", fontsize=8)
    return Picture(
        figure,
        f"Left: {heights[0]:.0%} of {len(target):,} molecules have no read on the target, half "
        f"have {np.median(target):g} or fewer. Right: without a matrix read, {needed[0]} target "
        f"reads are needed for an enrichment of {cut:g}, with five matrix reads {needed[5]}; "
        f"{enriched.mean():.1%} of all molecules reach it.",
        "How often molecules were read, and where enrichment begins",
    )
