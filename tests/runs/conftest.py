"""A run that never needed a model: enough to be recorded, shown and scored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_runs import made_run

from coursekit.runs import Run


def _predictions(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kinds = [("valid", ""), ("valid", "easy"), ("valid", "hard")]
    kinds += [("test", kind) for _, kind in kinds]
    frames = []
    for part, kind in kinds:
        ids = [hashlib.sha256(f"{part} {kind} {i}".encode()).hexdigest() for i in range(n)]
        center = {"": 1.0, "easy": -0.8, "hard": 0.0}[kind]
        scores = 1 / (1 + np.exp(-rng.normal(center, 1, n)))
        frame = pd.DataFrame({"molecule_id": ids, "part": part, "negative_set": kind})
        frames.append(frame.assign(label=np.int8(kind == ""), score=scores))
    return pd.concat(frames, ignore_index=True)


def _history(epochs: int, steps: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for step in range(1, epochs * steps + 1):
        epoch = (step - 1) // steps + 1
        common = {"step": step, "epoch": epoch, "phase": int(epoch > 2)}
        rate = {"learning_rate.head": 3e-4, "learning_rate.block 5": 1e-4 if epoch > 2 else np.nan}
        rows.append(common | {"split": "train", "loss": 0.7 - 0.001 * step + rng.normal()} | rate)
        if step % steps == 0:
            scores = dict.fromkeys(("auroc_easy", "auroc_hard", "au_prc_easy", "au_prc_hard"), 0.5)
            rows.append(common | {"split": "valid", "loss": 0.6} | scores)
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    def make(n: int = 20, epochs: int = 3, steps: int = 10, seed: int = 0, **changed: Any) -> Run:
        fields: dict[str, Any] = {
            "predictions": _predictions(n, seed),
            "history": _history(epochs, steps, seed),
            "task": {"name": "sample", "fingerprint": "0a" * 32, "settings": {"split": "random"}},
            "seed": seed,
            "notes": ("stopped early at epoch 3",),
        }
        return made_run(epochs=epochs, steps=steps, **(fields | changed))

    return make
