"""A figure together with the sentence that says what it shows, and the house style of figures.

Only ``<img alt>`` inside ``text/html`` keeps alternative text in every front end (JupyterLab,
Colab, nbconvert, Sphinx), so that is how a picture shows itself. Figures are made without pyplot:
no global state, no window, the same on a server.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coursekit.errors import ScoreError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design", 2008: told apart by readers who see colors differently.
# Their yellow is left out, as lines of it vanish on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1.5, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (8, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (1, 3)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#595959"  # contrast 7:1 on white
SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Picture:
    """A figure and its words.

    Args:
        figure: the matplotlib figure.
        alt: what the figure shows, in sentences, for readers who do not see it.
        caption: a short title shown under it.
    """

    figure: Figure
    alt: str
    caption: str

    def png(self, dpi: int = 110) -> bytes:
        """The figure as a PNG file that carries its alternative text as ``Description``."""
        out = io.BytesIO()
        self.figure.savefig(out, format="png", dpi=dpi, metadata={"Description": self.alt})
        return out.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the figure; the kind of file follows the ending (.png, .svg or .pdf).

        The alternative text goes along in the file's own metadata.

        Raises:
            ScoreError: another ending.
        """
        import matplotlib as mpl

        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ScoreError(f"Picture.save: '{path.name}' must end in one of {list(SUFFIXES)}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata: dict[str, str | None] = {"Description": self.alt}
        if suffix == ".svg":
            metadata |= {"Title": self.caption, "Date": None}
        elif suffix == ".pdf":
            metadata = {"Title": self.caption, "Subject": self.alt, "CreationDate": None}
        # Without a date and with a fixed salt, the same figure is the same file.
        with mpl.rc_context({"svg.hashsalt": "coursekit", "svg.fonttype": "none"}):
            self.figure.savefig(path, format=suffix[1:], dpi=150, metadata=metadata)
        return path

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png()).decode("ascii")
        return (
            f'<figure style="margin: 0"><img alt="{escape(self.alt)}" style="max-width: 100%" '
            f'src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )

    def __repr__(self) -> str:
        return f"[{self.caption}] {self.alt}"


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure in the house style and its axes, row by row.

    Args:
        width: inches.
        height: inches.
        rows: rows of axes.
        columns: axes in a row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # An opaque white card is readable on a light and on a dark page.
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.08, h_pad=0.08)  # inches: nothing touches the edge of the card
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color="#e4e4e4", linewidth=0.6)
        one.set_axisbelow(True)
        one.tick_params(labelsize=9, colors="#333333")
    return figure, axes


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only: there is no epoch 2.5."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def style(index: int) -> dict[str, Any]:
    """Color, dash and marker of the n-th line; all three differ, so any one is enough."""
    turn = index // len(PALETTE)  # from the eighth line on, the three are paired anew
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": DASHES[(index + turn) % len(DASHES)],
        "marker": MARKERS[(index + 2 * turn) % len(MARKERS)],
        "markersize": 5,
        "linewidth": 1.7,
    }


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's name beside its last point, moved apart where names would overlap.

    Call it when both axes have their final limits.

    Args:
        axes: where the lines are.
        ends: x, y, text and color of each line's end.
    """
    if not ends:
        return
    figure: Any = axes.figure
    figure.draw_without_rendering()  # the layout fixes the size in pixels
    points = axes.transData.transform([(x, y) for x, y, _, _ in ends])[:, 1]
    height = axes.get_window_extent().height
    line = 12 / 72 * figure.dpi  # a line of 9-point text is about 12 points high
    wanted = spread((points - axes.get_window_extent().y0) / height, gap=line / max(height, 1.0))
    for (x, y, text, color), place in zip(ends, wanted, strict=True):
        axes.annotate(
            text,
            xy=(x, y),
            xytext=(1.03, place),
            textcoords="axes fraction",
            color=readable(color),
            fontsize=9,
            va="center",
            annotation_clip=False,
            # The thin line leads from a name to its curve where the curve ends early.
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkB": 3},
        )


def readable(color: str) -> str:
    """The color, darkened until text in it has a contrast of 4.5 to 1 on white (WCAG 2.2 AA)."""
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    while _contrast_on_white(channels) < 4.5:
        channels = channels * 0.95
    return "#" + "".join(f"{int(channel * 255):02x}" for channel in channels)


def _contrast_on_white(channels: np.ndarray) -> float:
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05))


def spread(places: np.ndarray, gap: float) -> np.ndarray:
    """Move numbers as little as needed until neighbors are at least ``gap`` apart.

    Args:
        places: (N,) wanted places, in any order.
        gap: least distance.

    Returns:
        (N,) places in the same order. This is isotonic regression of the places less their ranks'
        gaps (pool adjacent violators), the closest such arrangement in least squares.
    """
    order = np.argsort(places, kind="stable")
    ranks = np.arange(len(places)) * gap
    pools: list[tuple[float, int]] = []  # mean, how many
    for value in places[order] - ranks:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools.pop(-2), pools.pop()
            pools.append(((a * n + b * m) / (n + m), n + m))
    moved = np.empty(len(places))
    moved[order] = np.repeat([m for m, _ in pools], [n for _, n in pools]) + ranks
    return moved


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them: a, b and c."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
