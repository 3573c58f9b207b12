"""A small task, small models, and the oracle of two runs that should be one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from families import small_classifier
from tiny import tiny_task
from torch import nn

from coursekit.data.binding_task import BindingTask
from coursekit.models import dropout
from coursekit.models.classifier import Classifier
from coursekit.runs import Run
from coursekit.training import cost, embeddings


@pytest.fixture(scope="session")
def task() -> BindingTask:
    return tiny_task()


@pytest.fixture
def make_model() -> Callable[..., Classifier]:
    """A random BERT of three blocks; with ``dropout=False`` it computes the same in training."""

    def make(family: str = "bert", dropout: bool = True, **more: object) -> Classifier:
        model = small_classifier(family, **more)
        if not dropout:
            for module in model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
        return model

    return make


@pytest.fixture(autouse=True)
def _no_memory_of_other_tests() -> Iterator[None]:
    embeddings._memory.clear()
    yield
    embeddings._memory.clear()


@pytest.fixture(autouse=True, scope="module")
def _dropout_as_of_larger_models() -> Iterator[None]:
    """Otherwise it would be torch's own in models as small as these."""
    fewest, dropout.FEWEST = dropout.FEWEST, 1
    yield
    dropout.FEWEST = fewest


def _assert_same_bits(run: Run, other: Run) -> None:
    pd.testing.assert_frame_equal(run.history, other.history, check_exact=True)
    pd.testing.assert_frame_equal(run.predictions, other.predictions, check_exact=True)


@pytest.fixture
def assert_same_bits() -> Callable[[Run, Run], None]:
    return _assert_same_bits


def _weights(model: Classifier) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.fixture
def weights() -> Callable[[Classifier], dict[str, torch.Tensor]]:
    """A copy of all weights."""
    return _weights


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], float]], None]:
    """Another ``time.monotonic`` for training; threads that other tests have left keep theirs."""
    real = time.monotonic

    def use(clock: Callable[[], float]) -> None:
        here = threading.main_thread()
        monkeypatch.setattr(
            time, "monotonic", lambda: clock() if threading.current_thread() is here else real()
        )

    return use


@pytest.fixture
def moved() -> Callable[..., set[str]]:
    """Names of the groups in which some bit differs between two copies of the weights."""

    def find(model: Classifier, before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]):
        return {
            group
            for group, names in model.groups.items()
            if any(not torch.equal(before[n], after[n]) for n in names)
        }

    return find


@pytest.fixture(autouse=True)
def _steps_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs are asked for often here, and how exact their seconds are is looked at elsewhere."""
    monkeypatch.setattr(cost, "LEAST_SECONDS", 1e-9)


@pytest.fixture
def scores_of() -> Callable[[Run, str], np.ndarray]:
    return lambda run, part: run.predictions.query("part == @part")["score"].to_numpy()
