"""``python -m coursekit.data.sample_task``: make the course's task of the bundled sample again.

It comes with the kit, as making it takes five seconds and more in each process that asks for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from coursekit.data.binding_task import BindingTask
from coursekit.data.paths import bundled
from coursekit.data.task import COURSE, READY, make_task


def sample_task() -> BindingTask:
    """What ``load_task("sample")`` is to give, made from the bundled selection."""
    return make_task("sample", **COURSE)


def write(folder: Path) -> None:
    """Write the task there, with no notes of a version of pandas in its files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sample_task().save(folder)
    for path in sorted(folder.glob("*.parquet")):
        plain = pa.Table.from_pandas(pd.read_parquet(path), preserve_index=False)
        pq.write_table(
            plain.replace_schema_metadata(None), path, compression="zstd", compression_level=19
        )


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else bundled("sample") / Path(READY).name)
