"""What is measured after each epoch: loss, and AUROC and AU-PRC on either set of negatives."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

LOWER_IS_BETTER = frozenset({"loss"})


def validation_scores(part: pd.DataFrame, probabilities: np.ndarray) -> dict[str, float]:
    """Point values, without intervals.

    Args:
        part: ``label`` and ``negative_set`` of N molecules.
        probabilities: of being a binder (N,).

    Returns:
        ``loss`` (nats per molecule), ``auroc_easy``, ``auroc_hard``, ``au_prc_easy``,
        ``au_prc_hard``; NaN for a negative set that the part does not have.
    """
    labels = part["label"].to_numpy(dtype=int)
    negative_set = part["negative_set"].to_numpy()
    scores = {"loss": float(log_loss(labels, probabilities, labels=[0, 1]))}
    for name in ("easy", "hard"):
        rows = (labels == 1) | (negative_set == name)
        both = len(np.unique(labels[rows])) == 2
        auroc = roc_auc_score(labels[rows], probabilities[rows]) if both else np.nan
        au_prc = average_precision_score(labels[rows], probabilities[rows]) if both else np.nan
        scores |= {f"auroc_{name}": float(auroc), f"au_prc_{name}": float(au_prc)}
    return scores
