"""KinDEL's own five splits, which name train, valid and test by row position."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from coursekit.data.sources import open_parquet, splits_path, stored_columns, unreadable
from coursekit.errors import SelectionError

SPLIT_COLUMNS = ("split1", "split2", "split3", "split4", "split5")
PARTS = ("train", "valid", "test")


def load_splits(source: str | Path, n_rows: int | None = None) -> pd.DataFrame:
    """Read a split file: which part each row of the 1M selection is in, five times over.

    Split files carry no molecule id. Row ``i`` belongs to row ``i`` of the selection, so give
    ``n_rows=len(selection)``: a file of another length cannot be the right one.

    Args:
        source: ``"mapk14_random"``, ``"mapk14_disynthon"``, the same for ``ddr1``, or a path.
        n_rows: rows of the selection which the split is for.

    Returns:
        A DataFrame with columns ``split1`` to ``split5``, categories ``train valid test``, and the
        row position as index.

    Raises:
        SelectionError: no such file, another length, another column or another word in it.

    Example:
        ``selection[load_splits("mapk14_random", len(selection))["split1"] == "train"]``
    """
    path = splits_path(source)
    file = open_parquet(path)
    names = stored_columns(file.schema_arrow)
    missing = [name for name in SPLIT_COLUMNS if name not in names]
    extra = [name for name in names if name not in SPLIT_COLUMNS]
    if missing or extra:
        raise SelectionError(
            f"{source}: "
            + (f"column {missing[0]!r} is missing" if missing else f"column {extra[0]!r} is extra")
            + f"; a split file has the columns {', '.join(SPLIT_COLUMNS)} and no other."
            + (" Is this a selection? Read it with load_selection." if "smiles" in names else "")
        )
    rows = file.metadata.num_rows
    if n_rows is not None and rows != n_rows:
        raise SelectionError(
            f"{source}: the split file has {rows:,} rows and the selection has {n_rows:,}. Splits "
            "go by row position, so both must come from the same release and target. Where "
            "load_selection dropped rows or you filtered some, take their positions: "
            "load_splits(source).loc[selection.index]."
        )
    try:
        table = open_parquet(path, dictionary=SPLIT_COLUMNS).read(columns=list(SPLIT_COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    frame = table.replace_schema_metadata().to_pandas()
    for column in SPLIT_COLUMNS:
        wrong = (~frame[column].isin(PARTS)).to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            raise SelectionError(
                f"{source}: column {column!r}, row {row:,} (counted from 0): found "
                f"{frame[column].iloc[row]!r}; expected train, valid or test."
            )
        frame[column] = frame[column].astype(pd.CategoricalDtype(list(PARTS)))
    return frame
