"""A run's record: plain data that travels inside a notebook to readers who need not trust it.

Form: one JSON object (:data:`SCHEMA`, :data:`SCHEMA_VERSION`), tables as columns of plain lists,
for travel compressed with zlib and written as base64. Nothing is ever unpickled. Floats in tables
are rounded to the shortest decimal that names the same float32 (relative error below 1.2e-7), so
scores, which are compared at float32, are the same before and after. Of a very long history every
validation row is kept, and evenly spaced training rows, at most :data:`MAX_TRAIN_ROWS`; a note
says so.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd

from coursekit.errors import RecordError
from coursekit.runs import fields
from coursekit.runs.record_tables import (
    HISTORY_COLUMNS,
    METRIC_COLUMNS,
    PREDICTION_COLUMNS,
    history_frame,
    read_history,
    read_predictions,
)

if TYPE_CHECKING:
    from coursekit.runs.run import Run

SCHEMA = "coursekit.run"
SCHEMA_VERSION = 2  # 2 has forgetting
MAX_TEXT = 300_000  # characters of the travelling form: a notebook stays easy to mail and to diff
MAX_JSON_BYTES = 4_000_000  # after decompression: more is a bomb, not a run
MAX_TRAIN_ROWS = 2_000
MAX_NOTES = 100

COST_KEYS = (
    "seconds",
    "trainable_parameters",
    "total_parameters",
    "molecules_per_second",
    "epochs",
    "steps",
)
_FIELDS = (
    "schema",
    "version",
    "name",
    "history",
    "predictions",
    "strategy",
    "task",
    "seed",
    "environment",
    "cost",
    "notes",
    "forgetting",
)
FORGETTING_KEYS = (
    "molecules",
    "masked_tokens",
    "fingerprint",
    "loss_before",
    "loss_after",
    "accuracy_before",
    "accuracy_after",
)


def empty_history() -> pd.DataFrame:
    """A history without rows, for runs that are not trained step by step."""
    return history_frame({name: [] for name in HISTORY_COLUMNS})


def encode_record(run: Run | Mapping[str, Any]) -> str:
    """A run, or its record, as text that fits in a cell's output: JSON, zlib, base64.

    Raises:
        RecordError: not a good record, or longer than :data:`MAX_TEXT` characters.
    """
    data = dict(run) if isinstance(run, Mapping) else _unchecked_record(run)
    read_record(data)
    return pack(data, _extent(data))


def decode_record(text: str) -> dict[str, Any]:
    """The record in a text of :func:`encode_record`, for ``Run.from_record`` to check.

    Safe on any input: sizes are bounded before and during decompression, and numbers that JSON
    does not know (NaN, Infinity) are refused.

    Raises:
        RecordError: the text is not a record, is damaged or too large.
    """
    if not isinstance(text, str):
        fields.refuse("text", f"is {type(text).__name__}", "text that encode_record wrote")
    text = "".join(text.split())  # HTML writers and mail programs wrap long lines
    if len(text) > MAX_TEXT:
        fields.refuse("text", f"has {len(text):,} characters", f"at most {MAX_TEXT:,}")
    try:
        compressed = base64.b64decode(text.encode("ascii"), validate=True)
        stream = zlib.decompressobj()
        raw = stream.decompress(compressed, MAX_JSON_BYTES + 1)
    except (binascii.Error, zlib.error, UnicodeEncodeError) as error:
        raise RecordError(
            f"record: the text cannot be decoded ({error}); it was cut or changed on the way. "
            "Run the cell that shows the result again and save the notebook."
        ) from error
    if len(raw) > MAX_JSON_BYTES:
        fields.refuse("text", "unpacks to more than it may", f"at most {MAX_JSON_BYTES:,} bytes")
    if not stream.eof or stream.unused_data:
        fields.refuse("text", "is cut off or has something behind it", "one whole record")
    return parse_json(raw)


def parse_json(raw: bytes) -> dict[str, Any]:
    """One JSON object out of bytes that nobody vouches for.

    Raises:
        RecordError: not JSON, not an object, a repeated key, NaN or Infinity, or nested too deep.
    """
    try:
        data = json.loads(
            raw.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_repeats
        )
    except RecordError:
        raise
    except (ValueError, RecursionError) as error:
        raise RecordError(f"record: not JSON ({type(error).__name__}: {error})") from error
    if not isinstance(data, dict):
        fields.refuse("record", f"is a {type(data).__name__}", "an object with named fields")
    return data


def make_record(run: Run) -> dict[str, Any]:
    """The record of a run, checked by the same rules that will read it.

    Raises:
        RecordError: the run breaks a rule, or the record is too large to travel.
    """
    data = _unchecked_record(run)
    read_record(data)
    pack(data, _extent(data))
    return data


def read_record(data: Mapping[str, Any]) -> dict[str, Any]:
    """Check every field of a record and give the arguments of :class:`coursekit.runs.Run`.

    Raises:
        RecordError: naming the first field that is wrong, what was found and what was expected.
    """
    if not isinstance(data, Mapping):
        fields.refuse("record", f"is a {type(data).__name__}", "an object with named fields")
    if data.get("schema") != SCHEMA:
        fields.refuse("schema", f"is {fields.short(data.get('schema'))}", f"'{SCHEMA}'")
    if data.get("version") is not True and data.get("version") == 1:
        data = {"forgetting": None, **data, "version": SCHEMA_VERSION}
    if type(data.get("version")) is not int or data["version"] != SCHEMA_VERSION:
        fields.refuse(
            "version",
            f"is {fields.short(data.get('version'))}",
            f"{SCHEMA_VERSION}; a newer record needs a newer coursekit",
        )
    fields.same_keys("record", data, _FIELDS)
    notes = data["notes"]
    if not isinstance(notes, list) or len(notes) > MAX_NOTES:
        fields.refuse("notes", f"is not a list of at most {MAX_NOTES} sentences", "a list of text")
    return {
        "name": fields.text("name", data["name"], most=200, empty=False),
        "history": read_history(data["history"]),
        "predictions": read_predictions(data["predictions"]),
        "strategy": fields.plain_dict("strategy", data["strategy"]),
        "task": _read_task(data["task"]),
        "seed": fields.integer("seed", data["seed"], 0, 2**63 - 1),
        "environment": fields.plain_dict("environment", data["environment"]),
        "cost": _read_cost(data["cost"]),
        "notes": tuple(fields.text(f"notes[{i}]", note) for i, note in enumerate(notes)),
        "forgetting": _read_forgetting(data["forgetting"]),
    }


# --- writing ------------------------------------------------------------------------------------


def _unchecked_record(run: Run) -> dict[str, Any]:
    history = run.history if len(run.history.columns) else empty_history()
    # A run interrupted before its first validation has no columns for what was not measured.
    unmeasured = [name for name in METRIC_COLUMNS if name not in history.columns]
    history, notes = _thin(history.assign(**dict.fromkeys(unmeasured, np.nan))), list(run.notes)
    if len(history) < len(run.history):
        notes.append(
            f"the record keeps {len(history):,} of {len(run.history):,} rows of the history"
        )
    missing = [name for name in PREDICTION_COLUMNS if name not in run.predictions.columns]
    if missing:
        fields.refuse("predictions", f"lacks {missing}", f"the columns {list(PREDICTION_COLUMNS)}")
    return {
        "schema": SCHEMA,
        "version": SCHEMA_VERSION,
        "name": run.name,
        "history": {str(name): _column(history[name]) for name in history.columns},
        "predictions": {str(name): _column(run.predictions[name]) for name in run.predictions},
        "strategy": fields.plain("strategy", run.strategy),
        "task": fields.plain("task", run.task),
        "seed": fields.plain("seed", run.seed),
        "environment": fields.plain("environment", run.environment),
        "cost": fields.plain("cost", run.cost),
        "notes": notes,
        "forgetting": None
        if run.forgetting is None
        else fields.plain("forgetting", run.forgetting),
    }


def _thin(history: pd.DataFrame) -> pd.DataFrame:
    """Keep all validations and at most MAX_TRAIN_ROWS training steps, first and last among them."""
    if "split" not in history.columns:
        return history
    train = np.flatnonzero((history["split"] == "train").to_numpy())
    if len(train) <= MAX_TRAIN_ROWS:
        return history
    kept = train[np.linspace(0, len(train) - 1, MAX_TRAIN_ROWS).round().astype(int)]
    others = np.setdiff1d(np.arange(len(history)), train)
    return history.iloc[np.sort(np.concatenate([kept, others]))]


def _column(values: pd.Series) -> list[Any]:
    """A column as plain values: integers and text as they are, floats at float32, NaN as None."""
    values = values.infer_objects()
    if not pd.api.types.is_float_dtype(values):  # integers and text; True stays True, to be refused
        return [None if _is_missing(value) else value for value in values.tolist()]
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        texts = numbers.astype(np.float32).astype(str)  # numpy writes the shortest decimal
    return [
        None if math.isnan(number) else float(text)
        for number, text in zip(numbers.tolist(), texts.tolist(), strict=True)
    ]


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _extent(data: Mapping[str, Any]) -> str:
    return (
        f"{len(data['predictions']['score']):,} predictions and "
        f"{len(data['history']['step']):,} rows of history: use a smaller test part"
    )


def pack(data: Mapping[str, Any], holds: str) -> str:
    """Plain data as text that travels in a cell's output, for ``decode_record`` to read.

    Args:
        data: what JSON can carry.
        holds: what makes it large, for the message.

    Raises:
        RecordError: it is too large to travel.
    """
    raw = json.dumps(data, allow_nan=False, separators=(",", ":")).encode()
    text = base64.b64encode(zlib.compress(raw, 9)).decode("ascii")
    if len(raw) > MAX_JSON_BYTES or len(text) > MAX_TEXT:
        raise RecordError(
            f"record: {len(text):,} characters ({len(raw):,} bytes unpacked), at most "
            f"{MAX_TEXT:,} ({MAX_JSON_BYTES:,}) can travel in a notebook. It holds {holds}."
        )
    return text


# --- reading ------------------------------------------------------------------------------------


def _read_task(data: Any) -> dict[str, Any]:
    task = fields.plain_dict("task", data)
    fields.same_keys("task", task, ("name", "fingerprint", "settings"))
    fields.text("task.name", task["name"], most=200, empty=False)
    fields.sha256("task.fingerprint", task["fingerprint"])
    fields.plain_dict("task.settings", task["settings"])
    return task


def _read_cost(data: Any) -> dict[str, Any]:
    cost = fields.plain_dict("cost", data)
    missing = [key for key in COST_KEYS if key not in cost]
    if missing:
        fields.refuse("cost", f"lacks {missing}", f"all of {list(COST_KEYS)} (None where unknown)")
    for key, value in cost.items():
        if value is not None:
            fields.number(f"cost.{key}", value, low=0.0)
    return cost


def _read_forgetting(data: Any) -> dict[str, Any] | None:
    if data is None:
        return None
    told = fields.plain_dict("forgetting", data)
    fields.same_keys("forgetting", told, FORGETTING_KEYS)
    fields.sha256("forgetting.fingerprint", told["fingerprint"])
    for key in FORGETTING_KEYS:
        if key in ("molecules", "masked_tokens"):
            fields.integer(f"forgetting.{key}", told[key], 1, 2**53)
        elif key.startswith("loss"):
            fields.number(f"forgetting.{key}", told[key], low=0.0)
        elif key.startswith("accuracy"):
            fields.number(f"forgetting.{key}", told[key], 0.0, 1.0)
    return told


def _no_constant(name: str) -> NoReturn:
    fields.refuse("JSON", f"holds {name}", "finite numbers, and null where there is none")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        fields.refuse("JSON", "names a field twice", "each field once")
    return data
