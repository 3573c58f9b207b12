"""A learner's function on inputs that are drawn where it is graded, so that none is known by heart.

The inputs travel to where the learner's code runs, the results travel back; what is right is known
only where they are judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coursekit.checks.plain import failed, to_plain

MARK = " on fresh inputs"
"""Behind the name of a variable: the answer that it gave to them."""
Calls = Mapping[str, Sequence[Sequence[Any]]]
"""By name of a variable, the arguments of each call: numbers, texts, lists, dicts with text keys,
arrays, tensors."""


def packed(calls: Calls) -> dict[str, Any]:
    """Calls as JSON, for :func:`answers_to` in another process."""
    return {name: [[_packed(x) for x in call] for call in some] for name, some in calls.items()}


def answers_to(packed_calls: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a learner's functions give for packed calls, in plain form; never raises for them.

    Args:
        packed_calls: from :func:`packed`.
        values: the learner's, by name of the variable; what is no function is passed over.
    """
    return {
        f"{name}{MARK}": _results(values[name], calls)
        for name, calls in packed_calls.items()
        if callable(values.get(name))
    }


def _results(function: Any, calls: Sequence[Any]) -> dict[str, Any]:
    try:
        results = [to_plain(function(*map(_unpacked, call)), depth=1) for call in calls]
    except Exception as error:
        return failed(error)
    return {"kind": "list", "items": results}


def _packed(value: Any) -> Any:
    if type(value).__module__.partition(".")[0] == "torch":
        return {"torch": _packed(value.numpy())}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, Mapping):
        return {"dict": {str(name): _packed(item) for name, item in value.items()}}
    return [_packed(item) for item in value] if isinstance(value, list | tuple) else value


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "torch" in value:
        import torch

        return torch.as_tensor(_unpacked(value["torch"]))
    if "array" in value:
        return np.array(value["array"], dtype=value["dtype"])
    return {name: _unpacked(item) for name, item in value["dict"].items()}
