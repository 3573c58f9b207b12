"""Where an encoder puts molecules: a picture of it, and a number for what the picture shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.picture import (
    GREY,
    PALETTE,
    Picture,
    new_figure,
    readable,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {  # negative set: name, color, marker
    "easy": ("easy negatives", PALETTE[5], "^"),
    "hard": ("hard negatives", PALETTE[1], "s"),
    "": ("binders", PALETTE[0], "o"),
}


def neighbor_purity(vectors: np.ndarray, binder: np.ndarray, k: int = 10) -> float:
    """Which share of the nearest neighbors of a binder are binders; the mean over binders.

    Args:
        vectors: one for each molecule (N, D); near is what has a large cosine.
        binder: True for a binder (N,).
        k: how many neighbors, the molecule itself not among them.

    Returns:
        0 to 1; about the share of binders where neighborhood says nothing.

    Raises:
        ScoreError: no binder, or not more than k molecules.
    """
    binder = np.asarray(binder, dtype=bool)
    if not binder.any() or len(binder) <= k:
        raise ScoreError(
            f"neighbor_purity: {int(binder.sum())} binders of {len(binder)} molecules; at least "
            f"one binder and more than k={k} molecules are needed."
        )
    unit = _unit(vectors)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argpartition(-similarity[binder], k - 1, axis=1)[:, :k]
    return float(binder[nearest].mean())


def purity_table(
    stages: Mapping[str, np.ndarray], molecules: pd.DataFrame, k: int = 10
) -> pd.DataFrame:
    """Neighbor purity of each stage, among binders and easy and among binders and hard negatives.

    Args:
        stages: name of the encoder's state to its vectors (N, D), in the order of the molecules.
        molecules: a part of a task, with ``negative_set``.
        k: how many neighbors.

    Raises:
        ScoreError: vectors of another number than the molecules.
    """
    kinds = molecules["negative_set"].to_numpy(dtype=str)
    rows = {}
    for name, vectors in stages.items():
        if len(vectors) != len(kinds):
            raise ScoreError(
                f"'{name}' has {len(vectors)} vectors for {len(kinds)} molecules; embed the same "
                "part, in its order."
            )
        rows[name] = {
            f"purity, {kind}": neighbor_purity(vectors[among], kinds[among] == "", k)
            for kind in ("easy", "hard")
            for among in [np.isin(kinds, ["", kind])]
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("encoder")


def embedding_figure(
    stages: Mapping[str, np.ndarray], molecules: pd.DataFrame, k: int = 10
) -> Picture:
    """Molecules where an encoder puts them, before and after training, side by side.

    Each panel is a principal component analysis of its own, of vectors made equally long; its
    title says how much of their variance the two axes hold.

    Args:
        stages: as in :func:`purity_table`.
        molecules: as there.
        k: as there.
    """
    table = purity_table(stages, molecules, k)
    kinds = molecules["negative_set"].to_numpy(dtype=str)
    figure, axes = new_figure(4.5 * len(stages), 4.4, columns=len(stages))
    sentences = []
    for one, (name, vectors) in zip(axes, stages.items(), strict=True):
        shown, held = _two_axes(vectors)
        for kind, (_, color, marker) in KINDS.items():
            points = shown[kinds == kind]
            one.scatter(
                points[:, 0],
                points[:, 1],
                s=14,
                c=color,
                marker=marker,
                alpha=0.55,
                linewidths=0,
            )
        easy, hard = table.loc[[name], ["purity, easy", "purity, hard"]].to_numpy(float)[0]
        one.set_title(f"{name}\npurity: easy {easy:.2f}, hard {hard:.2f}", fontsize=10)
        one.set_xlabel(f"two axes with {held:.0%} of the variance", color=GREY, fontsize=9)
        one.set(xticks=[], yticks=[])
        sentences.append(
            f"{name}: of a binder's {k} nearest neighbors {easy:.0%} are binders among easy, "
            f"{hard:.0%} among hard negatives."
        )
    _legend(axes[0])
    alt = (
        f"{len(kinds)} molecules as points, by kind, in {len(stages)} panels. "
        + " ".join(sentences)
        + " Chance would give 50% where both kinds are equally many."
    )
    return Picture(figure, alt, "Where the encoder puts molecules")


def pull_and_push(points: np.ndarray, steps: np.ndarray, names: Sequence[str]) -> Picture:
    """Vectors of length one in the plane, and where a step of training takes each.

    Args:
        points: (N, 2), of length one.
        steps: (N, 2), the loss's gradient times -1; drawn along the circle, longest to 0.5.
        names: of the points; those that begin with "binder" are drawn as binders.
    """
    points, steps = np.asarray(points, float), np.asarray(steps, float)
    # Length does not count, so only what goes along the circle does.
    along = steps - (steps * points).sum(1, keepdims=True) * points
    length = np.linalg.norm(along, axis=1)
    arrows = along * 0.5 / max(float(length.max()), 1e-12)
    figure, (axes,) = new_figure(6.0, 3.8)
    turn = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(turn), np.sin(turn), color="#cccccc", linewidth=1)
    sentences = []
    for name, point, arrow, size in zip(names, points, arrows, length, strict=True):
        kind = "" if name.startswith("binder") else "hard" if "hard" in name else "easy"
        _, color, marker = KINDS[kind]
        axes.scatter(point[0], point[1], s=60, c=color, marker=marker, zorder=3)
        if np.linalg.norm(arrow) > 0.02:
            axes.annotate(
                "",
                xy=point + arrow,
                xytext=point,
                arrowprops={"arrowstyle": "->", "color": color, "linewidth": 2},
            )
        axes.annotate(
            name, point * 1.12, color=readable(color), fontsize=9, va="center",
            ha="left" if point[0] > 0 else "right",
        )  # fmt: skip
        sentences.append(f"{name} moves {size / max(float(length.max()), 1e-12):.0%}")
    axes.set(xlim=(-2.0, 2.0), ylim=(-1.25, 1.25), aspect="equal")
    axes.axis("off")  # the circle is all there is to measure by
    alt = (
        "Vectors on the unit circle, with an arrow for where a step of training takes each; as a "
        f"share of the longest arrow: {', '.join(sentences)}."
    )
    return Picture(figure, alt, "Pull and push: minus the gradient of the loss")


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def _two_axes(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Coordinates (N, 2) on the first two principal components, and the variance they hold."""
    unit = _unit(vectors)
    centered = unit - unit.mean(0)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    shown = np.zeros((len(unit), 2))
    shown[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
    total = float((sizes**2).sum())
    return shown, float((sizes[:2] ** 2).sum()) / total if total > 0 else 1.0


def _legend(axes: Axes) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=name)
        for name, color, marker in list(KINDS.values())[::-1]
    ]
    axes.legend(handles=handles, fontsize=8, loc="best", frameon=True, framealpha=0.9)
