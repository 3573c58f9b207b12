from __future__ import annotations

import numpy as np
import pytest

from coursekit.data.rules import EnrichmentAtLeast, LabelRules
from coursekit.data.schema import enrichment
from coursekit.errors import TaskError


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 1.0, 4.0])
def test_lookup_agrees_with_the_formula(threshold: float) -> None:
    random = np.random.default_rng(0)
    k_target = np.concatenate([random.integers(0, 60, 5000), random.integers(0, 9000, 300)])
    k_matrix = np.concatenate([random.integers(0, 40, 5000), random.integers(0, 900, 300)])
    expected = enrichment(k_target, k_matrix) >= threshold
    assert (EnrichmentAtLeast(threshold)(k_target, k_matrix) == expected).all()


def test_thresholds_on_the_published_values() -> None:
    # research values for a silent matrix: 8 reads give 0.936, 9 reads 1.116
    reach = EnrichmentAtLeast(1.0)
    assert reach(np.array([8, 9]), np.array([0, 0])).tolist() == [False, True]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"hard_enrichment_below": 1.2}, "labels overlap"),
        ({"matrix_enrichment_below": 0.0}, "labels overlap"),
        ({"disynthon_share": 0.9}, "sum to 1"),
        ({"disynthon_share": 1.2, "similarity_share": -0.2, "matrix_share": 0.0}, "sum to 1"),
        ({"similar": 1.5}, "similarity in"),
        ({"hard_min_load": -1}, "from 0 up"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, float], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        LabelRules(**arguments)  # type: ignore[arg-type]


def test_rules_near_the_cut_accept_rows_of_a_1m_file() -> None:
    rules = LabelRules.near_cut()
    assert rules.hard_max_target is None
    assert 0.295 < rules.hard_enrichment_below < rules.binder_enrichment
