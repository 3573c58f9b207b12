"""Where an encoder puts molecules: numbers against closed cases, and words that say them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coursekit.errors import ScoreError
from coursekit.evaluation.embedding_figures import (
    embedding_figure,
    neighbor_purity,
    pull_and_push,
    purity_table,
)

KINDS = ["", "easy", "hard"] * 12
MOLECULES = pd.DataFrame({"negative_set": KINDS})
PLACES = {"": [1.0, 0.0, 0.0], "easy": [0.0, 1.0, 0.0], "hard": [0.0, 0.0, 1.0]}
APART = np.array([PLACES[kind] for kind in KINDS]) + np.random.default_rng(0).normal(
    0, 0.01, (36, 3)
)


def test_kinds_that_lie_apart_are_pure_and_length_does_not_count() -> None:
    lengths = np.random.default_rng(1).uniform(0.1, 10, (36, 1))
    table = purity_table({"apart": APART, "long": APART * lengths}, MOLECULES)
    assert (table.to_numpy() == 1.0).all()
    assert list(table.columns) == ["purity, easy", "purity, hard"]


def test_without_order_purity_is_the_share_of_binders() -> None:
    rng = np.random.default_rng(2)
    found = neighbor_purity(rng.normal(size=(3000, 8)), np.arange(3000) % 3 == 0)
    assert found == pytest.approx(1 / 3, abs=0.02)


def test_the_picture_says_what_the_table_says() -> None:
    blurred = APART + np.random.default_rng(3).normal(0, 2, APART.shape)
    stages = {"before": blurred, "after": APART}
    picture, table = embedding_figure(stages, MOLECULES), purity_table(stages, MOLECULES)
    easy, hard = table.loc["before"]
    assert f"before: of a binder's 10 nearest neighbors {easy:.0%} are binders" in picture.alt
    assert f"{hard:.0%} among hard" in picture.alt
    assert "after: of a binder's 10 nearest neighbors 100% are" in picture.alt
    for axes in picture.figure.axes:
        assert [len(dots.get_offsets()) for dots in axes.collections] == [12, 12, 12]
        shown = np.concatenate([dots.get_offsets() for dots in axes.collections])
        assert np.isfinite(shown).all()
    markers = {dots.get_paths()[0].vertices.shape for dots in picture.figure.axes[0].collections}
    assert len(markers) == 3, "told apart without color"


def test_vectors_all_at_one_place_can_be_drawn() -> None:
    assert (
        "variance"
        in embedding_figure({"one": np.ones((36, 3))}, MOLECULES).figure.axes[0].get_xlabel()
    )


def test_arrows_go_where_a_step_goes_along_the_circle() -> None:
    points = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    steps = np.array([[5.0, 1.0], [0.5, 9.0], [3.0, 0.0]])  # outward parts do not count
    picture = pull_and_push(points, steps, ["binder a", "hard negative h", "easy negative e"])
    assert "binder a moves 100%" in picture.alt
    assert "hard negative h moves 50%" in picture.alt
    assert "easy negative e moves 0%" in picture.alt
    arrows = [text for text in picture.figure.axes[0].texts if text.arrow_patch is not None]
    assert [arrow.xy for arrow in arrows] == [pytest.approx([1, 0.5]), pytest.approx([0.25, 1])]


@pytest.mark.parametrize(
    ("vectors", "said"), [(np.ones((35, 3)), "35 vectors for 36"), (np.ones((0, 3)), "0 vectors")]
)
def test_vectors_of_other_molecules_are_refused(vectors: np.ndarray, said: str) -> None:
    with pytest.raises(ScoreError, match=said):
        embedding_figure({"other": vectors}, MOLECULES)


@pytest.mark.parametrize("binder", [np.zeros(30, bool), np.ones(8, bool)])
def test_no_binders_or_too_few_molecules_are_refused(binder: np.ndarray) -> None:
    with pytest.raises(ScoreError, match="at least"):
        neighbor_purity(np.ones((len(binder), 2)), binder)
