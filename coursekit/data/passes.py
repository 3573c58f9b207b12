"""The two passes over a selection: find the binders, then draw negatives by their disynthons.

Memory holds one batch, the blocks of the binders and the rows that may still be drawn; it does not
grow with the length of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from coursekit.bars import track
from coursekit.data.disynthons import DisynthonTables
from coursekit.data.draw import Integers, LowestKeys, row_keys
from coursekit.data.rules import EnrichmentAtLeast, LabelRules
from coursekit.data.scan import SelectionBatch, count_rows, iter_selection
from coursekit.data.schema import (
    BLOCK_COLUMNS,
    COUNT_COLUMNS,
    MATRIX_COLUMNS,
    TARGET_COLUMNS,
    enrichment,
)
from coursekit.errors import TaskError

Source = str | Path | pd.DataFrame

FIELDS = ("row", "k_target", "k_matrix", "seq_load", "a", "b", "c")
"""What is kept of a row that may be drawn: its position, summed counts, load and block codes."""


@dataclass(frozen=True)
class Binders:
    """What the first pass finds.

    Args:
        rows: rows of the selection.
        found: binders among them.
        drawn: field -> (m,) numbers of the binders that were drawn, by rising key.
        blocks: ``"a"``, ``"b"``, ``"c"`` -> blocks of the selection, by code.
        of_all: disynthons of all binders found.
        of_drawn: disynthons of the binders drawn.
    """

    rows: int
    found: int
    drawn: dict[str, Integers]
    blocks: dict[str, list[str]]
    of_all: DisynthonTables
    of_drawn: DisynthonTables


def find_binders(source: Source, rules: LabelRules, seed: int, max_binders: int | None) -> Binders:
    """First pass: which rows are binders, and what are they made of.

    Raises:
        TaskError: not one row is a binder.
        SelectionError: the selection is not what KinDEL's schema says.
    """
    rows = count_rows(source)
    enriched = EnrichmentAtLeast(rules.binder_enrichment)
    drawn = LowestKeys(rows if max_binders is None else min(max_binders, rows), FIELDS)
    codes: dict[str, list[npt.NDArray[np.int32]]] = {"a": [], "b": [], "c": []}
    most_reads = np.zeros(rules.binder_max_matrix + 1, dtype=np.int64)  # by matrix count
    blocks: dict[str, list[str]] = {}
    for batch in _batches(source, "Finding binders", (*TARGET_COLUMNS, *MATRIX_COLUMNS)):
        blocks = {x: batch.vocabulary[f"smiles_{x}"] for x in "abc"}
        k_target, k_matrix = batch.k_target, batch.k_matrix
        quiet = np.flatnonzero(k_matrix <= rules.binder_max_matrix)
        np.maximum.at(most_reads, k_matrix[quiet], k_target[quiet])
        binder = _is_binder(k_target, k_matrix, rules, enriched)
        numbers = _numbers(batch, k_target, k_matrix)
        drawn.offer(binder, row_keys(numbers["row"], seed), numbers)
        for x in "abc":
            codes[x].append(numbers[x][binder])
    if drawn.offered == 0:
        highest = enrichment(most_reads, np.arange(len(most_reads))).max()
        raise TaskError(
            f"found no binder in {rows:,} rows: the highest enrichment of a row with at most "
            f"{rules.binder_max_matrix} matrix reads is {highest:.3g}, and a binder needs "
            f"{rules.binder_enrichment:g}. Lower it: LabelRules(binder_enrichment=...)."
        )
    sizes = {x: len(blocks[x]) for x in "abc"}
    chosen = drawn.drawn()
    return Binders(
        rows=rows,
        found=drawn.offered,
        drawn=chosen,
        blocks={x: list(blocks[x]) for x in "abc"},
        of_all=DisynthonTables({x: np.concatenate(codes[x]) for x in "abc"}, sizes),
        of_drawn=DisynthonTables({x: chosen[x] for x in "abc"}, sizes),
    )


@dataclass(frozen=True)
class Negatives:
    """What the second pass draws.

    Args:
        drawn: ``"easy"``, ``"disynthon"``, ``"similarity"``, ``"matrix"`` -> field -> (m,) numbers,
            by rising key. Those of ``"easy"`` and ``"similarity"`` are yet to be compared.
        found: ``"easy"``, ``"disynthon"``, ``"matrix"`` -> rows of that kind in the selection;
            ``"related"`` -> rows, binders apart, that share a disynthon with a drawn binder;
            ``"related_loaded"`` -> those of them with load enough for a hard negative.
        in_file: for each enumerated molecule asked about, whether the selection has it.
    """

    drawn: dict[str, dict[str, Integers]]
    found: dict[str, int]
    in_file: npt.NDArray[np.bool_]


def draw_negatives(
    source: Source,
    rules: LabelRules,
    seed: int,
    binders: Binders,
    sizes: Mapping[str, int],
    enumerated: Integers | None = None,
) -> Negatives:
    """Second pass: sort every other row by its disynthons and counts, and draw.

    Args:
        source: the same selection as in the first pass.
        rules: thresholds.
        seed: of the draw.
        binders: what the first pass found.
        sizes: kind -> how many rows to draw at most.
        enumerated: block codes (3, m) of molecules from outside, to be looked up in the file; -1
            for a block that the file does not have.

    Raises:
        SelectionError: the selection is not what KinDEL's schema says.
    """
    binder_at = EnrichmentAtLeast(rules.binder_enrichment)
    hard_end = EnrichmentAtLeast(rules.hard_enrichment_below)
    matrix_end = EnrichmentAtLeast(rules.matrix_enrichment_below)
    pools = {kind: LowestKeys(size, FIELDS) for kind, size in sizes.items()}
    related_rows = related_loaded = 0
    asked = np.zeros((3, 0), dtype=np.int64) if enumerated is None else enumerated
    in_file = np.zeros(asked.shape[1], dtype=np.bool_)
    for batch in _batches(source, "Drawing negatives", COUNT_COLUMNS):
        k_target, k_matrix = batch.k_target, batch.k_matrix
        numbers = _numbers(batch, k_target, k_matrix)
        keys = row_keys(numbers["row"], seed)
        other = ~_is_binder(k_target, k_matrix, rules, binder_at)
        matrix = other & (np.minimum(k_target, k_matrix) >= rules.matrix_min_reads)
        often = np.flatnonzero(matrix)
        matrix[often] = ~matrix_end(k_target[often], k_matrix[often])
        other &= ~matrix
        related = other & binders.of_drawn.shares_pair(numbers)
        stranger = other & ~binders.of_all.shares_pair(numbers)
        loaded = numbers["seq_load"] >= rules.hard_min_load
        missed = loaded & ~hard_end(k_target, k_matrix)
        if rules.hard_max_target is not None:
            missed &= k_target <= rules.hard_max_target
        pools["matrix"].offer(matrix, keys, numbers)
        pools["disynthon"].offer(related & missed, keys, numbers)
        pools["easy"].offer(stranger & (k_target <= rules.easy_max_target), keys, numbers)
        maybe_alike = stranger & missed & binders.of_drawn.shares_block(numbers)
        pools["similarity"].offer(maybe_alike, keys, numbers)
        related_rows += int(np.count_nonzero(related))
        related_loaded += int(np.count_nonzero(related & loaded))
        in_file |= _contained(asked, numbers, binders)
    found = {kind: pools[kind].offered for kind in ("easy", "disynthon", "matrix")}
    found |= {"related": related_rows, "related_loaded": related_loaded}
    return Negatives({kind: pool.drawn() for kind, pool in pools.items()}, found, in_file)


def _contained(
    asked: Integers, numbers: Mapping[str, npt.NDArray[Any]], binders: Binders
) -> npt.NDArray[np.bool_]:
    """Which of the molecules ``asked`` about, (3, m) codes, are among a batch's rows."""
    if asked.shape[1] == 0:
        return np.zeros(0, dtype=np.bool_)
    n_b, n_c = len(binders.blocks["b"]), len(binders.blocks["c"])
    a, b, c = (numbers[x].astype(np.int64) for x in "abc")
    here = np.isin((asked[0] * n_b + asked[1]) * n_c + asked[2], (a * n_b + b) * n_c + c)
    return np.asarray(here & (asked >= 0).all(axis=0))


def _is_binder(
    k_target: Integers, k_matrix: Integers, rules: LabelRules, enriched: EnrichmentAtLeast
) -> npt.NDArray[np.bool_]:
    binder = (k_matrix <= rules.binder_max_matrix) & (k_target >= enriched.fewest_reads)
    likely = np.flatnonzero(binder)  # one row in a thousand: look up no others
    binder[likely] = enriched(k_target[likely], k_matrix[likely])
    return binder


def _batches(source: Source, doing: str, counts: tuple[str, ...]) -> Iterator[SelectionBatch]:
    columns = tuple(dict.fromkeys((*counts, "seq_load", *BLOCK_COLUMNS)))
    return track(_ahead(iter_selection(source, columns)), doing, unit="batch")


def _ahead(batches: Iterator[SelectionBatch]) -> Iterator[SelectionBatch]:
    """Read the next batch while this one is worked on: both mostly run outside Python's lock."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def _numbers(
    batch: SelectionBatch, k_target: Integers, k_matrix: Integers
) -> dict[str, npt.NDArray[Any]]:
    return {
        "row": np.arange(batch.offset, batch.offset + len(batch), dtype=np.int64),
        "k_target": k_target,
        "k_matrix": k_matrix,
        "seq_load": batch.numbers["seq_load"],
        "a": batch.codes["smiles_a"],
        "b": batch.codes["smiles_b"],
        "c": batch.codes["smiles_c"],
    }
