"""Check a selection table row by row, and keep what is good where asked."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from coursekit.data.schema import (
    BLOCK_COLUMNS,
    COLUMNS,
    COUNT_COLUMNS,
    DTYPES,
    MATRIX_COLUMNS,
    STRING_COLUMNS,
    TARGET_COLUMNS,
    check_columns,
    enrichment_differs,
    not_counts,
    wrong_type,
)
from coursekit.errors import CourseKitError, SelectionError

CheckSmiles = bool | Literal["auto"]

_PARSE_ALL_ROWS = 50_000  # about ten seconds; a million rows would take minutes
_PARSE_SAMPLE = 1_000
_PARSE_BLOCKS = 20_000  # a real library has fewer than two thousand


@dataclass(frozen=True)
class SelectionReport:
    """What validation saw; kept as a dict in ``frame.attrs["coursekit"]``.

    Args:
        source: name or path of the table.
        rows_read: rows before validation.
        rows_kept: rows after it.
        dropped: reason -> rows dropped for it; a row counts once, for the first reason that holds.
        smiles_parsed: rows whose ``smiles`` was parsed by RDKit.
        enrichment_filled: rows never seen on the target whose missing enrichment became 0.
    """

    source: str
    rows_read: int
    rows_kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    smiles_parsed: int = 0
    enrichment_filled: int = 0

    @classmethod
    def of(cls, frame: pd.DataFrame) -> SelectionReport:
        """The report of a frame that ``load_selection`` gave.

        Raises:
            SelectionError: the frame carries none.
        """
        if "coursekit" not in frame.attrs:
            raise SelectionError("this frame carries no report; read it with load_selection.")
        return cls(**frame.attrs["coursekit"])

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
        return f"{self.source}: {self.rows_kept:,} of {self.rows_read:,} rows kept" + (
            f" (dropped: {reasons})" if reasons else ""
        )


@dataclass(frozen=True)
class _Problem:
    """One reason for which rows are bad: where, and what should stand there instead."""

    reason: str
    column: str
    mask: npt.NDArray[np.bool_]
    expected: str


def validate_selection(
    frame: pd.DataFrame,
    source_name: str,
    keep_valid: bool = False,
    check_smiles: CheckSmiles = "auto",
) -> pd.DataFrame:
    """Check a table against KinDEL's schema, its counts, and the enrichment that follows.

    Args:
        frame: the table; it is not changed.
        source_name: how messages call it.
        keep_valid: as in ``load_selection``.
        check_smiles: as in ``load_selection``.

    Returns:
        The 13 columns in KinDEL's order, bad rows left out where ``keep_valid``, index kept.

    Raises:
        SelectionError: names the table, the column, the first bad row and what to do.
    """
    check_columns(list(frame.columns), source_name)
    if len(frame) == 0:
        raise SelectionError(f"{source_name}: the table has no rows; a selection has at least one.")
    _check_types(frame, source_name)
    bad = np.zeros(len(frame), dtype=bool)
    dropped: dict[str, int] = {}
    for problem in _problems(frame, bad):
        new = problem.mask & ~bad
        if not new.any():
            continue
        if not keep_valid:
            raise _row_error(frame, source_name, problem)
        dropped[problem.reason] = dropped.get(problem.reason, 0) + int(new.sum())
        bad |= new
    rows, invalid = _unparsable(frame, bad, check_smiles)
    for problem in invalid:
        if not keep_valid:
            raise _row_error(frame, source_name, problem)
        dropped[problem.reason] = dropped.get(problem.reason, 0) + int((problem.mask & ~bad).sum())
        bad |= problem.mask
    if bad.all():
        raise SelectionError(f"{source_name}: no valid row is left; dropped: {dropped}.")
    filled = frame["target_enrichment"].isna().to_numpy() & ~bad
    clean = _finish(frame, bad)
    report = SelectionReport(source_name, len(frame), len(clean), dropped, rows, int(filled.sum()))
    clean.attrs = {"coursekit": asdict(report)}
    if dropped:
        warnings.warn(str(report), stacklevel=3)
    return clean


def _problems(frame: pd.DataFrame, bad: npt.NDArray[np.bool_]) -> Iterator[_Problem]:
    """Row-wise checks, cheap ones first; ``bad`` is what the caller has marked so far."""
    for column in STRING_COLUMNS:
        blank = (frame[column] == "").to_numpy(dtype=bool, na_value=False)
        missing = frame[column].isna().to_numpy() | blank
        yield _Problem("missing value", column, missing, "text in every row")
    for column in COUNT_COLUMNS:
        values = frame[column].to_numpy()
        expected = "a whole number from 0 up"
        yield _Problem("missing value", column, np.isnan(values), expected)
        yield _Problem("negative count", column, values < 0, expected)
        yield _Problem("fractional count", column, not_counts(values) & ~np.isnan(values), expected)
    good = ~bad  # sums of what is no count would not mean anything
    stated = frame["target_enrichment"].to_numpy()
    k_target = frame[list(TARGET_COLUMNS)].sum(axis=1).to_numpy()
    k_matrix = frame[list(MATRIX_COLUMNS)].sum(axis=1).to_numpy()
    differs = np.zeros(len(frame), dtype=bool)
    differs[good], right = enrichment_differs(
        stated[good], k_target[good].astype(np.int64), k_matrix[good].astype(np.int64)
    )
    missing = differs & np.isnan(stated)
    yield _Problem("missing value", "target_enrichment", missing, "the enrichment of the counts")
    expected = "what follows from the counts"
    if differs.any():
        expected = f"{right[differs[good]][0]!r}, which follows from the counts"
    yield _Problem("enrichment mismatch", "target_enrichment", differs, expected)
    again = np.zeros(len(frame), dtype=bool)
    again[~bad] = frame["molecule_hash"][~bad].duplicated().to_numpy()
    yield _Problem("duplicate molecule", "molecule_hash", again, "each molecule once")


def _unparsable(
    frame: pd.DataFrame, bad: npt.NDArray[np.bool_], check_smiles: CheckSmiles
) -> tuple[int, list[_Problem]]:
    """Parse SMILES as far as asked for: how many rows were parsed, and which failed."""
    if check_smiles is False:
        return 0, []
    from coursekit.bars import track
    from coursekit.data.chemistry import require_rdkit

    try:
        require_rdkit()
    except CourseKitError:
        if check_smiles is True:
            raise
        return 0, []
    rows = np.flatnonzero(~bad)
    everything = check_smiles is True or len(frame) <= _PARSE_ALL_ROWS
    if not everything:
        rows = rows[np.linspace(0, len(rows) - 1, min(_PARSE_SAMPLE, len(rows))).astype(int)]
    expected = "a SMILES which RDKit can parse"
    failed = np.zeros(len(frame), dtype=bool)
    smiles = frame["smiles"].to_numpy()[rows]
    for row, text in track(zip(rows, smiles, strict=True), "parsing SMILES", total=len(rows)):
        failed[row] = not _parses(text)
    problems = [_Problem("unparsable SMILES", "smiles", failed, expected)]
    for column in BLOCK_COLUMNS:
        distinct = frame[column][~bad].unique()
        if check_smiles == "auto" and len(distinct) > _PARSE_BLOCKS:
            continue
        # A cycle that takes two reagents at once stores them as "X, Y".
        wrong = [b for b in distinct if not all(_parses(part) for part in str(b).split(", "))]
        mask = frame[column].isin(wrong).to_numpy() & ~bad
        problems.append(_Problem("unparsable SMILES", column, mask, expected))
    return len(rows), [problem for problem in problems if problem.mask.any()]


def _parses(smiles: str) -> bool:
    from coursekit.data.chemistry import parse

    # RDKit takes what follows a blank for a name, and so would read "CCO, broken" as ethanol.
    return not any(character.isspace() for character in smiles) and parse(smiles) is not None


def _row_error(frame: pd.DataFrame, source_name: str, problem: _Problem) -> SelectionError:
    row = int(problem.mask.argmax())
    found = frame[problem.column].iloc[row]
    count = int(problem.mask.sum())
    more = f" {count:,} rows have this." if count > 1 else ""
    if problem.reason == "duplicate molecule":
        first = int((frame[problem.column] == found).to_numpy().argmax())
        more = f" It is also in row {first:,}." + more
    shown = repr(float(found)) if isinstance(found, int | float | np.number) else found
    return SelectionError(
        f"{source_name}: column {problem.column!r}, row {row:,} (counted from 0): "
        f"{problem.reason}: found {shown!s:.120}; expected {problem.expected}.{more} "
        "Mend the file, or keep the good rows with load_selection(..., keep_valid=True)."
    )


def _check_types(frame: pd.DataFrame, source_name: str) -> None:
    for column, expected in DTYPES.items():
        series = frame[column]
        if expected == "str":
            kind = pd.api.types.infer_dtype(series, skipna=True)
            if isinstance(series.dtype, pd.CategoricalDtype):
                kind = pd.api.types.infer_dtype(series.cat.categories)
            if kind not in ("string", "empty") and series.dtype == object:
                row = next(
                    i for i, v in enumerate(series) if not (isinstance(v, str) or pd.isna(v))
                )
                found = series.iloc[row]
                raise SelectionError(
                    f"{source_name}: column {column!r}, row {row:,} (counted from 0): found "
                    f"{found!r}, of type {type(found).__name__}; expected text. Mend or drop it."
                )
            if kind not in ("string", "empty"):
                raise wrong_type(source_name, column, str(series.dtype))
        elif str(series.dtype) != expected:
            # pandas turns whole numbers with a gap into floats: then the gap is the error.
            widened = column == "seq_load" and str(series.dtype) == "float64"
            if not (widened and not_counts(series.to_numpy()).any()):
                raise wrong_type(source_name, column, str(series.dtype))


def _finish(frame: pd.DataFrame, bad: npt.NDArray[np.bool_]) -> pd.DataFrame:
    clean = frame.loc[:, list(COLUMNS)]
    if bad.any():
        clean = clean[~bad]
    changes: dict[str, Any] = {}
    if clean["target_enrichment"].isna().any():
        changes["target_enrichment"] = clean["target_enrichment"].fillna(0.0)
    if clean["seq_load"].dtype != np.int64:
        changes["seq_load"] = clean["seq_load"].astype(np.int64)
    for column in STRING_COLUMNS:
        if isinstance(clean[column].dtype, pd.CategoricalDtype):
            changes[column] = clean[column].astype(str)
    return clean.assign(**changes)
