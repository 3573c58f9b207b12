"""A simulated selection as a table: members of a library with their counts, and the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coursekit.data.counts import Counts, SelectionModel, simulate_counts
from coursekit.data.datasheet import datasheet
from coursekit.data.library import Library, molecule_hash
from coursekit.data.schema import COLUMNS, MATRIX_COLUMNS, TARGET_COLUMNS, enrichment
from coursekit.errors import LibraryError
from coursekit.storage import atomic_file, write_table

DISTINCT = ("smiles", "molecule_hash")

BUNDLED_SEED = 14
"""Seed of the selection in ``data/sample``."""


@dataclass(frozen=True, repr=False)
class Simulation:
    """A simulated selection and what is true behind it.

    Args:
        selection: KinDEL's 13 columns; the most enriched members and a background, in random order.
        truth: in the same order: ``molecule_hash``, ``true_binder``, ``signal``, ``dropped``,
            ``matrix_binder`` and ``top`` (among the most enriched, else drawn from the rest).
        settings: everything that made it: library, seed, sizes and rates.
    """

    selection: pd.DataFrame
    truth: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Simulation of {self.settings['library']}, seed {self.settings['seed']}: "
            f"{len(self.selection):,} rows stored, "
            f"{int(self.truth['true_binder'].sum()):,} of them true binders"
        )


def simulate(
    library: Library,
    seed: int,
    *,
    n_top: int = 45_000,
    n_background: int = 40_000,
    settings: SelectionModel | None = None,
) -> Simulation:
    """Simulate a selection on a library and keep a part of it, as molecules with counts.

    Args:
        library: ``Library.own()``, ``Library.from_kindel(folder)`` or a ``subset`` of either.
        seed: another seed gives other counts and other rows; the same members bind.
        n_top: rows drawn from the most enriched 1.24% of the library (all, where there are fewer).
        n_background: rows drawn from all the rest.
        settings: the rates.

    Returns:
        A selection that passes ``validate_selection``, and its truth.

    Raises:
        LibraryError: a negative number of rows, or more background rows than the library has.
    """
    counts = simulate_counts(library, seed, settings)
    rows, is_top = draw_rows(counts, seed, n_top, n_background)
    return collect(library, counts, rows, is_top, seed, settings)


def collect(
    library: Library,
    counts: Counts,
    rows: NDArray[np.int64],
    is_top: NDArray[np.bool_],
    seed: int,
    settings: SelectionModel | None = None,
) -> Simulation:
    """Build the chosen members and set counts and truth beside them; see ``simulate``."""
    described = {
        "library": repr(library),
        "seed": seed,
        "n_top": int(is_top.sum()),
        "n_background": int((~is_top).sum()),
        "model": asdict(settings or SelectionModel()),
    }
    table = as_selection(library, counts, rows)
    truth = pd.DataFrame(
        {
            "molecule_hash": table["molecule_hash"],
            "true_binder": counts.binder[rows],
            "signal": counts.signal[rows],
            "dropped": counts.dropped[rows],
            "matrix_binder": counts.matrix_binder[rows],
            "top": is_top,
        }
    )
    return Simulation(table, truth, described)


def write_sample(
    folder: str | Path,
    seed: int = BUNDLED_SEED,
    *,
    library: Library | None = None,
    n_top: int = 45_000,
    n_background: int = 40_000,
    settings: SelectionModel | None = None,
) -> Simulation:
    """Simulate a selection and write ``selection.parquet``, ``truth.parquet``, ``DATASHEET.md``.

    The same seed gives the same content; with the same version of pyarrow, the same bytes. For a
    blind set, keep ``truth.parquet`` to yourself.

    Args:
        folder: made if need be; files of the same names are replaced.
        seed: the bundled sample has 14.
        library: ``Library.own()`` if not given.
        n_top: rows drawn from the most enriched 1.24% of the library.
        n_background: rows drawn from all the rest.
        settings: rates of the selection.

    Returns:
        What was written.

    Raises:
        LibraryError: sizes that the library does not have, a negative seed.
        OSError: the folder cannot be written.
    """
    chosen = library or Library.own()
    counts = simulate_counts(chosen, seed, settings)
    rows, is_top = draw_rows(counts, seed, n_top, n_background)
    simulation = collect(chosen, counts, rows, is_top, seed, settings)
    target = Path(folder)
    write_table(simulation.selection, target / "selection.parquet", DISTINCT)
    known = simulation.truth["true_binder"] | simulation.truth["matrix_binder"]
    # Ordinary molecules need no row; a hash is most of what a row costs.
    truth = simulation.truth[known].reset_index(drop=True)
    write_table(truth, target / "truth.parquet", DISTINCT)
    with atomic_file(target / "DATASHEET.md") as temporary:
        temporary.write_text(datasheet(simulation, counts), encoding="utf-8")
    return simulation


def draw_rows(
    counts: Counts, seed: int, n_top: int, n_background: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Choose the members to store.

    Returns:
        Their running numbers in random order, and which of them are among the most enriched.

    Raises:
        LibraryError: a negative number of rows, or more background rows than the library has.
    """
    top = counts.top(seed)
    rest = len(counts.load) - len(top)
    if n_top < 0 or not 0 <= n_background <= rest:
        raise LibraryError(
            f"cannot store {n_top:,} of {len(top):,} top rows and {n_background:,} of the other "
            f"{rest:,}; ask for numbers within these"
        )
    rng = np.random.default_rng([seed, 1])
    kept = rng.choice(top, min(n_top, len(top)), replace=False)
    # The k-th member that is not in the (sorted) top, without listing all that are not.
    nth = rng.choice(rest, n_background, replace=False)
    background = nth + np.searchsorted(top - np.arange(len(top)), nth, side="right")
    rows = np.concatenate([kept, background])
    order = rng.permutation(len(rows))
    return rows[order], np.arange(len(rows))[order] < len(kept)


def as_selection(library: Library, counts: Counts, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Build the molecules of some members and set their counts beside them.

    Args:
        library: the library which was counted.
        counts: its counts.
        rows: running numbers of members, (n,).

    Returns:
        KinDEL's 13 columns, n rows in the order asked for.
    """
    indices = library.positions(rows)
    reagents = [library.unreacted(*row) for row in indices.tolist()]
    table: dict[str, Any] = {
        "smiles": library.members(indices),
        "molecule_hash": [molecule_hash(*row) for row in reagents],
    }
    for column, cycle in enumerate("abc"):
        table[f"smiles_{cycle}"] = [row[column] for row in reagents]
    for names, reads in ((TARGET_COLUMNS, counts.target), (MATRIX_COLUMNS, counts.matrix)):
        for replicate, name in enumerate(names):
            table[name] = reads[rows, replicate].astype(np.float64)
    table["seq_load"] = counts.load[rows].astype(np.int64)
    table["target_enrichment"] = enrichment(
        counts.target[rows].sum(axis=1), counts.matrix[rows].sum(axis=1)
    )
    return pd.DataFrame(table)[list(COLUMNS)]
