"""How well runs rank: ROC and precision-recall curves, and scores with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from coursekit.evaluation.metrics import METRICS, NEGATIVE_SETS, Score
from coursekit.evaluation.picture import (
    GREY,
    MARKERS,
    PALETTE,
    Picture,
    listed,
    new_figure,
    readable,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from coursekit.evaluation.comparison import Comparison
    from coursekit.runs.run import Run


def roc_pr_curves(runs: Run | Mapping[str, Run], part: str = "test") -> Picture:
    """ROC and precision-recall curves, on easy and on hard negatives.

    Raises:
        ScoreError: predictions that cannot be scored.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    several = dict(runs) if isinstance(runs, Mapping) else {runs.name: runs}
    scores = {name: run.scores(part, n_boot=0) for name, run in several.items()}
    figure, axes = new_figure(9.0, 8.2, rows=2, columns=2)
    sentences = []
    for column, kind in enumerate(NEGATIVE_SETS):
        roc, precision_recall = axes[column], axes[2 + column]
        found: list[tuple[str, Score, Score]] = []
        for index, (name, run) in enumerate(several.items()):
            auroc: Score = getattr(scores[name], f"auroc_{kind}")
            au_prc: Score = getattr(scores[name], f"au_prc_{kind}")
            if math.isnan(auroc.value):
                continue
            rows = run.predictions[run.predictions["part"] == part]
            rows = rows[rows["negative_set"].isin(["", kind])]
            look = style(index) | {"markevery": (0.04 + 0.02 * index, 0.16), "linewidth": 1.4}
            false, true, _ = roc_curve(rows["label"], rows["score"])
            roc.plot(false, true, label=f"{name}: {auroc.value:.3f}", **look)
            precision, recall, _ = precision_recall_curve(rows["label"], rows["score"])
            # Its last point, precision 1, is invented; before the first binder there is no curve.
            real = recall > 0
            precision_recall.step(
                recall[real],
                precision[real],
                where="post",
                label=f"{name}: {au_prc.value:.3f}",
                **look,
            )
            found.append((name, auroc, au_prc))
        if not found:
            for one in (roc, precision_recall):
                one.text(0.5, 0.5, f"no {kind} scores", ha="center", color=GREY)
            sentences.append(f"There is nothing to draw for {kind} negatives.")
        else:
            _guessing(roc, precision_recall, found[0][2].prevalence)
            each = [f"{n} (AUROC {a.value:.2f}, AU-PRC {p.value:.2f})" for n, a, p in found]
            sentences.append(
                f"On {kind} negatives: {listed(each)}; guessing would give 0.50 and "
                f"{found[0][2].prevalence:.2f}."
            )
        roc.set(title=f"ROC, {kind} negatives", xlabel="false positive rate")
        roc.set(ylabel="true positive rate (binders found)")
        precision_recall.set(title=f"Precision and recall, {kind} negatives")
        precision_recall.set(xlabel="recall (binders found)", ylabel="precision")
        low = bool(found) and found[0][2].prevalence < 0.35  # then the room is above the curves
        corner = "upper right" if low else "lower left"
        for one, title, place in (
            (roc, "AUROC", "lower right"),
            (precision_recall, "AU-PRC", corner),
        ):
            one.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03))
            one.set_title(one.get_title(), fontsize=10)
            if found:
                one.legend(
                    title=title,
                    loc=place,
                    fontsize=8.5,
                    title_fontsize=8.5,
                    handlelength=3.6,
                )
    alt = f"ROC and precision-recall curves on part {part}. " + " ".join(sentences)
    return Picture(figure, alt, f"ROC and precision-recall curves, part {part}")


def _guessing(roc: Axes, precision_recall: Axes, prevalence: float) -> None:
    line: dict[str, Any] = {"color": GREY, "linewidth": 1.0, "linestyle": (0, (2, 2))}
    roc.plot([0, 1], [0, 1], **line)
    roc.text(
        0.3,
        0.26,
        "guessing",
        color=GREY,
        fontsize=8.5,
        rotation=45,
        rotation_mode="anchor",
        transform_rotates_text=True,
    )
    precision_recall.axhline(prevalence, **line)
    precision_recall.text(
        0.99,
        prevalence - 0.012,
        f"guessing: {prevalence:.2f}",
        color=GREY,
        fontsize=8.5,
        ha="right",
        va="top",
    )


def scores_figure(comparison: Comparison) -> Picture:
    """Every score of a comparison as a dot with its 95% interval, beside what guessing gives."""
    names = list(comparison.runs)
    figure, axes = new_figure(9.4, 1.5 + 0.62 * len(names), columns=2)
    sentences = []
    for panel, (short, title) in enumerate((("auroc", "AUROC"), ("au_prc", "AU-PRC"))):
        one = axes[panel]
        for index, kind in enumerate(NEGATIVE_SETS):
            guess = 0.5
            for row, name in enumerate(names):
                score: Score = getattr(comparison.scores[name], f"{short}_{kind}")
                if math.isnan(score.value):
                    continue
                guess = 0.5 if short == "auroc" else score.prevalence
                place = len(names) - 1 - row + (0.16 if kind == "easy" else -0.16)
                low, high = (
                    (score.value, score.value) if math.isnan(score.low) else (score.low, score.high)
                )
                one.plot([low, high], [place, place], color=PALETTE[index], linewidth=2)
                one.plot(
                    score.value,
                    place,
                    MARKERS[index],
                    color=PALETTE[index],
                    markerfacecolor=PALETTE[index] if kind == "easy" else "white",
                    markeredgewidth=1.6,
                    markersize=7,
                )
                one.annotate(
                    f"{kind} {score.value:.3f}",
                    (high, place),
                    xytext=(6, 0),
                    textcoords="offset points",
                    fontsize=8.5,
                    va="center",
                    color=readable(PALETTE[index]),
                )
            one.axvline(guess, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
        one.set_title(f"{title} (dashed: guessing)", fontsize=10)
        one.set_yticks(range(len(names)), names[::-1] if panel == 0 else [""] * len(names))
        one.set_ylim(-0.55, len(names) - 0.45)
        one.grid(axis="y", visible=False)
        low, high = one.get_xlim()
        ticks = [tick for tick in one.get_xticks() if low <= tick <= 1]
        one.set_xticks(ticks)
        one.set_xlim(low, high + 0.24 * (high - low))  # room for the numbers
    for name in names:
        cells = [
            f"{METRICS[metric]} {score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"
            for metric in METRICS
            if not math.isnan((score := getattr(comparison.scores[name], metric)).value)
        ]
        sentences.append(f"{name}: {listed(cells) if cells else 'no scores'}.")
    alt = f"Scores on part {comparison.part} with 95% intervals. " + " ".join(sentences)
    return Picture(figure, alt, f"Scores with 95% intervals, part {comparison.part}")
