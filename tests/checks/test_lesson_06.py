"""Lesson 06: the checks' own loss and purity beside the kit's and beside a plain count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from coursekit.checks import lesson_06 as lesson
from coursekit.checks.lesson_06 import _batch, _contrast, _crowd
from coursekit.evaluation.embedding_figures import neighbor_purity
from coursekit.training.contrast import supervised_contrast


@pytest.mark.parametrize(("made", "temperature"), lesson.BATCHES)
def test_the_loss_asked_for_is_the_one_that_trains(
    made: tuple[int, int, int], temperature: float
) -> None:
    vectors, binder = _batch(*made)
    kit = supervised_contrast(torch.tensor(vectors), torch.tensor(binder), temperature)
    assert _contrast(vectors, binder, temperature) == pytest.approx(float(kit))


def test_the_tiny_batch_is_the_kits_too() -> None:
    kit = supervised_contrast(
        torch.tensor(lesson.TINY), torch.tensor(lesson.TINY_BINDER), lesson.TINY_TEMPERATURE
    )
    assert np.linalg.norm(lesson.TINY, axis=1) == pytest.approx(1)
    found = _contrast(lesson.TINY, lesson.TINY_BINDER, lesson.TINY_TEMPERATURE)
    assert found == pytest.approx(float(kit))


def test_each_slip_gives_another_loss() -> None:
    slips = ("itself", "negatives_only", "everybody", "log_outside")
    for made, temperature in lesson.BATCHES:
        batch = _batch(*made)
        found = [_contrast(*batch, temperature, **{slip: True}) for slip in slips]
        right = _contrast(*batch, temperature)
        if made[1] > 2:  # with one partner, the log of the mean is the mean of the log
            assert len({round(value, 4) for value in [right, *found]}) == len(slips) + 1


@pytest.mark.parametrize(("made", "k"), lesson.CROWDS)
def test_purity_by_counting(made: tuple[int, int, int], k: int) -> None:
    vectors, binder = _crowd(*made)
    shares = []
    for i in np.flatnonzero(binder):
        cosine = {
            j: vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j])
            for j in range(len(vectors))
            if j != i
        }
        nearest = sorted(cosine, key=lambda j: -cosine[j])[:k]
        shares.append(np.mean([binder[j] for j in nearest]))
    assert neighbor_purity(vectors, binder, k) == pytest.approx(np.mean(shares))
