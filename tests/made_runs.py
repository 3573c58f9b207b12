"""A Run that never needed a model."""

from __future__ import annotations

from typing import Any

import pandas as pd

from coursekit.runs import Run, describe_environment
from coursekit.runs.record import empty_history


def made_run(predictions: pd.DataFrame, epochs: int = 3, steps: int = 10, **changed: Any) -> Run:
    """A Run with these predictions.

    Args:
        predictions: as a Run has them.
        epochs: that its cost speaks of.
        steps: of an epoch.
        changed: fields; what a test does not care about is filled in.
    """
    fields: dict[str, Any] = {
        "name": "FullFinetune",
        "history": empty_history(),
        "strategy": {"strategy": "FullFinetune", "lr": 3e-4, "layer_lr_decay": 0.9},
        "task": {"name": "sample", "fingerprint": "0a" * 32, "settings": {}},
        "seed": 0,
        "environment": describe_environment("fp32"),
        "cost": {
            "seconds": 12.5,
            "trainable_parameters": 1_203_458,
            "total_parameters": 1_203_458,
            "molecules_per_second": 840.0,
            "epochs": epochs,
            "steps": epochs * steps,
        },
    }
    return Run(predictions=predictions, **(fields | changed))
