"""The answer sheet: everything that a notebook answered, as one JSON object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from coursekit.checks import plain
from coursekit.errors import AnswerError
from coursekit.storage import atomic_file

ANSWERS = "COURSEKIT_ANSWERS"
"""Environment variable: a file where ``ck.check`` also writes the sheet, after every answer."""

SCHEMA = "coursekit.answers"
SCHEMA_VERSION = 1
MAX_BYTES = 8_000_000  # a lesson hands in some runs of at most 300 kB each, and tables
MAX_EXERCISES = 100
EXERCISE_ID = re.compile(r"[0-9]{2}\.[0-9]{1,2}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}")


@dataclass
class AnswerSheet:
    """The answers of one notebook; adding an answer again replaces it.

    Args:
        lesson: two digits, such as "02".
        kit: version of coursekit that wrote it.
        answers: exercise id to plain answers by name of the variable, as ``to_plain`` gives them.

    Example:
        >>> sheet = AnswerSheet("00")
        >>> sheet.add("00.1", {"share": 0.25})
        >>> AnswerSheet.from_json(sheet.to_json()).values("00.1")
        {'share': 0.25}
    """

    lesson: str
    kit: str = ""
    answers: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.kit:
            from coursekit.version import __version__

            self.kit = __version__

    def add(self, exercise: str, answers: Mapping[str, Any]) -> None:
        """Put down the answers to an exercise, whatever they are.

        Args:
            exercise: such as "02.4".
            answers: the learner's values by the name of the variable.
        """
        self.answers[exercise] = {name: plain.to_plain(value) for name, value in answers.items()}

    def add_plain(self, exercise: str, answers: Mapping[str, dict[str, Any]]) -> None:
        """Put down answers that are in plain form already."""
        self.answers[exercise] = dict(answers)

    def values(self, exercise: str) -> dict[str, Any]:
        """What was answered, as ``from_plain`` reads it; empty where there is no answer.

        Raises:
            AnswerError: the answer is malformed.
        """
        return {
            name: plain.from_plain(data, f"{exercise} {name}")
            for name, data in self.answers.get(exercise, {}).items()
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self.answers)

    def to_json(self) -> str:
        """One JSON object.

        Raises:
            AnswerError: it is too large.
        """
        data = {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "lesson": self.lesson,
            "kit": self.kit,
            "answers": self.answers,
        }
        text = json.dumps(data, allow_nan=False, separators=(",", ":"), sort_keys=True)
        if len(text) > MAX_BYTES:
            raise AnswerError(
                f"answers: the sheet has {len(text):,} characters, at most {MAX_BYTES:,}. Hand "
                "over smaller tables, or fewer runs."
            )
        return text

    @classmethod
    def from_json(cls, text: str | bytes) -> AnswerSheet:
        """Read a sheet that a stranger wrote; the frame is checked here, the values on reading.

        Raises:
            AnswerError: not JSON, too large, another version, or not a sheet.
        """
        if len(text) > MAX_BYTES:
            _refuse(f"has {len(text):,} bytes, at most {MAX_BYTES:,}")
        try:
            if isinstance(text, bytes):
                text = text.decode("utf-8")
            data = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_repeats)
        except AnswerError:
            raise
        except (ValueError, RecursionError) as error:
            raise AnswerError(f"answers: not JSON ({type(error).__name__})") from error
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            _refuse(f"is not an object of the schema {SCHEMA!r}")
        if type(data.get("version")) is not int or data["version"] != SCHEMA_VERSION:
            _refuse(
                f"has version {data.get('version')!a:.20}; this coursekit reads {SCHEMA_VERSION}"
            )
        if set(data) != {"schema", "version", "lesson", "kit", "answers"}:
            _refuse(f"has the fields {sorted(data)!a:.200}")
        if not isinstance(data["lesson"], str) or not re.fullmatch("[0-9]{2}", data["lesson"]):
            _refuse("names a lesson that is not two digits")
        if not isinstance(data["kit"], str) or not re.fullmatch(r"[\w.+-]{1,40}", data["kit"]):
            _refuse("names a version of coursekit that is none")
        _check_answers(data["answers"])
        return cls(data["lesson"], data["kit"], data["answers"])

    def save(self, path: str | Path) -> Path:
        """Write the sheet to a file, whole or not at all; returns its path."""
        target, text = Path(path), self.to_json()
        with atomic_file(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return target

    @classmethod
    def load(cls, path: str | Path) -> AnswerSheet:
        """Read what :meth:`save` wrote.

        Raises:
            AnswerError: there is no such file, or it holds no good sheet.
        """
        source = Path(path)
        if not source.is_file():
            raise AnswerError(f"answers: there is no file {source.name!r}.")
        if source.stat().st_size > MAX_BYTES:
            _refuse(f"has {source.stat().st_size:,} bytes, at most {MAX_BYTES:,}")
        return cls.from_json(source.read_bytes())


def _check_answers(answers: Any) -> None:
    if not isinstance(answers, dict) or len(answers) > MAX_EXERCISES:
        _refuse(f"has answers that are not an object of at most {MAX_EXERCISES} exercises")
    for exercise, values in answers.items():
        if not EXERCISE_ID.fullmatch(exercise):
            _refuse(f"has an exercise called {exercise!a:.40}; ids look like 02.4")
        if not isinstance(values, dict) or len(values) > 20:
            _refuse(f"answers {exercise} with something that is not an object of variables")
        for name, value in values.items():
            if not _NAME.fullmatch(name) or not isinstance(value, dict):
                _refuse(f"has a bad answer to {exercise}: {name!a:.60}")


def _no_constant(name: str) -> NoReturn:
    _refuse(f"holds {name}, which JSON does not know")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        _refuse("names a field twice")
    return data


def _refuse(found: str) -> NoReturn:
    raise AnswerError(f"answers: the sheet {found}.")
