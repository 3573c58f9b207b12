"""What comes out of the sandbox: lines of JSON from a process that may lie about everything.

Each line is bounded, parsed and checked for its kind; what is not one of the known messages is
counted and dropped. Nothing of it is a score: answers are judged elsewhere, states are reported.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any

from coursekit.checks.sheet import EXERCISE_ID
from coursekit.errors import GradingError

MAX_LINE = 16_000_000
MAX_TEXT = 4_000
MAX_DISPLAYS = 50
MAX_DISPLAY = 1_000_000
MAX_TRACEBACK = 6_000
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class CellOutput:
    """What one cell showed.

    Args:
        text: what it printed, and what its child processes did, cut at a limit.
        cut: whether more was printed than is kept.
        displays: each with some of "text/plain", "text/html" and "image/png" (base64).
        error: name, message and traceback of the error that ended it, or None.
    """

    text: str = ""
    cut: bool = False
    displays: list[dict[str, str]] = field(default_factory=list)
    error: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Message:
    """One line from the sandbox, checked: its kind and the fields that the kind has."""

    kind: str
    fields: dict[str, Any]


class Lines:
    """Bytes in, whole lines out, never more than ``MAX_LINE`` waiting."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._waiting = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now.

        Raises:
            GradingError: a line without end.
        """
        *whole, rest = data.split(b"\n")
        lines = []
        for piece in whole:
            lines.append(b"".join([*self._parts, piece]))
            self._parts, self._waiting = [], 0
        self._parts.append(rest)
        self._waiting += len(rest)
        if self._waiting > MAX_LINE:
            raise GradingError("the sandbox sent a line that does not end")
        return lines


def parse_message(line: bytes) -> Message | None:
    """One message, or None for anything that is none."""
    if line.count(b",") + line.count(b"[") + line.count(b"{") > 2_000_000:
        return None
    try:
        data = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    kind = data.pop("kind", None)
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        return None
    try:
        return Message(str(kind), reader(**data))
    except (TypeError, ValueError):
        return None


def safe_text(value: Any, most: int = MAX_TEXT) -> str:
    """Text that disturbs neither terminal nor page, cut at ``most`` characters.

    Raises:
        ValueError: not text.
    """
    if not isinstance(value, str):
        raise ValueError("text is expected")
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", value[:most].replace("\r\n", "\n"))


def _begin(cell: Any) -> dict[str, Any]:
    if type(cell) is not int or not 0 <= cell < 10_000:
        raise ValueError("no cell")
    return {"cell": cell}


def _end(cell: Any, ok: Any, late: Any) -> dict[str, Any]:
    return _begin(cell) | {"ok": ok is True, "late": late is True}


def _nothing() -> dict[str, Any]:
    return {}


def _error(name: Any, message: Any, traceback: Any) -> dict[str, Any]:
    return {
        "name": safe_text(name, 200),
        "message": safe_text(message),
        "traceback": safe_text(traceback, MAX_TRACEBACK),
    }


def _answer(exercise: Any, answers: Any) -> dict[str, Any]:
    if not isinstance(exercise, str) or not EXERCISE_ID.fullmatch(exercise):
        raise ValueError("no exercise")
    if not isinstance(answers, dict) or len(answers) > 20:
        raise ValueError("no answers")
    if not all(isinstance(value, dict) for value in answers.values()):
        raise ValueError("answers are objects")
    return {"exercise": exercise, "answers": answers}


def _display(data: Any, display_id: Any, update: Any) -> dict[str, Any]:
    if not isinstance(data, dict) or len(data) > 3:
        raise ValueError("no display")
    kept: dict[str, str] = {}
    for mime in ("text/plain", "text/html", "image/png"):
        value = data.get(mime)
        if isinstance(value, str) and len(value) <= MAX_DISPLAY:
            if mime == "image/png" and not _is_png(value):
                continue
            kept[mime] = safe_text(value, MAX_DISPLAY)
    return {
        "data": kept,
        "display_id": safe_text(display_id, 100),
        "update": update is True,
    }


def _is_png(value: str) -> bool:
    try:
        return base64.b64decode("".join(value.split()), validate=True).startswith(_PNG)
    except (binascii.Error, ValueError):
        return False


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_READERS: dict[str, Any] = {
    "begin": _begin,
    "end": _end,
    "done": _nothing,
    "clear": _nothing,
    "error": _error,
    "answer": _answer,
    "display": _display,
}
