from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from coursekit.data.schema import MATRIX_COLUMNS, TARGET_COLUMNS, check_columns, enrichment
from coursekit.errors import SelectionError

counts = st.integers(0, 10_000)


def test_enrichment_reproduces_the_nine_real_rows(kindel_dir):
    rows = pd.read_csv(kindel_dir / "sample9_deepchemdel_test_dataset.csv")
    ours = enrichment(
        rows[list(TARGET_COLUMNS)].sum(axis=1), rows[list(MATRIX_COLUMNS)].sum(axis=1)
    )
    np.testing.assert_allclose(ours, rows["target_enrichment"], rtol=0, atol=1e-12)


@given(counts.filter(bool), counts)
def test_enrichment_is_the_ratio_of_scipys_poisson_bounds(k_target, k_matrix):
    lower = chi2.ppf(0.025, 2 * k_target) / 2
    upper = chi2.ppf(0.975, 2 * (k_matrix + 1)) / 2
    assert enrichment(k_target, k_matrix) == pytest.approx(lower / upper, rel=1e-13)


@given(counts, counts)
def test_enrichment_rises_with_target_and_falls_with_matrix(k_target, k_matrix):
    here = enrichment(k_target, k_matrix)
    assert enrichment(k_target + 1, k_matrix) > here
    fewer = enrichment(k_target, k_matrix + 1)
    assert fewer < here if k_target else fewer == here == 0


def test_enrichment_of_nothing_seen_is_zero_and_shapes_broadcast():
    table = enrichment(np.arange(3)[:, None], np.arange(4)[None, :])
    assert table.shape == (3, 4)
    assert (table[0] == 0).all()
    assert (table[1:] > 0).all()
    assert enrichment([], []).shape == (0,)


def test_large_and_small_counts_take_two_ways_to_the_same_number():
    small = np.array([0, 3, 50])
    mixed = enrichment(np.append(small, 5_000_000), 2)
    np.testing.assert_array_equal(mixed[:3], enrichment(small, 2))


@pytest.mark.parametrize("bad", [-1, 1.5, np.nan, np.inf])
def test_enrichment_refuses_what_is_no_count_and_names_its_position(bad):
    with pytest.raises(SelectionError, match=r"k_matrix is .* at position 1"):
        enrichment([3, 3], [0, bad])


def test_enrichment_refuses_text():
    with pytest.raises(SelectionError, match="as numbers"):
        enrichment(["3"], [0])


def test_a_column_twice_is_refused():
    from coursekit.data.schema import COLUMNS

    with pytest.raises(SelectionError, match="'smiles' is there twice"):
        check_columns([*COLUMNS, "smiles"], "table")
