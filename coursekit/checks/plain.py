"""Answers as plain data: what a notebook hands over, and what a check gets to see.

:func:`to_plain` runs beside the learner's code. It takes anything, never raises, and gives JSON.
:func:`from_plain` runs where answers are judged. It trusts nothing, and gives Python values of a
few kinds: ``...`` (the placeholder is still there), ``None``, bool, int, float, str, ``ndarray``,
``DataFrame``, :class:`~coursekit.runs.Run`, ``list``, ``dict`` with text keys, and :class:`Unknown`
for all else. No value of the learner's own class, with methods of its own, comes through.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from coursekit.errors import AnswerError, CourseKitError
from coursekit.evaluation.comparison import Comparison
from coursekit.evaluation.metrics import METRICS, Score, Scores
from coursekit.runs import Run
from coursekit.runs.record import decode_record, encode_record

MAX_DEPTH = 6
MAX_TEXT = 20_000
MAX_ITEMS = 10_000  # of a list or dict; longer ones of numbers travel as arrays
MAX_NUMBERS = 200_000  # of an array
MAX_ROWS, MAX_COLUMNS = 20_000, 100
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class Unknown:
    """Something that a check cannot look into.

    Args:
        type: the name of its type, such as "function".
        why: what went wrong, such as "ZeroDivisionError: division by zero"; "" where nothing did
            and the type is just not one that can be handed over.
    """

    type: str
    why: str = ""


def to_plain(value: Any, depth: int = 0) -> dict[str, Any]:
    """Any value as JSON with its kind written beside it.

    Arrays and tensors become arrays of numbers, a Series with text labels a dict, a Comparison its
    table, Scores a dict of four numbers, a Run its record. What is too large or of another type
    comes through by the name of its type only.

    Args:
        value: the learner's answer.
        depth: how deep inside of lists and dicts it was found.
    """
    try:
        return _to_plain(value, depth)
    except Exception as error:  # the learner's object may do anything when it is looked at
        return unknown(value, _sentence(error))


def unknown(value: Any, why: str = "") -> dict[str, Any]:
    """The plain form of something that cannot be handed over."""
    return {"kind": "unknown", "type": clean(type(value).__name__, 100), "why": clean(why, 500)}


def failed(error: BaseException) -> dict[str, Any]:
    """The plain form of an error that the learner's function raised."""
    return {"kind": "unknown", "type": "error", "why": _sentence(error)}


def clean(text: str, most: int = MAX_TEXT) -> str:
    """Text that cannot disturb a terminal or a page, cut at ``most`` characters."""
    text = _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
    return text if len(text) <= most else text[: most - 1] + "…"


def _to_plain(value: Any, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        return unknown(value, f"nested more than {MAX_DEPTH} levels deep")
    if value is ...:
        return {"kind": "placeholder"}
    if value is None:
        return {"kind": "nothing"}
    if isinstance(value, bool | np.bool_):
        return {"kind": "flag", "value": bool(value)}
    if isinstance(value, int | float | np.number):
        return _number(value)
    if isinstance(value, str):
        return {"kind": "text", "value": clean(str(value))}
    if isinstance(value, pd.DataFrame):
        return _table(value)
    if isinstance(value, pd.Series):
        return _series(value, depth)
    if isinstance(value, Comparison):
        return _table(value.table)
    if isinstance(value, Score):
        return _number(value.value)
    if isinstance(value, Scores):
        return _to_plain({name: getattr(value, name) for name in METRICS}, depth)
    if isinstance(value, Run):
        return {"kind": "run", "record": encode_record(value)}
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return _array(value, depth)
    if isinstance(value, Mapping):
        if len(value) > MAX_ITEMS:
            return unknown(value, f"{len(value):,} items, at most {MAX_ITEMS:,}")
        named = {clean(str(k), 200): to_plain(v, depth + 1) for k, v in value.items()}
        return {"kind": "fields", "items": named}
    if isinstance(value, list | tuple | set | frozenset | pd.Index | range):
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else list(value)
        if items and all(type(x) in (int, float) or isinstance(x, np.number) for x in items):
            return _array(np.asarray(items), depth)
        if len(items) > MAX_ITEMS:
            return unknown(value, f"{len(items):,} items, at most {MAX_ITEMS:,}")
        return {"kind": "list", "items": [to_plain(x, depth + 1) for x in items]}
    return unknown(value)


def _number(value: Any) -> dict[str, Any]:
    if isinstance(value, int | np.integer):
        whole = int(value)
        return {"kind": "number", "value": whole if abs(whole) < 2**63 else _finite(float(whole))}
    return {"kind": "number", "value": _finite(float(value))}


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _array(values: np.ndarray, depth: int) -> dict[str, Any]:
    if values.ndim == 0:
        return _to_plain(values.item(), depth)
    if values.dtype.kind not in "biuf":
        if values.ndim == 1 and values.dtype.kind in "OU":
            return _to_plain(values.tolist(), depth)
        return unknown(values, f"an array of {values.dtype}")
    if values.size > MAX_NUMBERS:
        return unknown(values, f"{values.size:,} numbers, at most {MAX_NUMBERS:,}")
    flat = [_finite(float(x)) for x in values.ravel()]
    return {"kind": "array", "shape": list(values.shape), "values": flat}


def _series(values: pd.Series, depth: int) -> dict[str, Any]:
    labels = values.index
    if all(isinstance(x, str) for x in labels) and labels.is_unique:
        return _to_plain(dict(zip(labels, values.tolist(), strict=True)), depth)
    if pd.api.types.is_numeric_dtype(values):
        return _array(values.to_numpy(dtype=np.float64, na_value=np.nan), depth)
    return _to_plain(values.tolist(), depth)


def _table(table: pd.DataFrame) -> dict[str, Any]:
    rows, columns = table.shape
    if rows > MAX_ROWS or columns > MAX_COLUMNS:
        return unknown(table, f"{rows:,} rows and {columns} columns: too large to hand over")
    names = [clean(_label(name), 200) for name in table.columns]
    return {
        "kind": "table",
        "index": [clean(_label(label), 500) for label in table.index],
        "columns": [
            [name, [_cell(x) for x in table.iloc[:, i].tolist()]] for i, name in enumerate(names)
        ],
    }


def _label(name: Any) -> str:
    return " ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _cell(value: Any) -> Any:
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer) and abs(int(value)) < 2**63:
        return int(value)
    if isinstance(value, int | float | np.number):
        return float(value) if math.isfinite(value) else None
    return clean(str(value), 2_000)


def _sentence(error: BaseException) -> str:
    try:
        return clean(f"{type(error).__name__}: {error}".strip().rstrip(":"), 500)
    except Exception:
        return "an error that cannot be shown"


# --- reading ------------------------------------------------------------------------------------


def from_plain(data: Any, where: str = "answer", depth: int = 0) -> Any:
    """The value that :func:`to_plain` wrote, in plain kinds; every field is checked.

    Raises:
        AnswerError: naming the place that is not as it should be.
    """
    if depth > MAX_DEPTH + 1:
        _refuse(where, "is nested too deep")
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        _refuse(where, "is not an object with a kind")
    kind = data["kind"]
    keys = _KEYS.get(kind)
    if keys is None:
        _refuse(where, f"has the kind {kind!a:.40}; known are {sorted(_KEYS)}")
    if set(data) != {"kind", *keys}:
        _refuse(where, f"has the fields {sorted(map(str, data))!a:.100}; expected {list(keys)}")
    if kind == "placeholder":
        return ...
    if kind == "nothing":
        return None
    if kind == "flag":
        if not isinstance(data["value"], bool):
            _refuse(where, "is a flag that is neither true nor false")
        return data["value"]
    if kind == "number":
        return _read_number(data["value"], where)
    if kind == "text":
        return _read_text(data["value"], where, MAX_TEXT)
    if kind == "unknown":
        why = _read_text(data["why"], where, 500)
        return Unknown(_read_text(data["type"], where, 100), why)
    if kind == "array":
        return _read_array(data, where)
    if kind == "table":
        return _read_table(data, where)
    if kind == "run":
        return _read_run(data["record"], where)
    return _read_items(data["items"], kind, where, depth)


_KEYS: dict[str, tuple[str, ...]] = {
    "placeholder": (),
    "nothing": (),
    "flag": ("value",),
    "number": ("value",),
    "text": ("value",),
    "unknown": ("type", "why"),
    "array": ("shape", "values"),
    "table": ("index", "columns"),
    "run": ("record",),
    "list": ("items",),
    "fields": ("items",),
}


def _read_number(value: Any, where: str) -> int | float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if type(value) is int and abs(value) < 2**63:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    _refuse(where, f"is not a number: {value!a:.60}")


def _read_text(value: Any, where: str, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or _UNSAFE.search(value):
        _refuse(where, f"is not a text of at most {most:,} harmless characters")
    return value


def _read_array(data: dict[str, Any], where: str) -> np.ndarray:
    shape, values = data["shape"], data["values"]
    if not isinstance(shape, list) or not 1 <= len(shape) <= 4:
        _refuse(where, "has a shape that is not a list of 1 to 4 sizes")
    if not all(type(n) is int and 0 <= n <= MAX_NUMBERS for n in shape):
        _refuse(where, "has a shape with a size that is none")
    if not isinstance(values, list) or len(values) != math.prod(shape):
        _refuse(where, "has another number of values than its shape says")
    if len(values) > MAX_NUMBERS:
        _refuse(where, f"has more than {MAX_NUMBERS:,} numbers")
    return np.array([_read_number(x, where) for x in values], dtype=np.float64).reshape(shape)


def _read_table(data: dict[str, Any], where: str) -> pd.DataFrame:
    index, columns = data["index"], data["columns"]
    if not isinstance(index, list) or len(index) > MAX_ROWS:
        _refuse(where, f"has an index that is not a list of at most {MAX_ROWS:,} labels")
    if not isinstance(columns, list) or len(columns) > MAX_COLUMNS:
        _refuse(where, f"has columns that are not a list of at most {MAX_COLUMNS}")
    labels = [_read_text(label, f"{where} index", 500) for label in index]
    read: list[pd.Series] = []
    for column in columns:
        if not isinstance(column, list) or len(column) != 2 or not isinstance(column[1], list):
            _refuse(where, "has a column that is not a pair of name and values")
        name = _read_text(column[0], f"{where} column", 200)
        if len(column[1]) != len(labels):
            _refuse(where, f"has {len(column[1])} values in a column of {len(labels)} rows")
        read.append(_read_column(column[1], f"{where}[{name!a}]", name, labels))
    table = pd.concat(read, axis=1) if read else pd.DataFrame(index=labels)
    return table.rename_axis(index=None)


def _read_column(values: list[Any], where: str, name: str, labels: list[str]) -> pd.Series:
    for value in values:
        if isinstance(value, str):
            _read_text(value, where, 2_000)
        elif value is not None and not isinstance(value, bool):
            _read_number(value, where)
    if all(value is None or type(value) in (int, float) for value in values):
        whole = values and all(type(value) is int for value in values)
        return pd.Series(values, labels, "int64" if whole else "float64", name)
    return pd.Series(values, labels, object, name)


def _read_run(record: Any, where: str) -> Run:
    if not isinstance(record, str):
        _refuse(where, "is a run without a record")
    if record.startswith("sha256:"):
        _refuse(where, "is a run whose record is not in the notebook")
    try:
        return Run.from_record(decode_record(record))
    except CourseKitError as error:
        raise AnswerError(f"answers: {where}: {error}") from error


def _read_items(items: Any, kind: str, where: str, depth: int) -> Any:
    if not isinstance(items, list | dict) or isinstance(items, list) != (kind == "list"):
        _refuse(where, f"is a {kind} without its items")
    if len(items) > MAX_ITEMS:
        _refuse(where, f"has more than {MAX_ITEMS:,} items")
    if isinstance(items, list):
        return [from_plain(x, f"{where}[{i}]", depth + 1) for i, x in enumerate(items)]
    return {
        _read_text(key, f"a key of {where}", 200): from_plain(x, f"{where}[{key!a:.40}]", depth + 1)
        for key, x in items.items()
    }


def _refuse(where: str, found: str) -> NoReturn:
    raise AnswerError(f"answers: {where} {found}.")
