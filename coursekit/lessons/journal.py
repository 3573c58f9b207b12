"""What a learner has done, kept on disk so that a restarted notebook knows it still."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from coursekit.checks import AnswerSheet, CheckResult
from coursekit.checks.sheet import ANSWERS
from coursekit.errors import AnswerError
from coursekit.storage import write_json

_VERSION = 1


class Journal:
    """The answers of one lesson, the result of each, and the hints that were taken.

    A folder that cannot be written costs the memory across restarts, and nothing else.

    Args:
        lesson: two digits.
        home: folder of this notebook's runs.

    Attributes:
        sheet: the answers.
        results: the last result by exercise.
        hints: the highest level of hint taken by exercise.
        earlier: exercises that were answered before this kernel started.
        problem: why nothing is kept, or "".
    """

    def __init__(self, lesson: str, home: Path) -> None:
        self.lesson, self.home = lesson, home
        self.sheet = AnswerSheet(lesson)
        self.results: dict[str, CheckResult] = {}
        self.hints: dict[str, int] = {}
        self.earlier: set[str] = set()
        self.problem = ""
        self._read()

    def answer(self, result: CheckResult) -> None:
        """Keep a result, and the sheet with it."""
        self.results[result.exercise] = result
        self.earlier.discard(result.exercise)
        self._write()

    def took_hint(self, exercise: str, level: int) -> None:
        """Keep how far somebody has looked into the hints."""
        self.hints[exercise] = max(level, self.hints.get(exercise, 0))
        self._write()

    @property
    def _folder(self) -> Path:
        return self.home / f"lesson-{self.lesson}"

    def _read(self) -> None:
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            data = json.loads((self._folder / "progress.json").read_text(encoding="utf-8"))
            if data["version"] == _VERSION:
                found = [CheckResult.from_plain(one) for one in data["results"]]
                self.sheet = AnswerSheet.load(self._folder / "answers.json")
                self.results = {one.exercise: one for one in found}
                self.hints = {str(id): int(level) for id, level in data["hints"].items()}
                self.earlier = set(self.results)

    def _write(self) -> None:
        try:
            if os.environ.get(ANSWERS):
                self.sheet.save(os.environ[ANSWERS])
            self.sheet.save(self._folder / "answers.json")
            results = [one.to_plain() for one in self.results.values()]
            facts = {"version": _VERSION, "results": results, "hints": self.hints}
            write_json(self._folder / "progress.json", facts)
            self.problem = ""
        except (OSError, AnswerError) as error:
            self.problem = f"not kept across restarts: {error}"
