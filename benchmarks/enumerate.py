"""How many library members a second are built, on one core.

python benchmarks/enumerate.py                       # our own library
python benchmarks/enumerate.py PATH/TO/synthons      # KinDEL's, from its reacted_{a,b,c}.csv
"""

from __future__ import annotations

import sys
import time

from coursekit.data.library import Library


def main(folder: str | None, n: int = 10_000) -> None:
    start = time.perf_counter()
    library = Library.own() if folder is None else Library.from_kindel(folder)
    library.members(library.sample(1, seed=0))
    ready = time.perf_counter()
    molecules = library.members(library.sample(n, seed=1))
    seconds = time.perf_counter() - ready
    print(library)
    print(
        f"ready in {ready - start:.2f} s; {n / seconds:,.0f} molecules/s, "
        f"{len(set(molecules)):,} distinct"
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
