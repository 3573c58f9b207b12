from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursekit.data.disynthons import DisynthonTables
from coursekit.errors import TaskError

SIZES = {"a": 4, "b": 5, "c": 3}
member = st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 2))
stranger = st.tuples(st.integers(-1, 3), st.integers(-1, 4), st.integers(-1, 2))


def codes(members: list[tuple[int, int, int]]) -> dict[str, np.ndarray]:
    return dict(zip("abc", np.array(members, dtype=np.int32).reshape(-1, 3).T, strict=True))


@settings(max_examples=80, deadline=None)
@given(members=st.lists(member, max_size=6), others=st.lists(stranger, min_size=1, max_size=20))
def test_tables_agree_with_sets(
    members: list[tuple[int, int, int]], others: list[tuple[int, int, int]]
) -> None:
    tables = DisynthonTables(codes(members), SIZES)
    shared = [
        any((o[0] == m[0] >= 0) + (o[1] == m[1] >= 0) + (o[2] == m[2] >= 0) >= 2 for m in members)
        for o in others
    ]
    assert tables.shares_pair(codes(others)).tolist() == shared
    known = [o for o in others if min(o) >= 0]
    one = [any(x == y for m in members for x, y in zip(o, m, strict=True)) for o in known]
    assert tables.shares_block(codes(known)).tolist() == one


def test_columns_that_hold_molecules_are_refused_before_memory_is_asked_for() -> None:
    with pytest.raises(TaskError, match="500,000 in smiles_b"):
        DisynthonTables(codes([]), {"a": 500_000, "b": 500_000, "c": 10})


def test_the_largest_tables_do_not_overflow() -> None:
    sizes = {"a": 60_000, "b": 15_000, "c": 1}
    tables = DisynthonTables(codes([(59_999, 14_999, 0)]), sizes)
    asked = codes([(59_999, 14_999, 0), (59_999, 14_998, 0), (0, 14_999, -1)])
    assert tables.has_pair(asked, "a", "b").tolist() == [True, False, False]
