"""Class weights and label smoothing, against closed forms, torch and scikit-learn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from tiny import STRATEGIES

from coursekit.errors import TrainingError
from coursekit.training import FullFinetune
from coursekit.training.objective import Objective
from coursekit.training.session import Session

LABELS = np.array([1, 0, 0, 0, 1, 0, 0, 0], dtype=np.float32)  # two binders, six negatives
LOGITS = torch.tensor([0.3, -1.0, 2.0, 0.0, -0.5, 12.0, -12.0, 1.5])


def mean(objective: Objective) -> float:
    return float(objective.total(LOGITS, torch.from_numpy(LABELS))) / len(LABELS)


def cross_entropy(weight: list[float] | None = None, smoothing: float = 0.0) -> np.ndarray:
    """Torch's, of two classes, molecule by molecule."""
    two = torch.stack([torch.zeros_like(LOGITS), LOGITS], dim=1)
    given = None if weight is None else torch.tensor(weight)
    return torch.nn.functional.cross_entropy(
        two, torch.from_numpy(LABELS).long(), given, reduction="none", label_smoothing=smoothing
    ).numpy()


def test_plain():
    plain = mean(Objective.of(None, 0.0, LABELS))
    pairs = zip(LOGITS.tolist(), LABELS, strict=True)
    by_hand = [math.log1p(math.exp(-z if y else z)) for z, y in pairs]
    assert plain == pytest.approx(np.mean(by_hand), rel=1e-6)
    assert plain == pytest.approx(cross_entropy().mean(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothing_is_torchs(smoothing):
    found = mean(Objective.of(None, smoothing, LABELS))
    assert found == pytest.approx(cross_entropy(smoothing=smoothing).mean(), rel=1e-6)


def test_smoothing_in_closed_form():
    """Of a label 1 the share e/2 goes over: the loss is least at the log-odds log((2-e)/e)."""
    objective, epsilon = Objective(smoothing=0.2), 0.2
    best = torch.tensor(math.log((2 - epsilon) / epsilon), requires_grad=True)
    objective.total(best[None], torch.ones(1)).backward()
    assert float(best.grad) == pytest.approx(0, abs=1e-7)
    zero = torch.zeros(1, requires_grad=True)
    objective.total(zero, torch.ones(1)).backward()
    assert float(zero.grad) == pytest.approx(0.5 - (1 - epsilon / 2))


def test_balanced_is_scikit_learns():
    objective = Objective.of("balanced", 0.0, LABELS)
    negative, binder = compute_class_weight("balanced", classes=np.array([0, 1]), y=LABELS)
    assert (objective.negative, objective.binder) == pytest.approx((negative, binder))
    weights = np.where(LABELS == 1, binder, negative)
    expected = log_loss(LABELS, torch.sigmoid(LOGITS.double()).numpy(), sample_weight=weights)
    assert mean(objective) == pytest.approx(expected, rel=1e-5)
    assert mean(objective) == pytest.approx(
        (weights * cross_entropy()).sum() / weights.sum(), rel=1e-6
    )


@given(st.integers(1, 200), st.integers(1, 200), st.floats(0.01, 100))
def test_weights_have_mean_one_and_the_ratio_asked_for(binders, negatives, ratio):
    labels = np.repeat([1.0, 0.0], [binders, negatives])
    objective = Objective.of(ratio, 0.0, labels)
    total = objective.binder * binders + objective.negative * negatives
    assert total == pytest.approx(binders + negatives)
    assert objective.binder / objective.negative == pytest.approx(ratio)
    balanced = Objective.of("balanced", 0.0, labels)
    assert balanced.binder * binders == pytest.approx(balanced.negative * negatives)


def test_a_weight_of_one_is_no_weight():
    assert Objective.of(1, 0.1, LABELS) == Objective.of(None, 0.1, LABELS)


def test_half_precision_is_summed_in_single():
    logits = torch.full((3000,), 3.0, dtype=torch.bfloat16)
    total = Objective().total(logits, torch.zeros(3000))
    assert total.dtype == torch.float32
    assert float(total) == pytest.approx(3000 * math.log1p(math.exp(3)), rel=1e-5)


# ---------------------------------------------------------------- in the loop

WEIGHTED = FullFinetune(lr=1e-3, class_weight=5.0, label_smoothing=0.1)


def test_the_steps_gradients_are_those_of_the_weighted_mean(task, make_model):
    """Summed over an epoch's steps, by molecules, they are the whole train part's: no bias."""
    found = []
    for size in (30, 8):
        model = make_model(dropout=False)
        model.head[0].p = 0.0
        session = Session(replace(WEIGHTED, batch_size=size), model, task, 1, 0, None, None)
        session.open_phase()
        for window in session.windows(0):
            for rows in window:
                loss = session.objective.total(session.logits(rows), session.labels[rows])
                (loss / 30).backward()
        found.append(torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None]))
    assert torch.allclose(*found, atol=1e-6, rtol=0)


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_binders_that_count_for_more_are_scored_higher(strategy, task, make_model, scores_of):
    light, heavy = (
        replace(strategy, class_weight=w).fit(make_model(), task, epochs=2) for w in (0.02, 50.0)
    )
    assert scores_of(heavy, "test").mean() > scores_of(light, "test").mean() + 0.02


def test_validation_is_neither_weighted_nor_smoothed(task, make_model, scores_of):
    run = WEIGHTED.fit(make_model(), task, epochs=1)
    found = run.history.query("split == 'valid'")["loss"].item()
    assert found == pytest.approx(log_loss(task.valid["label"], scores_of(run, "valid")))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"class_weight": "even"}, "class_weight is 'even'; None, 'balanced' or a positive number"),
        ({"class_weight": 0}, "class_weight is 0; None, 'balanced'"),
        ({"class_weight": math.nan}, "class_weight is nan"),
        ({"class_weight": {0: 1, 1: 2}}, "class_weight is {0: 1, 1: 2}; None"),
        ({"label_smoothing": 1}, "label_smoothing is 1; a share from 0 to less than 1"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
    ],
)
def test_a_bad_setting_is_named_at_once(arguments, words):
    with pytest.raises(TrainingError, match=f"^FullFinetune: {words}"):
        FullFinetune(**arguments)
