"""What a check says: a state, points, and a sentence for the learner."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from html import escape
from typing import Any, Literal, get_args

from coursekit.errors import AnswerError

State = Literal["not attempted", "wrong", "right", "cannot be checked"]
_CODE = re.compile("`([^`]+)`")
_MARKS: dict[State, tuple[str, str]] = {  # a sign and a color; the word is always there too
    "not attempted": ("○", "#6b7280"),
    "wrong": ("✗", "#b45309"),
    "right": ("✓", "#15803d"),
    "cannot be checked": ("?", "#1d4ed8"),
}


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one exercise.

    Args:
        exercise: its id, such as "02.4".
        state: "not attempted", "wrong" (the message says what to look at), "right", or "cannot be
            checked" (the message says why).
        points: what the answer earned so far, from 0 to ``max_points``; "wrong" may hold some.
        max_points: what the exercise is worth.
        message: one or a few sentences for the learner.
        needs_person: whether only a person can give the points, as for a reflection.

    Raises:
        AnswerError: a state that there is not, or points that do not go with it.
    """

    exercise: str
    state: State
    points: float
    max_points: float
    message: str
    needs_person: bool = False

    def __post_init__(self) -> None:
        finite = all(
            type(x) in (int, float) and math.isfinite(x) for x in (self.points, self.max_points)
        )
        if not finite or not 0 <= self.points <= self.max_points:
            raise AnswerError(
                f"exercise {self.exercise}: {self.points!r} of {self.max_points!r} points; "
                "finite numbers are expected, from 0 to the most there are"
            )
        if self.state not in get_args(State):
            raise AnswerError(
                f"exercise {self.exercise}: state {self.state!r}; expected one of {get_args(State)}"
            )
        whole = self.points == self.max_points
        goes_with = {"right": whole, "wrong": not whole}.get(self.state, self.points == 0)
        if not goes_with:
            raise AnswerError(
                f"exercise {self.exercise}: {self.points:g} of {self.max_points:g} points do not "
                f"go with the state {self.state!r}"
            )

    @property
    def done(self) -> bool:
        """Whether the learner has nothing left to do here: right, or given to a person."""
        return self.state == "right" or (self.needs_person and self.state == "cannot be checked")

    def to_plain(self) -> dict[str, Any]:
        """The result as plain data."""
        return asdict(self)

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> CheckResult:
        """Read back what :meth:`to_plain` gave.

        Raises:
            AnswerError: a field is missing, unknown or not as it should be.
        """
        names = [f.name for f in fields(cls)]
        if not isinstance(data, Mapping) or set(data) != set(names):
            raise AnswerError(f"a check's result has the fields {names}; found {data!r:.200}")
        if not all(isinstance(data[n], str) for n in ("exercise", "state", "message")):
            raise AnswerError("a check's result: exercise, state and message are texts")
        if not isinstance(data["needs_person"], bool):
            raise AnswerError("a check's result: needs_person is true or false")
        return cls(**data)

    @property
    def verdict(self) -> str:
        """State and points in a few words."""
        if self.needs_person and self.state == "cannot be checked":
            return f"answered, for a person to grade ({self.max_points:g} points)"
        if self.state == "not attempted":
            return f"not attempted yet ({self.max_points:g} points)"
        return f"{self.state} ({self.points:g} of {self.max_points:g} points)"

    def __str__(self) -> str:
        mark = _MARKS[self.state][0]
        return f"{mark} Exercise {self.exercise}: {self.verdict}. {self.message}".rstrip()

    def _repr_html_(self) -> str:
        mark, color = _MARKS[self.state]
        message = in_html(self.message)
        return (
            f'<div style="border-left: 4px solid {color}; padding: 2px 12px">'
            f"<strong>{mark} Exercise {escape(self.exercise)}: {escape(self.verdict)}.</strong> "
            f"{message}</div>"
        )


def in_html(text: str) -> str:
    """A message as HTML: what is in backquotes becomes code."""
    return _CODE.sub(r"<code>\1</code>", escape(text)).replace("\n", "<br>")
