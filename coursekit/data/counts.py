"""Counts of a selection that never took place, on a real library.

The recipe follows what is published about KinDEL's MAPK14 selection: how many reads each replicate
has, how often zero is seen, how enrichments are spread. Every number below is a rate or a share
that such a description gives; none is a copy of a count.

One member of the library, with load ``L`` (its abundance in the pool)::

    seq_load      ~ Poisson(L)
    seq_matrix_r  ~ Poisson(L * g       * matrix_depth_r * eps)    sticks to the empty matrix
    seq_target_r  ~ Poisson(L * (g + s) * target_depth_r * eps)    ... and binds the target

with ``L`` gamma distributed, a non-specific factor ``g`` shared by both arms, a signal ``s`` that
is 0 except for binders, and ``eps`` another gamma for each count (overdispersion by PCR).

Sources: Poisson and gamma-Poisson counts in selections: Kuai et al. 2018
(10.1177/2472555218757718); target counts as a multiple of the control's: DEL-Compose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coursekit.bars import track
from coursekit.data.activity import Activity
from coursekit.data.library import Library
from coursekit.data.schema import enrichment
from coursekit.errors import LibraryError

TOP_SHARE = 1_000_000 / 80_727_010
"""Part of the library that KinDEL's "1M" files hold: the members with the highest enrichment."""


@dataclass(frozen=True)
class SelectionModel:
    """The rates of a simulated selection; the defaults resemble KinDEL's MAPK14.

    Args:
        load_mean: mean reads of a member before selection.
        load_shape: shape of the gamma distribution of loads; smaller is more uneven.
        nonspecific_sigma: spread of the log of the non-specific factor, whose mean is 1.
        matrix_rate: matrix reads per load, averaged over replicates of depth 1.
        target_rate: the same on the target.
        matrix_depths: depth of each matrix replicate.
        target_depths: depth of each target replicate.
        dispersion_shape: shape of the gamma factor on each count; smaller is noisier.
        binder_share: part of the library that binds, those of highest activity.
        signal_mu: mean of the log of a binder's signal.
        signal_sigma: its standard deviation.
        signal_follows_activity: correlation of a binder's log signal with the rank of its activity;
            the rest is chance.
        dropped_share: part of the binders that were never made, so that no read betrays them.
        matrix_binder_share: part of the library that sticks to the matrix.
        matrix_binder_fold: range of how many times more often, uniform on the log scale.
    """

    load_mean: float = 18.0
    load_shape: float = 2.0
    nonspecific_sigma: float = 0.6
    matrix_rate: float = 0.025
    target_rate: float = 0.02
    matrix_depths: tuple[float, float, float] = (0.8, 0.9, 1.3)
    target_depths: tuple[float, float, float] = (2.1, 0.6, 0.3)
    dispersion_shape: float = 10.0
    binder_share: float = 0.0125
    signal_mu: float = 1.1
    signal_sigma: float = 0.4
    signal_follows_activity: float = 0.7
    dropped_share: float = 0.15
    matrix_binder_share: float = 1e-4
    matrix_binder_fold: tuple[float, float] = (30.0, 100.0)


@dataclass(frozen=True, repr=False)
class Counts:
    """Reads of every member of a library, without its molecules.

    Args:
        target: (members, 3).
        matrix: (members, 3).
        load: (members,).
        signal: s of each member, 0 unless it binds and was made, (members,).
        binder: whether it binds, (members,) bool, dropped ones included.
        dropped: binders that were never made, (members,) bool.
        matrix_binder: (members,) bool.
    """

    target: NDArray[np.uint16]
    matrix: NDArray[np.uint16]
    load: NDArray[np.uint16]
    signal: NDArray[np.float32]
    binder: NDArray[np.bool_]
    dropped: NDArray[np.bool_]
    matrix_binder: NDArray[np.bool_]

    def enrichment(self) -> NDArray[np.float64]:
        """KinDEL's enrichment of every member, (members,)."""
        return enrichment(self.target.sum(axis=1), self.matrix.sum(axis=1))

    def top(self, seed: int) -> NDArray[np.int64]:
        """Running numbers of the most enriched members: the part that KinDEL's 1M files hold.

        Enrichment takes few values, so that many members tie at the cut; chance decides there.
        """
        y = self.enrichment()
        n = max(1, round(TOP_SHARE * len(y)))
        cut = np.partition(y, len(y) - n)[len(y) - n]
        above, tied = np.flatnonzero(y > cut), np.flatnonzero(y == cut)
        chosen = np.random.default_rng([seed, 2]).choice(tied, n - len(above), replace=False)
        return np.sort(np.concatenate([above, chosen]))


def simulate_counts(library: Library, seed: int, settings: SelectionModel | None = None) -> Counts:
    """Simulate the reads of every member of a library.

    Args:
        library: needs reacted blocks only; its molecules are not built.
        seed: governs loads, noise, dropped and matrix binders. Who binds does not depend on it.
        settings: the rates; resembling KinDEL's MAPK14 if not given.

    Returns:
        Counts in the library's running order (A outermost, C innermost). About 40 bytes a member
        at the peak, and a million members a second on one core.

    Raises:
        LibraryError: a negative seed, or a block of the library that cannot be read.
    """
    if seed < 0:
        raise LibraryError(f"the seed is {seed}; give a whole number from 0 up")
    model = settings or SelectionModel()
    rng = np.random.default_rng([seed, 0])
    signal, binder, dropped = _signals(library, rng, model)
    matrix_binder = rng.random(library.size, dtype=np.float32) < model.matrix_binder_share
    target = np.empty((library.size, 3), np.uint16)
    matrix = np.empty((library.size, 3), np.uint16)
    load = np.empty(library.size, np.uint16)
    chunks = list(_chunks(library.size, 1 << 20))
    for rows in track(chunks, "Simulating counts", unit="million"):
        n = rows.stop - rows.start
        abundance = rng.gamma(model.load_shape, model.load_mean / model.load_shape, n)
        sigma = model.nonspecific_sigma
        nonspecific = rng.lognormal(-(sigma**2) / 2, sigma, n)
        sticky = np.flatnonzero(matrix_binder[rows])
        low, high = np.log(model.matrix_binder_fold)
        nonspecific[sticky] *= np.exp(rng.uniform(low, high, len(sticky)))
        load[rows] = rng.poisson(abundance)
        arms = (
            (matrix, abundance * nonspecific * model.matrix_rate, model.matrix_depths),
            (target, abundance * (nonspecific + signal[rows]) * model.target_rate,
             model.target_depths),
        )  # fmt: skip
        for counts, rate, depths in arms:
            for replicate, depth in enumerate(depths):
                noise = rng.gamma(model.dispersion_shape, 1 / model.dispersion_shape, n)
                counts[rows, replicate] = rng.poisson(rate * depth * noise)
    return Counts(target, matrix, load, signal, binder, dropped, matrix_binder)


def _signals(
    library: Library, rng: np.random.Generator, model: SelectionModel
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Who binds, how strongly, and who of them was never made; each (members,)."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    nature = Activity(library)
    activity = np.concatenate([nature.of_a(a).ravel() for a in range(library.n_a)])
    n_binders = max(1, round(model.binder_share * library.size))
    best = np.argpartition(activity, library.size - n_binders)[library.size - n_binders :]
    best.sort()
    rank = ndtri((rankdata(activity[best]) - 0.5) / n_binders)  # standard normal, by activity
    follows = model.signal_follows_activity
    chance = rng.standard_normal(n_binders)
    log_signal = model.signal_mu + model.signal_sigma * (
        follows * rank + np.sqrt(1 - follows**2) * chance
    )
    lost = rng.random(n_binders) < model.dropped_share
    signal = np.zeros(library.size, np.float32)
    signal[best] = np.where(lost, 0.0, np.exp(log_signal))
    binder = np.zeros(library.size, np.bool_)
    binder[best] = True
    dropped = np.zeros(library.size, np.bool_)
    dropped[best[lost]] = True
    return signal, binder, dropped


def _chunks(size: int, step: int) -> Iterator[slice]:
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))
