"""A threshold on a run's scores: where it cuts them, and which point of its curves it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from coursekit.evaluation.metrics import NEGATIVE_SETS, scores_by_class
from coursekit.evaluation.picture import GREY, Picture, new_figure, style
from coursekit.evaluation.threshold import at_threshold

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from coursekit.runs.run import Run

BINS = 30


def threshold_figure(run: Run, threshold: float, part: str = "test") -> Picture:
    """Scores of binders and negatives with the threshold, and its point on ROC and PR curves.

    Args:
        run: with predictions for ``part``.
        threshold: scores from here on are called binders.
        part: "test" or "valid".

    Raises:
        ScoreError: predictions that cannot be scored.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    scores = scores_by_class(run.predictions, part)
    table = at_threshold(run, threshold, part)
    figure, (left, roc, pr) = new_figure(9.6, 3.6, columns=3)
    _histogram(left, scores, threshold)
    for index, kind in enumerate(NEGATIVE_SETS):
        binders, negatives = scores["binder"], scores[kind]
        if not len(binders) or not len(negatives):
            continue
        labels = np.repeat([1, 0], [len(binders), len(negatives)])
        values = np.concatenate([binders, negatives])
        look = style(index)
        line = {**look, "marker": "", "linewidth": 1.4}
        point: dict[str, Any] = {**look, "linestyle": "", "markersize": 9, "markeredgecolor": "k"}
        false, true, _ = roc_curve(labels, values)
        roc.plot(false, true, **line)
        precision, recall, _ = precision_recall_curve(labels, values)
        pr.plot(recall[recall > 0], precision[recall > 0], **line)
        row = table.loc[kind]
        name = f"{kind} negatives"
        roc.plot(row["false positive rate"], row["recall"], label=name, **point)
        pr.plot(row["recall"], row["precision"], label=name, **point)
    roc.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (2, 2)))
    roc.set(title="ROC", xlabel="negatives taken along", ylabel="binders found (recall)")
    pr.set(title="Precision and recall", xlabel="binders found (recall)", ylabel="precision")
    for axes, place in ((roc, "lower right"), (pr, "lower left")):
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.05))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc=place, fontsize=8.5)
    for axes in (left, roc, pr):
        axes.set_title(axes.get_title(), fontsize=10)
    alt = f"Run {run.name}, part {part}. {threshold_words(table, threshold)}"
    return Picture(figure, alt, f"{run.name}: threshold {threshold:.3g} on the {part} part")


def threshold_words(table: pd.DataFrame, threshold: float) -> str:
    """What a table of :func:`at_threshold` says, in sentences."""
    first = table.iloc[0]
    binders = int(first["binders found"] + first["binders missed"])
    text = (
        f"Scores from {threshold:.3g} on are called binders: {int(first['binders found'])} of "
        f"{binders} binders are found"
    )
    for kind, row in table.iterrows():
        negatives = int(row["negatives taken"] + row["negatives left"])
        text += f"; of {negatives} {kind} negatives {int(row['negatives taken'])} are taken along"
        if not math.isnan(row["precision"]):
            text += f" (precision {row['precision']:.2f}, enrichment {row['enrichment']:.2f})"
    return text + "."


def _histogram(axes: Axes, scores: dict[str, Any], threshold: float) -> None:
    everything = np.concatenate(list(scores.values()))
    low, high = float(everything.min()), float(everything.max())
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    names = {"binder": "binders", "easy": "easy negatives", "hard": "hard negatives"}
    for kind, index in (("easy", 0), ("hard", 1), ("binder", 2)):
        if not len(scores[kind]):
            continue
        heights, _ = np.histogram(scores[kind], edges)
        look = style(index)
        axes.stairs(
            heights / len(scores[kind]),
            edges,
            color=look["color"],
            linestyle=look["linestyle"],
            linewidth=1.8,
            label=names[kind],
        )
    axes.axvline(threshold, color="black", linewidth=1.6)
    axes.annotate(
        f"from {threshold:.3g} on: “binder”",
        (threshold, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, 2) if threshold < (low + high) / 2 else (-3, 2),
        textcoords="offset points",
        fontsize=8.5,
        ha="left" if threshold < (low + high) / 2 else "right",
    )
    axes.set(xlabel="score", ylabel="share of its kind")
    axes.legend(fontsize=8.5, handlelength=3)
