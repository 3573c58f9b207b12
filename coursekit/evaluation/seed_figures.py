"""The same approaches trained from several seeds: how far chance alone moves a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from coursekit.errors import ScoreError
from coursekit.evaluation.metrics import METRICS
from coursekit.evaluation.picture import PALETTE, Picture, new_figure, style

if TYPE_CHECKING:
    from coursekit.runs.run import Run


def seeds_figure(
    runs: Mapping[str, Sequence[Run]], metric: str = "auroc_hard", part: str = "test"
) -> Picture:
    """A row for each approach: one mark a seed, and a line at their mean.

    Args:
        runs: by name of the approach, its runs; the seed of each is written beside its mark.
        metric: which score, such as ``"auroc_hard"``.
        part: "test" or "valid".

    Raises:
        ScoreError: no runs, or no such score.
    """
    if metric not in METRICS:
        raise ScoreError(f"seeds_figure: {metric!r} is no score; there are {list(METRICS)}.")
    if not runs or not all(runs.values()):
        raise ScoreError("seeds_figure: give a dict of lists of runs, none of them empty.")
    figure, (axes,) = new_figure(7.6, 1.2 + 0.7 * len(runs))
    sentences = []
    for row, (name, several) in enumerate(runs.items()):
        look = style(row)
        values = [getattr(run.scores(part, n_boot=0), metric).value for run in several]
        mean = float(np.mean(values))
        axes.plot([mean, mean], [row - 0.3, row + 0.3], color=PALETTE[row % len(PALETTE)])
        axes.scatter(values, [row] * len(values), color=look["color"], marker=look["marker"], s=46)
        # Above and below in turn, then further away, for marks may lie close.
        for place, (value, run) in enumerate(sorted(zip(values, several, strict=True),
                                                    key=lambda pair: pair[0])):  # fmt: skip
            offset = (0, (-16, 9, -27, 20)[place % 4])
            axes.annotate(
                f"seed {run.seed}", (value, row), offset, textcoords="offset points",
                fontsize=7.5, ha="center",
            )  # fmt: skip
        spread = f", standard deviation {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        each = ", ".join(f"{value:.3f}" for value in values)
        sentences.append(f"{name}: {each} (mean {mean:.3f}{spread}).")
    axes.set_yticks(range(len(runs)), list(runs))
    axes.set(xlabel=f"{METRICS[metric]}, part {part}", ylim=(len(runs) - 0.4, -0.6))
    axes.margins(x=0.08)
    alt = f"{METRICS[metric]} by approach and seed. " + " ".join(sentences)
    return Picture(figure, alt, f"{METRICS[metric]}: one mark a seed, the line is their mean")
