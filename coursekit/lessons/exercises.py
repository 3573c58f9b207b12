"""Checks, hints and solutions, as a learner calls them."""

from __future__ import annotations

import os
from html import escape
from typing import Any

from coursekit.checks import AnswerSheet, CheckResult, find, judge
from coursekit.checks.carried import fold
from coursekit.checks.exercise import Exercise
from coursekit.checks.result import in_html
from coursekit.errors import AnswerError, CourseKitError
from coursekit.lessons import environment
from coursekit.lessons.front_end import show
from coursekit.lessons.texts import ExerciseText, lesson_text


def check(id: str, *answers: Any) -> float | None:
    """Check an exercise: shows whether the answer is right, and what to look at if it is not.

    Where something is left to do, it names the next hint, or the solution after the last one.
    Before the first try and once it is done, it shows the success list: what a learner can say or
    do by then; in the end also what to ask an assistant.

    Where the answer is a run, its record goes into the output, so that the saved notebook holds
    it.

    Args:
        id: of the exercise, such as "02.4".
        answers: what was asked for, in that order.

    Returns:
        None; under ``nbgrader autograde`` the points, which nbgrader takes from a cell's value.

    Raises:
        AnswerError: there is no such exercise.
    """
    exercise = find(id)
    journal = environment.journal(exercise.lesson)
    journal.sheet.add_plain(id, exercise.hand_over(*answers))
    if len(answers) != len(exercise.answers):
        wanted = ", ".join(exercise.answers)
        result = CheckResult(
            id, "wrong", 0, exercise.points,
            f'Give {len(exercise.answers)} values, as in check("{id}", {wanted}).',
            exercise.by_person,
        )  # fmt: skip
    else:
        result = _judged(exercise, journal.sheet)
    journal.answer(result)
    stuck = "" if result.done else _next_help(exercise, journal.hints.get(id, 0))
    more = [*_success(exercise, result), *([stuck] if stuck else [])]
    shown = result._repr_html_() + "".join(f"<p>{in_html(one)}</p>" for one in more)
    show(shown + _carrying(id, journal.sheet), "\n".join([str(result), *more]))
    return float(result.points) if os.environ.get("NBGRADER_EXECUTION") == "autograde" else None


def hint(id: str, level: int = 1) -> None:
    """Show a hint: level 1 is a nudge, the highest nearly the answer.

    Args:
        id: of the exercise.
        level: which hint, from 1.

    Raises:
        AnswerError: there is no such exercise.
    """
    text = _text(find(id))
    if not text.hints:
        _say(f"Exercise {id} has no hints.")
    elif not isinstance(level, int) or not 1 <= level <= len(text.hints):
        _say(f"Exercise {id} has hints 1 to {len(text.hints)}.")
    else:
        environment.journal(id[:2]).took_hint(id, level)
        more = f'ck.hint("{id}", {level + 1})' if level < len(text.hints) else "no further hint"
        _say(f"Hint {level} of {len(text.hints)} for {id}", text.hints[level - 1], f"Next: {more}.")


def show_solution(id: str, sure: bool = False) -> None:
    """Show the answer that the course has, after a second, deliberate call.

    Args:
        id: of the exercise.
        sure: say True to see it.

    Raises:
        AnswerError: there is no such exercise.
    """
    exercise = find(id)
    text = _text(exercise)
    if not text.solution:
        _say(f"There is no solution of {id} in this version of coursekit.")
    elif sure is not True:
        left = [f'ck.hint("{id}", {k + 1})' for k in range(len(text.hints))]
        tried = f" {len(left)} hints come before it: {', '.join(left)}." if left else ""
        _say(f'ck.show_solution("{id}", sure=True) shows the whole answer to {id}.{tried}')
    else:
        environment.journal(id[:2]).took_hint(id, len(text.hints) + 1)
        note = "One answer of several that a person would accept." if exercise.by_person else ""
        show(
            f"<strong>A solution of {escape(id)}</strong> {note}"
            f"<pre><code>{escape(text.solution)}</code></pre>",
            f"A solution of {id} {note}\n{text.solution}",
        )


def _success(exercise: Exercise, result: CheckResult) -> list[str]:
    """What success looks like, before the first try; after the last one also what to ask."""
    text = _text(exercise)
    if not text.success or not (result.done or result.state == "not attempted"):
        return []
    said = "\n".join(["Success list:", *(f"- {one}" for one in text.success)])
    asked = f"Ask your assistant: {' Or: '.join(text.ask)}"
    return [said, asked] if result.done and text.ask else [said]


def _next_help(exercise: Exercise, level: int) -> str:
    """Where somebody finds help who has taken hints up to a level."""
    text = _text(exercise)
    if level < len(text.hints):
        call = f'ck.hint("{exercise.id}"{f", {level + 1}" if level else ""})'
    elif text.solution:
        call = f'ck.show_solution("{exercise.id}")'
    else:
        return ""
    return f"Stuck? `{call}`"


def _judged(exercise: Exercise, sheet: AnswerSheet) -> CheckResult:
    try:
        values = sheet.values(exercise.id)
    except AnswerError as error:  # what was handed over does not read back
        reason = str(error)
        return CheckResult(exercise.id, "cannot be checked", 0, exercise.points, reason)
    return judge(exercise, values)


def _carrying(id: str, sheet: AnswerSheet) -> str:
    """The fold that carries the runs of this answer; nothing where there are none."""
    answers = sheet.answers[id]
    if not any(answer.get("kind") == "run" for answer in answers.values()):
        return ""
    one = AnswerSheet(sheet.lesson, sheet.kit, {id: answers})
    try:
        return fold(one, f"Record of this answer to {id}, for grading (compressed)")
    except CourseKitError as error:
        return (
            f"<p>The record of this answer does not fit into a notebook: {escape(str(error))}</p>"
        )


def _text(exercise: Exercise) -> ExerciseText:
    return lesson_text(exercise.lesson).exercises.get(exercise.id, ExerciseText())


def _say(*sentences: str) -> None:
    first, *rest = sentences
    body = "".join(f"<br>{in_html(one)}" for one in rest)
    show(f"<div><strong>{escape(first)}</strong>{body}</div>", "\n".join(sentences))
