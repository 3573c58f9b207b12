"""Checks of single values that a stranger wrote: each gives the value back or says what is wrong.

Every message names the place, what was found and what was expected, in plain ASCII, so that it can
be printed anywhere.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from coursekit.errors import RecordError

MAX_STRING = 4_000
MAX_DEPTH = 8
# Control characters, half characters and the marks that reverse text on screen.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def plain(where: str, value: Any, depth: int = 0) -> Any:
    """A copy in plain types, or an error: what JSON, and nothing but JSON, can carry."""
    if depth > MAX_DEPTH:
        refuse(where, "is nested too deep", f"at most {MAX_DEPTH} levels")
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(where, value)
    if isinstance(value, int):
        return integer(where, value, -(2**63), 2**63 - 1)
    if isinstance(value, float):
        return number(where, value)
    if isinstance(value, Mapping):
        return {
            text(f"a key of {where}", key, most=200): plain(f"{where}.{key}", item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(f"{where}[{i}]", item, depth + 1) for i, item in enumerate(value)]
    refuse(where, f"is a {type(value).__name__}", "numbers, text, lists and dicts of these")


def plain_dict(where: str, value: Any) -> dict[str, Any]:
    """A plain copy of a mapping with text keys."""
    if not isinstance(value, Mapping):
        refuse(where, f"is a {type(value).__name__}", "an object with named fields")
    copy: dict[str, Any] = plain(where, value)
    return copy


def same_keys(where: str, data: Mapping[str, Any], expected: Sequence[str]) -> None:
    """Refuse a mapping that lacks an expected key or has another one."""
    missing = [key for key in expected if key not in data]
    unknown = [key for key in data if key not in expected]
    if missing or unknown:
        refuse(where, f"lacks {missing}, has unknown {short(unknown)}", f"{list(expected)}")


def each(where: str, values: list[Any], check: Callable[..., Any]) -> None:
    """Run a check on every value of a list; the message names the row."""
    for row, value in enumerate(values):
        check(f"{where}[{row}]", value)


def text(where: str, value: Any, most: int = MAX_STRING, empty: bool = True) -> str:
    """Text of bounded length that cannot disturb a terminal or a page's reading direction."""
    if not isinstance(value, str):
        refuse(where, f"is {short(value)}", "text")
    if len(value) > most or (not value and not empty):
        refuse(where, f"has {len(value):,} characters", f"{0 if empty else 1} to {most:,}")
    if _UNSAFE.search(value):
        refuse(where, f"is {value[:60]!a}", "text without control characters")
    return value


def integer(where: str, value: Any, low: int, high: int) -> int:
    """A whole number in a closed range; True is not one."""
    if type(value) is not int or not low <= value <= high:
        refuse(where, f"is {short(value)}", f"a whole number from {low} to {high}")
    return value


def number(where: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number in a closed range; True is not one."""
    expected = "a finite number"
    if low > -math.inf or high < math.inf:
        expected += f" from {low:g} to {high:g}"
    if value is None:
        refuse(where, "is missing (null, or NaN in a table)", expected)
    # An int of a thousand digits is a legal JSON number; float() of it is not.
    largest = sys.float_info.max
    if type(value) not in (int, float) or abs(value) > largest or not low <= value <= high:
        refuse(where, f"is {short(value)}", expected)
    return value


def sha256(where: str, value: Any) -> None:
    """Refuse anything but a sha256 as hex digits."""
    if not re.fullmatch("[0-9a-f]{64}", text(where, value, most=64)):
        refuse(where, f"is {short(value)}", "a sha256 of 64 hex digits")


def one_of(where: str, value: Any, allowed: Sequence[str]) -> None:
    """Refuse anything but one of a few words."""
    if not isinstance(value, str) or value not in allowed:
        refuse(where, f"is {short(value)}", f"one of {list(allowed)}")


def short(value: Any) -> str:
    """A value as at most 80 ASCII characters, for messages."""
    try:
        shown = ascii(value)  # a message must never carry a stranger's control characters
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to show"
    return shown if len(shown) <= 80 else shown[:77] + "..."


def refuse(where: str, found: str, expected: str) -> NoReturn:
    """Raise the one error that a bad record gives."""
    raise RecordError(f"record: {where} {found}; expected {expected}.")
