"""Points for answers, given where the student's code never was.

The sandbox hands over plain answers. Here they are read, runs among them get the instructor's
labels, and the public check and the instructor's hidden one look at them. What cannot be judged
goes to a person, never to full marks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from coursekit.checks import CannotCheck, Check, CheckResult, Exercise, Wrong, judge
from coursekit.checks.fresh import MARK, Calls
from coursekit.checks.plain import Unknown, from_plain
from coursekit.data.binding_task import BindingTask
from coursekit.errors import AnswerError, GradingError, NoRecordError
from coursekit.grading.execute import CellRun, Execution
from coursekit.grading.rebuild import GradedCell, Rebuilt
from coursekit.grading.verify import relabeled
from coursekit.runs import Run

HIDDEN = (
    "This passes the check in your notebook, but not another one that your instructor made. Try "
    "other cases than those you were shown."
)
_CHECK = re.compile(r"check_(\d\d)_(\d+)")


@dataclass(frozen=True)
class Judged:
    """What one exercise got.

    Args:
        exercise: its id.
        state: "not attempted", "wrong", "right" or "cannot be checked".
        points: finite, from 0 to ``max_points``.
        max_points: what it is worth.
        message: for the student; never about a hidden check.
        note: for the instructor.
        by_person: whether a person gives the points by plan, as for a reflection.
        person: why a person has to look, beyond that; "" if nobody has to.
    """

    exercise: str
    state: str
    points: float
    max_points: float
    message: str
    note: str = ""
    by_person: bool = False
    person: str = ""

    def to_plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def load_hidden(path: str | Path) -> dict[str, Check]:
    """The instructor's hidden checks: a Python file in which ``check_02_4`` is that of 02.4.

    Each check takes the answers that the public one takes, and raises
    :class:`coursekit.checks.Wrong` or returns. Where there is a ``fresh_02_4`` too, it draws inputs
    from the generator that it is given, and the check takes ``fresh`` as well: by variable, pairs
    of the arguments of a call and of what the student's function gave for them. The file is the
    instructor's own code, and is run.

    Raises:
        GradingError: there is no such file, it fails, or has no such function.
    """
    path = Path(path)
    if not path.is_file():
        raise GradingError(f"there are no hidden checks in {path}; expected a Python file.")
    try:
        source = path.read_text(encoding="utf-8")
        names = list(_space_of(source, str(path)))
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    else:
        found = [f"{match[1]}.{match[2]}" for name in names if (match := _CHECK.fullmatch(name))]
        if found:
            return {one: HiddenCheck(one, source, str(path)) for one in found}
        why = "there are none"
    raise GradingError(
        f"the hidden checks in {path} cannot be loaded ({why}); expected functions such as "
        "check_02_4."
    )


@dataclass(frozen=True)
class HiddenCheck:
    """A hidden check that travels to another process as its source, whatever that source uses.

    Args:
        exercise: id.
        source: of the file that has it.
        path: of that file, for messages.
    """

    exercise: str
    source: str = field(repr=False)
    path: str

    def __call__(self, *answers: Any, **fresh: Any) -> Any:
        """Look at the answers, as a public check does."""
        return self._function("check")(*answers, **fresh)

    def draw(self, seed: int) -> Calls:
        """Inputs for the functions among the answers; the same for the same seed."""
        inputs = self._function("fresh")
        return inputs(np.random.default_rng(seed)) if inputs is not None else {}

    def _function(self, kind: str) -> Any:
        name = f"{kind}_{self.exercise.replace('.', '_')}"
        return _space_of(self.source, self.path).get(name)


@lru_cache(maxsize=8)
def _space_of(source: str, path: str) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "hidden_checks", "__file__": path}
    exec(compile(source, path, "exec"), space)
    return space


def drawn(hidden: Mapping[str, Check], seed: int) -> dict[str, Calls]:
    """Inputs for functions among the answers, of those hidden checks that ask for some."""
    found = {id: one.draw(seed) for id, one in hidden.items() if isinstance(one, HiddenCheck)}
    return {id: calls for id, calls in found.items() if calls}


def judge_notebook(
    exercises: Sequence[Exercise],
    rebuilt: Rebuilt,
    execution: Execution,
    hidden: Mapping[str, Check] | None = None,
    tasks: Sequence[BindingTask] = (),
    fresh: Mapping[str, Calls] | None = None,
) -> list[Judged]:
    """Judge every exercise of a notebook, answered or not.

    Args:
        exercises: of the lesson.
        rebuilt: the notebook that was run.
        execution: what came out.
        hidden: checks that students do not see.
        tasks: the instructor's, by whose labels runs are judged.
        fresh: inputs that functions among the answers were given, from :func:`drawn`.
    """
    found = []
    for exercise in exercises:
        check, calls = (hidden or {}).get(exercise.id), (fresh or {}).get(exercise.id, {})
        found.append(_judge_one(exercise, rebuilt, execution, check, tasks, calls))
    return found


def answers_of(
    exercise: str, rebuilt: Rebuilt, execution: Execution
) -> dict[str, dict[str, Any]] | None:
    """The plain answer that counts: the check cell's, or else the last one from any cell."""
    given = execution.answers.get(exercise)
    if not given:
        return None
    own = [cell for cell in rebuilt.cells if cell.master is not None]
    official = {c.number for c in own if c.master and exercise in c.master.checks}
    chosen = [answers for cell, answers in given if cell in official] or [a for _, a in given]
    return chosen[-1]


def _judge_one(
    exercise: Exercise,
    rebuilt: Rebuilt,
    execution: Execution,
    hidden: Check | None,
    tasks: Sequence[BindingTask],
    calls: Calls,
) -> Judged:
    plain = answers_of(exercise.id, rebuilt, execution)
    lost = _without_record(exercise, rebuilt, execution)
    if plain is None:
        if lost:
            return _person(exercise, lost, lost)
        return _without_answer(exercise, rebuilt, execution)
    try:
        answers = {
            name: _with_labels(from_plain(value, f"{exercise.id} {name!a:.40}"), tasks)
            for name, value in plain.items()
        }
    except AnswerError as error:
        return _person(exercise, "The answer could not be read.", str(error))
    public = judge(exercise, answers)
    if lost and public.state != "right":
        return _person(exercise, lost, lost)
    if public.state == "cannot be checked" and not exercise.by_person:
        return _person(exercise, public.message, public.message)
    if hidden is None or public.state in ("not attempted", "cannot be checked"):
        return _judged(exercise, public)
    second = judge(exercise, answers, partial(_on_fresh, hidden, calls, answers))
    note = f"hidden check: {second.state}. {second.message}".strip()
    if public.state != "right":  # what it is worth its author has said
        return _judged(exercise, public, note)
    if second.state == "cannot be checked":
        return _person(exercise, "A person has to look at this answer.", note)
    if second.points >= public.points:
        return _judged(exercise, public, note)
    return Judged(exercise.id, "wrong", second.points, exercise.points, HIDDEN, note)


def _on_fresh(hidden: Check, calls: Calls, answers: Mapping[str, Any], *given: Any) -> Any:
    """A hidden check, with what the student's functions gave for inputs of its own."""
    if not calls:
        return hidden(*given)
    fresh = {}
    for name, some in calls.items():
        results = answers.get(f"{name}{MARK}")
        if isinstance(results, Unknown):
            raise Wrong(f"On fresh inputs `{name}` stopped with {results.why}")
        if not isinstance(results, list) or len(results) != len(some):
            raise CannotCheck(f"`{name}` gave nothing for fresh inputs")
        fresh[name] = list(zip(some, results, strict=True))
    return hidden(*given, fresh=fresh)


def _with_labels(value: Any, tasks: Sequence[BindingTask]) -> Any:
    """Runs of the instructor's tasks, with their labels; all else as it is."""
    if isinstance(value, Run):
        known = {task.fingerprint: task for task in tasks}
        task = known.get(value.task["fingerprint"])
        return value if task is None else relabeled(value, task)
    if isinstance(value, dict):
        return {name: _with_labels(item, tasks) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_labels(item, tasks) for item in value]
    return value


def _without_record(exercise: Exercise, rebuilt: Rebuilt, execution: Execution) -> str:
    """What stopped a cell of the exercise, where ``fit`` did as it found no record; else ""."""
    _, runs = _cells_of(exercise, rebuilt, execution)
    errors = [(run, run.output.error) for run in runs if run.output.error is not None]
    return next((_trouble(run) for run, error in errors if error[0] == NoRecordError.__name__), "")


def _without_answer(exercise: Exercise, rebuilt: Rebuilt, execution: Execution) -> Judged:
    """Say why there is none: not written, an error before the check, or no time left."""
    cells, runs = _cells_of(exercise, rebuilt, execution)
    touched = any(c.touched for c in cells)
    if any(run.state == "not run" for run in runs) and touched:
        return _person(
            exercise,
            "This cell was not run: the time for the notebook was over.",
            "not run: the notebook's time was over before this exercise",
        )
    if not touched and not any(run.state == "ended" for run in runs):
        message = "There is no answer yet."
        return Judged(exercise.id, "not attempted", 0.0, exercise.points, message)
    why = next((said for run in runs if (said := _trouble(run))), "The check was not reached.")
    return Judged(exercise.id, "wrong", 0.0, exercise.points, why, by_person=exercise.by_person)


def _cells_of(
    exercise: Exercise, rebuilt: Rebuilt, execution: Execution
) -> tuple[list[GradedCell], list[CellRun]]:
    """The exercise's own cells, and how those went that were to be run."""
    own = [(cell, cell.master) for cell in rebuilt.cells if cell.master is not None]
    cells = [c for c, m in own if exercise.id in m.checks or exercise.id in m.mentions]
    return cells, [execution.cells[c.number] for c in cells if c.number in execution.cells]


def _trouble(run: CellRun) -> str:
    if run.state == "ended":
        return f"The cell did not come back: {run.why}."
    if run.why:
        return f"The cell was {run.why}."
    if run.state == "error" and run.output.error is not None:
        name, message, _ = run.output.error
        return f"The cell stopped with {name}: {message}"[:500]
    return ""


def _person(exercise: Exercise, message: str, why: str) -> Judged:
    return Judged(
        exercise.id,
        "cannot be checked",
        0.0,
        exercise.points,
        message,
        why,
        exercise.by_person,
        f"{exercise.id}: {why}",
    )


def _judged(exercise: Exercise, result: CheckResult, note: str = "") -> Judged:
    return Judged(
        exercise.id,
        result.state,
        float(result.points),
        exercise.points,
        result.message,
        note,
        exercise.by_person,
    )
