"""Hidden checks of lesson 01. The grader is given this file; nothing in coursekit imports it."""

from functools import lru_cache

import numpy as np

from coursekit.checks import CannotCheck, Wrong
from coursekit.checks.truth import judged, scored, the_task
from coursekit.evaluation import fingerprint_baseline

BEYOND_FROZEN = 0.9
"""AUROC on hard negatives that no head on frozen vectors of this encoder comes near."""


@lru_cache(maxsize=8)
def _forest(name, fingerprint):
    task = the_task("task", {"name": name, "fingerprint": fingerprint})
    return fingerprint_baseline(task, "forest").predictions.set_index("molecule_id")["score"]


def check_01_3(frozen_scores, task):
    """A head that is too good has seen more than vectors."""
    known = the_task("task", task)
    hard = scored(np.asarray(frozen_scores, dtype=float), known)["auroc_hard"]
    if hard > BEYOND_FROZEN:
        raise CannotCheck(f"frozen vectors with a hard AUROC of {hard:.3f}; how was it made?")


def check_01_4(frozen, forest, table):
    """Nothing but the head trained, and the forest is the forest."""
    groups = {
        group for phase in frozen.strategy.get("phases", []) for group in phase["learning_rates"]
    }
    if groups - {"head"}:
        raise Wrong("`frozen` trained more than its head.", share=0.3)
    hard = judged("frozen", frozen)["auroc_hard"]
    if hard > BEYOND_FROZEN:
        raise CannotCheck(f"a frozen encoder with a hard AUROC of {hard:.3f}; how was it made?")
    mine = _forest(forest.task["name"], forest.task["fingerprint"])
    theirs = forest.predictions.set_index("molecule_id")["score"].reindex(mine.index)
    agreement = 0.0 if theirs.isna().any() else float(np.corrcoef(mine, theirs)[0, 1])
    if not agreement > 0.9:
        raise CannotCheck(f"the forest made again here predicts otherwise (r = {agreement:.2f})")


CHECKS = {"01.3": check_01_3, "01.4": check_01_4}
