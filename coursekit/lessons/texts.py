"""What a lesson has to say beside its notebook: hints, solutions, success lists, rubrics, minutes.

``make lessons`` writes ``_texts/NN.json`` out of ``solutions/NN_name.py``, so that nothing here can
differ from the solution.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from coursekit.errors import AnswerError

FOLDER = Path(__file__).parent / "_texts"


@dataclass(frozen=True)
class ExerciseText:
    """The words that go with one exercise.

    Args:
        hints: from a nudge to nearly the answer.
        solution: the code, or the model answer, that the source has between its marks.
        rubric: what a person looks for; "" where a check decides alone.
        success: what a learner can say or do afterwards, a sentence each.
        ask: questions to ask an AI assistant.
    """

    hints: tuple[str, ...] = ()
    solution: str = ""
    rubric: str = ""
    success: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()


@dataclass(frozen=True)
class LessonText:
    """The words that go with one lesson.

    Args:
        title: of the notebook.
        minutes: what running it takes, by profile; measured on two cores for "quick" and "cpu".
        exercises: by id.
    """

    title: str
    minutes: dict[str, float] = field(default_factory=dict)
    exercises: dict[str, ExerciseText] = field(default_factory=dict)

    def to_json(self) -> str:
        """The content of ``_texts/NN.json``."""
        data = {
            "title": self.title,
            "minutes": self.minutes,
            "exercises": {id: asdict(text) for id, text in self.exercises.items()},
        }
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


@lru_cache(maxsize=16)
def lesson_text(lesson: str) -> LessonText:
    """The words of a lesson.

    Raises:
        AnswerError: this installation has none for it.
    """
    path = FOLDER / f"{lesson}.json"
    if not path.is_file():
        raise AnswerError(f"lesson {lesson!r:.10} has no hints in this version of coursekit.")
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return LessonText(
        data["title"],
        data["minutes"],
        {
            id: ExerciseText(
                tuple(text["hints"]),
                text["solution"],
                text["rubric"],
                tuple(text["success"]),
                tuple(text["ask"]),
            )
            for id, text in data["exercises"].items()
        },
    )
