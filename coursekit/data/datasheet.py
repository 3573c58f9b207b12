"""The datasheet of a simulated selection: that it is simulated, from what, and how it compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coursekit.data.counts import TOP_SHARE, Counts
from coursekit.data.schema import MATRIX_COLUMNS, TARGET_COLUMNS

if TYPE_CHECKING:
    from coursekit.data.simulate import Simulation

# Enrichment in KinDEL's MAPK14 1M file, read off a published density plot (values up to 2): see
# the datasheet. Quantile -> value.
MAPK14_PUBLISHED = {0.0: 0.295, 0.5: 0.446, 0.75: 0.593, 0.9: 0.77, 0.95: 0.98, 0.99: 1.6}


def top_statistics(counts: Counts, top: NDArray[np.int64]) -> dict[float, float]:
    """Quantiles of the enrichment among the given members, 0.0 being the cut."""
    y = counts.enrichment()[top]
    return {q: float(np.quantile(y, q)) for q in MAPK14_PUBLISHED}


def datasheet(simulation: Simulation, counts: Counts) -> str:
    """What the selection is, what it was made from, and the numbers measured on it, as Markdown."""
    settings, table, truth = simulation.settings, simulation.selection, simulation.truth
    top = counts.top(settings["seed"])
    made = counts.signal > 0
    k_matrix = table[list(MATRIX_COLUMNS)].sum(axis=1)
    enriched = (table["target_enrichment"] >= 1) & (k_matrix <= 2)
    lengths = table["smiles"].str.len()
    numbers = {
        "library": settings["library"],
        "seed": settings["seed"],
        "rows": f"{len(table):,}",
        "truth_rows": f"{int((truth['true_binder'] | truth['matrix_binder']).sum()):,}",
        "n_top": f"{settings['n_top']:,}",
        "n_background": f"{settings['n_background']:,}",
        "top": f"{len(top):,}",
        "top_share": f"{TOP_SHARE:.2%}",
        "median_length": int(lengths.median()),
        "longest": int(lengths.max()),
        "binder_share": f"{counts.binder.mean():.2%}",
        "binders_in_top": f"{counts.binder[top].mean():.0%}",
        "recall": f"{counts.binder[top].sum() / counts.binder.sum():.0%}",
        "recall_of_made": f"{made[top].sum() / made.sum():.0%}",
        "load": f"{counts.load.mean():.1f}",
        "sticky": f"{int(counts.matrix_binder.sum()):,}",
        "enriched": f"{int(enriched.sum()):,}",
        "precision": f"{truth.loc[enriched, 'true_binder'].mean():.0%}",
        "members": f"{counts.load.size:,}",
        "quantiles": _quantile_rows(counts, top),
        "replicates": "\n".join(
            f"| {name} | {reads[:, i].mean():.2f} | {(reads[:, i] == 0).mean():.0%} |"
            for names, reads in ((TARGET_COLUMNS, counts.target), (MATRIX_COLUMNS, counts.matrix))
            for i, name in enumerate(names)
        ),
        "rates": "\n".join(f"| `{name}` | {rate} |" for name, rate in settings["model"].items()),
    }
    return _SHEET.format(**numbers)


def _quantile_rows(counts: Counts, top: NDArray[np.int64]) -> str:
    measured = top_statistics(counts, top)
    return "\n".join(
        f"| {'lowest' if q == 0 else f'{q:.0%} quantile'} | {published:.3f} | {measured[q]:.3f} |"
        for q, published in MAPK14_PUBLISHED.items()
    )


_SHEET = """\
# A simulated selection

**The counts in this folder are simulated. No screen was made, and no molecule here is known to bind
anything.** The table has the columns of a KinDEL file, so that everything learned on it can be
done on real data next; its "target" is invented, and results on it say nothing about MAPK14.

## What is in it
| | |
|---|---|
| `selection.parquet` | {rows} rows, the 13 columns of KinDEL |
| `truth.parquet` | {truth_rows} of these rows: true binders and matrix binders |
| library | {library} members |
| seed | {seed} |

The rows are {n_top} drawn at random from the {top} most enriched members (the {top_share} of a
library that KinDEL's 1M files hold) and {n_background} drawn at random from all other members, in
random order. SMILES have {median_length} characters in the median, {longest} at most.

In `truth.parquet`, `signal` is how strongly a true binder binds, `dropped` marks those that were
never made, and `top` those among the most enriched. A row that is not in it is neither kind.

## What it was made from
- **Molecules.** Everyday building blocks (`data/blocks`, written by `make_blocks.py` there), joined
  by reaction rules: amide coupling, deprotection, then amide, urea, sulfonamide or reductive
  amination. They were written down without regard to any other library; being common reagents,
  some of them (about a quarter of A and C, four in ten of B) are also in KinDEL's.
- **Who binds.** A rule over structural features with three binding poses
  (`coursekit/data/activity.py`): the {binder_share} of the library with the highest activity.
- **Counts.** A gamma-Poisson recipe (`coursekit/data/counts.py`), its rates set to resemble the
  published description of KinDEL's MAPK14 selection.
- `molecule_hash` is the SHA-256 of the three reagents' SMILES joined by `|`.

## Measured: enrichment of the most enriched {top_share}
"Published" was read off a density plot of the real MAPK14 1M file that ends at 2, so it has errors
of a few percent and is too low at the upper end.

| | published | here |
|---|---|---|
{quantiles}

Of these members {binders_in_top} are true binders; {recall} of all true binders, and
{recall_of_made} of those that were made, are among them. For the real file nobody knows.

## Measured: reads over the whole library
| replicate | mean | zeros |
|---|---|---|
{replicates}

`seq_load` has mean {load}. {sticky} members stick to the matrix.

Of the rows stored, {enriched} have an enrichment of at least 1 and at most 2 reads on the matrix;
{precision} of these truly bind.

## Where it differs from KinDEL
- The counts are drawn from a recipe. Real ones also carry what the recipe leaves out: truncated
  by-products, tags that amplify badly, effects of whole synthesis batches.
- Binders follow one invented rule plus modest random effects. Real structure and activity are
  richer, and nobody knows them.
- A real 1M file holds the top members only; this one has a background as well, so that easy
  negatives can be drawn from one file.
- {members} members against 80,727,010; caps also include sulfonyl chlorides and isocyanates.
- The upper tail of the enrichment is somewhat heavier than in the published plot (see above).

## Rates
| rate | value |
|---|---|
{rates}

## Made by
`coursekit data simulate --seed {seed} --out FOLDER`. Same license as coursekit.
"""
