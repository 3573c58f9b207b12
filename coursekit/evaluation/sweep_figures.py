"""The picture of a learning-rate finder."""

from __future__ import annotations

import numpy as np
import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.picture import GREY, PALETTE, Picture, label_ends, new_figure, style

COLUMNS = ("sweep", "learning_rate", "loss", "smoothed")


def learning_rate_sweep(
    table: pd.DataFrame, suggestion: float | None, span: tuple[float, float] | None
) -> Picture:
    """Smoothed training loss over the learning rate, a line a sweep.

    Args:
        table: columns ``sweep``, ``learning_rate``, ``loss`` and ``smoothed``, a row a step.
        suggestion: the learning rate to mark; None marks none.
        span: the lowest and the highest that a sweep suggests; shaded.

    Raises:
        ScoreError: a column is missing or there are no rows.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing or table.empty:
        found = f"lacks {missing}" if missing else "has no rows"
        raise ScoreError(f"learning_rate_sweep: the table {found}; expected {list(COLUMNS)}.")
    figure, (axes,) = new_figure(7.6, 4.0)
    ends, sentences = [], []
    for index, (number, rows) in enumerate(table.groupby("sweep")):
        look = style(index) | {"marker": ""}
        rates, smoothed = rows["learning_rate"].to_numpy(), rows["smoothed"].to_numpy()
        axes.plot(rates, rows["loss"], ".", color=look["color"], markersize=3, alpha=0.35)
        axes.plot(rates, smoothed, **look)
        name = f"sweep {number}"
        ends.append((float(rates[-1]), float(smoothed[-1]), name, look["color"]))
        lowest = int(np.argmin(smoothed))
        sentences.append(
            f"{name.capitalize()}: from {smoothed[0]:.3f} down to {smoothed[lowest]:.3f} at "
            f"{rates[lowest]:.1e}, in the end {smoothed[-1]:.3f} at {rates[-1]:.1e}."
        )
    axes.set_xscale("log")
    axes.set(xlabel="learning rate (log scale)", ylabel="training loss, smoothed")
    # Once a sweep diverges its losses know no bounds, and what matters would be a flat line.
    low, first = table["smoothed"].min(), table.groupby("sweep")["smoothed"].first().max()
    top = min(table["smoothed"].max(), first + 1.5 * (first - low) + 0.05)
    axes.set_ylim(low - 0.1 * (top - low), top)
    if suggestion is not None and span is not None:
        axes.axvspan(*span, color=PALETTE[4], alpha=0.18, hatch="//", linewidth=0)
        axes.axvline(suggestion, color=GREY, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.annotate(
            f"{suggestion:.1e}",
            (suggestion, 1),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=9,
        )
        marked = f"Marked: {suggestion:.1e}, where the loss falls fastest ({span[0]:.1e} to "
        sentences.append(f"{marked}{span[1]:.1e}).")
    else:
        sentences.append("Nothing is marked: the loss does not fall by more than chance.")
    axes.margins(x=0.02)
    label_ends(axes, [(x, min(y, top), name, color) for x, y, name, color in ends])
    alt = f"Training loss over learning rates, {len(ends)} sweeps. " + " ".join(sentences)
    return Picture(figure, alt, "Learning-rate finder")
