"""Replicates equal scikit-learn on the same resamples; intervals cover what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from coursekit.evaluation import bootstrap as module
from coursekit.evaluation.bootstrap import Floats, bootstrap, draws, replicates
from coursekit.evaluation.metrics import INTERVAL


def _sklearn(
    binders: Floats, negatives: Floats, binder_counts: np.ndarray, negative_counts: np.ndarray
) -> tuple[list[float], list[float]]:
    aurocs, precisions = [], []
    for p, n in zip(binder_counts, negative_counts, strict=True):
        scores = np.concatenate([np.repeat(binders, p), np.repeat(negatives, n)])
        labels = np.repeat([1, 0], [p.sum(), n.sum()])
        aurocs.append(roc_auc_score(labels, scores))
        precisions.append(average_precision_score(labels, scores))
    return aurocs, precisions


values = st.lists(
    st.one_of(st.integers(0, 3).map(float), st.floats(-1, 1, width=32)), min_size=1, max_size=12
)


@settings(max_examples=40, deadline=None)
@given(binders=values, negatives=values, seed=st.integers(0, 1000))
def test_replicates_are_scikit_learns_also_with_ties(
    binders: list[float], negatives: list[float], seed: int
) -> None:
    pair = np.array(binders), np.array(negatives)
    generators = [np.random.default_rng([seed, i]) for i in range(2)]
    (counts,) = draws([len(binders), len(negatives)], 5, generators)
    ours = replicates(*pair, *counts)
    np.testing.assert_allclose(ours, _sklearn(*pair, *counts), rtol=0, atol=1e-12)


def test_replicates_are_scikit_learns_on_a_part_of_usual_size() -> None:
    rng = np.random.default_rng(3)
    binders = np.round(rng.normal(0.7, 1, 300), 2)  # rounded: hundreds of ties
    negatives = np.round(rng.normal(0, 1, 300), 2)
    (counts,) = draws([300, 300], 40, [np.random.default_rng(i) for i in range(2)])
    ours = replicates(binders, negatives, *counts)
    expected = _sklearn(binders, negatives, *counts)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_every_resample_keeps_the_number_of_binders_and_negatives() -> None:
    (counts,) = draws([7, 30], 200, [np.random.default_rng(i) for i in range(2)])
    assert counts[0].shape == (200, 7)
    assert (counts[0].sum(axis=1) == 7).all()
    assert (counts[1].sum(axis=1) == 30).all()
    assert counts[1].mean(axis=0) == pytest.approx(np.ones(30), abs=0.3), "each equally often"


def test_draws_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pair = {"binder": rng.normal(1, 1, 20), "hard": rng.normal(0, 1, 25)}
    whole = bootstrap(pair, 30, seed=5)
    monkeypatch.setattr(module, "_BLOCK_CELLS", 200)
    np.testing.assert_array_equal(bootstrap(pair, 30, seed=5), whole)
    assert not np.array_equal(bootstrap(pair, 30, seed=6), whole)


def test_easy_and_hard_scores_share_the_drawn_binders() -> None:
    binders = np.arange(30.0)
    kinds = {kind: {"binder": binders, kind: np.array([14.5])} for kind in ("easy", "hard")}
    # A single negative is always drawn, so only the binders can make a difference.
    easy, hard = (bootstrap(pair, 50, seed=1)[0] for pair in kinds.values())
    np.testing.assert_array_equal(easy, hard)
    assert easy.std() > 0


def test_the_interval_covers_the_true_auroc_of_two_normal_distributions() -> None:
    """Binormal model: AUROC = Phi(d / sqrt 2). 400 data sets of 80 + 80, 300 resamples each.

    A nominal 95% that really is 95% gives 0.95 +- 0.022 (two standard errors of 400 trials);
    percentile intervals of samples this small are known to be a little short.
    """
    rng = np.random.default_rng(11)
    distance, trials, covered = 1.2, 400, 0
    truth = norm.cdf(distance / np.sqrt(2))
    for trial in range(trials):
        pair = {"binder": rng.normal(distance, 1, 80), "hard": rng.normal(0, 1, 80)}
        low, high = np.quantile(bootstrap(pair, 300, seed=trial)[0], INTERVAL)
        covered += int(low <= truth <= high)
    assert covered / trials == pytest.approx(0.95, abs=0.03)


def test_the_interval_of_a_paired_difference_covers_the_true_difference() -> None:
    """Two scores of the same molecules, correlated at 0.7, with true AUROCs known as above."""
    rng = np.random.default_rng(12)
    distances, trials, covered = (1.4, 0.9), 300, 0
    truth = norm.cdf(distances[0] / np.sqrt(2)) - norm.cdf(distances[1] / np.sqrt(2))
    mix = np.linalg.cholesky([[1, 0.7], [0.7, 1]])
    for trial in range(trials):
        binders = (mix @ rng.normal(size=(2, 80))).T + distances
        negatives = (mix @ rng.normal(size=(2, 80))).T
        a, b = (
            bootstrap({"binder": binders[:, i], "hard": negatives[:, i]}, 300, seed=trial)[0]
            for i in range(2)
        )
        low, high = np.quantile(a - b, INTERVAL)
        covered += int(low <= truth <= high)
    assert covered / trials == pytest.approx(0.95, abs=0.035)
