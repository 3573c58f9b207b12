from __future__ import annotations

from collections.abc import Callable

import pytest

from coursekit.errors import ScoreError
from coursekit.evaluation.figures import seeds_figure
from coursekit.runs import Run


def test_its_words_have_each_seed_the_mean_and_the_spread(make_run: Callable[..., Run]) -> None:
    runs = {"weak": [make_run(hard=0.3, seed=s) for s in (1, 2, 3)], "strong": [make_run(hard=2)]}
    picture = seeds_figure(runs)
    values = [run.scores(n_boot=0).auroc_hard.value for run in runs["weak"]]
    for value in values:
        assert f"{value:.3f}" in picture.alt
    assert f"(mean {sum(values) / 3:.3f}, standard deviation" in picture.alt
    assert "strong: " in picture.alt
    drawn = [text.get_text() for text in picture.figure.axes[0].texts]
    assert sorted(drawn) == ["seed 0", "seed 1", "seed 2", "seed 3"]


def test_what_cannot_be_drawn(make_run: Callable[..., Run]) -> None:
    with pytest.raises(ScoreError, match="no score"):
        seeds_figure({"a": [make_run()]}, "accuracy")
    with pytest.raises(ScoreError, match="none of them empty"):
        seeds_figure({"a": []})
