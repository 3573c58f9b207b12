"""Blind predictions, scored by the labels that only the instructor has, and held against the claim.

A model that learned what it claims ranks molecules that nobody labeled for it about as well as the
test part. Predictions that were made up, or fitted to the test part, do not go on like that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from coursekit.data.binding_task import BindingTask
from coursekit.data.blind import BlindSet
from coursekit.errors import CourseKitError
from coursekit.evaluation.metrics import Score, Scores, score_predictions
from coursekit.grading.harvest import Harvested
from coursekit.grading.verify import Layer, recomputed_scores
from coursekit.grading.weights import TOLERANCE as SAME
from coursekit.runs.blind import BlindPredictions

MARGIN = 0.03
"""By how much AUROC may be worse on blind molecules, beyond what chance explains."""
SURE = 3.0
"""Standard errors of the difference that count as chance."""


def verify_blind(
    claimed: Harvested, found: Sequence[BlindPredictions], blind: BlindSet, task: BindingTask
) -> Layer:
    """Score a run's blind predictions and compare them with its test scores.

    Args:
        claimed: the run.
        found: all blind predictions in the submission.
        blind: the molecules with their labels.
        task: the instructor's.

    Returns:
        Fails if AUROC on easy or hard blind molecules is below the claimed one by more than
        ``MARGIN`` and ``SURE`` standard errors of the difference, or if the task's own molecules
        among the blind ones are predicted otherwise than in the run.
    """
    name = claimed.run.name
    mine = [one for one in found if one.run == claimed.digest]
    if not mine:
        others = f"; {len(found)} predictions are of other runs" if found else ""
        return Layer("blind", name, "not verified", f"no blind predictions of this run{others}")
    fitting = [one for one in mine if one.molecules == blind.fingerprint]
    if not fitting:
        return Layer("blind", name, "not verified", "other molecules than the blind ones")
    scores = fitting[-1].scores.set_index("molecule_id")["score"]
    if set(scores.index) != set(blind.labels["molecule_id"]):
        text = f"{len(scores)} molecules are predicted, not the {len(blind.labels)} given"
        return Layer("blind", name, "fails", text)
    try:
        test, seen = recomputed_scores(claimed.run, task), _blind_scores(scores, blind)
    except CourseKitError as error:
        return Layer("blind", name, "not verified", str(error))
    faults = [*_other_model(claimed, scores, blind), *_worse(test, seen)]
    if faults:
        return Layer("blind", name, "fails", "; ".join(faults))
    text = (
        f"AUROC easy {seen.auroc_easy.value:.3f}, hard {seen.auroc_hard.value:.3f} on "
        f"{len(blind.scored)} blind molecules; AU-PRC {seen.au_prc_easy.value:.3f} and "
        f"{seen.au_prc_hard.value:.3f}"
    )
    return Layer("blind", name, "holds", text)


def _blind_scores(scores: pd.Series, blind: BlindSet) -> Scores:
    rows = blind.scored
    table = rows[["molecule_id", "label", "negative_set"]].assign(
        part="test", score=scores.loc[rows["molecule_id"]].to_numpy()
    )
    return score_predictions(table, part="test", n_boot=0)


def _other_model(claimed: Harvested, scores: pd.Series, blind: BlindSet) -> list[str]:
    known = blind.labels[blind.labels["known_as"] != ""]
    before = claimed.run.predictions.set_index("molecule_id")["score"]
    known = known[known["known_as"].isin(before.index)]
    gaps = np.abs(
        scores.loc[known["molecule_id"]].to_numpy() - before.loc[known["known_as"]].to_numpy()
    )
    if not (gaps > SAME).any():
        return []
    return [
        f"another model: {int((gaps > SAME).sum())} of {len(gaps)} of the task's own molecules "
        f"among them are predicted differently than in the run, by up to {gaps.max():.3f}"
    ]


def _worse(test: Scores, seen: Scores) -> list[str]:
    faults = []
    for kind in ("easy", "hard"):
        claim, blind = getattr(test, f"auroc_{kind}"), getattr(seen, f"auroc_{kind}")
        allowed = MARGIN + SURE * math.hypot(standard_error(claim), standard_error(blind))
        if not claim.value - blind.value <= allowed:
            faults.append(
                f"AUROC {kind} is {blind.value:.3f} on {blind.n_binders + blind.n_negatives} blind "
                f"molecules and {claim.value:.3f} on test; {allowed:.3f} less would be chance"
            )
    return faults


def standard_error(score: Score) -> float:
    """Of an AUROC, by how many molecules it rests on.

    Source: Hanley and McNeil, Radiology 1982, 143, 29.
    """
    a, binders, negatives = score.value, score.n_binders, score.n_negatives
    both, twice = a / (2 - a), 2 * a * a / (1 + a)
    spread = a * (1 - a) + (binders - 1) * (both - a * a) + (negatives - 1) * (twice - a * a)
    return math.sqrt(max(spread, 0.0) / (binders * negatives))
