"""Runs whose true scores are known: binders and negatives drawn from two normal distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_runs import made_run

from coursekit.runs import Run
from coursekit.runs.record import empty_history

GROUPS = ["embeddings", *(f"block {i}" for i in range(4)), "head"]


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """``easy`` and ``hard``: how far below the binders the negatives lie, in standard deviations.

    Molecules are the same for every run, and half of each score is the molecule's own.
    """

    def make(
        name: str = "run",
        easy: float = 1.5,
        hard: float = 0.8,
        n: tuple[int, int, int] = (60, 60, 60),
        seed: int = 0,
        **changed: Any,
    ) -> Run:
        rng, molecules = np.random.default_rng(seed), np.random.default_rng(77)
        frames = []
        for part in ("valid", "test"):
            for kind, below, size in zip(("", "easy", "hard"), (0, easy, hard), n, strict=True):
                own = molecules.normal(size=size)
                scores = np.sqrt(0.5) * (own + rng.normal(size=size)) - below
                frame = pd.DataFrame({"molecule_id": [f"{part}-{kind}-{i}" for i in range(size)]})
                frames.append(
                    frame.assign(part=part, negative_set=kind, label=int(kind == ""), score=scores)
                )
        fields: dict[str, Any] = {
            "name": name,
            "predictions": pd.concat(frames, ignore_index=True),
            "strategy": {"strategy": name},
            "seed": seed,
            "environment": {},
            "cost": {
                "seconds": 12.5,
                "trainable_parameters": 129,
                "total_parameters": 1_203_458,
                "molecules_per_second": 1_840.0,
                "epochs": 3,
                "steps": 30,
            },
        }
        return made_run(**(fields | changed))

    return make


@pytest.fixture(scope="session")
def make_history() -> Callable[..., pd.DataFrame]:
    """A history with given validation scores; ten training steps an epoch."""

    def make(
        hard: list[float], easy: list[float] | None = None, losses: list[float] | None = None
    ) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for epoch, score in enumerate(hard, start=1):
            common = {"epoch": epoch, "phase": (epoch - 1) // 2}
            for step in range(10 * epoch - 9, 10 * epoch + 1):
                loss = 0.7 - 0.01 * step
                rows.append(common | {"step": step, "split": "train", "loss": loss})
            rows.append(
                common
                | {"step": 10 * epoch, "split": "valid", "auroc_hard": score}
                | {"auroc_easy": easy[epoch - 1] if easy else np.nan}
                | {"loss": losses[epoch - 1] if losses else 0.8 - 0.1 * epoch}
            )
        return pd.concat([empty_history(), pd.DataFrame(rows)], ignore_index=True)

    return make


@pytest.fixture(scope="session")
def plan() -> pd.DataFrame:
    """Top-down unfreezing: head alone in epoch 1, one block more every second epoch."""
    rows = []
    for epoch in range(1, 7):
        phase = epoch // 2
        for place, group in enumerate(GROUPS):
            rate = 1e-3 * 0.5 ** (5 - place) if place >= 5 - phase else np.nan
            rows.append((phase + 1, epoch, group, rate))
    return pd.DataFrame(rows, columns=["phase", "epoch", "group", "learning_rate"])
