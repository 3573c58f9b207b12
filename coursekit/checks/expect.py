"""What checks are written with: each gives the answer back, or says what is wrong with it.

Messages speak to the learner and name the variable in backquotes. Numbers are compared within a
tolerance: an answer made another way, in another precision or on another machine, is as right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from coursekit.checks.exercise import NotAttempted, Wrong
from coursekit.checks.plain import Unknown
from coursekit.runs import Run

_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a dict",
    np.ndarray: "an array of numbers",
    pd.DataFrame: "a table",
    Run: "a run",
}


def described(value: Any) -> str:
    """What a value is, for a message: "a table of 4 rows", "the number 0.25"."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return f"the number {value:.6g}"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 40 else f"a text of {len(value)} characters"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, pd.DataFrame):
        return f"a table of {len(value)} rows and {len(value.columns)} columns"
    if isinstance(value, list | dict):
        return f"{_KINDS[type(value)]} of {len(value)} items"
    if isinstance(value, Unknown):
        return f"of type {value.type}"
    return _KINDS.get(type(value), f"of type {type(value).__name__}")


def kind(name: str, value: Any, wanted: type) -> Any:
    """The value, if it is of a kind."""
    if not isinstance(value, wanted):
        raise Wrong(f"`{name}` is {described(value)}; {_KINDS[wanted]} is wanted.")
    return value


def head_only(name: str, run: Run, share: float = 0.0) -> None:
    """A run that left its encoder frozen; another is worth this share of the points."""
    strategy = run.strategy.get("strategy")
    if strategy != "HeadOnlyFinetune":
        raise Wrong(
            f"`{name}` is a run of {str(strategy)!r:.40}; the encoder stays frozen with "
            "`ck.HeadOnlyFinetune()`.",
            share=share,
        )


def number(name: str, value: Any) -> float:
    """A finite number; True, NaN and arrays are none."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = float(value.ravel()[0])
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"`{name}` is {described(value)}; a number is wanted.")
    if not math.isfinite(value):
        raise Wrong(f"`{name}` is {value}; is something divided by zero, or missing?")
    return float(value)


def close(
    name: str,
    value: Any,
    expected: float,
    *,
    rel: float = 0.01,
    abs_: float = 1e-9,
    mistakes: Mapping[float, str] | None = None,
    otherwise: str = "",
) -> float:
    """A number near the expected one.

    Args:
        name: of the variable.
        value: the answer.
        expected: the right number.
        rel: tolerance as a share of ``expected``.
        abs_: tolerance as it is.
        mistakes: numbers that a known mistake gives, each with what to say about it.
        otherwise: what to look at after any other number.
    """
    found = number(name, value)
    if math.isclose(found, expected, rel_tol=rel, abs_tol=abs_):
        return found
    for wrong, what in (mistakes or {}).items():
        if math.isclose(found, wrong, rel_tol=rel, abs_tol=abs_):
            raise Wrong(f"`{name}` is {found:.6g}: {what}")
    raise Wrong(f"`{name}` is {found:.6g}, which is not it. {otherwise}".rstrip())


def numbers(name: str, value: Any, shape: Sequence[int] | None = None) -> np.ndarray:
    """An array of finite numbers; a list of numbers or of equally long lists is as good.

    Args:
        name: of the variable.
        value: the answer.
        shape: what it should have, or None for any.
    """
    if isinstance(value, list):
        try:
            value = np.array([np.asarray(x, dtype=np.float64) for x in value])
        except (TypeError, ValueError):
            raise Wrong(f"`{name}` is a list of other things than numbers.") from None
    found = np.asarray(kind(name, value, np.ndarray), dtype=np.float64)
    if shape is not None and found.shape != tuple(shape):
        raise Wrong(f"`{name}` has shape {found.shape}; {tuple(shape)} is wanted.")
    if not np.isfinite(found).all():
        raise Wrong(f"`{name}` holds {int((~np.isfinite(found)).sum())} values that are no number.")
    return found


def outputs(name: str, found: Any, n: int) -> list[Any] | np.ndarray:
    """What a learner's function gave for each of ``n`` probes, each of them something."""
    if isinstance(found, list) and all(value is None or value is ... for value in found):
        raise NotAttempted(f"`{name}` returns nothing yet: write its body.")
    if not isinstance(found, list | np.ndarray) or len(found) != n:
        raise Wrong(f"`{name}` gives {described(found)} where {n} results are wanted.")
    for value in found:
        if value is None or isinstance(value, Unknown):
            raise Wrong(f"`{name}` once returned {described(value)}; look at its `return`.")
    return found


def columns(name: str, table: Any, wanted: Sequence[str]) -> pd.DataFrame:
    """A table with these columns among its own, each once."""
    found = kind(name, table, pd.DataFrame)
    missing = [column for column in wanted if column not in found.columns]
    if missing:
        raise Wrong(
            f"`{name}` has no column {missing[0]!r}; it has "
            f"{', '.join(map(repr, found.columns[:12])) or 'none'}."
        )
    twice = [column for column in wanted if list(found.columns).count(column) > 1]
    if twice:
        raise Wrong(f"`{name}` has the column {twice[0]!r} twice.")
    return found
