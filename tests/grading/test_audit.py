"""Runs trained again from their records: honest ones come out the same, others do not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_copies import entry

import coursekit as ck
from coursekit.data.binding_task import BindingTask
from coursekit.errors import GradingError
from coursekit.grading.again import rebuilt
from coursekit.grading.audit import Audit, Audited, compared, draw, run_audit
from coursekit.grading.copies import Entry
from coursekit.grading.harvest import harvest
from coursekit.runs import Run
from coursekit.runs.embedded import embed_record


@pytest.fixture(scope="module")
def honest(task: BindingTask) -> Run:
    """As a learner trains: a head of another seed than 0, a seed of its own."""
    model = ck.load_classifier("coursekit-mini", seed=2)
    run = ck.PartialFinetune(blocks=1, batch_size=8).fit(model, task, epochs=2, seed=7)
    return harvest([embed_record(run)]).runs[0].run


@pytest.fixture(scope="module")
def audited(
    honest: Run, task: BindingTask, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Audit, Path, list[str]]:
    """One honest run and one of a strategy that only its student has."""
    path, said = tmp_path_factory.mktemp("audit") / "audit.json", []
    own = dataclasses.replace(honest, strategy=dict(honest.strategy) | {"strategy": "MyOwn"})
    drawn = [entry("ada", honest), entry("bob", own)]
    audit = run_audit(drawn, [task], Audit(0, 1.0), path, device="cpu", say=said.append)
    return audit, path, said


def test_an_honest_run_comes_out_the_same(audited: tuple[Audit, Path, list[str]]) -> None:
    audit, path, said = audited
    ada, bob = audit.found.values()
    assert ada.state == "holds", ada
    assert "first losses differ by 0.0e+00" in ada.reason  # the same machine: to the last digit
    assert bob.state == "not verified"
    assert "no strategy of coursekit" in bob.reason
    # The expected time comes before the result, and both are kept.
    assert ada.expected is not None
    assert 0 < ada.expected < 600
    assert [line.partition(",")[0] for line in said] == ["bob", "1 runs to train again", "ada"]
    assert Audit.load(path) == audit


def test_it_goes_on_where_it_stopped(
    audited: tuple[Audit, Path, list[str]], honest: Run, task: BindingTask
) -> None:
    audit, path, _ = audited
    said: list[str] = []
    again = run_audit([entry("ada", honest)], [task], Audit.load(path), path, say=said.append)
    assert again == audit
    assert said == ["0 runs to train again, about 0.0 minutes in all"]
    path.with_name("other.json").write_text(json.dumps({"runs": [{}]}))
    with pytest.raises(GradingError, match="no audit"):
        Audit.load(path.with_name("other.json"))


def change(run: Run, **columns: Callable[[Any], Any]) -> Run:
    predictions = run.predictions.assign(**{k: f(run.predictions) for k, f in columns.items()})
    return dataclasses.replace(run, predictions=predictions)


def test_what_did_not_come_from_the_record_fails(honest: Run, task: BindingTask) -> None:
    assert compared(honest, honest, task)[0] == "holds"
    rng = np.random.default_rng(0)
    better = change(honest, score=lambda rows: 0.5 * rows["score"] + 0.5 * rows["label"])
    other = change(honest, score=lambda rows: rng.random(len(rows)))
    history = honest.history.assign(loss=honest.history["loss"] * 1.01)
    losses = dataclasses.replace(honest, history=history)
    for claimed in (better, other, losses):
        state, reason = compared(claimed, honest, task)
        assert state == "fails"
        assert "another run" in reason
    fewer = dataclasses.replace(honest, predictions=honest.predictions.iloc[:-1])
    assert compared(fewer, honest, task)[0] == "fails"


def test_a_gpus_run_is_allowed_more(honest: Run, task: BindingTask) -> None:
    gpu = dataclasses.replace(honest, environment=dict(honest.environment) | {"device": "Tesla T4"})
    history = honest.history.assign(loss=honest.history["loss"] * 1.01)
    near = dataclasses.replace(gpu, history=history)
    assert compared(near, honest, task, ["*T4*"])[0] == "holds"
    rng = np.random.default_rng(0)
    other = change(gpu, score=lambda rows: rng.random(len(rows)))
    assert compared(other, honest, task, ["*T4*"])[0] == "fails"
    # A device that only the student knows buys no tolerance; nor is it held against honest numbers.
    for gpus in ((), ("*L4*",)):
        state, reason = compared(near, honest, task, gpus)
        assert state == "not verified"
        assert "'Tesla T4' by its record" in reason
        assert compared(gpu, honest, task, gpus)[0] == "holds"
        assert compared(other, honest, task, gpus)[0] == "fails"


def strategy(**changed: Any) -> Callable[[Run], Run]:
    return lambda run: dataclasses.replace(run, strategy=dict(run.strategy) | changed)


def encoder(**changed: Any) -> Callable[[Run], Run]:
    return lambda run: strategy(encoder=dict(run.strategy["encoder"]) | changed)(run)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (strategy(epochs="2"), "epochs"),
        (strategy(strategy="ScheduledFinetune", schedule="/etc/passwd"), "schedule"),
        (encoder(name="evil/hub"), "not on this machine"),
        (encoder(fitted=["FullFinetune"]), "another run before"),
        (strategy(encoder=None), "epochs or encoder"),
        (lambda run: dataclasses.replace(run, notes=("interrupted at step 3",)), "interrupted"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_again_is_said(
    honest: Run, changed: Callable[[Run], Run], word: str
) -> None:
    with pytest.raises(GradingError, match=word):
        rebuilt(changed(honest))


def test_the_draw_follows_from_seed_and_class(make_run: Callable[..., Run]) -> None:
    entries = [
        entry(f"s{n:02d}", make_run(seed=seed)) for n in range(30) for seed in (3 * n, 3 * n + 1)
    ]
    drawn = draw(entries, 0.1, seed=1)
    assert len(drawn) == len({one.student for one in drawn}) == 3
    assert draw(list(reversed(entries)), 0.1, seed=1) == drawn
    assert {e.student for e in draw(entries, 0.1, seed=2)} != {e.student for e in drawn}
    assert len(draw(entries, 1.0, seed=1)) == 30
    assert len(draw(entries, 0.0, seed=1)) == 1
    assert draw([], 0.5, seed=1) == []
    # Nobody is safe: over many seeds every student is drawn.
    assert {e.student for s in range(200) for e in draw(entries, 0.1, s)} == {
        one.student for one in entries
    }
    untrained = dataclasses.replace(make_run(), history=make_run().history.iloc[:0])
    assert draw([Entry("a", dataclasses.replace(entries[0].harvested, run=untrained))], 1, 0) == []


def test_its_layer_says_whose_run_it_is() -> None:
    audit = Audit(0, 0.1, {"ab": Audited("ada", "mine", "ab", "fails", "because")})
    assert [str(layer) for layer in audit.layers("ada", ["ab"])] == [
        "audit of mine: fails; because"
    ]
    assert audit.layers("bob", ["ab"]) == audit.layers("ada", ["cd"]) == []
