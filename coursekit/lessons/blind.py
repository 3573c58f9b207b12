"""Predict molecules whose labels only the instructor has."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from coursekit.data.blind import BLIND_FILE, blind_fingerprint, read_blind
from coursekit.errors import CourseKitError, TrainingError
from coursekit.runs import Run
from coursekit.runs.blind import BlindPredictions, run_digest

if TYPE_CHECKING:
    from coursekit.models import Classifier

RECORDED = "blind.json"


def predict_blind(
    model: Classifier, run: Run, molecules: str | Path = BLIND_FILE
) -> BlindPredictions:
    """Predict the blind molecules with the model that a run has just trained.

    Shown as a cell's output, the predictions travel with the notebook; they are scored by whoever
    has the labels.

    Args:
        model: as ``fit`` left it.
        run: what ``fit`` gave.
        molecules: path or address of the file of molecules.

    Raises:
        TrainingError: the model was not trained by this run, as after ``fit`` gave back a record.
        TaskError: the file is not there, or no table of molecules.
    """
    digest = run_digest(run)
    recorded = _recorded(digest)
    if recorded is not None:
        return recorded
    encoder = run.strategy.get("encoder") or {}
    expected = [*encoder.get("fitted", ()), run.strategy.get("strategy")]
    if model.fitted != expected or model.recorded is not None:
        before = f"trained by {', '.join(model.fitted)}" if model.fitted else "not trained yet"
        before = "not trained here" if model.recorded is not None else before
        raise TrainingError(
            f"predict_blind: this model is {before}, which is not what {run.name} left. Pass the "
            "model that you gave to fit; if fit gave back a recorded run, the model was never "
            "trained here: train it again, or load it from its checkpoints with checkpoint_dir."
        )
    table = read_blind(molecules)
    scores = pd.DataFrame(
        {"molecule_id": table["molecule_id"], "score": model.predict(list(table["smiles"]))}
    )
    return BlindPredictions(digest, run.name, blind_fingerprint(table), scores)


def _recorded(digest: str) -> BlindPredictions | None:
    """Predictions for this run in the folder of records, where a grading machine puts them."""
    from coursekit.training.recorded import RECORDS  # with torch, as a model has it

    folder = os.environ.get(RECORDS)
    for path in sorted(Path(folder).rglob(RECORDED)) if folder else ():
        try:
            found = BlindPredictions.from_record(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, CourseKitError) as error:
            print(f"{path} is passed over: {error}")
            continue
        if found.run == digest:
            return found
    return None
