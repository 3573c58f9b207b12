"""Compare drawn molecules with the binders, no more of them than are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from coursekit.data.chemistry import fingerprints, nearest, parse
from coursekit.errors import CourseKitError, TaskError

COMPARED_BINDERS = 5_000  # the reference: a random sample of the binders drawn

_FEWEST = 200  # molecules compared at once, where fewer are asked for
_MOST = 4_096  # and where more are: eight megabytes of fingerprints


class NearestBinder:
    """Find the most similar binder of any molecule, by Tanimoto similarity.

    Args:
        smiles: of the binders, in random order; the first ``COMPARED_BINDERS`` that RDKit can read
            are the reference.
        ids: their molecule ids.

    Raises:
        TaskError: RDKit reads none of them.
    """

    def __init__(self, smiles: list[str], ids: list[str]) -> None:
        some, more = smiles[:COMPARED_BINDERS], smiles[COMPARED_BINDERS:]
        self._reference, readable = _fingerprints(some)
        self._ids = np.array(ids[: len(some)], dtype=object)[readable]
        self.readable = np.append(readable, [parse(text) is not None for text in more]).astype(bool)
        """Which of the binders RDKit can read, (n,)."""
        self.unreadable = int(np.count_nonzero(~self.readable))
        """Molecules, binders or not, that RDKit could not read so far."""
        if len(self._ids) == 0:
            raise TaskError(
                f"RDKit can read none of {len(some):,} binders, such as {some[0]!r}. Does the "
                "column 'smiles' hold SMILES?"
            )

    def compare(self, molecules: pd.DataFrame) -> pd.DataFrame:
        """Add ``nearest_binder`` and ``similarity``; leave out what RDKit cannot read."""
        bits, readable = _fingerprints(molecules["smiles"].tolist())
        self.unreadable += int(np.count_nonzero(~readable))
        similarity, index = nearest(bits, self._reference)
        return molecules[readable].assign(nearest_binder=self._ids[index], similarity=similarity)


class Pool:
    """Molecules that wait to be compared and taken, in the order of their draw.

    Args:
        molecules: a column ``smiles``, and others that are handed on.
        compare: adds the nearest binder.
        accept: similarities (n,) -> (n,) bool: which molecules may be taken at all.
    """

    def __init__(
        self,
        molecules: pd.DataFrame,
        compare: NearestBinder,
        accept: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]],
    ) -> None:
        self._waiting = molecules
        self._compare = compare
        self._accept = accept
        self._ready = molecules.head(0)
        self.searched = 0
        self.accepted = 0

    def take(self, n: int) -> pd.DataFrame:
        """The next ``n`` molecules that are accepted, or fewer where the pool runs dry."""
        while len(self._ready) < n and len(self._waiting):
            size = min(_MOST, max(_FEWEST, n - len(self._ready)))
            some, self._waiting = self._waiting.head(size), self._waiting.iloc[size:]
            compared = self._compare.compare(some)
            good = compared[self._accept(compared["similarity"].to_numpy())]
            self.searched += len(some)
            self.accepted += len(good)
            self._ready = pd.concat([self._ready, good]) if len(self._ready) else good
        taken, self._ready = self._ready.head(n), self._ready.iloc[n:]
        return taken


def _fingerprints(smiles: list[str]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Fingerprints of the molecules that RDKit can read, and which ones these are."""
    try:
        return fingerprints(smiles), np.ones(len(smiles), dtype=np.bool_)
    except CourseKitError:
        readable = np.array([parse(text) is not None for text in smiles], dtype=np.bool_)
        return fingerprints([s for s, ok in zip(smiles, readable, strict=True) if ok]), readable
