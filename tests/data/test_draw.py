from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from coursekit.data.draw import LowestKeys, row_keys

MASK = (1 << 64) - 1


def splitmix64(value: int) -> int:
    """The published algorithm, in plain integers."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def test_keys_are_splitmix64() -> None:
    rows = np.array([0, 1, 2, 81_000_000])
    for seed in (0, 1, -3, 2**70):
        start = splitmix64(seed & MASK)
        assert row_keys(rows, seed).tolist() == [
            splitmix64((start + r) & MASK) for r in rows.tolist()
        ]
    # Reference value of the generator's first output for state 0 (Vigna's splitmix64.c).
    assert splitmix64(0) == 0xE220A8397B1DCDAF


def test_keys_look_uniform_and_seeds_unrelated() -> None:
    rows = np.arange(200_000)
    one, two = (row_keys(rows, seed) / 2.0**64 for seed in (1, 2))
    assert abs(one.mean() - 0.5) < 0.003
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.01
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.01


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 30),
    batches=st.lists(st.integers(0, 50), min_size=1, max_size=8),
    seed=st.integers(0, 5),
    share=st.floats(0.0, 1.0),
)
def test_reservoir_equals_sorting_everything(
    size: int, batches: list[int], seed: int, share: float
) -> None:
    pool, everything, start = LowestKeys(size, ("row", "double")), [], 0
    chosen_all = np.random.default_rng(seed).random(sum(batches)) < share
    for n in batches:
        rows = np.arange(start, start + n)
        chosen = chosen_all[start : start + n]
        pool.offer(chosen, row_keys(rows, seed), {"row": rows, "double": 2 * rows})
        everything += rows[chosen].tolist()
        start += n
    by_key = sorted(everything, key=lambda row: int(row_keys(np.array([row]), seed)[0]))
    drawn = pool.drawn()
    assert drawn["row"].tolist() == by_key[:size]
    assert drawn["double"].tolist() == [2 * row for row in by_key[:size]]
    assert pool.offered == len(everything)


def test_reservoir_stays_small() -> None:
    pool = LowestKeys(100, ("row",))
    for start in range(0, 1_000_000, 10_000):
        rows = np.arange(start, start + 10_000)
        pool.offer(np.ones(len(rows), dtype=bool), row_keys(rows, 0), {"row": rows})
        assert sum(map(len, pool._keys)) <= 10_000 + 200
    assert len(pool.drawn()["row"]) == 100
