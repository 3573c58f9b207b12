from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
import torch
from families import tokenizer
from hypothesis import given
from hypothesis import strategies as st

from coursekit.data import batches
from coursekit.data.batches import (
    bucketed_batches,
    encode,
    groups_of_like_length,
    pad,
    passes,
    random_windows,
)
from coursekit.errors import EncoderError

SMILES = ["CCO", "c1ccccc1Br", "C[C@H](N)Cl"]

lengths_of = st.lists(st.integers(2, 160), max_size=300).map(np.array)


def test_ids_are_those_of_the_tokenizer() -> None:
    encoded = encode(tokenizer(), SMILES)
    assert [e.tolist() for e in encoded] == tokenizer()(SMILES)["input_ids"]
    assert {e.dtype for e in encoded} == {np.dtype("int64")}
    assert encode(tokenizer(), []) == []


def test_portions_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    smiles = ["C" * n for n in range(1, 12)]
    monkeypatch.setattr(batches, "PORTION", 4)
    assert [len(e) for e in encode(tokenizer(), smiles)] == list(range(3, 14))


def test_a_column_of_a_table_is_read_by_position() -> None:
    column = pd.Series([*SMILES, "C" * 300], index=[9, 0, 0, 2])
    with pytest.warns(UserWarning, match="1 of 4 molecules"):
        encoded = encode(tokenizer(), column)
    assert [e.tolist() for e in encoded[:3]] == tokenizer()(SMILES)["input_ids"]


def test_long_molecules_are_cut_and_counted() -> None:
    smiles = ["CCO", "C" * 200, "N" * 159]
    with pytest.warns(UserWarning, match=r"2 of 3 .* more than 160 tokens and are cut, .*: CCCC"):
        encoded = encode(tokenizer(), smiles)
    assert [len(e) for e in encoded] == [5, 160, 160]
    assert {int(e[-1]) for e in encoded} == {tokenizer().sep_token_id}
    with pytest.warns(UserWarning, match="1 of 2 molecules have more than 6 tokens"):
        assert len(encode(tokenizer(), ["CCO", "CCCCCCCO"], max_tokens=6)[1]) == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(encode(tokenizer(), ["C" * 158])[0]) == 160  # as long as may be
    # Cutting one call does not cut the next: the tokenizer keeps no memory of it.
    assert len(tokenizer()("C" * 200, verbose=False)["input_ids"]) == 202


def test_atoms_that_the_tokenizer_does_not_know_are_told() -> None:
    with pytest.warns(UserWarning, match=r"1 of 2 .*cannot tell apart, the first: Cé"):
        encode(tokenizer(), ["CC", "Cé"])
    with pytest.raises(EncoderError, match="knows nothing in '日本'; is it made for SMILES"):
        encode(tokenizer(), ["CC", "日本"])


def test_what_is_no_list_of_smiles_is_refused() -> None:
    with pytest.raises(EncoderError, match=r"not one string; give \['CCO'\]"):
        encode(tokenizer(), "CCO")
    for wrong in (None, float("nan"), 3):
        with pytest.raises(EncoderError, match=f"molecule 1 is {wrong!r}; a SMILES is expected"):
            encode(tokenizer(), ["CCO", wrong])  # type: ignore[list-item]


@given(lengths_of, st.integers(1, 40), st.none() | st.integers(0, 9))
def test_every_molecule_is_in_one_batch(
    lengths: np.ndarray, batch_size: int, seed: int | None
) -> None:
    rng = None if seed is None else np.random.default_rng(seed)
    found = bucketed_batches(lengths, batch_size, rng)
    assert sorted(i for rows in found for i in rows) == list(range(len(lengths)))
    assert all(0 < len(rows) <= batch_size for rows in found)
    assert len(found) == -(-len(lengths) // batch_size)  # no more than there must be


@given(lengths_of, st.integers(1, 40))
def test_without_shuffling_the_longest_come_first(lengths: np.ndarray, batch_size: int) -> None:
    found = bucketed_batches(lengths, batch_size)
    order = [int(lengths[i]) for rows in found for i in rows]
    assert order == sorted(order, reverse=True)


def test_batches_hold_molecules_of_like_length_in_random_order() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 100, 10_000)
    found = bucketed_batches(lengths, 32, np.random.default_rng(1))
    padded = sum(len(rows) * lengths[rows].max() for rows in found)
    order = rng.permutation(len(lengths))
    unsorted = [order[i : i + 32] for i in range(0, len(order), 32)]
    unsorted_padded = sum(len(rows) * lengths[rows].max() for rows in unsorted)
    assert padded < 1.08 * lengths.sum()
    assert unsorted_padded > 1.5 * lengths.sum()  # what sorting saves
    # The order of the batches says nothing about length.
    longest = np.array([lengths[rows].max() for rows in found])
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.2


def test_the_same_generator_gives_the_same_batches() -> None:
    lengths = np.random.default_rng(0).integers(20, 100, 1_000)

    def flat(seed: int) -> list[int]:
        found = bucketed_batches(lengths, 32, np.random.default_rng(seed))
        return [int(i) for rows in found for i in rows]

    assert flat(1) == flat(1)
    assert flat(1) != flat(2)


@given(lengths_of, st.integers(1, 40), st.none() | st.integers(1, 500), st.booleans())
def test_passes_hold_every_molecule_once_within_both_limits(
    lengths: np.ndarray, largest: int, tokens: int | None, padded: bool
) -> None:
    lengths = np.maximum(lengths, 1)
    rows = np.arange(len(lengths))[::2]
    found = passes(rows, lengths, largest, tokens, padded)

    def taken(part: np.ndarray) -> int:
        return int(len(part) * lengths[part].max() if padded else lengths[part].sum())

    assert sorted(i for part in found for i in part) == list(rows)
    order = [int(lengths[i]) for part in found for i in part]
    assert order == sorted(order, reverse=True)
    for part in found:
        assert len(part) <= largest
        assert tokens is None or len(part) == 1 or taken(part) <= tokens
    for part, after in pairwise(found):  # and none is smaller than it need be
        more = taken(np.append(part, after[0]))
        assert len(part) == largest or (tokens is not None and more > tokens)


def every_division(many: int) -> Iterator[list[tuple[int, int]]]:
    """All ways to cut a sorted row of molecules into groups, as ends."""
    for cuts in product((False, True), repeat=max(0, many - 1)):
        ends = [i + 1 for i, cut in enumerate(cuts) if cut]
        yield list(pairwise([0, *ends, many])) if many else []


@given(st.lists(st.integers(2, 90), max_size=9).map(np.array), st.integers(0, 60))
def test_no_other_groups_cost_less(lengths: np.ndarray, overhead: int) -> None:
    lengths = lengths.astype(np.int64)
    found = groups_of_like_length(lengths, overhead)
    assert sorted(i for part in found for i in part) == list(range(len(lengths)))
    order = [int(lengths[i]) for part in found for i in part]
    assert order == sorted(order, reverse=True)
    best = min(
        sum((end - begin) * order[begin] + overhead for begin, end in division)
        for division in every_division(len(order))
    )
    assert sum(len(part) * int(lengths[part].max()) + overhead for part in found) == best


def test_random_windows_are_random_and_whole() -> None:
    found = random_windows(70, 32, np.random.default_rng(0))
    assert [len(rows) for rows in found] == [32, 32, 6]
    assert sorted(np.concatenate(found)) == list(range(70))
    assert random_windows(0, 32, np.random.default_rng(0)) == []


def test_passes_of_random_windows_save_most_of_the_padding() -> None:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.normal(63, 8, 3000).round().astype(int), 40, 90)  # as in KinDEL
    windows = random_windows(3000, 32, rng)
    padded = sum(len(rows) * lengths[rows].max() for rows in windows)
    divided = sum(
        len(rows) * lengths[rows].max()
        for window in windows
        for rows in passes(window, lengths, 32, 768)
    )
    grouped = sum(
        len(rows) * lengths[window][rows].max()
        for window in windows
        for rows in groups_of_like_length(lengths[window], 20)
    )
    assert padded > 1.2 * lengths.sum()
    assert divided < 1.1 * lengths.sum()
    assert grouped < 1.04 * lengths.sum()


def test_padding_reaches_the_longest_of_the_batch() -> None:
    ids, mask = pad([np.array([5, 6, 7]), np.array([8])], pad_id=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.dtype == mask.dtype == torch.int64
