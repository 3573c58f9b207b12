"""Pairs of building blocks (disynthons), looked up in tables instead of sets.

Chemists read a selection by its disynthons: a pair of building blocks that binds shows up with many
third blocks. A table has one cell for each pair, so that a batch of rows is tested by indexing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from coursekit.errors import TaskError

PAIRS = (("a", "b"), ("a", "c"), ("b", "c"))
"""Which two of the three blocks make each kind of disynthon."""

_MOST_CELLS = 1_000_000_000  # one byte each

Codes = Mapping[str, npt.NDArray[Any]]
"""``"a"``, ``"b"``, ``"c"`` -> (n,) integer codes of building blocks."""


class DisynthonTables:
    """Which disynthons, and which single blocks, occur in a set of molecules.

    Args:
        codes: (n,) block codes of the set.
        sizes: ``"a"``, ``"b"``, ``"c"`` -> number of distinct blocks in that cycle.

    Raises:
        TaskError: the tables would not fit in memory, as when a column does not hold blocks.
    """

    def __init__(self, codes: Codes, sizes: Mapping[str, int]) -> None:
        if sum(sizes[x] * sizes[y] for x, y in PAIRS) > _MOST_CELLS:
            found = ", ".join(f"{sizes[x]:,} in smiles_{x}" for x in "abc")
            raise TaskError(
                f"found {found} different building blocks; a library made of blocks has at most "
                "some thousands in each cycle. Do these columns hold whole molecules?"
            )
        self._sizes = dict(sizes)
        self._pairs = {pair: np.zeros(sizes[pair[0]] * sizes[pair[1]], np.bool_) for pair in PAIRS}
        self._blocks = {x: np.zeros(sizes[x], np.bool_) for x in "abc"}
        for pair, table in self._pairs.items():
            table[self._cell(codes, *pair)] = True
        for x, blocks in self._blocks.items():
            blocks[codes[x]] = True

    def has_pair(self, codes: Codes, x: str, y: str) -> npt.NDArray[np.bool_]:
        """Whether the blocks of each molecule in cycles x and y stand together in a member, (n,).

        A negative code stands for a block that no member can have.
        """
        found = self._pairs[x, y][self._cell(codes, x, y)]
        return np.asarray(found & (np.minimum(codes[x], codes[y]) >= 0))

    def shares_pair(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Whether each molecule has any disynthon in common with any member, (n,) bool."""
        shared = self.has_pair(codes, *PAIRS[0])
        for pair in PAIRS[1:]:
            shared |= self.has_pair(codes, *pair)
        return shared

    def shares_block(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Whether each molecule has at least one block in common with any member, (n,) bool."""
        shared = self._blocks["a"][codes["a"]]
        return np.asarray(shared | self._blocks["b"][codes["b"]] | self._blocks["c"][codes["c"]])

    def _cell(self, codes: Codes, x: str, y: str) -> npt.NDArray[Any]:
        """Where the pair of each molecule stands in its table; negative codes go to the front."""
        first, second = np.maximum(codes[x], 0), np.maximum(codes[y], 0)
        # Tables end below 2**31 cells, so the codes' own int32 is wide enough.
        return np.asarray(first * first.dtype.type(self._sizes[y]) + second)
