"""A task, and runs on it that never needed a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_runs import made_run
from tiny import tiny_task

from coursekit.data.binding_task import BindingTask
from coursekit.runs import Run

METRICS = ("auroc_easy", "auroc_hard", "au_prc_easy", "au_prc_hard")


@pytest.fixture(scope="session")
def task() -> BindingTask:
    return tiny_task({"train": 30, "valid": 12, "test": 15})


def history(epochs: int, steps: int, seed: int) -> pd.DataFrame:
    """A loss that falls, with noise, and a validation at the end of each epoch."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for step in range(1, epochs * steps + 1):
        common = {"step": step, "epoch": step / steps, "phase": 0}
        loss = 0.65 * 0.97**step + 0.05 * rng.random()
        rows.append(common | {"split": "train", "loss": loss, "learning_rate.head": 3e-4})
        if step % steps == 0:
            rows.append(common | {"split": "valid", "loss": loss} | dict.fromkeys(METRICS, 0.5))
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def make_run(task: BindingTask) -> Callable[..., Run]:
    def make(seed: int = 0, epochs: int = 3, **changed: Any) -> Run:
        rng = np.random.default_rng(seed)
        frames = []
        for part in ("valid", "test"):
            rows = task.part(part)
            center = rows["negative_set"].map({"": 1.0, "easy": -0.8, "hard": 0.0})
            scores = 1 / (1 + np.exp(-rng.normal(center, 1)))
            frames.append(
                rows[["molecule_id", "negative_set", "label"]].assign(part=part, score=scores)
            )
        steps = -(-len(task.train) // 10)
        fields: dict[str, Any] = {
            "predictions": pd.concat(frames, ignore_index=True),
            "history": history(epochs, steps, seed),
            "strategy": {
                "strategy": "FullFinetune",
                "lr": 3e-4,
                "batch_size": 10,
                "epochs": epochs,
                "phases": [{"learning_rates": {"head": 3e-4}, "epochs": epochs, "patience": None}],
            },
            "task": {"name": task.name, "fingerprint": task.fingerprint, "settings": {}},
            "seed": seed,
        }
        return made_run(epochs=epochs, steps=steps, **(fields | changed))

    return make
