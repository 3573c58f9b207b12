"""KinDEL's table: thirteen columns, their types, and the enrichment that follows from the counts.

Source of the schema and of the formula: Chen et al., "KinDEL: DNA-Encoded Library Dataset for
Kinase Inhibitors" (arXiv 2410.08938).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from coursekit.errors import SelectionError

BLOCK_COLUMNS = ("smiles_a", "smiles_b", "smiles_c")
STRING_COLUMNS = ("smiles", "molecule_hash", *BLOCK_COLUMNS)
TARGET_COLUMNS = ("seq_target_1", "seq_target_2", "seq_target_3")
MATRIX_COLUMNS = ("seq_matrix_1", "seq_matrix_2", "seq_matrix_3")
COUNT_COLUMNS = (*TARGET_COLUMNS, *MATRIX_COLUMNS, "seq_load")

COLUMNS = (*STRING_COLUMNS, *COUNT_COLUMNS, "target_enrichment")
"""The thirteen columns in KinDEL's order."""

DTYPES: dict[str, str] = {
    **dict.fromkeys(STRING_COLUMNS, "str"),
    **dict.fromkeys((*TARGET_COLUMNS, *MATRIX_COLUMNS), "float64"),
    "seq_load": "int64",
    "target_enrichment": "float64",
}
"""Column -> type. ``str`` stands for pandas 3 ``str`` and for pandas 2 ``object`` alike."""

_TABLE_SIZE = 4096  # every count in KinDEL is far below; larger ones take the slow way
_LARGEST_COUNT = 2**53  # above it float64 no longer tells neighboring whole numbers apart
_ENRICHMENT_TOLERANCE = 1e-9  # relative; a file written by another SciPy differs by about 1e-15


def enrichment(k_target: npt.ArrayLike, k_matrix: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """How much more often a molecule was seen on the target than on the empty matrix, cautiously.

    The lower end of the 95% Poisson interval of the target count over the upper end of that of
    the matrix count, as KinDEL defines its ``target_enrichment`` column::

        chi2.ppf(0.025, 2 * k_target) / 2  /  (chi2.ppf(0.975, 2 * (k_matrix + 1)) / 2)

    A molecule never seen on the target has enrichment 0 (SciPy's quantile is NaN there).

    Args:
        k_target: counts on the target, summed over replicates; any shape.
        k_matrix: counts on the matrix, summed over replicates; broadcasts with ``k_target``.

    Returns:
        Enrichment (dimensionless), float64, in the broadcast shape of the two inputs.

    Raises:
        SelectionError: a count is negative, fractional, missing or infinite.

    Example:
        >>> from coursekit.data.schema import enrichment
        >>> enrichment([0, 5, 12], [0, 0, 1]).round(3)
        array([0.   , 0.44 , 1.113])
    """
    lower = _bound(_whole(k_target, "k_target"), upper=False)
    upper = _bound(_whole(k_matrix, "k_matrix"), upper=True)
    return np.asarray(lower / upper, dtype=np.float64)


def not_counts(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """True where a value is no count: negative, fractional, missing or infinite; same shape."""
    good = (values >= 0) & (values < _LARGEST_COUNT)
    if values.dtype.kind == "f":
        good &= values == np.floor(values)
    return np.asarray(~good)


def enrichment_differs(
    stated: npt.NDArray[np.float64],
    k_target: npt.NDArray[np.int64],
    k_matrix: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Compare a ``target_enrichment`` column with what its counts say.

    A NaN where nothing was seen on the target is what SciPy's formula gives there; it counts as 0.

    Returns:
        A mask, True where the column disagrees, and the right values; both (rows,).
    """
    right = enrichment(k_target, k_matrix)
    agrees = np.abs(stated - right) <= _ENRICHMENT_TOLERANCE * np.maximum(1e-3, right)
    agrees |= np.isnan(stated) & (k_target == 0)
    return ~agrees, right


def check_columns(found: Sequence[str], source: str) -> None:
    """Refuse a table whose columns are not KinDEL's thirteen; their order is free.

    Raises:
        SelectionError: a column is missing, extra, or there twice.
    """
    names = [str(name) for name in found]
    missing = [name for name in COLUMNS if name not in names]
    extra = [name for name in names if name not in DTYPES]
    twice = sorted({name for name in names if names.count(name) > 1})
    if missing:
        raise SelectionError(
            f"{source}: column {missing[0]!r} is missing"
            + (f" (and {len(missing) - 1} more: {', '.join(missing[1:])})" * (len(missing) > 1))
            + f"; a selection has KinDEL's 13 columns: {', '.join(COLUMNS)}."
            + _likely(names)
        )
    if extra:
        raise SelectionError(
            f"{source}: column {extra[0]!r} is not one of KinDEL's 13 columns. "
            + _unnamed(extra)
            + f"Drop what is not part of a selection: frame.drop(columns={extra!r})."
        )
    if twice:
        raise SelectionError(f"{source}: column {twice[0]!r} is there twice. Drop one of the two.")


def check_arrow_types(schema: Any, source: str, columns: Sequence[str] = COLUMNS) -> None:
    """Refuse columns whose Arrow types are not KinDEL's; a file's footer is enough to tell.

    Raises:
        SelectionError: a column has another type.
    """
    import pyarrow as pa

    for name in columns:
        found = schema.field(name).type
        if pa.types.is_dictionary(found):
            found = found.value_type
        if DTYPES[name] == "str":
            right = pa.types.is_string(found) or pa.types.is_large_string(found)
        else:
            right = str(found) == {"float64": "double", "int64": "int64"}[DTYPES[name]]
        if not right:
            raise wrong_type(source, name, str(found))


def wrong_type(source: str, column: str, found: str) -> SelectionError:
    """The error for a column of another type than KinDEL's."""
    return SelectionError(
        f"{source}: column {column!r} has type {found}; KinDEL stores it as {DTYPES[column]}. "
        f"Convert it: frame[{column!r}] = frame[{column!r}].astype({DTYPES[column]!r})."
    )


def _likely(names: list[str]) -> str:
    if "split1" in names:
        return " Is this a split file? Read it with load_splits."
    if "kd" in names:
        return " Is this a held-out Kd table? Read it with load_heldout."
    return ""


def _unnamed(extra: list[str]) -> str:
    index = extra[0].startswith("Unnamed:") or extra[0].startswith("__index")
    return "It is a saved index: write the file with index=False. " if index else ""


def _whole(counts: npt.ArrayLike, name: str) -> npt.NDArray[np.int64]:
    values = np.asarray(counts)
    if values.size == 0:
        return values.astype(np.int64)
    if values.dtype.kind not in "iuf":
        raise SelectionError(f"enrichment: {name} holds {values.dtype}; give counts as numbers.")
    bad = not_counts(values)
    if bad.any():
        row = int(np.flatnonzero(bad.ravel())[0])
        raise SelectionError(
            f"enrichment: {name} is {values.ravel()[row]} at position {row}; "
            "counts are whole numbers from 0 up."
        )
    return values.astype(np.int64)


def _bound(counts: npt.NDArray[np.int64], *, upper: bool) -> npt.NDArray[np.float64]:
    """One end of the Poisson interval; counts repeat, so each distinct one is computed once."""
    if counts.size == 0:
        return np.zeros(counts.shape)
    if counts.max() < _TABLE_SIZE:
        return _table(upper)[counts]
    distinct, inverse = np.unique(counts, return_inverse=True)
    return _quantile(distinct, upper)[inverse.reshape(counts.shape)]


@lru_cache(maxsize=2)
def _table(upper: bool) -> npt.NDArray[np.float64]:
    return _quantile(np.arange(_TABLE_SIZE), upper)


def _quantile(counts: npt.NDArray[np.int64], upper: bool) -> npt.NDArray[np.float64]:
    from scipy.special import gammaincinv

    # chi2.ppf(p, 2k) / 2 is the quantile of a gamma distribution of shape k.
    if upper:
        return np.asarray(gammaincinv(counts + 1.0, 0.975), dtype=np.float64)
    return np.where(counts == 0, 0.0, gammaincinv(np.maximum(counts, 1), 0.025))
