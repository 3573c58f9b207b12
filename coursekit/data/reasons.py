"""Why a molecule is labelled as it is, in a sentence to be checked against the counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from coursekit.data.disynthons import PAIRS, DisynthonTables
from coursekit.data.rules import LabelRules


def reasons(labels: pd.DataFrame, rules: LabelRules, binders: DisynthonTables) -> list[str]:
    """One sentence for each labelled molecule.

    Args:
        labels: rows with ``kind``, summed counts, load, enrichment, similarity and block codes.
        rules: the thresholds they were labelled by.
        binders: disynthons of the drawn binders.

    Returns:
        (n,) sentences.
    """
    write: dict[str, Callable[[Any], str]] = {
        "binder": lambda row: (
            f"Enriched on the target: {_reads(row.k_target)} there and {row.k_matrix:.0f} on "
            f"the matrix, enrichment {row.target_enrichment:.2f} (a binder has at least "
            f"{rules.binder_enrichment:g})."
        ),
        "easy": lambda row: (
            f"Shares no pair of building blocks with any binder and has {_reads(row.k_target)} on "
            f"the target; similarity to the nearest binder {row.similarity:.2f}."
        ),
        "enumerated": lambda row: (
            "Enumerated from the library, not in the file: shares no pair of building blocks with "
            f"any binder; similarity to the nearest binder {row.similarity:.2f}."
        ),
        "disynthon": lambda row: (
            f"Shares building blocks {row.shared} with a binder, yet {_missed(row)}."
        ),
        "similarity": lambda row: (
            f"Looks like a binder (similarity {row.similarity:.2f}) without sharing a pair of "
            f"building blocks, yet {_missed(row)}."
        ),
        "matrix": lambda row: (
            f"Binds the empty matrix: {_reads(row.k_matrix)} there and {row.k_target:.0f} on "
            f"the target, enrichment only {row.target_enrichment:.2f}."
        ),
    }
    shared = _shared(labels, binders)
    rows = labels.assign(shared=shared).itertuples(index=False)
    return [write[str(row.kind)](row) for row in rows]


def _missed(row: Any) -> str:
    return (
        f"is not enriched: {_reads(row.k_target)} on the target (enrichment "
        f"{row.target_enrichment:.2f}), although a load of {row.seq_load:.0f} shows that it was in "
        "the pool"
    )


def _reads(count: float) -> str:
    return f"{count:.0f} read" if count == 1 else f"{count:.0f} reads"


def _shared(labels: pd.DataFrame, binders: DisynthonTables) -> list[str]:
    """Which pairs each molecule has in common with binders, such as ``"A and B"``."""
    codes = {x: labels[x].to_numpy() for x in "abc"}
    has = {f"{x.upper()} and {y.upper()}": binders.has_pair(codes, x, y) for x, y in PAIRS}
    return [
        " as well as ".join(name for name, found in has.items() if found[i])
        for i in range(len(labels))
    ]
