"""What a threshold decides: who is called a binder, and how many of those are none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from coursekit.evaluation.metrics import NEGATIVE_SETS, scores_by_class

if TYPE_CHECKING:
    from coursekit.runs.run import Run


def at_threshold(run: Run, threshold: float, part: str = "test") -> pd.DataFrame:
    """Confusion matrix and rates where scores from ``threshold`` on are called binders.

    Args:
        run: with predictions for ``part``.
        threshold: a molecule with this score, or a higher one, is called a binder.
        part: "test" or "valid".

    Returns:
        One row for "easy" and one for "hard" negatives: ``binders found``, ``binders missed``,
        ``negatives taken``, ``negatives left`` (counts), ``recall`` (share of binders found),
        ``false positive rate`` (share of negatives taken along), ``precision`` (share of binders
        among those called so) and ``enrichment`` (precision over prevalence: how many times
        richer in binders the chosen molecules are than all). NaN where nothing is there to share.

    Raises:
        ScoreError: predictions that cannot be scored.
    """
    scores = scores_by_class(run.predictions, part)
    binders = scores["binder"]
    found = int((binders >= threshold).sum())
    rows = {}
    for kind in NEGATIVE_SETS:
        negatives = scores[kind]
        taken = int((negatives >= threshold).sum())
        precision = _share(found, found + taken)
        prevalence = _share(len(binders), len(binders) + len(negatives))
        rows[kind] = {
            "binders found": found,
            "binders missed": len(binders) - found,
            "negatives taken": taken,
            "negatives left": len(negatives) - taken,
            "recall": _share(found, len(binders)),
            "false positive rate": _share(taken, len(negatives)),
            "precision": precision,
            "enrichment": precision / prevalence if prevalence else math.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("negatives")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
