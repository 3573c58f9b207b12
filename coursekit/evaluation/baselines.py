"""The baselines nobody may skip: Morgan fingerprints with a forest or a logistic regression."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from coursekit.errors import ScoreError
from coursekit.runs.environment import describe_environment
from coursekit.runs.record import empty_history
from coursekit.runs.run import Run

if TYPE_CHECKING:
    from coursekit.data.task import BindingTask

RADIUS = 2
N_BITS = 2048
N_TREES = 500
REGULARIZATION = (0.01, 0.1, 1.0, 10.0)  # inverse strengths C, tried on the validation part
MADE: dict[tuple[str, str, int], Run] = {}
"""By task, model and seed: what a grader has trained once for all submissions of a class."""
NAMES = {"forest": "fingerprints, forest", "logistic": "fingerprints, logistic"}


def fingerprint_baseline(task: BindingTask, model: str = "forest", seed: int = 0) -> Run:
    """Train a classical model on Morgan fingerprints and score it like every other run.

    Fingerprints have radius 2 and 2048 bits (Rogers and Hahn, J. Chem. Inf. Model. 50, 742, 2010).
    Both models weigh the classes so that binders and negatives count the same.

    Args:
        task: the binding task; trained on ``train``, predicted on ``valid`` and ``test``.
        model: "forest" is a random forest of 500 trees; "logistic" an L2-regularized logistic
            regression whose strength is the one of four with the best AUROC on ``valid``.
        seed: seed of the forest's random choices (the logistic regression makes none).

    Returns:
        A run with an empty history. Its seconds include the fingerprints. The parameters of a
        logistic regression are its weights and its intercept; a forest has none to count.

    Raises:
        ScoreError: an unknown model, or a training part without binders or without negatives.
        CourseKitError: RDKit is missing, or a SMILES cannot be read.
    """
    from coursekit.data.chemistry import fingerprints

    if model not in NAMES:
        raise ScoreError(f"fingerprint_baseline: no model '{model}'; there are {list(NAMES)}.")
    if MADE and (made := MADE.get((replace(task).fingerprint, model, seed))):  # as it is now
        return replace(made, predictions=made.predictions.copy())
    parts = {"train": task.train, "valid": task.valid, "test": task.test}
    labels = {name: part["label"].to_numpy(dtype=np.int8) for name, part in parts.items()}
    if len(np.unique(labels["train"])) < 2:
        raise ScoreError(
            f"fingerprint_baseline: the training part of task '{task.name}' has "
            f"{int(labels['train'].sum())} binders among {len(labels['train'])} molecules; "
            "a classifier needs binders and negatives."
        )
    started = time.perf_counter()
    bits = {
        name: fingerprints(part["smiles"].tolist(), radius=RADIUS, n_bits=N_BITS)
        for name, part in parts.items()
    }
    fitted, chosen = (_forest if model == "forest" else _logistic)(bits, labels, seed)
    scores = {part: fitted.predict_proba(bits[part])[:, 1] for part in ("valid", "test")}
    seconds = time.perf_counter() - started
    parameters = N_BITS + 1 if model == "logistic" else None
    return Run(
        name=NAMES[model],
        history=empty_history(),
        predictions=pd.concat(
            [_predictions(parts[part], part, scores[part]) for part in ("valid", "test")],
            ignore_index=True,
        ),
        strategy={"strategy": "fingerprint_baseline", "model": model}
        | {"radius": RADIUS, "n_bits": N_BITS, "class_weight": "balanced"}
        | chosen,
        task={"name": task.name, "fingerprint": task.fingerprint, "settings": task.settings},
        seed=seed,
        environment=describe_environment() | {"device": "CPU"},
        cost={
            "seconds": seconds,
            "trainable_parameters": parameters,
            "total_parameters": parameters,
            "molecules_per_second": len(parts["train"]) / seconds,
            "epochs": None,
            "steps": None,
        },
    )


Arrays = dict[str, npt.NDArray[np.uint8]]
Labels = dict[str, npt.NDArray[np.int8]]


def _forest(bits: Arrays, labels: Labels, seed: int) -> tuple[Any, dict[str, Any]]:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        n_estimators=N_TREES, class_weight="balanced", random_state=seed, n_jobs=-1
    )
    return forest.fit(bits["train"], labels["train"]), {"n_estimators": N_TREES}


def _logistic(bits: Arrays, labels: Labels, seed: int) -> tuple[Any, dict[str, Any]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    if len(np.unique(labels["valid"])) < 2:
        raise ScoreError(
            "fingerprint_baseline: the validation part has no binders or no negatives, so the "
            "strength of the regularization cannot be chosen on it."
        )
    tried = []
    for strength in REGULARIZATION:
        # liblinear is 50 times as fast as the default solver where features outnumber molecules.
        fitted = LogisticRegression(C=strength, class_weight="balanced", solver="liblinear")
        fitted.fit(bits["train"], labels["train"])
        scores = fitted.decision_function(bits["valid"])
        tried.append((float(roc_auc_score(labels["valid"], scores)), -strength, fitted))
    best = max(tried, key=lambda one: one[:2])  # of equals, the more regularized
    return best[2], {"C": -best[1], "C_tried": list(REGULARIZATION), "C_chosen_by": "valid AUROC"}


def _predictions(
    molecules: pd.DataFrame, part: str, scores: npt.NDArray[np.float64]
) -> pd.DataFrame:
    table = molecules[["molecule_id", "negative_set", "label"]].reset_index(drop=True)
    table.insert(1, "part", part)
    return table.assign(score=scores)
