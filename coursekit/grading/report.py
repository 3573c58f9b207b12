"""What grading one submission came to, as data for machines and as a page for its student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from coursekit.grading.execute import Execution
from coursekit.grading.judge import Judged
from coursekit.grading.rebuild import Rebuilt
from coursekit.grading.verify import Layer
from coursekit.storage import write_json
from coursekit.version import __version__

SCHEMA = "coursekit.grading"
SCHEMA_VERSION = 1
State = Literal["graded", "partial", "needs a person"]


@dataclass(frozen=True)
class Graded:
    """One submission, graded: its one state, and everything that led to it.

    Args:
        student: id.
        assignment: name in the gradebook.
        state: "graded"; "partial" where what a person gives by plan (reflections) is still open;
            "needs a person" where something could not be decided, with ``reasons``.
        reasons: sentences that end "needs a person, because ...".
        judged: what each exercise got.
        layers: what verification found.
        findings: what had happened to cells, files and records on the way.
        digest: sha256 of what was handed in, so that the same again can be told.
        key: digest of everything that this follows from: files, assignment and version of the kit;
            "" where nobody asked for it.
        sandbox: how the code was run, "" if it was not.
        warning: what has to be said loudly about that.
        seconds: that grading took.
        fault: whether it was grading that failed: the same submission is worth another attempt.
        rebuilt: the notebook that was run; None if there was none.
        execution: how it went; None if it was not run.
    """

    student: str
    assignment: str
    state: State
    reasons: tuple[str, ...] = ()
    judged: tuple[Judged, ...] = ()
    layers: tuple[Layer, ...] = ()
    findings: tuple[str, ...] = ()
    digest: str = ""
    key: str = ""
    sandbox: str = ""
    warning: str = ""
    seconds: float = 0.0
    fault: bool = False
    rebuilt: Rebuilt | None = field(default=None, repr=False)
    execution: Execution | None = field(default=None, repr=False)

    @property
    def score(self) -> float:
        """Points so far, without what a person still gives."""
        return float(sum(one.points for one in self.judged))

    @property
    def max_score(self) -> float:
        """Most points there are."""
        return float(sum(one.max_points for one in self.judged))

    def __str__(self) -> str:
        points = f"{self.score:g} of {self.max_score:g}"
        text = f"{self.student}, {self.assignment}: {self.state}, {points}"
        if self.reasons:
            text += f"; because {'; '.join(self.reasons)}"
        return f"{self.warning}\n{text}" if self.warning else text

    def to_plain(self) -> dict[str, Any]:
        """The machine-readable report. For instructors: it may tell of hidden checks."""
        return {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "kit": __version__,
            "student": self.student,
            "assignment": self.assignment,
            "state": self.state,
            "reasons": list(self.reasons),
            "score": self.score,
            "max_score": self.max_score,
            "exercises": [one.to_plain() for one in self.judged],
            "layers": [layer.to_plain() for layer in self.layers],
            "findings": list(self.findings),
            "digest": self.digest,
            "key": self.key,
            "sandbox": self.sandbox,
            "warning": self.warning,
            "seconds": round(self.seconds, 3),
            "fault": self.fault,
            "cells": [] if self.execution is None else _cells(self.execution),
        }

    def save(self, folder: str | Path) -> Path:
        """Write ``report.json`` into a folder, whole or not at all; returns its path."""
        target = Path(folder) / "report.json"
        write_json(target, self.to_plain())
        return target


def state_of(judged: Sequence[Judged], reasons: Sequence[str]) -> State:
    """The one state of a submission."""
    if reasons:
        return "needs a person"
    waiting = any(one.by_person and one.state != "not attempted" for one in judged)
    return "partial" if waiting else "graded"


def _cells(execution: Execution) -> list[dict[str, Any]]:
    plain = []
    for number, run in execution.cells.items():
        error = run.output.error
        plain.append(
            {
                "cell": number,
                "state": run.state,
                "why": run.why,
                "seconds": round(run.seconds, 3),
                "error": None if error is None else f"{error[0]}: {error[1]}"[:500],
                "output_cut": run.output.cut,
            }
        )
    return plain
