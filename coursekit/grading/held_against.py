"""What hidden checks of several lessons hold an answer against; an instructor's file imports it.

A public check takes what a record says of itself. Here it is asked whether that can be: a baseline
is made again, a frozen encoder stays within what frozen vectors reach, phases are looked into.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from coursekit.checks import CannotCheck, Wrong
from coursekit.checks.truth import judged, the_task
from coursekit.evaluation import fingerprint_baseline
from coursekit.runs import Run

BEYOND_FROZEN = 0.9
"""AUROC on hard negatives that no head on frozen vectors of the bundled encoder comes near."""
ALIKE = 0.9
"""Correlation with a baseline made again: another version of scikit-learn grows other trees, which
rank nearly alike."""


def baseline_again(name: str, run: Run, model: str) -> None:
    """A baseline with other predictions did not come from its fingerprints.

    Args:
        name: of the learner's variable.
        run: what it holds.
        model: "forest" or "logistic".

    Raises:
        Wrong: molecules are missing.
        CannotCheck: it is another one than is made here.
    """
    share = _share(run.task.get("settings"))
    mine = _baseline(str(run.task["name"]), str(run.task["fingerprint"]), share, model)
    theirs = run.predictions.set_index("molecule_id")["score"].reindex(mine.index)
    if theirs.isna().any():
        raise Wrong(f"`{name}` lacks molecules of its task.")
    agreement = float(np.corrcoef(mine, theirs)[0, 1]) if theirs.std() else 0.0
    if not agreement > ALIKE:
        raise CannotCheck(
            f"`{name}`: the {model} made again here predicts otherwise (r = {agreement:.2f})"
        )


def stays_frozen(name: str, run: Run) -> None:
    """A frozen encoder trains its head alone, from pretrained weights, and has its limits.

    Raises:
        Wrong: more than the head trained.
        CannotCheck: it is better than frozen vectors can be.
    """
    if trained(run) - {"head"}:
        raise Wrong(f"`{name}` trained more than its head.", share=0.3)
    hard = judged(name, run)["auroc_hard"]
    if hard > BEYOND_FROZEN:
        raise CannotCheck(f"`{name}`: a frozen encoder with a hard AUROC of {hard:.3f}")


def begins_fresh(name: str, run: Run) -> None:
    """Nothing had trained the model before.

    Raises:
        Wrong: a run had.
    """
    encoder = run.strategy.get("encoder")
    if isinstance(encoder, Mapping) and encoder.get("fitted"):
        raise Wrong(f"`{name}` went on with a model that had been trained.", share=0.6)


def different(**runs: Run) -> None:
    """Runs by other strategies have predictions of their own.

    Raises:
        CannotCheck: two are one run under two names.
    """
    scores = {n: run.predictions.set_index("molecule_id")["score"] for n, run in runs.items()}
    for one, other in combinations(scores, 2):
        if np.array_equal(scores[one], scores[other].reindex(scores[one].index)):
            raise CannotCheck(f"`{one}` and `{other}` predict the same to the last digit")


def phases_of(run: Run) -> list[Mapping[str, Any]]:
    """The phases that a record names; none where it names none."""
    phases = run.strategy.get("phases")
    return [one for one in phases if isinstance(one, Mapping)] if isinstance(phases, list) else []


def trained(run: Run) -> set[str]:
    """Groups that trained in some phase."""
    return {group for phase in phases_of(run) for group in phase.get("learning_rates", ())}


def _share(settings: Any) -> float:
    share = settings.get("share", 1.0) if isinstance(settings, Mapping) else 1.0
    return share if isinstance(share, float) else 1.0


@lru_cache(maxsize=16)
def _baseline(name: str, fingerprint: str, share: float, model: str) -> pd.Series:
    task = the_task("task", {"name": name, "fingerprint": fingerprint, "share": share})
    return fingerprint_baseline(task, model).predictions.set_index("molecule_id")["score"]
