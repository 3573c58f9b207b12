"""How many library members a second are built, on one core.

    python benchmarks/enumerate.py [FOLDER]

Builds members of our own library, and of KinDEL's where FOLDER (or ../shared/data/kindel/synthons)
holds its three synthon tables. The results go to ``benchmarks/results/enumerate.json``.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from coursekit.data.library import Library
from coursekit.runs import describe_environment
from coursekit.storage import write_json

HERE = Path(__file__).resolve().parent
REPEATS = 3


def measure(library: Library, n: int = 10_000) -> dict[str, Any]:
    library.members(library.sample(1, seed=0))  # pieces are read and reactions parsed once
    rates = []
    for seed in range(1, REPEATS + 1):
        indices = library.sample(n, seed=seed)
        start = time.perf_counter()
        molecules = library.members(indices)
        rates.append(round(n / (time.perf_counter() - start)))
    print(f"{library}: {rates} molecules/s, {len(set(molecules)):,} of {n:,} distinct")
    return {"library": repr(library), "molecules": n, "molecules_per_second": rates}


def main(folder: str | None) -> None:
    shared = Path(os.environ.get("COURSEKIT_SHARED", HERE.parent.parent / "shared"))
    synthons = Path(folder) if folder else shared / "data" / "kindel" / "synthons"
    results = {"own": measure(Library.own())}
    if synthons.is_dir():
        results["kindel"] = measure(Library.from_kindel(synthons))
    else:
        print(f"SKIPPED: KinDEL's library, as {synthons} is not there")
    write_json(
        HERE / "results" / "enumerate.json",
        {"what": "one core", "environment": describe_environment(), "results": results},
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
