"""Draw rows at random out of a stream of any length, the same rows every time.

A row's key is a hash of its position and the seed; the rows with the lowest keys are the draw.
That needs no random state, does not depend on batch sizes, and keeps only what may still be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


def row_keys(rows: Integers, seed: int) -> Keys:
    """A key for each row position: uniform over 64 bits, fixed by position and seed.

    Args:
        rows: positions, (n,).
        seed: any integer; another seed gives an unrelated order.

    Returns:
        Keys, (n,). Distinct positions have distinct keys, as splitmix64 is a bijection.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).
    """
    start = _mix(np.array([seed & 0xFFFF_FFFF_FFFF_FFFF], dtype=np.uint64))
    return _mix(np.asarray(rows).astype(np.uint64) + start)


def _mix(values: Keys) -> Keys:
    mixed = values + np.uint64(0x9E37_79B9_7F4A_7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58_476D_1CE4_E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D0_49BB_1331_11EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


class LowestKeys:
    """The rows with the lowest keys among all that were offered, and a few numbers of each.

    Holds at most ``3 * size`` rows, or one batch where that is more, however many are offered.

    Args:
        size: how many rows to keep.
        fields: names of the numbers that are kept with each row.
    """

    def __init__(self, size: int, fields: tuple[str, ...]) -> None:
        self.size = size
        self.fields = fields
        self.offered = 0
        self._keys: list[Keys] = []
        self._values: list[Integers] = []  # each (fields, n)
        self._held = 0
        self._limit = np.uint64(0xFFFF_FFFF_FFFF_FFFF)

    def offer(
        self, chosen: npt.NDArray[np.bool_], keys: Keys, numbers: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Offer the rows of a batch for which ``chosen`` is true.

        Args:
            chosen: (n,) bool.
            keys: (n,) from ``row_keys``.
            numbers: field -> (n,) integers.
        """
        self.offered += int(np.count_nonzero(chosen))
        picked = np.flatnonzero(chosen & (keys <= self._limit))
        if self.size == 0 or picked.size == 0:
            return
        self._keys.append(keys[picked])
        self._values.append(np.stack([numbers[f][picked].astype(np.int64) for f in self.fields]))
        self._held += picked.size
        if self._held > 2 * self.size:
            self._shrink()

    def _shrink(self) -> None:
        keys, values = np.concatenate(self._keys), np.concatenate(self._values, axis=1)
        if keys.size > self.size:
            lowest = np.argpartition(keys, self.size - 1)[: self.size]
            keys, values = keys[lowest], values[:, lowest]
            self._limit = keys.max()
        self._keys, self._values, self._held = [keys], [values], keys.size

    def drawn(self) -> dict[str, Integers]:
        """Field -> (m,) numbers of the drawn rows, by rising key; m is at most ``size``."""
        if not self._keys:
            return {field: np.zeros(0, dtype=np.int64) for field in self.fields}
        self._shrink()
        order = np.argsort(self._keys[0])
        return dict(zip(self.fields, self._values[0][:, order], strict=True))
