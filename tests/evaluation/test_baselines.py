"""Fingerprint baselines: runs like any other, equal to scikit-learn done by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from coursekit.data.chemistry import fingerprints
from coursekit.errors import CourseKitError, ScoreError
from coursekit.evaluation import baselines
from coursekit.evaluation.baselines import REGULARIZATION, fingerprint_baseline
from coursekit.runs import Run, decode_record, encode_record

AMINES = ["N1CCOCC1", "N1CCCCC1", "NCC", "NC1CC1", "NCc1ccccc1", "N1CCN(C)CC1", "NCCO", "NC(C)C"]
BINDERS = [f"O=C({amine})c1ccc(Cl)cc1" for amine in AMINES]
HARD = [f"O=C({amine})c1ccc(C)cc1" for amine in AMINES]
EASY = ["CCSCC(C)O" + "C" * i for i in range(len(AMINES))]


@dataclass(frozen=True)
class Parts:
    """The parts of a task, and nothing else of it."""

    train: pd.DataFrame
    valid: pd.DataFrame
    test: pd.DataFrame
    name: str = "toy"
    fingerprint: str = "0a" * 32
    settings: dict[str, Any] = field(default_factory=lambda: {"split": "by hand"})


def _part(name: str, places: slice) -> pd.DataFrame:
    frames = []
    for kind, smiles in (("", BINDERS), ("easy", EASY), ("hard", HARD)):
        frame = pd.DataFrame({"smiles": smiles[places]})
        ids = [f"{name}-{kind}-{i}" for i in range(len(frame))]
        label = np.int8(kind == "")
        frames.append(frame.assign(molecule_id=ids, negative_set=kind, label=label, reason=""))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def task() -> Any:
    slices = {"train": slice(0, 4), "valid": slice(4, 6), "test": slice(6, 8)}
    return Parts(**{name: _part(name, places) for name, places in slices.items()})


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "N_TREES", 30)


@pytest.mark.parametrize("model", ["forest", "logistic"])
def test_a_baseline_is_a_run_that_learned_the_rule(task: Any, model: str) -> None:
    run = fingerprint_baseline(task, model, seed=3)
    assert run.scores("test", n_boot=0).table["value"].tolist() == [1.0] * 4, "Cl or not Cl"
    assert run.history.empty
    assert {"step", "loss", "auroc_hard"} <= set(run.history.columns)
    assert sorted(run.predictions["molecule_id"]) == sorted(
        [*task.valid["molecule_id"], *task.test["molecule_id"]]
    )
    assert run.cost["seconds"] > 0
    assert run.task["fingerprint"] == task.fingerprint
    assert run.seed == 3
    back = Run.from_record(decode_record(encode_record(run)))
    assert back.record() == run.record()


def test_the_strength_of_the_logistic_regression_is_the_best_on_validation(task: Any) -> None:
    run = fingerprint_baseline(task, "logistic")
    train, valid = (fingerprints(part["smiles"].tolist()) for part in (task.train, task.valid))
    areas, scores = {}, {}
    for strength in REGULARIZATION:
        by_hand = LogisticRegression(C=strength, class_weight="balanced", solver="liblinear")
        by_hand.fit(train, task.train["label"])
        areas[strength] = roc_auc_score(task.valid["label"], by_hand.decision_function(valid))
        scores[strength] = by_hand.predict_proba(valid)[:, 1]
    best = min(C for C in REGULARIZATION if areas[C] == max(areas.values()))
    assert run.strategy["C"] == best, "of equals the most regularized"
    rows = run.predictions[run.predictions["part"] == "valid"]
    np.testing.assert_allclose(rows["score"], scores[best], atol=1e-6)
    assert run.cost["trainable_parameters"] == 2049


def test_the_seed_decides_about_the_forest(task: Any) -> None:
    first = fingerprint_baseline(task, seed=1).predictions["score"]
    assert fingerprint_baseline(task, seed=1).predictions["score"].equals(first)
    assert not fingerprint_baseline(task, seed=2).predictions["score"].equals(first)


def test_what_cannot_be_trained_is_explained(task: Any) -> None:
    with pytest.raises(ScoreError, match=r"no model 'svm'; there are \['forest', 'logistic'\]"):
        fingerprint_baseline(task, "svm")
    binders = task.train[task.train["label"] == 1]
    only = Parts(train=binders, valid=task.valid, test=task.test)
    with pytest.raises(ScoreError, match="task 'toy' has 4 binders among 4 molecules"):
        fingerprint_baseline(only)  # type: ignore[arg-type]
    blind = Parts(train=task.train, valid=binders, test=task.test)
    with pytest.raises(ScoreError, match="validation part has no binders or no negatives"):
        fingerprint_baseline(blind, "logistic")  # type: ignore[arg-type]
    broken = Parts(train=task.train.assign(smiles="C1CC"), valid=task.valid, test=task.test)
    with pytest.raises(CourseKitError, match="C1CC"):
        fingerprint_baseline(broken)  # type: ignore[arg-type]
