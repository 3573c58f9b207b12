"""What a threshold decides, against scikit-learn's counting."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_score

from coursekit.errors import ScoreError
from coursekit.evaluation.threshold import at_threshold
from coursekit.evaluation.threshold_figures import threshold_figure
from coursekit.runs import Run

MakeRun = Callable[..., Run]


@pytest.mark.parametrize("threshold", [-1.3, 0.0, 0.6])
def test_it_counts_as_scikit_learn_does(make_run: MakeRun, threshold: float) -> None:
    run = make_run(n=(60, 90, 40))
    table = at_threshold(run, threshold)
    rows = run.predictions[run.predictions["part"] == "test"]
    for kind, prevalence in (("easy", 60 / 150), ("hard", 60 / 100)):
        own = rows[rows["negative_set"].isin(["", kind])]
        called = (own["score"].astype(np.float32) >= threshold).astype(int)
        (left, taken), (missed, found) = confusion_matrix(own["label"], called)
        got = table.loc[kind]
        assert [got["binders found"], got["binders missed"]] == [found, missed]
        assert [got["negatives taken"], got["negatives left"]] == [taken, left]
        precision = precision_score(own["label"], called)
        assert got["precision"] == pytest.approx(precision)
        assert got["enrichment"] == pytest.approx(precision / prevalence)
        assert got["recall"] == pytest.approx(found / 60)


def test_where_nothing_is_called_a_binder_there_is_no_precision(make_run: MakeRun) -> None:
    table = at_threshold(make_run(), 99.0)
    assert (table["recall"] == 0).all()
    assert table["precision"].isna().all()
    assert math.isnan(table.loc["hard", "enrichment"])
    assert "precision" not in threshold_figure(make_run(), 99.0).alt


def test_its_points_lie_on_the_curves_and_its_words_have_the_counts(make_run: MakeRun) -> None:
    run = make_run()
    table = at_threshold(run, -0.5)
    picture = threshold_figure(run, -0.5)
    _, roc, _ = picture.figure.axes
    easy, easy_point, hard, hard_point = (line.get_xydata() for line in roc.lines[:4])
    for curve, point, kind in ((easy, easy_point, "easy"), (hard, hard_point, "hard")):
        expected = table.loc[kind, ["false positive rate", "recall"]].to_numpy(dtype=float)
        assert point[0] == pytest.approx(expected)
        x, y = expected
        at = np.interp(x, curve[:, 0], curve[:, 1], right=None)
        inside = curve[np.isclose(curve[:, 0], x), 1]
        assert inside.size == 0 or inside.min() - 1e-9 <= y <= inside.max() + 1e-9 or at == y
    found = int(table.loc["hard", "binders found"])
    assert f"{found} of 60 binders are found" in picture.alt


def test_kinds_differ_in_more_than_color(make_run: MakeRun) -> None:
    scores, roc, pr = threshold_figure(make_run(), 0.0).figure.axes
    assert len({str(patch.get_linestyle()) for patch in scores.patches}) == 3
    for axes in (roc, pr):
        assert len({line.get_marker() for line in axes.lines if line.get_marker() != ""}) >= 2
        assert len(axes.get_legend().get_texts()) == 2


def test_a_run_with_one_kind_of_negatives_is_drawn(make_run: MakeRun) -> None:
    picture = threshold_figure(make_run(n=(20, 20, 0)), 0.0)
    assert "of 0 hard negatives 0 are taken along" in picture.alt


def test_scores_that_are_no_numbers_are_refused(make_run: MakeRun) -> None:
    run = make_run()
    spoiled = run.predictions.assign(score=float("nan"))
    with pytest.raises(ScoreError, match="not finite"):
        at_threshold(make_run(predictions=spoiled), 0.5)
