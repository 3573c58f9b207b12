"""Scores are scikit-learn's, intervals are paired, and hopeless input gets a clear answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from coursekit.errors import ScoreError
from coursekit.evaluation import Score, paired_difference, score_predictions
from coursekit.evaluation.metrics import METRICS
from coursekit.runs import Run

MakeRun = Callable[..., Run]


@pytest.mark.parametrize("part", ["valid", "test"])
def test_values_are_those_of_scikit_learn_on_each_kind(make_run: MakeRun, part: str) -> None:
    predictions = make_run().predictions
    scores = score_predictions(predictions, part, n_boot=0)
    for kind in ("easy", "hard"):
        rows = predictions[
            (predictions["part"] == part) & predictions["negative_set"].isin(["", kind])
        ]
        expected = roc_auc_score(rows["label"], rows["score"])
        assert getattr(scores, f"auroc_{kind}").value == pytest.approx(expected, abs=1e-12)
        expected = average_precision_score(rows["label"], rows["score"])
        assert getattr(scores, f"au_prc_{kind}").value == pytest.approx(expected, abs=1e-12)


def test_order_of_rows_changes_nothing(make_run: MakeRun) -> None:
    predictions = make_run().predictions
    shuffled = predictions.sample(frac=1, random_state=4)
    pd.testing.assert_frame_equal(
        score_predictions(shuffled).table, score_predictions(predictions).table, check_exact=True
    )


def test_counts_and_prevalence_are_told(make_run: MakeRun) -> None:
    scores = make_run(n=(20, 60, 40)).scores()
    assert scores.au_prc_easy.prevalence == 0.25
    assert scores.au_prc_hard.prevalence == pytest.approx(1 / 3)
    assert scores.table["negatives"].tolist() == [60, 60, 40, 40]
    assert "guessing 0.250" in str(scores)
    assert "20 binders against 60 easy or 40 hard negatives" in str(scores)


def test_more_molecules_make_the_interval_shorter_as_one_over_the_root(make_run: MakeRun) -> None:
    widths = []
    for size in (50, 800):
        score = make_run(n=(size, size, size)).scores().auroc_hard
        assert score.low < score.value < score.high
        widths.append(score.high - score.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)  # sqrt(800 / 50) = 4


def test_intervals_are_reproducible_and_depend_on_the_seed(make_run: MakeRun) -> None:
    run = make_run()
    assert run.scores().table.equals(run.scores().table)
    assert run.scores(seed=1).auroc_hard.low != run.scores().auroc_hard.low


def test_without_resamples_there_is_no_interval(make_run: MakeRun) -> None:
    score = make_run().scores(n_boot=0).auroc_easy
    assert np.isnan(score.low)
    assert np.isnan(score.high)
    assert str(score) == f"{score.value:.3f}"


def test_constant_predictions_are_guessing_and_say_so(make_run: MakeRun) -> None:
    predictions = make_run(n=(20, 60, 20)).predictions.assign(score=0.3)
    scores = score_predictions(predictions)
    assert (scores.auroc_easy.value, scores.auroc_easy.low, scores.auroc_easy.high) == (0.5,) * 3
    assert scores.au_prc_easy.value == 0.25
    assert "all scores are equal" in str(scores.auroc_easy)


def test_perfect_and_inverted_predictions(make_run: MakeRun) -> None:
    predictions = make_run().predictions
    perfect = score_predictions(predictions.assign(score=predictions["label"].astype(float)))
    assert perfect.table["value"].tolist() == [1.0] * 4
    assert perfect.table["low"].tolist() == [1.0] * 4
    inverted = score_predictions(predictions.assign(score=-predictions["label"].astype(float)))
    assert inverted.auroc_hard.value == 0.0


@pytest.mark.parametrize(
    ("missing", "undefined", "note"),
    [
        ("", list(METRICS), "no binders"),
        ("easy", ["auroc_easy", "au_prc_easy"], "no easy negatives"),
        ("hard", ["auroc_hard", "au_prc_hard"], "no hard negatives"),
    ],
)
def test_a_single_class_has_no_score_and_says_why(
    make_run: MakeRun, missing: str, undefined: list[str], note: str
) -> None:
    predictions = make_run().predictions
    scores = score_predictions(predictions[predictions["negative_set"] != missing])
    for metric in METRICS:
        score: Score = getattr(scores, metric)
        assert np.isnan(score.value) == (metric in undefined)
        assert (score.note == note) == (metric in undefined)
        assert (str(score) == f"not defined: {note}") == (metric in undefined)


def test_only_binders_have_no_score(make_run: MakeRun) -> None:
    predictions = make_run().predictions
    table = score_predictions(predictions[predictions["label"] == 1]).table
    assert table["value"].isna().all()


def _nan(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[frame["molecule_id"] == "test-hard-3", "score"] = np.nan
    return frame


def _too_large(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(score=1e300)


def _text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(score="high")


def _twice(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.tail(1)])


def _label(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(label=frame["label"].where(frame["negative_set"] != "hard", 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _nan,
            "1 of 180 predictions of part 'test' are not finite numbers, first molecule test-ha",
        ),
        (_too_large, "180 of 180"),
        (_text, "180 of 180"),
        (_twice, "molecule test-hard-59 is predicted more than once"),
        (_label, "label 1 and negative_set 'hard'"),
        (lambda frame: frame.drop(columns="score"), r"lack \['score'\]"),
        (lambda frame: frame[frame["part"] == "valid"], r"part 'test'; there are \['valid'\]"),
        (lambda frame: frame.head(0), r"no predictions for part 'test'; there are \[\]"),
    ],
)
def test_predictions_that_cannot_be_scored_are_explained(
    make_run: MakeRun, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    with pytest.raises(ScoreError, match=message):
        score_predictions(change(make_run().predictions.copy()))


def test_a_paired_difference_is_the_difference_and_shorter_than_unpaired(make_run: MakeRun) -> None:
    a, b = make_run("a", hard=1.2, seed=1), make_run("b", hard=0.8, seed=2)
    found = paired_difference(a, b)
    first, second = a.scores().auroc_hard, b.scores().auroc_hard
    assert found.value == pytest.approx(first.value - second.value, abs=1e-12)
    assert found.low < found.value < found.high
    unpaired = np.hypot(first.high - first.low, second.high - second.low)
    assert found.high - found.low < 0.9 * unpaired, "the molecules' shared part is taken out"


def test_a_run_does_not_differ_from_itself(make_run: MakeRun) -> None:
    run = make_run()
    for metric in METRICS:
        found = paired_difference(run, run, metric)
        assert (found.value, found.low, found.high, found.clear) == (0.0, 0.0, 0.0, False)


def test_differences_turn_around(make_run: MakeRun) -> None:
    a, b = make_run("a", hard=2.0, seed=1), make_run("b", hard=0.3, seed=2)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert (back.value, back.low, back.high) == (-forth.value, -forth.high, -forth.low)
    assert forth.clear
    assert str(forth) == str(back), "who wins does not depend on who was asked first"
    text = f"a beats b on hard AUROC by {forth.value:.3f} [{forth.low:.3f}, {forth.high:.3f}]"
    assert str(forth) == text


def test_a_difference_that_is_not_clear_is_called_so(make_run: MakeRun) -> None:
    a, b = make_run("a", seed=1), make_run("b", seed=2)
    found = paired_difference(a, b, "au_prc_easy")
    assert not found.clear
    assert "a and b cannot be told apart on easy AU-PRC: difference" in str(found)


def test_a_difference_that_does_not_exist_says_why(make_run: MakeRun) -> None:
    run = make_run(n=(10, 10, 0))
    found = paired_difference(run, run, "auroc_hard")
    assert np.isnan(found.value)
    assert not found.clear
    assert str(found) == "run and run cannot be compared on hard AUROC: no hard negatives"


def test_runs_that_cannot_be_paired_are_explained(make_run: MakeRun) -> None:
    a = make_run("a")
    with pytest.raises(ScoreError, match="no metric 'accuracy'"):
        paired_difference(a, a, "accuracy")
    other = make_run("b", task={"name": "other", "fingerprint": "1b" * 32, "settings": {}})
    with pytest.raises(
        ScoreError, match=r"'a' and 'b'.*fingerprints 0a0a0a0a0a0a and 1b1b1b1b1b1b"
    ):
        paired_difference(a, other)
    fewer = replace(a, name="b", predictions=a.predictions.iloc[:-2])
    with pytest.raises(ScoreError, match="2 molecules are only in the first and 0"):
        paired_difference(a, fewer)
    relabeled = a.predictions.replace(
        {"molecule_id": {"test-easy-0": "x", "test-hard-0": "test-e"}}
    )
    relabeled = relabeled.replace({"molecule_id": {"x": "test-hard-0", "test-e": "test-easy-0"}})
    with pytest.raises(ScoreError, match=r"2 molecules have another label, first test-easy-0"):
        paired_difference(a, replace(a, name="b", predictions=relabeled))


def test_a_thousand_resamples_of_900_molecules_are_fast(make_run: MakeRun) -> None:
    run = make_run(n=(300, 300, 300))
    run.scores(n_boot=10)  # imports scikit-learn
    started = time.perf_counter()
    run.scores(n_boot=1000)
    assert time.perf_counter() - started < 3, "about 0.1 s on one free core"


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_scores_in_html_have_a_caption_and_marked_headers(make_run: MakeRun) -> None:
    parser = _Cells()
    parser.feed(make_run().scores()._repr_html_())
    scopes = [attributes.get("scope") for tag, attributes in parser.tags if tag == "th"]
    assert scopes == ["col"] * 3 + ["row"] * 4
    assert "caption" in [tag for tag, _ in parser.tags]
