"""How long an exercise takes: the learner, a processor, and a T4."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_HEADING = re.compile(r"^### Exercise (\d\d\.\d+)\b.*$", re.MULTILINE)
_SECONDS = 0.2  # minutes: what is shorter is said to take seconds


@dataclass(frozen=True)
class ExerciseTime:
    """Minutes that one exercise takes in the profiles ``cpu`` and ``t4``.

    Args:
        learner: to read, think and write.
        cpu: of computing, measured on two processor cores.
        t4: of computing on a T4, estimated.
    """

    learner: float
    cpu: float = 0.0
    t4: float = 0.0

    def __str__(self) -> str:
        if not self.cpu:
            return f"{self.learner:g} min"
        if max(self.cpu, self.t4) < _SECONDS:
            return f"{self.learner:g} min; computing: seconds, on CPU or T4"
        return (
            f"{self.learner:g} min; computing: {_words(self.cpu)} on two CPU cores, "
            f"{_words(self.t4)} on a T4 (estimated)"
        )

    def fits(self, minutes: float) -> bool:
        """Whether a measured time of computing on the CPU is about what is stated, within twice."""
        low, high = sorted((max(self.cpu, 2 * _SECONDS), max(minutes, 2 * _SECONDS)))
        return high <= 2 * low


def exercise_times(facts: Mapping[str, Any]) -> dict[str, ExerciseTime]:
    """Times by exercise, from the head of a lesson's source: id to one, two or three numbers."""
    return {str(id): ExerciseTime(*map(float, numbers)) for id, numbers in facts.items()}


def with_times(text: str, times: Mapping[str, ExerciseTime]) -> str:
    """A text with a line on its time below the heading of each exercise."""
    return _HEADING.sub(
        lambda found: f"{found[0]}\n*{times[found[1]]}*\n" if found[1] in times else found[0], text
    )


def minutes_by_exercise(notebook: Any) -> dict[str, float]:
    """How long the cells of each exercise ran, of a notebook run with its times recorded."""
    found: dict[str, float] = {}
    for cell in notebook.cells:
        match = re.match(r"(?:answer|check)-(\d\d)-(\d+)", cell.get("id", ""))
        if match is not None:
            id = f"{match[1]}.{match[2]}"
            found[id] = found.get(id, 0.0) + _minutes(cell)
    return found


def _minutes(cell: Any) -> float:
    stamps = cell.metadata.get("execution", {})
    ends = [stamps.get(f"iopub.{name}") for name in ("execute_input", "status.idle")]
    if None in ends:
        return 0.0
    began, ended = (datetime.fromisoformat(str(one).replace("Z", "+00:00")) for one in ends)
    return (ended - began).total_seconds() / 60


def _words(minutes: float) -> str:
    if minutes < _SECONDS:
        return "seconds"
    return f"{minutes:g} min" if minutes >= 1 else "less than 1 min"
