"""Go through a selection of any size in batches, in bounded memory.

This is the engine under labels and tasks: the same loop serves a DataFrame of nine rows and a
parquet file of 81 million. Building blocks come as whole-number codes, because a library of 81
million molecules is made of fewer than two thousand of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from coursekit.data.schema import (
    BLOCK_COLUMNS,
    COLUMNS,
    COUNT_COLUMNS,
    DTYPES,
    MATRIX_COLUMNS,
    TARGET_COLUMNS,
    check_arrow_types,
    check_columns,
    enrichment_differs,
    not_counts,
)
from coursekit.data.sources import open_parquet, selection_path, stored_columns, unreadable
from coursekit.errors import SelectionError

BATCH_ROWS = 262_144


@dataclass(frozen=True)
class SelectionBatch:
    """Some consecutive rows of a selection.

    Args:
        offset: position of the first row in the whole table (0-based); row ``i`` of the batch is
            row ``offset + i`` of the table.
        rows: how many.
        numbers: column name -> (rows,) array, for the numeric columns asked for. Counts have been
            checked: finite, whole, not negative.
        codes: ``smiles_a``, ``smiles_b``, ``smiles_c`` -> (rows,) int32, an index into
            ``vocabulary`` of the same name. A code means the same block in every batch of a scan.
        vocabulary: ``smiles_a``... -> the blocks seen so far, by code. The lists are shared
            between batches and grow while the scan goes on.
        strings: ``smiles`` and ``molecule_hash``, where asked for, as Arrow string arrays.
    """

    offset: int
    rows: int
    numbers: Mapping[str, npt.NDArray[Any]]
    codes: Mapping[str, npt.NDArray[np.int32]]
    vocabulary: Mapping[str, list[str]]
    strings: Mapping[str, Any]

    def __len__(self) -> int:
        return self.rows

    @property
    def k_target(self) -> npt.NDArray[np.int64]:
        """Target counts summed over the three replicates, (rows,)."""
        return _sum(self.numbers, TARGET_COLUMNS)

    @property
    def k_matrix(self) -> npt.NDArray[np.int64]:
        """Matrix counts summed over the three replicates, (rows,)."""
        return _sum(self.numbers, MATRIX_COLUMNS)


def iter_selection(
    source: str | Path | pd.DataFrame,
    columns: Sequence[str] = (*COUNT_COLUMNS, *BLOCK_COLUMNS),
    batch_rows: int = BATCH_ROWS,
) -> Iterator[SelectionBatch]:
    """Yield a selection in batches of at most ``batch_rows`` rows, in the table's order.

    Columns and types are checked before the first batch (for a file: from its footer), numbers in
    every batch; ``target_enrichment`` is compared with the counts where both were asked for. Two
    things need the whole table in memory or minutes of time and are left to ``load_selection``:
    duplicates, and whether each SMILES parses.

    Args:
        source: a DataFrame, a parquet path, or a name which ``load_selection`` knows.
        columns: which of the 13 columns to read; what is not named costs nothing.
        batch_rows: at most so many rows at once; memory grows with it, and hardly with the file.

    Yields:
        SelectionBatch: see there. A batch ends with a row group of the file, so some are shorter.

    Raises:
        SelectionError: the file is no readable parquet file, a column is missing or of another
            type, or a value is missing or no count; the message names column and row.
    """
    unknown = [name for name in columns if name not in DTYPES]
    if unknown:
        raise SelectionError(f"iter_selection: {unknown[0]!r} is not a column of a selection.")
    name = "selection" if isinstance(source, pd.DataFrame) else str(source)
    vocabularies: dict[str, dict[str, int]] = {c: {} for c in columns if c in BLOCK_COLUMNS}
    vocabulary: dict[str, list[str]] = {column: [] for column in vocabularies}
    offset = 0
    for batch in _arrow_batches(source, columns, batch_rows):
        numbers: dict[str, npt.NDArray[Any]] = {}
        codes: dict[str, npt.NDArray[np.int32]] = {}
        strings: dict[str, Any] = {}
        for column in columns:
            array = batch.column(batch.schema.get_field_index(column))
            if array.null_count and column != "target_enrichment":
                row = offset + array.is_null().to_numpy(zero_copy_only=False).argmax()
                raise _bad(name, column, row, "a missing value", "a value in every row")
            if column in vocabularies:
                codes[column] = _codes(array, vocabularies[column], vocabulary[column])
            elif DTYPES[column] == "str":
                strings[column] = array
            else:
                numbers[column] = array.to_numpy(zero_copy_only=False)
        _check_numbers(numbers, offset, name)
        yield SelectionBatch(offset, batch.num_rows, numbers, codes, vocabulary, strings)
        offset += batch.num_rows
    if offset == 0:
        raise SelectionError(f"{name}: the table has no rows; a selection has at least one.")


def read_rows(
    source: str | Path | pd.DataFrame,
    positions: npt.ArrayLike,
    columns: Sequence[str] = COLUMNS,
    batch_rows: int = BATCH_ROWS,
) -> pd.DataFrame:
    """The rows at some positions of a selection, in the order in which they are asked for.

    Only the row groups that hold them are read, a batch at a time: this is how the few thousand
    chosen molecules of a task get their SMILES out of 81 million.

    Args:
        source: as in ``iter_selection``.
        positions: (n,) row positions, 0-based, in any order.
        columns: which columns to give back.
        batch_rows: at most so many rows in memory beside the chosen ones.

    Returns:
        A DataFrame of n rows with ``columns``; its index is ``positions``.

    Raises:
        SelectionError: a position is outside the table, or the file cannot be read.
    """
    wanted = np.asarray(positions, dtype=np.int64)
    total = count_rows(source)
    if wanted.size and (wanted.min() < 0 or wanted.max() >= total):
        outside = wanted[(wanted < 0) | (wanted >= total)][0]
        raise SelectionError(f"read_rows: there is no row {outside}; the table has {total:,} rows.")
    if isinstance(source, pd.DataFrame):
        return source[list(columns)].iloc[wanted].set_axis(wanted)
    distinct, inverse = np.unique(wanted, return_inverse=True)
    path = selection_path(source)
    file = open_parquet(path)
    parts: list[Any] = []
    start = 0
    try:
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            if np.searchsorted(distinct, end) > np.searchsorted(distinct, start):
                for batch in file.iter_batches(
                    batch_rows, row_groups=[group], columns=list(columns)
                ):
                    here = slice(*np.searchsorted(distinct, [start, start + batch.num_rows]))
                    chosen = pa.Table.from_batches([batch]).take(distinct[here] - start)
                    parts.append(chosen.select(list(columns)))
                    start += batch.num_rows
            start = end
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    table = pa.concat_tables([file.schema_arrow.empty_table().select(list(columns)), *parts])
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):  # text, however it was stored
            text = table.column(index).cast(field.type.value_type)
            table = table.set_column(index, field.name, text)
    return table.replace_schema_metadata().to_pandas().iloc[inverse].set_axis(wanted)


def count_rows(source: str | Path | pd.DataFrame) -> int:
    """Rows of a selection; for a file this reads its footer only.

    Raises:
        SelectionError: the file is no readable parquet file.
    """
    if isinstance(source, pd.DataFrame):
        return len(source)
    return int(open_parquet(selection_path(source)).metadata.num_rows)


def _arrow_batches(
    source: str | Path | pd.DataFrame, columns: Sequence[str], batch_rows: int
) -> Iterator[Any]:
    if isinstance(source, pd.DataFrame):
        check_columns(list(source.columns), "selection")
        for start in range(0, len(source), batch_rows):
            part = source.iloc[start : start + batch_rows][list(columns)]
            try:
                # By way of a table: a frame put together from pieces has columns in chunks.
                table = pa.Table.from_pandas(part, preserve_index=False).combine_chunks()
            except pa.ArrowException as error:
                raise SelectionError(f"selection, from row {start}: {error}") from error
            check_arrow_types(table.schema, "selection", columns)
            yield from table.to_batches()
        return
    path = selection_path(source)
    file = open_parquet(path, dictionary=[c for c in columns if c in BLOCK_COLUMNS])
    check_columns(stored_columns(file.schema_arrow), str(source))
    check_arrow_types(file.schema_arrow, str(source), COLUMNS)
    try:
        yield from file.iter_batches(batch_rows, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def _codes(array: Any, known: dict[str, int], words: list[str]) -> npt.NDArray[np.int32]:
    """Codes that hold for the whole scan; Arrow's hold for one batch only."""
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    local = array.dictionary.to_pylist()
    for word in local:
        if word not in known:
            known[word] = len(words)
            words.append(word)
    translation = np.fromiter((known[word] for word in local), np.int32, len(local))
    return translation[array.indices.to_numpy(zero_copy_only=False)]


def _check_numbers(numbers: dict[str, npt.NDArray[Any]], offset: int, name: str) -> None:
    for column, values in numbers.items():
        if column in COUNT_COLUMNS:
            bad = not_counts(values)
            if bad.any():
                row = int(bad.argmax())
                raise _bad(name, column, offset + row, values[row], "a whole number from 0 up")
    if "target_enrichment" not in numbers or not {*TARGET_COLUMNS, *MATRIX_COLUMNS} <= {*numbers}:
        return
    stated = numbers["target_enrichment"]
    k_target, k_matrix = _sum(numbers, TARGET_COLUMNS), _sum(numbers, MATRIX_COLUMNS)
    differs, right = enrichment_differs(stated, k_target, k_matrix)
    if differs.any():
        row = int(differs.argmax())
        expected = f"{right[row]!r}, which follows from the counts"
        raise _bad(name, "target_enrichment", offset + row, stated[row], expected)
    numbers["target_enrichment"] = np.where(np.isnan(stated), 0.0, stated)


def _sum(numbers: Mapping[str, npt.NDArray[Any]], columns: Sequence[str]) -> npt.NDArray[np.int64]:
    first, *rest = (numbers[column] for column in columns)
    return np.asarray(sum(rest, start=first), dtype=np.int64)


def _bad(source: str, column: str, row: int, found: object, expected: str) -> SelectionError:
    return SelectionError(
        f"{source}: column {column!r}, row {row:,} (counted from 0): found {found}; "
        f"expected {expected}. Mend or drop the row; "
        "load_selection(..., keep_valid=True) keeps the good rows of a table that fits in memory."
    )
