"""The two tables of a run's record, read back: history and predictions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from coursekit.runs import fields

MAX_ROWS = 100_000
MAX_COLUMNS = 200

METRIC_COLUMNS = ("auroc_easy", "auroc_hard", "au_prc_easy", "au_prc_hard")
MOVED = "moved."  # what the columns begin with that say how far a group has gone
HISTORY_COLUMNS = ("step", "epoch", "phase", "split", "loss", *METRIC_COLUMNS)
PREDICTION_COLUMNS = ("molecule_id", "part", "negative_set", "label", "score")
_HISTORY_NAME = re.compile(r"[a-z][a-z0-9_]{0,60}(\.[A-Za-z0-9_ .\-]{1,100})?")


def read_history(columns: Any) -> pd.DataFrame:
    """The history of a record, every value checked.

    Raises:
        RecordError: naming the first column and row that is wrong.
    """
    _check_table("history", columns, HISTORY_COLUMNS)
    for name, values in columns.items():
        where = f"history.{name}"
        if name == "step":
            fields.each(where, values, lambda w, v: fields.integer(w, v, 0, 2**53))
        elif name == "split":
            fields.each(where, values, lambda w, v: fields.one_of(w, v, ("train", "valid")))
        elif name == "phase":
            if len({type(value) for value in values}) > 1:
                fields.refuse(where, "mixes numbers and text", "one of the two")
            fields.each(where, values, _phase)
        elif name == "epoch":
            fields.each(where, values, lambda w, v: fields.number(w, v, low=0.0))
        else:
            if not _HISTORY_NAME.fullmatch(name):
                fields.refuse(
                    "history", f"has a column {fields.short(name)}", "names like loss_hard.head"
                )
            high = 1.0 if name in METRIC_COLUMNS else math.inf
            positive = name in METRIC_COLUMNS or name.startswith(("learning_rate", MOVED))
            low = 0.0 if positive else -math.inf
            bounds = {"low": low, "high": high}
            fields.each(where, values, lambda w, v, b=bounds: v is None or fields.number(w, v, **b))
    return history_frame(columns)


def history_frame(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """A history with the dtypes that it has in every Run."""
    frame = {}
    for name, values in columns.items():
        if name == "split" or (name == "phase" and values and isinstance(values[0], str)):
            frame[name] = pd.Series(list(values), dtype="str")
        elif name in ("step", "phase", "epoch") and all(type(value) is int for value in values):
            frame[name] = pd.Series(list(values), dtype="int64")
        else:
            frame[name] = pd.Series(list(values), dtype="float64")
    return pd.DataFrame(frame)


def read_predictions(columns: Any) -> pd.DataFrame:
    """The predictions of a record, every value checked, each molecule once.

    Raises:
        RecordError: naming the first column or row that is wrong.
    """
    _check_table("predictions", columns, PREDICTION_COLUMNS)
    fields.same_keys("predictions", columns, PREDICTION_COLUMNS)
    ids, labels, sets = columns["molecule_id"], columns["label"], columns["negative_set"]
    fields.each(
        "predictions.molecule_id", ids, lambda w, v: fields.text(w, v, most=200, empty=False)
    )
    fields.each(
        "predictions.part", columns["part"], lambda w, v: fields.one_of(w, v, ("valid", "test"))
    )
    fields.each(
        "predictions.negative_set", sets, lambda w, v: fields.one_of(w, v, ("", "easy", "hard"))
    )
    fields.each("predictions.label", labels, lambda w, v: fields.integer(w, v, 0, 1))
    largest = float(np.finfo(np.float32).max)
    fields.each(
        "predictions.score", columns["score"], lambda w, v: fields.number(w, v, -largest, largest)
    )
    seen: set[str] = set()
    for row, (molecule, label, negative_set) in enumerate(zip(ids, labels, sets, strict=True)):
        if molecule in seen:
            fields.refuse(
                f"predictions row {row}", f"repeats molecule {fields.short(molecule)}", "each once"
            )
        seen.add(molecule)
        if (label == 1) != (negative_set == ""):
            fields.refuse(
                f"predictions row {row}",
                f"has label {label} and negative_set '{negative_set}'",
                "label 1 with '' or label 0 with 'easy' or 'hard'",
            )
    return pd.DataFrame(
        {
            "molecule_id": pd.Series(ids, dtype="str"),
            "part": pd.Series(columns["part"], dtype="str"),
            "negative_set": pd.Series(sets, dtype="str"),
            "label": pd.Series(labels, dtype="int8"),
            "score": pd.Series(columns["score"], dtype="float64"),
        }
    )


def _check_table(where: str, columns: Any, required: Sequence[str]) -> None:
    if not isinstance(columns, dict) or len(columns) > MAX_COLUMNS:
        fields.refuse(where, "is not a table", f"an object of at most {MAX_COLUMNS} columns")
    missing = [name for name in required if name not in columns]
    if missing:
        fields.refuse(where, f"lacks {missing}", f"the columns {list(required)}")
    if not all(isinstance(values, list) for values in columns.values()):
        fields.refuse(where, "has a column that is not a list", "lists")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1 or max(lengths) > MAX_ROWS:
        fields.refuse(
            where, f"has columns of {sorted(lengths)[:5]} rows", f"equal, at most {MAX_ROWS:,}"
        )


def _phase(where: str, value: Any) -> None:
    if isinstance(value, str):
        fields.text(where, value, most=200, empty=False)
    else:
        fields.integer(where, value, 0, 2**31)
