from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tiny import EPOCHS, STRATEGIES, tiny_task

from coursekit.training import FinetuneStrategy, Phase, expected_cost, try_strategy
from coursekit.training.recorded import RECORDS, TRAINING

HEAD = STRATEGIES["head"]


@dataclass(frozen=True, kw_only=True)
class Tuples(FinetuneStrategy):
    """Settings that JSON does not keep as they are: tuples, and thirds."""

    chosen: tuple[str, ...] = ("block.2", "head")
    third: float = 1 / 3

    def phases(self, model, epochs):
        return [Phase(dict.fromkeys(self.chosen, self.lr * self.third), epochs)]


ALL = STRATEGIES | {"tuples": Tuples(lr=0.1 + 0.2, batch_size=8)}


def test_where_nothing_is_trained_a_run_costs_nothing(make_model, monkeypatch) -> None:
    """What a learner's cell measures would cost a grader seconds, and tell nobody anything."""
    strategy, model, task = STRATEGIES["progressive"], make_model(), tiny_task()
    there = expected_cost(strategy, model, task, EPOCHS)
    monkeypatch.setenv(TRAINING, "recorded")
    here = expected_cost(strategy, model, task, EPOCHS)
    assert (here.training, here.total, here.memory) == (0, 0, 0)
    assert there.total > 0
    assert list(here.table) == list(there.table)
    assert here.table[["phase", "name", "epochs"]].equals(there.table[["phase", "name", "epochs"]])


def test_a_strategy_is_tried_where_nothing_else_trains(monkeypatch) -> None:
    """As a grading machine does: lesson 03's own strategy is trained on a toy there."""
    monkeypatch.setenv(TRAINING, "recorded")
    assert try_strategy(STRATEGIES["partial"]).passed
    assert os.environ[TRAINING] == "recorded"


@pytest.fixture
def records(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "records"
    monkeypatch.setenv(RECORDS, str(folder))
    return folder


@pytest.fixture
def watched(make_model):
    """A model, and whether its head was ever called in training."""

    def make(**more):
        model, trained = make_model(**more), []
        model.head.register_forward_pre_hook(
            lambda head, _: trained.append(1) if head.training else None
        )
        return model, trained

    return make


def test_without_the_variable_nothing_is_looked_up(watched, task, records, monkeypatch):
    HEAD.fit(watched()[0], task, epochs=EPOCHS).save(records)
    monkeypatch.delenv(RECORDS)
    model, trained = watched()
    HEAD.fit(model, task, epochs=EPOCHS)
    assert trained


@pytest.mark.parametrize("strategy", ALL.values(), ids=ALL.keys())
def test_the_same_run_is_given_back(strategy, watched, task, records, weights, capsys):
    first = strategy.fit(watched()[0], task, epochs=EPOCHS, seed=7)
    first.save(records / "lesson 02" / "mine")
    model, trained = watched()
    before = weights(model)
    capsys.readouterr()
    run = strategy.fit(model, task, epochs=EPOCHS, seed=7)
    assert not trained
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())
    assert model.fitted == []
    assert run.record() == first.record()
    said = capsys.readouterr().out
    assert f"{type(strategy).__name__}: recorded in " in said
    assert "given back; the model stays as it is" in said


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"epochs": EPOCHS + 1},
        {"strategy": replace(HEAD, lr=0.031)},
        {"strategy": STRATEGIES["progressive"]},
        {"model": {"seed": 1}},
        {"model": {"pooling": "mean"}},
        {"task": {"split": "other"}},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_another_run_is_not(change, watched, task, records):
    HEAD.fit(watched()[0], task, epochs=EPOCHS, seed=7).save(records)
    model, trained = watched(**change.get("model", {}))
    other = tiny_task(**change["task"]) if "task" in change else task
    arguments = {"epochs": change.get("epochs", EPOCHS), "seed": change.get("seed", 7)}
    run = change.get("strategy", HEAD).fit(model, other, **arguments)
    assert trained
    assert run.seed == arguments["seed"]


def test_an_interrupted_run_does_not_count(watched, task, records):
    model, _ = watched()
    model.head.register_forward_pre_hook(
        lambda head, _: signal.raise_signal(signal.SIGINT) if head.training else None
    )
    run = HEAD.fit(model, task, epochs=EPOCHS)
    assert run.notes[0].startswith("interrupted")
    run.save(records)
    model, trained = watched()
    whole = HEAD.fit(model, task, epochs=EPOCHS)
    assert trained
    assert whole.cost["epochs"] == EPOCHS


def test_bad_records_are_passed_over_with_a_sentence(watched, task, records, capsys):
    first = HEAD.fit(watched()[0], task, epochs=EPOCHS)
    good = first.save(records / "z good")
    content = json.loads(good.read_text())
    bad = {
        "a cut": good.read_text()[:500],
        "b empty": "",
        "c list": "[1, 2]",
        "d version": json.dumps(content | {"version": 99}),
        "e bytes": "\x00\x01",
    }
    for name, text in bad.items():
        (records / name).mkdir()
        (records / name / "record.json").write_text(text)
    (records / "f folder" / "record.json").mkdir(parents=True)
    model, trained = watched()
    capsys.readouterr()
    run = HEAD.fit(model, task, epochs=EPOCHS)
    assert not trained
    assert run.record() == first.record()
    assert capsys.readouterr().out.count("is passed over: ") == len(bad) + 1


def test_a_folder_that_is_not_there_is_no_record(watched, task, records):
    model, trained = watched()
    HEAD.fit(model, task, epochs=1)
    assert trained
    assert not records.exists()
