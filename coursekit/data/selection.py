"""Read and validate a selection: the counts which a DNA-encoded library screen leaves behind.

The bundled sample, a downloaded KinDEL file and an instructor's own table pass the same checks.
For tables too large for memory see ``iter_selection``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from coursekit.data.heldout import load_heldout
from coursekit.data.published_splits import load_splits
from coursekit.data.scan import SelectionBatch, count_rows, iter_selection, read_rows
from coursekit.data.schema import (
    BLOCK_COLUMNS,
    COLUMNS,
    COUNT_COLUMNS,
    DTYPES,
    MATRIX_COLUMNS,
    STRING_COLUMNS,
    TARGET_COLUMNS,
    check_arrow_types,
    check_columns,
    enrichment,
    not_counts,
)
from coursekit.data.sources import open_parquet, selection_path, stored_columns, unreadable
from coursekit.data.validation import CheckSmiles, SelectionReport, validate_selection
from coursekit.data.variants import variant_of
from coursekit.errors import SelectionError

__all__ = [
    "BLOCK_COLUMNS",
    "COLUMNS",
    "COUNT_COLUMNS",
    "DTYPES",
    "MATRIX_COLUMNS",
    "STRING_COLUMNS",
    "TARGET_COLUMNS",
    "SelectionBatch",
    "SelectionReport",
    "count_rows",
    "enrichment",
    "iter_selection",
    "load_heldout",
    "load_selection",
    "load_splits",
    "read_rows",
    "selection_path",
    "validate_selection",
]

_MOST_ROWS = 20_000_000  # at roughly 450 bytes a row: 9 GB


def load_selection(
    source: str | Path | pd.DataFrame,
    *,
    keep_valid: bool = False,
    check_smiles: CheckSmiles = "auto",
) -> pd.DataFrame:
    """Read a selection table in KinDEL's 13 columns, and check it.

    Args:
        source: ``"sample"`` (bundled, simulated), ``"mapk14"`` or ``"ddr1"`` (KinDEL's 1M files,
            after ``coursekit data fetch``), ``"mapk14_full"``, a .parquet or .csv path, or a
            DataFrame.
        keep_valid: drop bad rows, warn, and count them per reason, instead of raising. A wrong
            column or type is an error either way.
        check_smiles: True parses every SMILES with RDKit (about 5,000 a second); False none;
            "auto" parses all up to 50,000 rows and else 1,000 rows spread over the table, and the
            distinct building blocks; nothing where RDKit is not installed or for ``"sample"``,
            whose content our own tests check.

    Returns:
        A DataFrame with the 13 columns in KinDEL's order. The index keeps each row's position in
        the file, also after bad rows were dropped. ``SelectionReport.of(frame)`` tells what was
        seen.

    Raises:
        SelectionError: names the file, the column, the first bad row and what to do.
    """
    if isinstance(source, pd.DataFrame):
        return validate_selection(source, "selection", keep_valid, check_smiles)
    if variant := variant_of(source):  # of a task; the selection is the same for all
        source = variant[0]
    path = selection_path(source)
    if str(source) == "sample" and check_smiles == "auto":
        check_smiles = False
    if path.suffix == ".parquet":
        frame = _read_parquet(path)
    elif path.suffix == ".csv":
        frame = _read_csv(path, keep_valid)
    else:
        raise SelectionError(
            f"{path}: cannot tell what kind of file this is; name it .parquet or .csv."
        )
    return validate_selection(frame, str(source), keep_valid, check_smiles)


def _read_parquet(path: Path) -> pd.DataFrame:
    file = open_parquet(path)
    check_columns(stored_columns(file.schema_arrow), str(path))
    check_arrow_types(file.schema_arrow, str(path))
    rows = file.metadata.num_rows
    if rows > _MOST_ROWS:
        raise SelectionError(
            f"{path}: {rows:,} rows would take about {rows * 450 / 1e9:.0f} GB as a DataFrame. "
            "Hand the path itself on: make_task(selection_path(...)) reads it in batches."
        )
    try:
        frame = file.read(columns=list(COLUMNS)).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    return frame.reset_index(drop=True)


def _read_csv(path: Path, keep_valid: bool) -> pd.DataFrame:
    try:
        frame = pd.read_csv(
            path,
            dtype=dict.fromkeys(STRING_COLUMNS, str),
            low_memory=False,
            float_precision="round_trip",  # pandas 2 would lose the last digit of an enrichment
        )
    except pd.errors.EmptyDataError as error:
        raise SelectionError(f"{path}: the file is empty. Fetch or write it again.") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise SelectionError(
            f"{path}: this is not a readable csv file ({error}). A csv file is UTF-8 text with "
            "commas, one header line, and as many fields in each line; is this a .parquet file?"
        ) from error
    check_columns(list(frame.columns), str(path))
    for column, dtype in DTYPES.items():
        if dtype == "str" or str(frame[column].dtype) == dtype:
            continue
        values = pd.to_numeric(frame[column], errors="coerce").astype("float64")
        text = values.isna() & frame[column].notna()
        if text.any() and not keep_valid:
            row = int(text.to_numpy().argmax())
            raise SelectionError(
                f"{path}: column {column!r}, row {row:,} (counted from 0): found "
                f"{frame[column].iloc[row]!r}; expected a number."
            )
        # Text has no types: "14" and "14.0" are the same count.
        whole = dtype == "int64" and not not_counts(values.to_numpy()).any()
        frame[column] = values.astype("int64") if whole else values
    return frame
