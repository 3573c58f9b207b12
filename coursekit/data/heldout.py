"""KinDEL's held-out compounds, whose affinity was measured one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from coursekit.data.schema import BLOCK_COLUMNS
from coursekit.data.sources import heldout_path
from coursekit.errors import SelectionError

HELDOUT_COLUMNS = ("smiles", "molecule_hash", "kd", *BLOCK_COLUMNS)


def load_heldout(source: str | Path) -> pd.DataFrame:
    """Read a table of measured dissociation constants.

    Args:
        source: ``"mapk14_ondna"``, ``"mapk14_offdna"``, the same for ``ddr1``, or a .csv path in
            KinDEL's columns.

    Returns:
        A DataFrame with columns ``smiles``; ``molecule_hash`` and ``smiles_a``, ``smiles_b``,
        ``smiles_c`` (None for a compound from outside the library); ``kd_nm`` (float, nM, smaller
        binds tighter); ``in_library`` (bool); ``kd_note`` (text; empty where the value can be
        used as it stands). A Kd of exactly 0 is kept and noted: it ranks first, but it has no
        logarithm, so leave noted rows out where you need one.

    Raises:
        SelectionError: no such file, a missing column, a SMILES or Kd that is missing, a negative
            or infinite Kd, or a molecule that is only partly described.
    """
    path = heldout_path(source)
    try:
        frame = pd.read_csv(path, dtype={c: str for c in HELDOUT_COLUMNS if c != "kd"})
    except pd.errors.EmptyDataError as error:
        raise SelectionError(f"{source}: the file is empty. Fetch it again.") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise SelectionError(
            f"{source}: this is not a readable csv file ({error}). Fetch it again."
        ) from error
    missing = [name for name in HELDOUT_COLUMNS if name not in frame.columns]
    if missing:
        raise SelectionError(
            f"{source}: column {missing[0]!r} is missing; a held-out table has the columns "
            f"{', '.join(HELDOUT_COLUMNS)}."
            + (" Is this a selection? Read it with load_selection." * ("seq_load" in frame))
        )
    if frame.empty:
        raise SelectionError(f"{source}: the table has no rows. Fetch it again.")
    kd = pd.to_numeric(frame["kd"], errors="coerce").to_numpy(dtype=np.float64)
    _refuse(source, frame, "smiles", frame["smiles"].isna().to_numpy(), "a SMILES")
    _refuse(source, frame, "kd", ~(np.isfinite(kd) & (kd >= 0)), "a Kd in nM, at least 0")
    in_library = frame["molecule_hash"].notna().to_numpy()
    for column in BLOCK_COLUMNS:
        partly = frame[column].notna().to_numpy() != in_library
        _refuse(source, frame, column, partly, "a block exactly where molecule_hash is given")
    table = {
        column: frame[column].astype(object).where(frame[column].notna(), None)
        for column in ("molecule_hash", *BLOCK_COLUMNS)
    }
    return pd.DataFrame(
        {
            "smiles": frame["smiles"],
            "molecule_hash": table.pop("molecule_hash"),
            "kd_nm": kd,
            **table,
            "in_library": in_library,
            "kd_note": np.where(kd == 0, "reported as 0 nM: no measurable value", ""),
        }
    )


def _refuse(
    source: str | Path, frame: pd.DataFrame, column: str, bad: np.ndarray, expected: str
) -> None:
    if bad.any():
        row = int(bad.argmax())
        cell = frame[column].iloc[row]
        found = repr(cell) if isinstance(cell, str) else str(cell)
        raise SelectionError(
            f"{source}: column {column!r}, row {row} (counted from 0): found {found}; "
            f"expected {expected}. Mend or drop the row."
        )
