"""Pictures carry their words everywhere, and the house style can be read without color."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from matplotlib.text import Text

from coursekit.errors import ScoreError
from coursekit.evaluation.picture import (
    GREY,
    PALETTE,
    Picture,
    label_ends,
    listed,
    new_figure,
    readable,
    spread,
    style,
)

ALT = 'A line "rises" from <1> to 2 & stays.'


@pytest.fixture
def picture() -> Picture:
    figure, (axes,) = new_figure(3, 2)
    axes.plot([0, 1], [1, 2])
    return Picture(figure, ALT, "A line")


class _Image(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_carries_alt_text_and_a_real_png(picture: Picture) -> None:
    parser = _Image()
    parser.feed(picture._repr_html_())
    (image,) = parser.images
    assert image["alt"] == ALT
    kind, data = str(image["src"]).split(",")
    assert kind == "data:image/png;base64"
    pixels = imread(io.BytesIO(base64.b64decode(data)), format="png")
    assert pixels.shape[:2] == (220, 330)  # 2 x 3 inches at 110 dots
    assert parser.text == "A line"
    assert pixels[0, 0].tolist() == [1, 1, 1, 1], "opaque white: readable on a dark page"


def test_a_terminal_shows_the_words(picture: Picture) -> None:
    assert repr(picture) == f"[A line] {ALT}"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_saved_files_repeat_exactly_and_keep_the_alt_text(
    picture: Picture, tmp_path: Path, suffix: str
) -> None:
    first = picture.save(tmp_path / "new" / f"a{suffix}").read_bytes()
    assert picture.save(tmp_path / f"b{suffix}").read_bytes() == first
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert first.startswith(start)
    if suffix == ".svg":
        assert b"A line &quot;rises&quot;" in first or b'A line "rises"' in first
    else:
        assert b"A line" in first


def test_another_kind_of_file_is_refused(picture: Picture, tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"'a.bmp' must end in one of \['.png'"):
        picture.save(tmp_path / "a.bmp")


def test_no_figure_is_left_to_pyplot(picture: Picture) -> None:
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []


def test_the_first_seven_lines_differ_in_color_and_dash_and_marker_and_49_in_one() -> None:
    looks = [
        (look["color"], str(look["linestyle"]), look["marker"]) for look in map(style, range(49))
    ]
    for one, other in combinations(looks[:7], 2):
        assert all(a != b for a, b in zip(one, other, strict=True))
    assert len({look[:2] for look in looks}) == 49


def _contrast(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


@pytest.mark.parametrize("color", [*PALETTE, GREY, "#ffffff"])
def test_text_in_any_color_is_readable_on_white(color: str) -> None:
    assert _contrast(readable(color)) >= 4.5
    if _contrast(color) >= 4.5:
        assert readable(color) == color.lower(), "dark colors stay as they are"


def test_contrast_is_that_of_the_standard() -> None:
    assert _contrast("#000000") == pytest.approx(21)
    assert _contrast(GREY) == pytest.approx(7.0, abs=0.05)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12).map(np.array),
    st.floats(0.01, 0.3),
)
def test_spread_places_keep_their_order_their_distance_and_their_middle(
    places: np.ndarray, gap: float
) -> None:
    moved = spread(places, gap)
    order = np.argsort(places, kind="stable")
    assert (np.diff(moved[order]) >= gap - 1e-9).all()
    shift = np.arange(len(places)) * gap
    assert moved[order].sum() - shift.sum() == pytest.approx(places.sum() - shift.sum(), abs=1e-6)
    if len(places) == 1 or (np.diff(places[order]) >= gap).all():
        np.testing.assert_allclose(moved, places, atol=1e-12)


def test_names_of_lines_that_end_together_do_not_overlap() -> None:
    figure, (axes,) = new_figure(4, 3)
    ends = [(1.0, 0.5 + 0.001 * i, f"line {i}", PALETTE[i]) for i in range(4)]
    for x, y, _, color in ends:
        axes.plot([0, x], [0, y], color=color)
    label_ends(axes, ends)
    label_ends(axes, [])
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the leading line
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(box.x1 <= figure.bbox.x1 for box in boxes), "no name is cut off"


def test_words_are_listed_as_in_a_sentence() -> None:
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]
    assert not re.search("color|colour", repr(Picture.__doc__)), "words do not speak of color"
