"""How runs learned: losses and validation scores over steps and epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.picture import (
    GREY,
    Picture,
    label_ends,
    listed,
    new_figure,
    style,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from coursekit.runs.run import Run


def loss_curves(runs: Run | Mapping[str, Run]) -> Picture:
    """Loss over training steps, and validation AUROC over epochs.

    Args:
        runs: one run, which also shows its training loss, its easy negatives and where its phases
            begin; or several by name, compared on validation loss and hard negatives.

    Raises:
        ScoreError: no run has a history (fingerprint baselines are not trained step by step).
    """
    several = dict(runs) if isinstance(runs, Mapping) else {runs.name: runs}
    trained = {name: run for name, run in several.items() if not run.history.empty}
    if not trained:
        raise ScoreError("loss_curves: none of these runs has a history; use roc_pr_curves.")
    figure, (left, right) = new_figure(9.6, 3.7, columns=2)
    left.set_xlabel("training step")
    left.set_ylabel("loss (binary cross-entropy)")
    right.set_xlabel("epoch")
    right.set_ylabel("validation AUROC")
    if len(trained) == 1:
        name, run = next(iter(trained.items()))
        sentences = draw_history(left, right, run.history)
    else:
        name = listed(list(trained))
        sentences = _several_runs(left, right, trained)
    whole_numbers(right)
    absent = [other for other in several if other not in trained]
    if absent:
        sentences.append(f"No history for {listed(absent)}.")
    return Picture(figure, " ".join(sentences), f"Loss and validation AUROC: {name}")


def draw_history(left: Axes, right: Axes, history: pd.DataFrame) -> list[str]:
    """Losses over steps on the left, validation AUROC over epochs on the right.

    Returns:
        Sentences on what they show.
    """
    sentences, ends = [], []
    for split, word, index in (("train", "Training", 5), ("valid", "Validation", 0)):
        rows = history[history["split"] == split].dropna(subset="loss")
        if rows.empty:
            continue
        look = style(index) | ({"marker": ""} if split == "train" else {"linestyle": "-"})
        steps, losses = rows["step"].to_numpy(), rows["loss"].to_numpy()
        if split == "train":
            left.plot(steps, losses, color="#b5b5b5", linewidth=0.7)
            losses = _smooth(losses)
            look |= {"linestyle": "-", "color": GREY}
        left.plot(steps, losses, **look)
        ends.append((steps[-1], losses[-1], word.lower(), look["color"]))
        unit = "steps" if split == "train" else "epochs"
        sentences.append(_trend(f"{word} loss", losses, rows, unit, best=min))
    for step in history.loc[history["phase"].ne(history["phase"].shift()), "step"].iloc[1:]:
        left.axvline(step, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
        left.annotate(
            "next phase",
            (step, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -2),
            textcoords="offset points",
            fontsize=7.5,
            color=GREY,
            va="top",
            rotation=90,
        )
    _finish(left, ends)
    return sentences + _validation(right, history, ("hard", "easy"))


def _several_runs(left: Axes, right: Axes, runs: Mapping[str, Run]) -> list[str]:
    sentences: list[str] = []
    ends: dict[int, list[tuple[float, float, str, str]]] = {0: [], 1: []}
    for index, (name, run) in enumerate(runs.items()):
        look = style(index)
        for side, (axes, x, y) in enumerate(
            ((left, "step", "loss"), (right, "epoch", "auroc_hard"))
        ):
            rows = _validations(run.history, y)
            if rows.empty:
                continue
            axes.plot(rows[x], rows[y], **look)
            ends[side].append((rows[x].iloc[-1], rows[y].iloc[-1], name, look["color"]))
            what = f"{name}: validation " + ("loss" if side == 0 else "AUROC on hard negatives")
            best = min if side == 0 else max
            sentences.append(_trend(what, rows[y].to_numpy(), rows, "epochs", best))
    left.set_ylabel("validation loss")
    right.set_ylabel("validation AUROC, hard negatives")
    _finish(left, ends[0])
    _finish(right, ends[1])
    return sentences


def _validation(axes: Axes, history: pd.DataFrame, kinds: tuple[str, ...]) -> list[str]:
    sentences, ends = [], []
    for index, kind in enumerate(kinds):
        rows = _validations(history, f"auroc_{kind}")
        if rows.empty:
            continue
        look, values = style(index), rows[f"auroc_{kind}"].to_numpy()
        axes.plot(rows["epoch"], values, **look)
        ends.append((rows["epoch"].iloc[-1], values[-1], kind, look["color"]))
        what = f"Validation AUROC on {kind} negatives"
        sentences.append(_trend(what, values, rows, "epochs", max))
    _finish(axes, ends)
    return sentences


def _validations(history: pd.DataFrame, column: str) -> pd.DataFrame:
    # A run interrupted before its first validation has no such column.
    return history[history["split"] == "valid"].reindex(columns=["step", "epoch", column]).dropna()


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over neighboring steps: single batches are too noisy to read."""
    window = max(1, min(25, len(values) // 8))
    return pd.Series(values).rolling(window, center=True, min_periods=1).mean().to_numpy()


def _finish(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    axes.margins(x=0.04, y=0.08)
    axes.autoscale_view()
    label_ends(axes, ends)


def _trend(what: str, values: np.ndarray, rows: pd.DataFrame, unit: str, best: object) -> str:
    """A sentence: validation loss falls from 0.70 to 0.41 over 5 epochs; best at epoch 4."""
    first, last = float(values[0]), float(values[-1])
    if len(values) == 1:
        return f"{what} is {last:.2f}, measured once."
    if round(first, 2) == round(last, 2):
        text = f"{what} stays at {last:.2f}"
    else:
        text = f"{what} {'rises' if last > first else 'falls'} from {first:.2f} to {last:.2f}"
    if unit == "steps":
        return f"{text} over {int(rows['step'].iloc[-1]):,} steps."
    at = int(np.argmin(values) if best is min else np.argmax(values))
    text += f" over {rows['epoch'].iloc[-1]:g} epochs"
    where = f"epoch {rows['epoch'].iloc[at]:g}"
    return f"{text}; best at {where}{'' if at == len(values) - 1 else f' ({values[at]:.2f})'}."
