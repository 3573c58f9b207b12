"""What runs learned against what they forgot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.picture import GREY, Picture, label_ends, listed, new_figure, style

if TYPE_CHECKING:
    from coursekit.evaluation.metrics import Scores
    from coursekit.runs.run import Run


def tradeoff_table(runs: Mapping[str, Run], scores: Mapping[str, Scores]) -> pd.DataFrame:
    """One row a run: what it learned, what it forgot, what it cost.

    Args:
        runs: by name.
        scores: of the same runs, by the same names.

    Returns:
        ``hard AUROC``, ``low``, ``high`` (its 95% interval), ``easy AUROC``, ``loss before`` and
        ``loss after`` (nats per masked token of held-out pretraining molecules, NaN where the run
        does not say), ``forgotten`` (their difference), ``seconds`` and ``trainable parameters``.
    """
    rows = {}
    for name, run in runs.items():
        told, hard = run.forgetting or {}, scores[name].auroc_hard
        before, after = (float(told.get(f"loss_{when}", math.nan)) for when in ("before", "after"))
        seconds, count = (run.cost.get(key) for key in ("seconds", "trainable_parameters"))
        rows[name] = {
            "hard AUROC": hard.value,
            "low": hard.low,
            "high": hard.high,
            "easy AUROC": scores[name].auroc_easy.value,
            "loss before": before,
            "loss after": after,
            "forgotten": after - before,
            "seconds": math.nan if seconds is None else seconds,
            "trainable parameters": math.nan if count is None else count,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def tradeoff_figure(table: pd.DataFrame, picked: str | None = None) -> Picture:
    """Hard AUROC over the masked-token loss after training: the upper left is what one wants.

    Args:
        table: what :func:`tradeoff_table` gives.
        picked: name of a run to ring.

    Raises:
        ScoreError: no run says what it forgot.
    """
    drawn = table.dropna(subset=["loss after", "hard AUROC"])
    if drawn.empty:
        raise ScoreError(
            "forgetting_tradeoff: none of these runs says what it forgot. Runs of coursekit-mini "
            "do; for another encoder give fit(heldout=[SMILES that its pretraining kept out])."
        )
    figure, (axes,) = new_figure(8.2, 4.6)
    ends, sentences = [], []
    for index, (name, row) in enumerate(drawn.iterrows()):
        look = style(index) | {"linestyle": "", "markersize": 9}
        x, y = row["loss after"], row["hard AUROC"]
        if not math.isnan(row["low"]):
            axes.plot([x, x], [row["low"], row["high"]], color=look["color"], linewidth=1.4)
        axes.plot(x, y, **look)
        if name == picked:
            axes.plot(x, y, "o", markersize=19, fillstyle="none", color="black", markeredgewidth=2)
        ends.append((x, y, f"{name} (picked)" if name == picked else str(name), look["color"]))
        sentences.append(f"{name} {y:.3f} at {x:.3f}")
    befores = sorted({round(value, 6) for value in drawn["loss before"]})
    for before in befores:
        axes.axvline(before, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
    axes.margins(x=0.12, y=0.12)
    axes.annotate(
        "as pretrained", (befores[0], 0), xycoords=("data", "axes fraction"), xytext=(4, 4),
        textcoords="offset points", fontsize=8.5, color=GREY,
    )  # fmt: skip
    axes.set_xlabel("masked-token loss after training, nats (further right: forgot more)")
    axes.set_ylabel("AUROC on hard negatives (higher: learned more)")
    label_ends(axes, ends)
    alt = (
        "AUROC on hard negatives, with 95% intervals, over the masked-token loss after training: "
        f"{listed(sentences)}. Before training the loss is "
        f"{listed([f'{before:.3f}' for before in befores])}."
    )
    return Picture(figure, alt, "What runs learned, and what they forgot")
