"""From the name of a table to a file that can be read.

Errors here are about files: which one is missing, what it is instead of a parquet file, and how to
get the right one. What stands inside is checked elsewhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coursekit.data.paths import bundled, cache_dir
from coursekit.errors import SelectionError

TARGETS = ("mapk14", "ddr1")

SELECTIONS = {target: f"{target}_1M.parquet" for target in TARGETS}
SELECTIONS |= {f"{target}_full": f"{target}.parquet" for target in TARGETS}
SPLITS = {
    f"{target}_{kind}": f"splits/{target}_{kind}.parquet"
    for target in TARGETS
    for kind in ("random", "disynthon")
}
HELDOUT = {
    f"{target}_{where}dna": f"heldout/{target}_{where}dna.csv"
    for target in TARGETS
    for where in ("on", "off")
}

_PARQUET_MAGIC = b"PAR1"
_READ_BUFFER = 4 << 20  # without it a whole column chunk, gigabytes of SMILES, is held in memory


def kindel_dir() -> Path:
    """The folder in the cache which mirrors KinDEL's bucket (it need not exist)."""
    return cache_dir() / "kindel"


def selection_path(source: str | Path) -> Path:
    """The file behind ``"sample"``, ``"mapk14"``, ``"mapk14_full"`` (and ``ddr1``), or a path.

    Raises:
        SelectionError: no such name or file, or a KinDEL file which has not been fetched yet.
    """
    if str(source) == "sample":
        return bundled("sample/selection.parquet")
    return _path(source, SELECTIONS, "selection", also=("sample",))


def splits_path(source: str | Path) -> Path:
    """The file behind ``"mapk14_random"``, ``"ddr1_disynthon"``..., or a path.

    Raises:
        SelectionError: no such name or file, or a KinDEL file which has not been fetched yet.
    """
    return _path(source, SPLITS, "split")


def heldout_path(source: str | Path) -> Path:
    """The file behind ``"mapk14_ondna"``, ``"ddr1_offdna"``..., or a path.

    Raises:
        SelectionError: no such name or file, or a KinDEL file which has not been fetched yet.
    """
    return _path(source, HELDOUT, "held-out")


def _path(source: str | Path, names: dict[str, str], kind: str, also: Sequence[str] = ()) -> Path:
    if str(source) in names:
        name = str(source)
        path = kindel_dir() / names[name]
        if not path.exists():
            command = f"coursekit data fetch {name.split('_')[0]}"
            command += " --full" if name.endswith("_full") else ""
            raise SelectionError(
                f"{name}: KinDEL's {kind} file {names[name]} is not in the cache "
                f"({kindel_dir()}). Fetch it with: {command}"
            )
        return path
    path = Path(source).expanduser()
    if path.is_dir():
        raise SelectionError(f"{path} is a folder; give the path of one {kind} file in it.")
    if not path.exists():
        known = [*also, *names]
        close = difflib.get_close_matches(str(source), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise SelectionError(
            f"there is no {kind} file {str(source)!r}; {hint}"
            f"Give a path, or one of: {', '.join(known)}."
        )
    return path


def open_parquet(path: Path, dictionary: Sequence[str] = ()) -> pq.ParquetFile:
    """Open a parquet file and read its footer.

    Args:
        path: the file.
        dictionary: columns to read as codes and a vocabulary.

    Raises:
        SelectionError: the file is empty, cut off, or no parquet file at all.
    """
    with path.open("rb") as file:
        head = file.read(4)
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        tail = file.read(4)
    if size == 0:
        raise SelectionError(f"{path}: the file is empty (0 bytes). Fetch or write it again.")
    if head != _PARQUET_MAGIC:
        raise SelectionError(
            f"{path}: this is not a parquet file (it starts with {head!r} where parquet has "
            f"{_PARQUET_MAGIC!r}). A saved web page or a git-lfs pointer looks like this; "
            "get the file itself, or name it .csv if it is one."
        )
    if tail != _PARQUET_MAGIC or size < 12:
        raise SelectionError(
            f"{path}: this parquet file is cut off: its end is missing after {size:,} bytes. "
            "The download or copy broke off; fetch it again."
        )
    try:
        return pq.ParquetFile(path, read_dictionary=list(dictionary), buffer_size=_READ_BUFFER)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> SelectionError:
    """The error for a parquet file whose inside is damaged."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return SelectionError(
        f"{path}: this parquet file is damaged ({reason}). Fetch or write it again."
    )


def stored_columns(schema: Any) -> list[str]:
    """Column names of an Arrow schema, without the ones in which pandas keeps an index."""
    metadata = schema.pandas_metadata or {}
    index = {entry for entry in metadata.get("index_columns", []) if isinstance(entry, str)}
    return [name for name in schema.names if name not in index]
