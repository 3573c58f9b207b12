"""Files that are either there whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

KEEP = 2
STATE_FILES = ("tensors.safetensors", "facts.json")
CHECKSUMS = "SHA256SUMS"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` that takes its place only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write plain data as JSON, atomically; NaN is refused so that any reader can read it."""
    with atomic_file(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def write_table(table: pd.DataFrame, path: Path, distinct: Collection[str] = ()) -> None:
    """Write a table as parquet, atomically and without its index.

    Args:
        table: with columns of one type each.
        path: of the file.
        distinct: columns in which hardly a value comes twice: a dictionary would be no gain.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_file(path) as temporary:
        pq.write_table(
            # pandas' own notes would make the bytes depend on its version
            pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None),
            temporary,
            compression="zstd",
            compression_level=19,
            use_dictionary=[name for name in table if name not in distinct],
        )


def save_state(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Any) -> Path:
    """Save one training state, ``state-<step>/tensors.safetensors`` and ``facts.json``.

    The folder appears under its name only when its files are complete, with their checksums in
    the format of ``sha256sum``; the newest two states are kept, so that a damaged one always has
    a predecessor.

    Returns:
        The folder of this state.

    Raises:
        OSError: if the disk is full or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"state-{step:09d}"
    temporary = folder / f".{target.name}.{uuid4().hex[:8]}.tmp"
    try:
        temporary.mkdir()
        # Tied weights share memory, which safetensors refuses; each name gets bytes of its own.
        owned = {
            name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()
        }
        try:
            save_file(owned, temporary / "tensors.safetensors")
        except SafetensorError as error:  # a full disk too comes as this, which is no OSError
            raise OSError(f"{target} cannot be written: {error}") from error
        write_json(temporary / "facts.json", facts)
        sums = "".join(f"{_sha256(temporary / name)}  {name}\n" for name in STATE_FILES)
        (temporary / CHECKSUMS).write_text(sums, encoding="ascii")
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    # Besides old states, what a process that was killed while writing has left behind.
    for old in [*states(folder)[:-KEEP], *folder.glob(".state-*.tmp")]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def states(folder: Path) -> list[Path]:
    """The states saved in a folder, oldest first."""
    return sorted(p for p in folder.glob("state-*") if p.is_dir())


def load_state(state: Path) -> tuple[dict[str, Tensor], Any]:
    """Read back what ``save_state`` wrote.

    Raises:
        ValueError or OSError: if a file of the state is missing or damaged, be it by one bit.
    """
    from safetensors.torch import load_file

    lines = (state / CHECKSUMS).read_text(encoding="ascii").splitlines()
    expected = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in STATE_FILES:
        if _sha256(state / name) != expected.get(name):
            raise ValueError(f"{state / name} is damaged: it does not have its checksum")
    facts = json.loads((state / "facts.json").read_text(encoding="utf-8"))
    return load_file(state / "tensors.safetensors"), facts


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
