"""Copies across a class are found however they are disguised, and honest neighbors are not."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import pytest
from families import small_classifier
from tiny import EPOCHS, STRATEGIES

from coursekit.data.binding_task import BindingTask
from coursekit.evaluation import fingerprint_baseline
from coursekit.grading.copies import Entry, copies_layers, find_copies
from coursekit.grading.harvest import Harvested, harvest
from coursekit.runs import Run
from coursekit.runs.embedded import embed_record


def entry(student: str, run: Run) -> Entry:
    return Entry(student, harvest([embed_record(run)]).runs[0])


def kinds(*entries: Entry) -> list[tuple[str, bool]]:
    return [(one.kind, one.expected) for one in find_copies(entries)]


@pytest.fixture(scope="module")
def runs(task: BindingTask) -> dict[str, Run]:
    """Really trained, by the seed that the name ends with."""
    made = {}
    for name, seed in (("full", 0), ("full", 1), ("head", 0), ("head", 1)):
        model = small_classifier("bert")
        made[f"{name}-{seed}"] = STRATEGIES[name].fit(model, task, epochs=EPOCHS, seed=seed)
    again = STRATEGIES["full"].fit(small_classifier("bert"), task, epochs=EPOCHS, seed=0)
    return made | {"full-0 again": again}


def disguised(run: Run, change: Callable[[np.ndarray], np.ndarray]) -> Run:
    """A copy with other scores, that also pretends another seed, duration and loss."""
    predictions = run.predictions.copy()
    predictions["score"] = change(predictions["score"].to_numpy())
    history = run.history.assign(loss=run.history["loss"] * 1.01 + 0.001)
    cost = dict(run.cost) | {"seconds": 99.5}
    return dataclasses.replace(run, predictions=predictions, seed=77, history=history, cost=cost)


def noise(scores: np.ndarray) -> np.ndarray:
    return scores + 3e-3 * np.ptp(scores) * np.random.default_rng(0).normal(size=len(scores))


def permute(scores: np.ndarray) -> np.ndarray:
    return scores[np.random.default_rng(5).permutation(len(scores))]


DISGUISES: dict[str, tuple[Callable[[Run], Run], str]] = {
    "nothing changed": (lambda run: run, "same record"),
    "another name and seed": (
        lambda run: dataclasses.replace(run, name="mine", notes=("my own",), seed=5),
        "same record",
    ),
    "another duration and seed": (
        lambda run: dataclasses.replace(run, cost=dict(run.cost) | {"seconds": 1.5}, seed=5),
        "same history",
    ),
    "only the predictions": (lambda run: disguised(run, lambda s: s), "same predictions"),
    "rescaled": (lambda run: disguised(run, lambda s: 0.5 * s + 0.1), "rescaled"),
    "bent": (lambda run: disguised(run, lambda s: s**3), "near-equal or noised"),
    "noised": (lambda run: disguised(run, noise), "near-equal or noised"),
    "permuted": (lambda run: disguised(run, permute), "permuted"),
    "rescaled and permuted": (
        lambda run: disguised(run, lambda s: 0.3 + 0.4 * permute(s)),
        "permuted",
    ),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_copy_is_found(runs: dict[str, Run], name: str) -> None:
    change, kind = DISGUISES[name]
    a, b = entry("a", runs["full-1"]), entry("b", change(runs["full-1"]))
    assert kinds(a, b) == [(kind, False)]
    assert kinds(a, dataclasses.replace(b, student="a")) == []
    # Among others, in any order, and with rows in another order, it is the same.
    shuffled = runs["full-1"].predictions.sample(frac=1, random_state=3)
    other = entry("a", dataclasses.replace(runs["full-1"], predictions=shuffled))
    found = find_copies([entry("c", runs["full-0"]), b, other, entry("d", runs["head-0"])])
    assert [(set(one.students), one.expected) for one in found] == [({"a", "b"}, False)]


def test_honest_work_is_not_accused(runs: dict[str, Run]) -> None:
    names = ("full-0", "full-0 again", "full-1", "head-0", "head-1")
    students = "abcde"
    entries = [entry(s, runs[name]) for s, name in zip(students, names, strict=True)]
    found = find_copies(entries)
    assert [(one.students, one.expected) for one in found if not one.expected] == []
    assert (found[0].students, found[0].kind) == (("a", "b"), "same history")
    layers = copies_layers(students, found)
    assert {layer.state for layer in layers.values()} == {"holds"}
    assert "one other who did the same" in layers["a"].reason
    assert "no run of anybody else" in layers["c"].reason


def test_a_head_alone_comes_to_one_place_from_any_seed(runs: dict[str, Run]) -> None:
    """Long enough trained, honest heads of two seeds look as this disguised copy does."""
    near = disguised(runs["head-0"], noise)
    (found,) = find_copies([entry("a", runs["head-0"]), entry("b", near)])
    assert (found.kind, found.expected) == ("near-equal or noised", True)
    assert "head alone" in found.reason
    copied = disguised(runs["head-0"], lambda s: s * 0.9)
    assert kinds(entry("a", runs["head-0"]), entry("b", copied)) == [("rescaled", False)]


def test_what_is_said_about_each_student(runs: dict[str, Run]) -> None:
    entries = [
        entry("a", runs["full-0"]),
        entry("b", runs["full-0 again"]),
        entry("c", runs["full-1"]),
        entry("d", runs["full-1"]),
    ]
    layers = copies_layers([*"abcd", "without runs"], find_copies(entries))
    assert {s: layer.state for s, layer in layers.items()} == {
        "a": "holds", "b": "holds", "c": "fails", "d": "fails", "without runs": "holds"
    }  # fmt: skip
    assert "same record as c" in layers["d"].reason


def test_baselines_may_be_the_same(task: BindingTask) -> None:
    run = fingerprint_baseline(task, "logistic")
    assert find_copies([entry("a", run), entry("b", run)]) == []


def test_two_hundred_submissions_take_seconds(make_run: Callable[..., Run]) -> None:
    """Three runs each, a thousand molecules; one copy among them is found."""
    rng = np.random.default_rng(0)
    run = make_run()
    rows = run.predictions.sample(1_000, replace=True, random_state=0).reset_index(drop=True)
    rows["molecule_id"] = [f"m{n}" for n in range(len(rows))]
    entries = []
    for number in range(600):
        loss = rng.random(len(run.history))
        made = dataclasses.replace(
            run,
            predictions=rows.assign(score=rng.random(len(rows))),
            history=run.history.assign(loss=loss),
            seed=number,
        )
        entries.append(Entry(f"s{number // 3}", Harvested(made, f"{number}", "here", {})))
    copied = disguised(entries[7].harvested.run, lambda s: 0.2 + 0.5 * s)
    entries.append(Entry("copier", Harvested(copied, "copied", "here", {})))
    began = time.monotonic()
    found = find_copies(entries)
    assert time.monotonic() - began < 30
    assert [(one.students, one.kind) for one in found] == [(("s2", "copier"), "rescaled")]
