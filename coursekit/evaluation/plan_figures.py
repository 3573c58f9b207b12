"""Pictures of a training plan: who trains in which epoch, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.picture import (
    GREY,
    PALETTE,
    Picture,
    label_ends,
    new_figure,
    style,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLAN_COLUMNS = ("phase", "epoch", "group", "learning_rate")


def learning_rate_plan(plan: pd.DataFrame) -> Picture:
    """Learning rate of every parameter group over the epochs.

    Args:
        plan: one row per epoch and group with columns ``phase``, ``epoch``, ``group`` (in the
            order of the network, embeddings first) and ``learning_rate`` (NaN or 0: frozen).

    Raises:
        ScoreError: a column is missing or there are no rows.
    """
    rates = _rates(plan)
    groups, epochs = list(rates.index), rates.columns.to_numpy()
    figure, (axes,) = new_figure(7.6, 4.0)
    ends: list[tuple[float, float, str, str]] = []
    sentences = []
    lines: dict[tuple[float, ...], list[str]] = {}
    for group in groups[::-1]:
        lines.setdefault(tuple(np.nan_to_num(rates.loc[group])), []).append(group)
    trained = {values: names for values, names in lines.items() if any(values)}
    for index, (values, names) in enumerate(trained.items()):
        look = style(index)
        shown = np.array([value or np.nan for value in values])
        axes.plot(epochs, shown, **look)
        opened = np.flatnonzero(~np.isnan(shown))
        name = _span(names, groups)
        ends.append((epochs[opened[-1]], shown[opened[-1]], name, look["color"]))
        first, last = shown[opened[0]], shown[opened[-1]]
        change = f"at {first:.1e}" if first == last else f"from {first:.1e} to {last:.1e}"
        sentences.append(f"{name} from epoch {epochs[opened[0]]:g} {change}")
    frozen = lines.get((0.0,) * len(epochs), [])
    axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="learning rate (log scale)")
    whole_numbers(axes)
    _mark_phases(axes, plan, list(epochs))
    axes.margins(y=0.12)
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    label_ends(axes, ends)
    alt = f"Learning rates over {len(epochs)} epochs. Trains: {'; '.join(sentences) or 'nothing'}."
    if frozen:
        alt += f" Always frozen: {_span(frozen, groups)}."
    return Picture(figure, alt, "Learning-rate plan")


def freeze_map(plan: pd.DataFrame) -> Picture:
    """Which parameter groups train in which epoch, drawn as the network stands.

    The first group (embeddings) is at the bottom, the head on top. A group that trains is hatched
    and carries its learning rate; a frozen one says so.

    Args:
        plan: as in :func:`learning_rate_plan`.

    Raises:
        ScoreError: a column is missing or there are no rows.
    """
    from matplotlib.patches import Rectangle

    rates = _rates(plan)
    groups, epochs = list(rates.index), list(rates.columns)
    small = len(epochs) > 12
    width = 1.9 + max(3.2, (0.42 if small else 0.72) * len(epochs))
    figure, (axes,) = new_figure(width, 1.3 + 0.36 * len(groups))
    sentences = []
    for row, group in enumerate(groups):
        for column, epoch in enumerate(epochs):
            rate = rates.loc[group, epoch]
            trains = bool(rate > 0)
            axes.add_patch(
                Rectangle(
                    (column - 0.46, row - 0.42),
                    0.92,
                    0.84,
                    facecolor="#cfe3f2" if trains else "#f4f4f4",
                    edgecolor=PALETTE[0] if trains else "#c8c8c8",
                    hatch="///" if trains else "",
                    linewidth=0.9,
                )
            )
            axes.text(
                column,
                row,
                _rate_text(rate) if trains else "frozen",
                ha="center",
                va="center",
                fontsize=6 if small else 8,
                color="black" if trains else GREY,
                rotation=90 if small and len(groups) < 4 else 0,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2} if trains else None,
            )
    previous: list[str] | None = None
    for epoch in epochs:
        trained = [group for group in groups if rates.loc[group, epoch] > 0]
        if trained != previous:
            part = f"{len(trained)} of {len(groups)} groups train"
            sentences.append(
                f"From epoch {epoch:g}, {part}: {_span(trained[::-1], groups) or 'none'}."
            )
        previous = trained
    axes.set_xticks(range(len(epochs)), [f"{epoch:g}" for epoch in epochs])
    axes.set_yticks(range(len(groups)), groups)
    axes.set(xlabel="epoch", xlim=(-0.6, len(epochs) - 0.4), ylim=(-0.6, len(groups) - 0.4))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _mark_phases(axes, plan, list(range(len(epochs))))
    alt = f"Freeze map of {len(groups)} groups over {len(epochs)} epochs. " + " ".join(sentences)
    return Picture(figure, alt, "Freeze map: hatched groups train, at the learning rate shown")


def _rates(plan: pd.DataFrame) -> pd.DataFrame:
    """Groups x epochs of learning rates, groups in the order of the network."""
    missing = [name for name in PLAN_COLUMNS if name not in plan.columns]
    if missing or plan.empty:
        found = f"lacks {missing}" if missing else "has no rows"
        raise ScoreError(f"plan: the table {found}; expected columns {list(PLAN_COLUMNS)}.")
    rates = plan.pivot_table("learning_rate", "group", "epoch", "max", dropna=False, sort=False)
    return rates.reindex(index=list(dict.fromkeys(plan["group"]))).sort_index(axis=1)


def _mark_phases(axes: Axes, plan: pd.DataFrame, places: list[float]) -> None:
    """A line where a phase begins and its name above; ``places`` are the x of the epochs."""
    epochs = sorted(plan["epoch"].unique())
    starts = plan.groupby("phase", sort=False)["epoch"].min().sort_values()
    edges = [places[epochs.index(epoch)] - 0.5 for epoch in starts] + [places[-1] + 0.5]
    names = [str(phase) for phase in starts.index]
    if len(names) <= 6 and all(name.isdigit() for name in names):
        names = [f"phase {name}" for name in names]
    elif len(names) > 6 or max(map(len, names)) > 10:  # long names would run into each other
        names = [str(number) for number in range(len(names))]  # as the plan's table counts
        axes.set_xlabel("epoch (above: number of the phase)")
    for left, right, name in zip(edges[:-1], edges[1:], names, strict=True):
        if left != edges[0]:
            axes.axvline(left, color=GREY, linewidth=1, linestyle=(0, (2, 3)))
        axes.annotate(
            name,
            ((left + right) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8,
            color=GREY,
            ha="center",
        )


def _span(names: list[str], order: list[str]) -> str:
    """Names of groups, shortened where they are neighbors: "head to block 2 (5 groups)"."""
    if len(names) > 3:
        places = [order.index(name) for name in names]
        if max(places) - min(places) == len(names) - 1:
            return f"{names[0]} to {names[-1]} ({len(names)} groups)"
    return ", ".join(names)


def _rate_text(rate: float) -> str:
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
