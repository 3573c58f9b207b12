"""The picture of a training as SVG text: fast to draw, small to keep, the same in any front end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from coursekit.evaluation.picture import GREY, PALETTE, readable, spread

WIDTH, HEIGHT = 880, 320
_TOP, _BOTTOM, _LEFT, _RIGHT, _GAP = 40, 46, 54, 92, 62
MAX_POINTS = 400
MOST_MARKS = 20  # more of them run together; the dash still tells lines apart
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Args:
        name: written at its end.
        points: x and y; those that are not finite are left out.
        color: of line and name.
        dash: SVG's dash array; "" for a solid line.
        marks: whether each point is marked, for few points.
    """

    name: str
    points: Sequence[Point]
    color: str
    dash: str = ""
    marks: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Args:
        title: above it.
        lines: what is drawn.
        x_end: where the x axis ends; it begins at 0.
        low: the y axis shows at least from here on.
        high: and at least up to here.
        cuts: x and name of each vertical mark.
        below: what the x axis counts, written at its end.
    """

    title: str
    lines: Sequence[Line]
    x_end: float
    low: float
    high: float
    cuts: Sequence[tuple[float, str]] = field(default=())
    below: str = "epochs done"


def draw(panels: Sequence[Panel], below: str) -> str:
    """An SVG of panels side by side on an opaque card, with a line of text below.

    An ``<img>`` follows the computer's dark mode and not the notebook's, so the card is light in
    both. Lines differ in dash and in the name at their end as well as in color.
    """
    width = (WIDTH - _LEFT - _RIGHT - (len(panels) - 1) * (_GAP + _RIGHT)) / len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _LEFT + number * (width + _GAP + _RIGHT), width)
    parts.append(f'<text x="{_LEFT}" y="{HEIGHT - 8}" fill="{GREY}">{escape(below)}</text></svg>')
    return "".join(parts)


def thin(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """At most so many points: means of equal stretches, so that no stretch is passed over."""
    good = [(x, y) for x, y in points if math.isfinite(y)]
    if len(good) <= most:
        return good
    edges = [round(i * len(good) / most) for i in range(most + 1)]
    return [
        (
            sum(x for x, _ in good[a:b]) / (b - a),
            sum(y for _, y in good[a:b]) / (b - a),
        )
        for a, b in pairwise(edges)
    ]


def _panel(panel: Panel, left: float, width: float) -> list[str]:
    height = HEIGHT - _TOP - _BOTTOM
    drawn = [(line, thin(line.points)) for line in panel.lines]
    values = [y for _, points in drawn for _, y in points]
    low, high = min([panel.low, *values]), max([panel.high, *values])
    span = max(high - low, 1e-9)
    end = max(panel.x_end, 1e-9)

    def place(x: float, y: float) -> Point:
        return left + width * min(x / end, 1.0), _TOP + height * (1 - (y - low) / span)

    parts = [f'<text x="{left}" y="22" font-size="13" font-weight="bold">{panel.title}</text>']
    for tick in _ticks(low, high):
        _, y = place(0, tick)
        parts.append(
            f'<line x1="{left}" x2="{left + width:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="#e4e4e4"/>'
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="{GREY}">{tick:g}</text>'
        )
    for tick in _ticks(0, end, whole=True):
        x, _ = place(tick, low)
        parts.append(
            f'<text x="{x:.1f}" y="{_TOP + height + 16}" text-anchor="middle" fill="{GREY}">'
            f"{tick:g}</text>"
        )
    parts.append(
        f'<text x="{left + width + 14:.1f}" y="{_TOP + height + 16}" fill="{GREY}">'
        f"{escape(panel.below)}</text>"
    )
    # Names that would run into each other are numbers; the words below the picture have them all.
    places = [place(x, low)[0] for x, _ in panel.cuts] + [left + width]
    narrow = any(
        6 * len(name) > b - a
        for (_, name), (a, b) in zip(panel.cuts, pairwise(places), strict=True)
    )
    for number, (x_cut, name) in enumerate(panel.cuts, start=1):
        name = str(number) if narrow else name
        x, _ = place(x_cut, low)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + height}" stroke="{GREY}" '
            f'stroke-dasharray="2 3"/><text x="{x + 3:.1f}" y="{_TOP - 4}" font-size="10" '
            f'fill="{GREY}">{escape(name)}</text>'
        )
    ends = []
    for line, points in drawn:
        if not points:
            continue
        at = [place(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{line.color}" '
            f'stroke-width="{2 if line.marks else 1}"{dash}/>'
        )
        if line.marks and len(at) <= MOST_MARKS:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{line.color}"/>'
                      for x, y in at]  # fmt: skip
        ends.append((at[-1], line))
    if ends:
        import numpy as np

        # The package's own way to keep names at the lines' ends from lying upon each other.
        heights = spread(np.array([y for (_, y), _ in ends]), gap=14.0)
        for ((x, _), line), y in zip(ends, heights, strict=True):
            parts.append(
                f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" fill="{readable(line.color)}">'
                f"{escape(line.name)}</text>"
            )
    return parts


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
    for share in (0.2, 0.25, 0.5, 1.0, 2.0):
        if (high - low) / (step * share) <= 6:
            step *= share
            break
    step = max(1.0, round(step)) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


COLORS = (PALETTE[0], PALETTE[1], PALETTE[2])
