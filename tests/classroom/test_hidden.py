"""The hidden checks of ``autograder/``: right answers pass, what is made up does not."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from small import ROOT

import coursekit as ck
from coursekit.checks import exercises, find
from coursekit.checks.fresh import answers_to, packed
from coursekit.grading.execute import Execution
from coursekit.grading.judge import HIDDEN, Judged, drawn, judge_notebook, load_hidden
from coursekit.grading.rebuild import Rebuilt
from coursekit.lessons.source import read_source

FILES = sorted((ROOT / "autograder" / "hidden").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_is_of_a_lesson_that_exists(path: Path) -> None:
    known = {one.id: one for one in exercises(path.stem)}
    found = load_hidden(path)
    assert set(found) <= set(known)
    # They go to worker processes, with caches and whatever else an instructor puts beside them.
    assert pickle.loads(cloudpickle.dumps(found)) == found


@cache
def checks(lesson: str) -> dict[str, Any]:
    return load_hidden(ROOT / "autograder" / "hidden" / f"{lesson}.py")


# --- functions on fresh inputs --------------------------------------------------------------------


def solved(exercise: str) -> dict[str, Any]:
    """The functions of the solution."""
    (path,) = (ROOT / "solutions").glob(f"{exercise[:2]}_*.py")
    space: dict[str, Any] = {"np": np, "ck": ck, "task": ..., "env": ...}
    for cell in read_source(path).of("answer", exercise):
        text = re.sub(r"^advice = .*$", "advice = None", cell.solved, flags=re.MULTILINE)
        exec(compile(text, str(path), "exec"), space)
    return {name: space[name] for name in find(exercise).answers if name in find(exercise).collect
            and callable(space.get(name))}  # fmt: skip


def by_heart(right: Callable[..., Any], collect: Callable[[Any], Any]) -> Callable[..., Any]:
    """A function that knows what the public check asks, and nothing else."""
    known: dict[str, Any] = {}

    def learning(*given: Any) -> Any:
        known[repr(given)] = right(*given)
        return known[repr(given)]

    collect(learning)
    return lambda *given: known.get(repr(given), next(iter(known.values())))


def graded(exercise: str, functions: Mapping[str, Any], **more: Any) -> Judged:
    """Through hand-over, fresh calls in another process' form, and both checks."""
    one, secret = find(exercise), checks(exercise[:2])
    fresh = drawn({exercise: secret[exercise]}, seed=7)
    values = {**functions, **more}
    plain = one.hand_over(*(values[name] for name in one.answers))
    calls = json.loads(json.dumps(packed(fresh[exercise])))
    plain |= json.loads(json.dumps(answers_to(calls, values)))
    execution = Execution({}, {exercise: [(0, plain)]})
    (found,) = judge_notebook([one], Rebuilt((), ()), execution, secret, fresh=fresh)
    return found


class Advice:
    choice, unknown = "full", ()
    table = pd.DataFrame({"fits": [True]}, index=["full"])


FUNCTIONS = ("00.2", "00.4", "01.1", "01.2", "01.5", "05.2", "05.4", "05.5", "06.1", "06.3")
MORE = {"05.5": {"advice": Advice()}}


def test_every_exercise_that_asks_for_functions_has_fresh_inputs() -> None:
    """But for 02.1 and 03.2, whose functions take models; the others named hand over facts."""
    facts = {"00.1", "01.3", "02.1", "03.2", "03.3", "04.1", "04.2", "04.5"}
    asked = {one.id for path in FILES for one in exercises(path.stem) if one.collect}
    assert asked - facts == set(FUNCTIONS)


@pytest.mark.parametrize("exercise", FUNCTIONS)
def test_fresh_inputs_tell_a_function_from_one_that_learned_by_heart(exercise: str) -> None:
    right = solved(exercise)
    one = graded(exercise, right, **MORE.get(exercise, {}))
    assert (one.state, one.points) == ("right", find(exercise).points), one
    for name in right:
        learned = right | {name: by_heart(right[name], find(exercise).collect[name])}
        one = graded(exercise, learned, **MORE.get(exercise, {}))
        assert (one.state, one.message) == ("wrong", HIDDEN), (name, one)
        assert one.points < find(exercise).points


def purity_one_by_one(vectors: Any, binder: Any, k: int) -> float:
    shares = []
    for i in np.flatnonzero(binder):
        lengths = np.sqrt((vectors**2).sum(axis=1) * (vectors[i] ** 2).sum())
        cosines = vectors @ vectors[i] / lengths
        others = sorted(set(range(len(vectors))) - {int(i)}, key=lambda j: -cosines[j])
        shares.append(sum(bool(binder[j]) for j in others[:k]) / k)
    return sum(shares) / len(shares)


def contrast_one_by_one(vectors: Any, binder: Any, temperature: float) -> float:
    vectors, binders = vectors.numpy().astype(float), np.flatnonzero(binder.numpy())
    losses = []
    for i in binders:
        pull = np.exp(vectors @ vectors[i] / temperature)
        losses.append(
            np.mean([-np.log(pull[j] / (pull.sum() - pull[i])) for j in binders if j != i])
        )
    return float(np.mean(losses))


def front_as_array(forgotten: list[float], auroc: list[float]) -> Any:
    points = np.array([forgotten, [-x for x in auroc]]).T
    beaten = [((points <= p).all(1) & (points < p).any(1)).any() for p in points]
    return np.flatnonzero(~np.array(beaten))


def best_first(minutes: dict[str, float], scores: dict[str, float], budget: float) -> str | None:
    ranked = sorted(scores, key=lambda name: -scores[name])
    return next((name for name in ranked if minutes[name] <= budget), None)


ALTERNATIVES: list[tuple[str, dict[str, Any]]] = [
    ("00.4", {"tanimoto": lambda a, b: float(np.minimum(a, b).sum() / np.maximum(a, b).sum())}),
    ("01.1", {"split_smiles": lambda s: re.findall(r"(\[.*?\]|Cl?|Br?|[^CB\[])", s)}),
    ("05.2", {"penalty": lambda w, s, k: float(k * 0.5 * sum((w - s) ** 2)),
              "gradient": lambda w, s, k: [float(k * x) for x in w - s]}),
    ("05.4", {"worth_having": front_as_array}),
    ("05.5", {"pick": best_first}),
    ("06.1", {"purity": purity_one_by_one}),
    ("06.3", {"my_contrast": contrast_one_by_one}),
]  # fmt: skip


@pytest.mark.parametrize(("exercise", "functions"), ALTERNATIVES, ids=lambda x: str(x)[:5])
def test_another_right_way_is_right(exercise: str, functions: dict[str, Any]) -> None:
    one = graded(exercise, functions, **MORE.get(exercise, {}))
    assert (one.state, one.points) == ("right", find(exercise).points), one


def test_a_function_that_fails_on_fresh_inputs() -> None:
    def narrow(a: Any, b: Any) -> float:
        assert len(a) < 10
        return float((a & b).sum() / (a | b).sum())

    one = graded("00.4", {"tanimoto": narrow})
    assert (one.state, one.message) == ("wrong", HIDDEN)
    assert "stopped with AssertionError" in one.note


def test_inputs_follow_from_the_file_that_was_handed_in() -> None:
    one, again, other = (
        json.dumps({id: packed(calls) for id, calls in drawn(checks("05"), seed).items()})
        for seed in (3, 3, 4)
    )
    assert one == again
    assert one != other
