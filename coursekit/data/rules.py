"""What makes a molecule a binder, an easy negative or a hard negative."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from coursekit.data.schema import enrichment
from coursekit.errors import TaskError

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LabelRules:
    """Thresholds behind the labels. Counts are sums over the three replicates.

    A **binder** is enriched on the target and hardly seen on the empty matrix. An **easy negative**
    shares no disynthon (no pair of building blocks) with any binder of the selection, was hardly
    seen on the target and does not look like a binder. A **hard negative** is one of three kinds:

    - *disynthon*: shares a disynthon with a binder, yet was hardly seen on the target although its
      load shows that it was in the pool;
    - *similarity*: the same, but what it shares is its looks: Tanimoto similarity to a binder
      (Morgan fingerprints, radius 2, 2048 bits);
    - *matrix*: a matrix binder, seen often on the target *and* on the empty matrix.

    Why these numbers: an enrichment of 1 says that, at 95% confidence on both sides, the target
    saw the molecule at least as often as the matrix did. In counts simulated on KinDEL's MAPK14
    statistics, where one in ten relatives of binders truly binds, 99% of the rows that pass both
    binder thresholds are true binders; and of relatives with a load of 15 and at most 2 reads on
    the target only 3% are binders that were missed (6% without the limit on reads). Sums of 20
    and more on both sides are ten times those of an ordinary molecule with a load of 30.

    Args:
        binder_enrichment: a binder's enrichment is at least this.
        binder_max_matrix: a binder was read on the matrix at most this often.
        easy_max_target: an easy negative was read on the target at most this often.
        hard_enrichment_below: a hard negative's enrichment is below this (not for matrix binders).
        hard_max_target: ... and it was read on the target at most this often; None: no limit.
        hard_min_load: ... and its count before selection, ``seq_load``, is at least this.
        similar: from this Tanimoto similarity on, two molecules look alike.
        matrix_min_reads: a matrix binder was read at least this often on target and on matrix.
        matrix_enrichment_below: a matrix binder's enrichment is below this.
        disynthon_share: part of the hard negatives that are of kind *disynthon*.
        similarity_share: part of kind *similarity*.
        matrix_share: part of kind *matrix*. The three add up to 1; where there are too few of a
            kind, the others fill in, and the counts say so.

    Raises:
        TaskError: thresholds that contradict each other.
    """

    binder_enrichment: float = 1.0
    binder_max_matrix: int = 2
    easy_max_target: int = 1
    hard_enrichment_below: float = 0.3
    hard_max_target: int | None = 2
    hard_min_load: int = 15
    similar: float = 0.6
    matrix_min_reads: int = 20
    matrix_enrichment_below: float = 0.5
    disynthon_share: float = 0.6
    similarity_share: float = 0.2
    matrix_share: float = 0.2

    def __post_init__(self) -> None:
        for name in ("hard_enrichment_below", "matrix_enrichment_below"):
            if not 0 < getattr(self, name) <= self.binder_enrichment:
                raise TaskError(
                    f"LabelRules: {name} is {getattr(self, name)}; it must be above 0 and at most "
                    f"binder_enrichment ({self.binder_enrichment}), or labels overlap."
                )
        shares = self.shares
        if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-9:
            raise TaskError(
                f"LabelRules: the shares of hard negatives are {shares}; make them sum to 1."
            )
        if not 0 < self.similar <= 1:
            raise TaskError(f"LabelRules: similar is {self.similar}; give a similarity in (0, 1].")
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value >= 0:
                raise TaskError(f"LabelRules: {field.name} is {value}; give a number from 0 up.")

    @property
    def shares(self) -> dict[str, float]:
        """Kind of hard negative -> its part of all hard negatives."""
        return {
            "disynthon": self.disynthon_share,
            "similarity": self.similarity_share,
            "matrix": self.matrix_share,
        }

    @classmethod
    def near_cut(cls) -> LabelRules:
        """Rules for a file that holds only the most enriched molecules, as KinDEL's 1M files do.

        Every row there has an enrichment above 0.29, so the default limits find no hard negative.
        Here a hard negative only has to stay below 0.5, however often it was read. More of them
        are binders that were missed: the price of a file without its lower end.
        """
        return cls(hard_enrichment_below=0.5, hard_max_target=None)


class EnrichmentAtLeast:
    """Test ``enrichment >= threshold`` on millions of counts, by one look-up for each row.

    Enrichment rises with the target count, so for each matrix count there is one target count from
    which on the threshold is reached. Rows beyond the table are computed one by one.
    """

    _MATRIX, _TARGET = 256, 1024

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        target = np.arange(self._TARGET)
        self._first = np.array(
            [
                np.searchsorted(enrichment(target, np.full_like(target, matrix)), threshold)
                for matrix in range(self._MATRIX)
            ],
            dtype=np.int64,
        )
        self.fewest_reads = int(self._first[0])
        """Target reads that reach the threshold where the matrix saw nothing."""

    def __call__(self, k_target: Counts, k_matrix: Counts) -> Mask:
        """Whether each row reaches the threshold, (n,) bool; both counts (n,)."""
        reached = k_target >= self._first[np.minimum(k_matrix, self._MATRIX - 1)]
        beyond = np.flatnonzero((k_matrix >= self._MATRIX) | (k_target >= self._TARGET))
        if beyond.size:
            exact = enrichment(k_target[beyond], k_matrix[beyond])
            reached[beyond] = exact >= self.threshold
        return np.asarray(reached, dtype=np.bool_)
