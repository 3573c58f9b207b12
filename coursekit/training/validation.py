"""What is measured after each epoch: loss, and AUROC and AU-PRC on either set of negatives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from coursekit.errors import TrainingError

LOWER_IS_BETTER = frozenset({"loss"})


def check_parts(parts: Mapping[str, pd.DataFrame], monitor: str) -> None:
    """Look, before anything trains, whether there is something to learn and to decide by.

    Args:
        parts: ``train`` and ``valid``, with ``label`` and ``negative_set``.
        monitor: the validation number that decides on the best epoch.

    Raises:
        TrainingError: if the train part lacks binders or negatives, if the valid part is empty,
            or if it cannot measure ``monitor``.
    """
    binders = int((parts["train"]["label"] == 1).sum())
    negatives = len(parts["train"]) - binders
    if not binders or not negatives:
        raise TrainingError(
            f"the train part has {binders} binders and {negatives} negatives; both are needed to "
            "learn a difference"
        )
    valid = parts["valid"]
    if valid.empty:
        raise TrainingError(
            "the valid part is empty; at least one molecule is needed to find the best epoch"
        )
    _, _, wanted = monitor.rpartition("_")
    counts = {"binders": int((valid["label"] == 1).sum())}
    counts[f"{wanted} negatives"] = int((valid["negative_set"] == wanted).sum())
    lacking = [name for name, count in counts.items() if not count]
    if lacking and monitor != "loss":
        raise TrainingError(
            f"{monitor} is to decide on the best epoch, but the valid part has no "
            f"{' and no '.join(lacking)} to measure it by. Choose another monitor."
        )


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
    # A record keeps float32, and ranks that only further digits tell apart are no better there.
    ranks = probabilities.astype(np.float32)
    for name in ("easy", "hard"):
        rows = (labels == 1) | (negative_set == name)
        both = len(np.unique(labels[rows])) == 2
        auroc = roc_auc_score(labels[rows], ranks[rows]) if both else np.nan
        au_prc = average_precision_score(labels[rows], ranks[rows]) if both else np.nan
        scores |= {f"auroc_{name}": float(auroc), f"au_prc_{name}": float(au_prc)}
    return scores
