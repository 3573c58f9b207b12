from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tiny import EPOCHS, PRETRAINING, STRATEGIES, tiny_task

from coursekit.errors import EncoderError, NoRecordError
from coursekit.models import masked_token_loss
from coursekit.training import FinetuneStrategy, Phase, expected_cost, try_strategy
from coursekit.training.recorded import RECORDS, TRAINING

HEAD = STRATEGIES["head"]
FULL = STRATEGIES["full"]


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
    assert model.fitted == [type(strategy).__name__]
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


def interrupted(model, task):
    model.head.register_forward_pre_hook(
        lambda head, _: signal.raise_signal(signal.SIGINT) if head.training else None
    )
    run = HEAD.fit(model, task, epochs=EPOCHS)
    assert run.notes[0].startswith("interrupted")
    return run


def test_an_interrupted_run_does_not_count(watched, task, records):
    interrupted(watched()[0], task).save(records)
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


def test_a_model_trained_twice_is_trained_twice_with_records_too(
    make_model, task, records, monkeypatch
):
    model = make_model()
    runs = [HEAD.fit(model, task, epochs=1), FULL.fit(model, task, epochs=1)]
    fresh = FULL.fit(make_model(), task, epochs=1)
    fresh.save(records / "a fresh")  # the first that is looked at
    for number, run in enumerate(runs):
        run.save(records / str(number))
    monkeypatch.setenv(TRAINING, "recorded")
    model = make_model()
    again = [HEAD.fit(model, task, epochs=1), FULL.fit(model, task, epochs=1)]
    assert [run.record() for run in again] == [run.record() for run in runs]
    assert model.fitted == ["HeadOnlyFinetune", "FullFinetune"]
    # A record of a fresh model does not stand for a worn one.
    shutil.rmtree(records / "1")
    model = make_model()
    HEAD.fit(model, task, epochs=1)
    with pytest.raises(NoRecordError, match="no record fits this run"):
        FULL.fit(model, task, epochs=1)
    assert FULL.fit(make_model(), task, epochs=1).record() == fresh.record()


def test_nothing_goes_on_from_weights_that_are_elsewhere(make_model, task, records, tmp_path):
    model = make_model()
    HEAD.fit(model, task, epochs=1).save(records)
    model, kept = make_model(), tmp_path / "kept"
    whole = FULL.fit(make_model(), task, epochs=1, checkpoint_dir=kept)
    HEAD.fit(model, task, epochs=1)
    with pytest.raises(NoRecordError, match="weights to go on from are not here"):
        FULL.fit(model, task, epochs=1)
    # States on disk bring their weights.
    assert FULL.fit(model, task, epochs=1, checkpoint_dir=kept).record() == whole.record()
    assert model.recorded is None
    assert FULL.fit(model, task, epochs=1).strategy["encoder"]["fitted"] == ["FullFinetune"]


def test_a_cell_run_twice_gets_the_same_run_twice(make_model, task, records, monkeypatch):
    """With a folder as a finished run is read from it; else as the record says: trained before."""
    HEAD.fit(make_model(), task, epochs=1).save(records / "a")
    monkeypatch.setenv(TRAINING, "recorded")
    model, folder = make_model(), records.parent / "states"
    first = HEAD.fit(model, task, epochs=1, checkpoint_dir=folder)
    assert HEAD.fit(model, task, epochs=1, checkpoint_dir=folder) is first
    assert model.fitted == ["HeadOnlyFinetune"]
    with pytest.raises(NoRecordError):
        HEAD.fit(model, task, epochs=1)


def test_where_nothing_trains_a_record_that_owns_up_is_better_than_none(
    make_model, task, records, monkeypatch, capsys
):
    model = make_model()
    HEAD.fit(model, task, epochs=EPOCHS)
    worn = HEAD.fit(model, task, epochs=EPOCHS)
    worn.save(records / "a")
    stopped = interrupted(make_model(), task)
    stopped.save(records / "b")
    assert HEAD.fit(make_model(), task, epochs=EPOCHS).record() != worn.record()  # is trained
    monkeypatch.setenv(TRAINING, "recorded")
    given = HEAD.fit(make_model(), task, epochs=EPOCHS)
    assert given.record() == worn.record()
    assert given.strategy["encoder"]["fitted"] == ["HeadOnlyFinetune"]
    assert "as it is, interrupted or of a model trained before" in capsys.readouterr().out
    shutil.rmtree(records / "a")
    assert HEAD.fit(make_model(), task, epochs=EPOCHS).interrupted
    whole = replace(stopped, notes=())
    whole.save(records / "c")
    assert HEAD.fit(make_model(), task, epochs=EPOCHS).record() == whole.record()


def test_what_a_run_forgot_is_measured_by_its_record(make_model, task, records):
    first = make_model()
    FULL.fit(first, task, epochs=2, heldout=PRETRAINING).save(records)
    measured, before = masked_token_loss(first, PRETRAINING), make_model()
    model = make_model()
    untrained = masked_token_loss(model, PRETRAINING)
    assert untrained == masked_token_loss(before, PRETRAINING) != measured
    FULL.fit(model, task, epochs=2, heldout=PRETRAINING)
    assert masked_token_loss(model, PRETRAINING) == pytest.approx(measured, abs=1e-6)
    for other in ({"smiles": PRETRAINING[:2]}, {"mask_share": 0.2}, {"seed": 1}):
        with pytest.raises(EncoderError, match=r"stands in for this model.*5 others"):
            masked_token_loss(model, **{"smiles": PRETRAINING} | other)


def test_a_folder_that_is_not_there_is_no_record(watched, task, records):
    model, trained = watched()
    HEAD.fit(model, task, epochs=1)
    assert trained
    assert not records.exists()
