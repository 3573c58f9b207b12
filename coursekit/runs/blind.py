"""Blind predictions of a run's model: plain data that travels in a notebook beside the record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from coursekit.runs import fields
from coursekit.runs.embedded import BLIND_MARKER, embed
from coursekit.runs.record import pack
from coursekit.runs.run import Run

SCHEMA, VERSION = "coursekit.blind", 1
MAX_BLIND = 20_000
_FIELDS = ("schema", "version", "run", "name", "molecules", "molecule_id", "score")


@dataclass(frozen=True, eq=False)
class BlindPredictions:
    """What a run's model says about molecules whose labels its trainer does not have.

    Args:
        run: digest of the run's record.
        name: of the run.
        molecules: fingerprint of the blind molecules.
        scores: ``molecule_id`` and ``score``, a probability.
    """

    run: str
    name: str
    molecules: str
    scores: pd.DataFrame

    def record(self) -> dict[str, Any]:
        """As plain data, scores to float32's digits.

        Raises:
            RecordError: something in it cannot be recorded.
        """
        shortest = self.scores["score"].to_numpy(np.float32).astype(str)
        data = {
            "schema": SCHEMA,
            "version": VERSION,
            "run": self.run,
            "name": self.name,
            "molecules": self.molecules,
            "molecule_id": self.scores["molecule_id"].tolist(),
            "score": [float(text) for text in shortest],
        }
        self.from_record(data)
        return data

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> BlindPredictions:
        """Read a record back; every field is checked, because records come from strangers.

        Raises:
            RecordError: naming the field that is not as it should be.
        """
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            fields.refuse("blind predictions", "are none", f"an object with schema '{SCHEMA}'")
        fields.same_keys("blind predictions", data, _FIELDS)
        fields.integer("version", data["version"], VERSION, VERSION)
        for key in ("run", "molecules"):
            fields.sha256(key, data[key])
        ids, scores = data["molecule_id"], data["score"]
        if not isinstance(ids, list) or not isinstance(scores, list) or len(ids) != len(scores):
            fields.refuse("blind predictions", "are no table", "two lists of one length")
        if not 0 < len(ids) <= MAX_BLIND:
            fields.refuse("blind predictions", f"are {len(ids):,}", f"1 to {MAX_BLIND:,}")
        fields.each("molecule_id", ids, lambda w, v: fields.text(w, v, most=200, empty=False))
        fields.each("score", scores, lambda w, v: fields.number(w, v, 0.0, 1.0))
        if len(set(ids)) < len(ids):
            fields.refuse("molecule_id", "names a molecule twice", "each once")
        table = pd.DataFrame(
            {
                "molecule_id": pd.Series(ids, dtype="str"),
                "score": pd.Series(scores, dtype="float64"),
            }
        )
        name = fields.text("name", data["name"], most=200, empty=False)
        return cls(data["run"], name, data["molecules"], table)

    def __repr__(self) -> str:
        return f"{len(self.scores):,} blind molecules, predicted by the model of {self.name}"

    def _repr_html_(self) -> str:
        text = pack(self.record(), f"{len(self.scores):,} predictions")
        return (
            f"<p>{escape(repr(self))}. The predictions are in this output: save the notebook with "
            f"it.</p>{embed(text, BLIND_MARKER)}"
        )


def run_digest(run: Run | Mapping[str, Any]) -> str:
    """sha256 of a run's record, the same wherever it was found.

    Raises:
        RecordError: the run cannot be recorded.
    """
    data = run if isinstance(run, Mapping) else run.record()
    text = json.dumps(data, sort_keys=True, allow_nan=False)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
