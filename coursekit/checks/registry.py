"""All exercises by their id; each lesson's are in a module of its own, loaded when asked for."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from coursekit.checks.exercise import Check, Exercise, Wrong, judge
from coursekit.checks.result import CheckResult
from coursekit.checks.sheet import EXERCISE_ID, AnswerSheet
from coursekit.errors import AnswerError

_EXERCISES: dict[str, Exercise] = {}


def exercise(
    id: str,
    title: str,
    points: float,
    answers: tuple[str, ...],
    collect: Mapping[str, Callable[[Any], Any]] | None = None,
) -> Callable[[Check], Check]:
    """Register the function below as the check of an exercise; arguments as in ``Exercise``."""

    def register(check: Check) -> Check:
        _add(Exercise(id, title, points, answers, check, collect=collect or {}))
        return check

    return register


def reflection(id: str, title: str, points: float, *answers: str, least_words: int = 20) -> None:
    """Register a question that is answered in words and graded by a person.

    Args:
        id: of the exercise.
        title: a few words.
        points: what a person can give.
        answers: names of the variables that hold a text each.
        least_words: shorter answers are sent back.
    """

    def check(*texts: Any) -> str:
        counts = []
        for name, text in zip(answers, texts, strict=True):
            if not isinstance(text, str):
                raise Wrong(f"`{name}` is not a text; write your sentences between quotes.")
            counts.append(len(text.split()))
            if counts[-1] < least_words:
                raise Wrong(f"`{name}` has {counts[-1]} words; say why, in at least {least_words}.")
        named = ", ".join(f"`{name}`" for name in answers)
        verb = "has" if len(answers) == 1 else "have together"
        return f"{named} {verb} {sum(counts)} words. A person reads it, with a rubric."

    _add(Exercise(id, title, points, answers, check, by_person=True))


def lessons() -> list[str]:
    """Lessons that have exercises, such as ``["00", "01"]``."""
    import coursekit.checks as package

    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return sorted(name.removeprefix("lesson_") for name in names if name.startswith("lesson_"))


def exercises(lesson: str) -> list[Exercise]:
    """The exercises of a lesson, in the order of their numbers.

    Raises:
        AnswerError: there is no such lesson.
    """
    if lesson not in lessons():
        raise AnswerError(
            f"there is no lesson {lesson!r:.20} with exercises; there are {', '.join(lessons())}"
        )
    import_module(f"coursekit.checks.lesson_{lesson}")
    found = [one for one in _EXERCISES.values() if one.lesson == lesson]
    return sorted(found, key=lambda one: int(one.id[3:]))


def find(id: str) -> Exercise:
    """The exercise with this id.

    Raises:
        AnswerError: there is none; the message names those of the lesson.
    """
    if not isinstance(id, str) or not EXERCISE_ID.fullmatch(id):
        raise AnswerError(f'{id!r:.40} is no exercise id; they look like "02.4"')
    known = exercises(id[:2])
    for one in known:
        if one.id == id:
            return one
    raise AnswerError(
        f"there is no exercise {id}; lesson {id[:2]} has {', '.join(e.id for e in known)}"
    )


def judge_sheet(sheet: AnswerSheet) -> list[CheckResult]:
    """Judge every exercise of the sheet's lesson by its public check.

    Returns:
        One result for each exercise of the lesson, answered or not. An answer that cannot be read
        "cannot be checked"; answers to exercises that the lesson does not have are passed over.

    Raises:
        AnswerError: there is no such lesson.
    """
    results = []
    for one in exercises(sheet.lesson):
        try:
            results.append(judge(one, sheet.values(one.id)))
        except AnswerError as error:
            results.append(
                CheckResult(one.id, "cannot be checked", 0, one.points, str(error), one.by_person)
            )
    return results


def _add(one: Exercise) -> None:
    if not EXERCISE_ID.fullmatch(one.id) or not one.points > 0 or not one.answers:
        raise AnswerError(f"exercise {one.id!r}: an id like 02.4, points and answers are expected")
    if one.id in _EXERCISES and _EXERCISES[one.id].title != one.title:
        raise AnswerError(f"exercise {one.id} is there twice")
    _EXERCISES[one.id] = one
