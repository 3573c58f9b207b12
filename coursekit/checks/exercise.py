"""An exercise, and how its check is run: plain answers in, a result out, never an exception."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coursekit.checks import plain
from coursekit.checks.result import CheckResult

Check = Callable[..., str | None]
"""Takes the answers in the order of ``Exercise.answers``; returns a sentence for whoever is right,
or None. Raises :class:`Wrong`, :class:`NotAttempted` or :class:`CannotCheck` for everybody else."""


class Wrong(Exception):
    """The answer is not right yet.

    Args:
        message: what to look at; speaks to the learner and names the variable.
        share: part of the points that is earned all the same, from 0 to less than 1.
    """

    def __init__(self, message: str, share: float = 0.0) -> None:
        super().__init__(message)
        self.message, self.share = message, share


class NotAttempted(Exception):
    """The learner has not written anything yet."""


class CannotCheck(Exception):
    """Nobody is to blame, but the answer cannot be judged; the message says why."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson.

    Args:
        id: such as "02.4"; written in the notebook's code, and never changed once published.
        title: a few words.
        points: the most it gives.
        answers: names of the variables that are handed over, in the order of ``check``.
        check: see :data:`Check`. It must be pure: the same answers, the same result.
        by_person: the points are given by a person; ``check`` looks only whether there is
            something to read.
        collect: by name of a variable, a function that runs beside the learner's code and turns
            what cannot travel, such as a function, into values that can.
    """

    id: str
    title: str
    points: float
    answers: tuple[str, ...]
    check: Check
    by_person: bool = False
    collect: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)

    @property
    def lesson(self) -> str:
        """Two digits."""
        return self.id[:2]

    def hand_over(self, *values: Any) -> dict[str, dict[str, Any]]:
        """The learner's values in plain form, by name of the variable; never raises for them.

        Args:
            values: in the order of ``answers``; what is missing counts as not attempted.
        """
        named = dict(zip(self.answers, values, strict=False))
        return {name: self._plain(name, value) for name, value in named.items()}

    def _plain(self, name: str, value: Any) -> dict[str, Any]:
        if name not in self.collect or value is ... or value is None:
            return plain.to_plain(value)
        try:
            return plain.to_plain(self.collect[name](value))
        except Exception as error:
            return plain.failed(error)


def judge(
    exercise: Exercise, answers: Mapping[str, Any], check: Check | None = None
) -> CheckResult:
    """Judge the answers to one exercise.

    Args:
        exercise: which one.
        answers: values by name of the variable, as ``AnswerSheet.values`` gives them.
        check: another check in place of the exercise's own, such as a hidden one of the instructor.

    Returns:
        The result. A check that breaks down gives "cannot be checked" and no points.
    """
    try:
        _look_for_gaps(exercise, answers)
        message = (check or exercise.check)(*(answers[name] for name in exercise.answers))
    except NotAttempted as nothing:
        return _result(exercise, "not attempted", 0, str(nothing))
    except Wrong as wrong:
        if exercise.by_person:  # what there is may still be worth something to a person
            return _result(exercise, "wrong", 0, wrong.message)
        share = wrong.share if 0 <= wrong.share < 1 else 0.0
        return _result(exercise, "wrong", share * exercise.points, wrong.message)
    except CannotCheck as reason:
        return _result(exercise, "cannot be checked", 0, str(reason))
    except Exception as error:
        why = f"The check itself failed ({type(error).__name__}); a person has to look at it."
        return _result(exercise, "cannot be checked", 0, why)
    if exercise.by_person:
        return _result(exercise, "cannot be checked", 0, message or "A person reads it.")
    return _result(exercise, "right", exercise.points, message or "")


def _look_for_gaps(exercise: Exercise, answers: Mapping[str, Any]) -> None:
    for name in exercise.answers:
        value = answers.get(name, ...)
        if value is ...:
            raise NotAttempted(f"Put your answer where `{name}` has `...`, and run both cells.")
        if value is None and name in exercise.collect:
            raise NotAttempted(f"`{name}` returns nothing yet: write its body.")
        if value is None:
            raise Wrong(f"`{name}` is None: did a line forget to return or to assign its result?")
        if isinstance(value, plain.Unknown):
            if value.type == "error":
                raise Wrong(f"`{name}` stopped with {value.why}")
            why = f" ({value.why})" if value.why else ""
            raise Wrong(f"`{name}` is of type {value.type}{why}; another kind of answer is wanted.")


def _result(exercise: Exercise, state: Any, points: float, message: str) -> CheckResult:
    message = plain.clean(message, 2_000)
    return CheckResult(exercise.id, state, points, exercise.points, message, exercise.by_person)
