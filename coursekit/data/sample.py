"""Write a simulated selection with its truth and a datasheet that says what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coursekit.data.library import Library
from coursekit.data.schema import MATRIX_COLUMNS, TARGET_COLUMNS
from coursekit.data.simulate import (
    TOP_SHARE,
    Counts,
    SelectionModel,
    Simulation,
    collect,
    draw_rows,
    simulate_counts,
)
from coursekit.storage import atomic_file

BUNDLED_SEED = 14
"""Seed of the selection in ``data/sample``."""

# Enrichment in KinDEL's MAPK14 1M file, read off a published density plot (values up to 2): see
# the datasheet. Quantile -> value.
MAPK14_PUBLISHED = {0.0: 0.295, 0.5: 0.446, 0.75: 0.593, 0.9: 0.77, 0.95: 0.98, 0.99: 1.6}


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
    _write(simulation.selection, target / "selection.parquet")
    known = simulation.truth["true_binder"] | simulation.truth["matrix_binder"]
    # Ordinary molecules need no row; a hash is most of what a row costs.
    _write(simulation.truth[known].reset_index(drop=True), target / "truth.parquet")
    with atomic_file(target / "DATASHEET.md") as temporary:
        temporary.write_text(datasheet(simulation, counts), encoding="utf-8")
    return simulation


def _write(table: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_file(path) as temporary:
        pq.write_table(
            # pandas' own notes would make the bytes depend on its version
            pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None),
            temporary,
            compression="zstd",
            compression_level=19,
            use_dictionary=[name for name in table if name not in ("smiles", "molecule_hash")],
        )


def top_statistics(counts: Counts, top: NDArray[np.int64]) -> dict[float, float]:
    """Quantiles of the enrichment among the given members, 0.0 being the cut."""
    y = counts.enrichment()[top]
    return {q: float(np.quantile(y, q)) for q in MAPK14_PUBLISHED}


def datasheet(simulation: Simulation, counts: Counts) -> str:
    """What the selection is, what it was made from, and the numbers measured on it, as Markdown."""
    settings, table, truth = simulation.settings, simulation.selection, simulation.truth
    top = counts.top(settings["seed"])
    measured = top_statistics(counts, top)
    k_matrix = table[list(MATRIX_COLUMNS)].sum(axis=1)
    enriched = (table["target_enrichment"] >= 1) & (k_matrix <= 2)
    effective = counts.signal > 0
    quantiles = "\n".join(
        f"| {'lowest' if q == 0 else f'{q:.0%} quantile'} | {published:.3f} | {measured[q]:.3f} |"
        for q, published in MAPK14_PUBLISHED.items()
    )
    replicates = "\n".join(
        f"| {name} | {reads[:, i].mean():.2f} | {(reads[:, i] == 0).mean():.0%} |"
        for names, reads in ((TARGET_COLUMNS, counts.target), (MATRIX_COLUMNS, counts.matrix))
        for i, name in enumerate(names)
    )
    rates = "\n".join(f"| `{name}` | {value} |" for name, value in settings["model"].items())
    lengths = table["smiles"].str.len()
    return f"""# A simulated selection

**The counts in this folder are simulated. No screen was made, and no molecule here is known to bind
anything.** The table has the columns of a KinDEL file, so that everything learned on it can be
done on real data next; its "target" is invented, and results on it say nothing about MAPK14.

## What is in it
| | |
|---|---|
| `selection.parquet` | {len(table):,} rows, the 13 columns of KinDEL |
| `truth.parquet` | {int((truth["true_binder"] | truth["matrix_binder"]).sum()):,} rows of these: the true binders (`signal`: how strongly; `dropped`: never made) and the matrix binders; all other rows are neither |
| library | {settings["library"]} members |
| seed | {settings["seed"]} |
| numpy | {np.__version__} |

The rows are {settings["n_top"]:,} drawn at random from the {len(top):,} most enriched members (the
{TOP_SHARE:.2%} of a library that KinDEL's 1M files hold) and {settings["n_background"]:,} drawn at random
from all other members, in random order. SMILES are {int(lengths.median())} characters long in the median
(at most {lengths.max()}).

## What it was made from
- **Molecules.** Everyday building blocks (`data/blocks`, written by `make_blocks.py` there), joined
  by reaction rules: amide coupling, deprotection, then amide, urea, sulfonamide or reductive
  amination. They were chosen without regard to any other library; being common reagents, some of
  them (about a quarter of A and C, four in ten of B) are also in KinDEL's.
- **Who binds.** A rule over structural features with three binding poses
  (`coursekit/data/activity.py`): the {counts.binder.mean():.2%} of the library with the highest activity.
- **Counts.** A gamma-Poisson recipe (`coursekit/data/simulate.py`) set to resemble the published
  description of KinDEL's MAPK14 selection.
- `molecule_hash` is the SHA-256 of the three reagents' SMILES joined by `|`.

## Measured: enrichment of the most enriched {TOP_SHARE:.2%}
"Published" was read off a density plot of the real MAPK14 1M file that ends at 2, so it has errors of
a few percent and is too low at the upper end.

| | published | here |
|---|---|---|
{quantiles}

Here {counts.binder[top].mean():.0%} of these members are true binders; {counts.binder[top].sum() / counts.binder.sum():.0%} of all true binders (and
{effective[top].sum() / effective.sum():.0%} of those that were made) are among them. What is true of the real file
nobody knows.

## Measured: reads over the whole library
| replicate | mean | zeros |
|---|---|---|
{replicates}

`seq_load` has mean {counts.load.mean():.1f}. {int(counts.matrix_binder.sum()):,} members stick to the matrix.

Of the rows stored, {int(enriched.sum()):,} have an enrichment of at least 1 and at most 2 reads on the matrix;
{truth.loc[enriched, "true_binder"].mean():.0%} of these truly bind.

## Where it differs from KinDEL
- The counts are drawn from a recipe. Real ones also carry what the recipe leaves out: truncated
  by-products, tags that amplify badly, effects of whole synthesis batches.
- Binders follow one invented rule plus modest random effects. Real structure and activity are
  richer, and nobody knows them.
- A real 1M file holds the top members only; this one has a background as well, so that easy
  negatives can be drawn from one file.
- {counts.load.size:,} members against 80,727,010; caps also include sulfonamides and ureas.
- The upper tail of the enrichment is somewhat heavier than in the published plot (see above).

## Rates
| rate | value |
|---|---|
{rates}

## Made by
`coursekit data simulate --seed {settings["seed"]} --out FOLDER`. Same license as coursekit.
"""
