"""What figures draw is what the data say, in lines and in words."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from sklearn.metrics import roc_curve

from coursekit.errors import ScoreError
from coursekit.evaluation import compare
from coursekit.evaluation import figures as face
from coursekit.evaluation.figures import (
    freeze_map,
    learning_rate_plan,
    loss_curves,
    roc_pr_curves,
    scores_figure,
)
from coursekit.evaluation.picture import Picture
from coursekit.runs import Run

MakeRun = Callable[..., Run]
MakeHistory = Callable[..., pd.DataFrame]


def _texts(picture: Picture) -> list[str]:
    """Every text of the figure but tick labels."""
    return [text.get_text() for axes in picture.figure.axes for text in axes.texts]


def _assert_nothing_is_cut_or_covered(picture: Picture) -> None:
    figure = picture.figure
    figure.draw_without_rendering()
    card = figure.bbox
    for axes in figure.axes:
        boxes = [Text.get_window_extent(text) for text in axes.texts if text.get_text()]
        for box in boxes:
            assert card.x0 - 1 <= box.x0 <= box.x1 <= card.x1 + 1
            assert card.y0 - 1 <= box.y0 <= box.y1 <= card.y1 + 1
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_the_words_of_a_loss_curve_are_computed_from_the_history(
    make_run: MakeRun, make_history: MakeHistory
) -> None:
    hard, losses = [0.61, 0.70, 0.74, 0.80, 0.78], [0.7, 0.6, 0.5, 0.52, 0.6]
    run = make_run(history=make_history(hard, losses=losses))
    picture = loss_curves(run)
    assert (
        "Validation AUROC on hard negatives rises from 0.61 to 0.78 over 5 epochs; "
        "best at epoch 4 (0.80)."
    ) in picture.alt
    assert (
        "Validation loss falls from 0.70 to 0.60 over 5 epochs; best at epoch 3 (0.50)."
    ) in picture.alt
    assert "Training loss falls from" in picture.alt
    assert "over 50 steps." in picture.alt
    assert "easy" not in picture.alt, "easy negatives were not measured"
    _assert_nothing_is_cut_or_covered(picture)


def test_loss_curves_draw_the_validations_and_where_phases_begin(
    make_run: MakeRun, make_history: MakeHistory
) -> None:
    hard, easy = [0.6, 0.7, 0.72], [0.7, 0.8, 0.85]
    picture = loss_curves(make_run(history=make_history(hard, easy)))
    left, right = picture.figure.axes
    np.testing.assert_array_equal(right.lines[0].get_ydata(), hard)
    np.testing.assert_array_equal(right.lines[1].get_ydata(), easy)
    assert right.lines[0].get_marker() != right.lines[1].get_marker()
    assert right.lines[0].get_linestyle() != right.lines[1].get_linestyle()
    assert [text.get_text() for text in right.texts] == ["hard", "easy"]
    assert [text.get_text() for text in left.texts].count("next phase") == 1
    (boundary,) = [line for line in left.lines if len(set(line.get_xdata())) == 1]
    assert boundary.get_xdata()[0] == 21, "the first step of epoch 3"


def test_several_runs_are_named_at_their_lines_and_baselines_mentioned(
    make_run: MakeRun, make_history: MakeHistory
) -> None:
    runs = {
        "frozen": make_run(history=make_history([0.6, 0.6])),
        "full": make_run(history=make_history([0.6, 0.7, 0.8])),
        "forest": make_run(),
    }
    picture = loss_curves(runs)
    assert sorted(_texts(picture)) == ["frozen", "frozen", "full", "full"]
    assert "frozen: validation AUROC on hard negatives stays at 0.60 over 2 epochs" in picture.alt
    assert "full: validation AUROC on hard negatives rises from 0.60 to 0.80" in picture.alt
    assert "No history for forest." in picture.alt
    _assert_nothing_is_cut_or_covered(picture)


def test_histories_with_gaps_are_drawn_as_far_as_they_go(
    make_run: MakeRun, make_history: MakeHistory
) -> None:
    history = make_history([0.6])
    only_valid = history[history["split"] == "valid"]
    alt = loss_curves(make_run(history=only_valid)).alt
    assert "Training" not in alt
    assert "Validation loss is 0.70, measured once." in alt
    only_train = history[history["split"] == "train"]
    assert "Validation" not in loss_curves(make_run(history=only_train)).alt
    early = only_train.drop(columns=["auroc_easy", "auroc_hard"])
    assert "Validation" not in loss_curves(make_run(history=early)).alt
    several = loss_curves(
        {"a": make_run(history=early), "b": make_run(history=make_history([0.6, 0.7]))}
    )
    assert "a: validation" not in several.alt


def test_runs_without_any_history_have_no_loss_curve(make_run: MakeRun) -> None:
    with pytest.raises(ScoreError, match="none of these runs has a history; use roc_pr_curves"):
        loss_curves({"forest": make_run()})


def test_roc_curves_are_scikit_learns_and_the_words_give_the_areas(make_run: MakeRun) -> None:
    run = make_run("full", n=(40, 60, 160))
    picture = roc_pr_curves({"full": run, "again": run})
    rows = run.predictions[run.predictions["part"] == "test"]
    rows = rows[rows["negative_set"] != "easy"]
    false, true, _ = roc_curve(rows["label"], rows["score"])
    drawn = picture.figure.axes[1].lines[0]
    np.testing.assert_array_equal(drawn.get_xdata(), false)
    np.testing.assert_array_equal(drawn.get_ydata(), true)
    scores = run.scores(n_boot=0)
    area = f"full (AUROC {scores.auroc_hard.value:.2f}, AU-PRC {scores.au_prc_hard.value:.2f})"
    assert area in picture.alt
    assert "guessing would give 0.50 and 0.20" in picture.alt
    assert "guessing: 0.20" in _texts(picture), "the prevalence line of the hard panel"
    assert "guessing: 0.40" in _texts(picture)
    legend = picture.figure.axes[0].get_legend()
    assert legend.get_texts()[0].get_text() == f"full: {scores.auroc_easy.value:.3f}"


def test_precision_begins_where_the_first_binder_is_found(make_run: MakeRun) -> None:
    run = make_run()
    worst = run.predictions.copy()
    worst.loc[worst["molecule_id"] == "test-hard-0", "score"] = 1e6  # a negative on top
    picture = roc_pr_curves(make_run(predictions=worst))
    curve = picture.figure.axes[3].lines[0]
    assert (curve.get_xdata() > 0).all()
    assert (curve.get_ydata() > 0).all()


def test_a_kind_without_molecules_is_said_to_be_empty(make_run: MakeRun) -> None:
    picture = roc_pr_curves(make_run(n=(20, 20, 0)))
    assert "nothing to draw for hard negatives" in picture.alt
    assert _texts(picture).count("no hard scores") == 2


def test_dots_and_intervals_are_the_scores(make_run: MakeRun) -> None:
    names = ["frozen", "full fine-tuning", "progressive unfreezing of a large encoder"]
    runs = {name: make_run(hard=0.4 * i, seed=i) for i, name in enumerate(names)}
    comparison = compare(runs, n_boot=100)
    picture = scores_figure(comparison)
    left = picture.figure.axes[0]
    score = comparison.scores["frozen"].auroc_easy
    interval, dot = left.lines[0], left.lines[1]
    assert list(interval.get_xdata()) == [score.low, score.high]
    assert list(dot.get_xdata()) == [score.value]
    assert left.get_yticklabels()[-1].get_text() == "frozen", "the first approach is on top"
    assert f"easy {score.value:.3f}" in _texts(picture)
    assert (
        f"frozen: easy AUROC {score.value:.2f} [{score.low:.2f}, {score.high:.2f}]" in picture.alt
    )
    markers = {line.get_marker() for line in left.lines} - {"None", ""}
    assert len(markers) == 2, "easy and hard differ in shape"
    _assert_nothing_is_cut_or_covered(picture)


def test_scores_that_do_not_exist_are_left_out(make_run: MakeRun) -> None:
    picture = scores_figure(compare({"a": make_run(n=(9, 9, 0))}, n_boot=0))
    assert "hard" not in picture.alt
    none = scores_figure(compare({"a": make_run(n=(9, 0, 0))}, n_boot=0))
    assert "a: no scores." in none.alt


def test_a_plan_is_told_group_by_group(plan: pd.DataFrame) -> None:
    picture = learning_rate_plan(plan)
    assert "head from epoch 1 at 1.0e-03" in picture.alt
    assert "block 3 from epoch 2 at 5.0e-04" in picture.alt
    assert "Always frozen: block 0, embeddings." in picture.alt
    axes = picture.figure.axes[0]
    assert axes.get_yscale() == "log"
    second = axes.lines[1]
    assert np.isnan(second.get_ydata()[0])
    np.testing.assert_array_equal(second.get_ydata()[1:], 5e-4)
    assert [t for t in _texts(picture) if "phase" in t] == [f"phase {i}" for i in (1, 2, 3, 4)]
    _assert_nothing_is_cut_or_covered(picture)


def test_groups_that_share_their_rates_share_a_line(plan: pd.DataFrame) -> None:
    flat = plan.assign(learning_rate=1e-4, phase="all")
    picture = learning_rate_plan(flat)
    assert "head to embeddings (6 groups) from epoch 1 at 1.0e-04" in picture.alt
    assert "head to embeddings (6 groups)" in _texts(picture)
    assert "Always frozen" not in picture.alt


def test_a_freeze_map_shows_who_trains_by_pattern_and_by_text(plan: pd.DataFrame) -> None:
    picture = freeze_map(plan)
    axes = picture.figure.axes[0]
    rates = plan["learning_rate"].notna()
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    assert len(axes.patches) == len(plan)
    assert len(hatched) == rates.sum()
    texts = _texts(picture)
    assert texts.count("frozen") == (~rates).sum()
    assert texts.count("1e-3") == 6, "the head's rate in each epoch"
    assert texts.count("5e-4") == 5
    assert [tick.get_text() for tick in axes.get_yticklabels()][-1] == "head", "head on top"
    assert "From epoch 1, 1 of 6 groups train: head. From epoch 2, 2 of 6" in picture.alt
    assert "From epoch 6, 4 of 6 groups train: head to block 1 (4 groups)." in picture.alt
    _assert_nothing_is_cut_or_covered(picture)


def test_zero_is_frozen_too(plan: pd.DataFrame) -> None:
    assert freeze_map(plan.fillna({"learning_rate": 0.0})).alt == freeze_map(plan).alt


def test_a_plan_in_which_nothing_trains_says_so(plan: pd.DataFrame) -> None:
    nothing = plan.assign(learning_rate=np.nan)
    assert "Trains: nothing." in learning_rate_plan(nothing).alt
    assert "0 of 6 groups train: none" in freeze_map(nothing).alt


def test_many_phases_are_numbered(plan: pd.DataFrame) -> None:
    rows: list[dict[str, Any]] = [
        {"phase": f"open block {i}", "epoch": i, "group": "head", "learning_rate": 1e-4 / i}
        for i in range(1, 21)
    ]
    for figure in (freeze_map, learning_rate_plan):
        picture = figure(pd.DataFrame(rows))
        assert picture.figure.axes[0].get_xlabel() == "epoch (above: number of the phase)"
        assert {"0", "19"} <= set(_texts(picture))  # counted from 0, as the plan's table does
        _assert_nothing_is_cut_or_covered(picture)


@pytest.mark.parametrize("figure", [freeze_map, learning_rate_plan])
def test_a_plan_without_a_column_or_rows_is_refused(
    figure: Callable[[pd.DataFrame], Picture], plan: pd.DataFrame
) -> None:
    with pytest.raises(ScoreError, match=r"lacks \['group'\]; expected columns"):
        figure(plan.drop(columns="group"))
    with pytest.raises(ScoreError, match="has no rows"):
        figure(plan.head(0))


def test_every_figure_is_at_hand_under_one_name() -> None:
    assert all(callable(getattr(face, name)) for name in face.__all__)
    assert list(face.__all__) == sorted(set(face.__all__))
