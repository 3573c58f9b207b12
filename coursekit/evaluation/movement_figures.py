"""A run at one of its epochs: how far each group of weights has moved, beside the curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.history_figures import draw_history
from coursekit.evaluation.picture import GREY, PALETTE, Picture, listed, new_figure, whole_numbers
from coursekit.runs.record_tables import MOVED

if TYPE_CHECKING:
    from coursekit.runs.run import Run

_RATE = "learning_rate."


def movement_table(run: Run, epoch: int) -> pd.DataFrame:
    """Each parameter group at the end of an epoch, from the input side up.

    Args:
        run: trained step by step.
        epoch: one that was validated.

    Returns:
        Indexed by group: ``learning rate`` (highest in the epoch; 0 where frozen) and ``moved``
        (the way from the first weights as a share of their length; 0 for what never trains, NaN
        where the run does not say).

    Raises:
        ScoreError: the run has no history, or the epoch was not validated.
    """
    history = run.history
    valid = history[history["split"] == "valid"]
    if epoch not in set(valid["epoch"]):
        there = ", ".join(f"{one:g}" for one in valid["epoch"]) or "none"
        raise ScoreError(f"{run.name}: epoch {epoch} was not validated; there are {there}.")
    steps = history[(history["split"] == "train") & (history["epoch"] == epoch)]
    end = valid[valid["epoch"] == epoch].iloc[-1]
    told = any(name.startswith(MOVED) for name in history.columns)
    rows = {}
    for name in history.columns:
        if not name.startswith(_RATE):
            continue
        group = name.removeprefix(_RATE)
        rate = steps[name].max()
        rows[group] = {
            "learning rate": 0.0 if math.isnan(rate) else float(rate),
            "moved": float(end.get(f"{MOVED}{group}", 0.0 if told else math.nan)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")


def movement_figure(run: Run, epoch: int) -> Picture:
    """How far each group has moved by the end of an epoch, and where the curves are then.

    Args:
        run: trained step by step.
        epoch: one that was validated.

    Raises:
        ScoreError: the run has no history, or the epoch was not validated.
    """
    table = movement_table(run, epoch)
    figure, (bars, left, right) = new_figure(12.4, 3.9, columns=3)
    groups, places = list(table.index), np.arange(len(table), dtype=float)
    trains = (table["learning rate"] > 0).to_numpy()
    moved = table["moved"].to_numpy()
    looks: dict[bool, dict[str, Any]] = {
        True: {"facecolor": "#cfe3f2", "edgecolor": PALETTE[0], "hatch": "///"},
        False: {"facecolor": "#f4f4f4", "edgecolor": GREY},
    }
    for hatched, look in looks.items():
        chosen = trains == hatched
        bars.barh(places[chosen], np.nan_to_num(moved[chosen]), height=0.7, **look)
    whole = run.history.filter(like=MOVED).max().max()
    most = float(whole) if whole > 0 else 1.0
    for place, way, open_ in zip(places.tolist(), moved, trains, strict=True):
        text = "not recorded" if math.isnan(way) else f"{way:.3f}"
        at = 0.0 if math.isnan(way) else way
        bars.text(
            at + 0.02 * most, place, f"{text}, {'trains' if open_ else 'frozen'}",
            va="center", fontsize=8.5, color="black" if open_ else GREY,
        )  # fmt: skip
    bars.set_yticks(places, groups)
    bars.set(xlim=(0, 1.5 * most), xlabel="way from the first weights, relative")
    bars.set_title(f"Epoch {epoch}: how far each group has moved", fontsize=10)
    bars.grid(axis="y", visible=False)
    curves = draw_history(left, right, run.history)
    left.set(xlabel="training step", ylabel="loss (binary cross-entropy)")
    right.set(xlabel="epoch", ylabel="validation AUROC")
    whole_numbers(right)
    valid = run.history[run.history["split"] == "valid"].set_index("epoch")
    for axes, x in ((left, float(valid["step"].loc[epoch])), (right, float(epoch))):
        axes.axvline(x, color="black", linewidth=1.6)
        axes.annotate(
            f"epoch {epoch}", (x, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
            textcoords="offset points", fontsize=8.5, ha="center",
        )  # fmt: skip
    alt = f"{movement_words(run, epoch)} {' '.join(curves)}"
    return Picture(figure, alt, f"{run.name} at the end of epoch {epoch}; hatched groups train")


def movement_words(run: Run, epoch: int) -> str:
    """What trains in an epoch, and how far it has moved by its end, in sentences."""
    table = movement_table(run, epoch)
    history = run.history
    end = history[(history["split"] == "valid") & (history["epoch"] == epoch)].iloc[-1]
    open_ = table[table["learning rate"] > 0]
    text = f"{run.name}, end of epoch {epoch} (phase {end['phase']}): "
    verb = "train" if len(open_) > 1 else "trains"
    text += f"{listed(list(open_.index[::-1])) if len(open_) else 'nothing'} {verb}."
    moved = table["moved"]
    if moved.isna().all():
        text += " How far the weights moved was not recorded."
    else:
        ways = [f"{group} {way:.3f}" for group, way in moved[moved > 0][::-1].items()]
        text += f" Moved, relative to the first weights: {', '.join(ways) or 'nothing'}"
        still = int((moved == 0).sum())
        text += f"; {still} of {len(moved)} groups are where they began." if still else "."
    scores = [
        f"{end[f'auroc_{kind}']:.3f} on {kind} negatives"
        for kind in ("hard", "easy")
        if not math.isnan(end.get(f"auroc_{kind}", math.nan))
    ]
    return text + (f" Validation AUROC {listed(scores)}." if scores else "")
