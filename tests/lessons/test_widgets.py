"""The widgets: what they are set to is a Python value, and what they show follows it."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from families import small_classifier
from tiny import EPOCHS, STRATEGIES, tiny_task

import coursekit as ck
from coursekit.data.binding_task import BindingTask
from coursekit.errors import ScoreError, TrainingError
from coursekit.lessons.front_end import CONTROLS
from coursekit.lessons.widgets.explorer import Explorer
from coursekit.models.classifier import Classifier
from coursekit.runs import Run
from coursekit.training import cost

HELDOUT = ["CCOC(=O)CCN", "CC(C)CCO", "NCCCCCl", "CCCCCC", "OCC(C)CBr"]


@pytest.fixture(scope="module")
def task() -> BindingTask:
    return tiny_task()


@pytest.fixture(scope="module")
def model() -> Classifier:
    return small_classifier("bert")


@pytest.fixture(scope="module")
def runs(task: BindingTask) -> dict[str, Run]:
    return {
        name: STRATEGIES[name].fit(small_classifier("bert"), task, EPOCHS, heldout=HELDOUT)
        for name in ("progressive", "head")
    }


@pytest.fixture
def negatives_task() -> BindingTask:
    rows = [
        ("b1", "CCN", 1, "", "binder", "Enriched.", "", float("nan")),
        ("b2", "CCCCN", 1, "", "binder", "Enriched.", "", float("nan")),
        ("h1", "CCO", 0, "hard", "disynthon", "Shares blocks A and B.", "b1", 0.8),
        ("h2", "CCCCO", 0, "hard", "matrix", "Binds the matrix.", "b2", 0.9),
        ("e1", "c1ccccc1", 0, "easy", "easy", "Far away.", "b2", 0.1),
        ("e2", "CCCl", 0, "easy", "easy", "Its binder is elsewhere.", "b9", 0.1),
    ]
    from coursekit.data.binding_task import TASK_COLUMNS

    part = pd.DataFrame(rows, columns=list(TASK_COLUMNS))
    part = part[["molecule_id", "smiles", *TASK_COLUMNS[2:]]]
    empty = part.iloc[:0]
    return BindingTask("by hand", train=part, valid=empty, test=empty, settings={})


@pytest.fixture
def selection() -> pd.DataFrame:
    reads: dict[str, Any] = {
        f"seq_{arm}_{k}": [10.0 * k, float(k)] for arm in ("target", "matrix") for k in (1, 2, 3)
    }
    return pd.DataFrame(
        {"molecule_hash": ["b1", "h1"], **reads, "seq_load": [7, 8], "target_enrichment": [3.2, 0]}
    )


@pytest.fixture
def every(
    runs: dict[str, Run],
    task: BindingTask,
    model: Classifier,
    negatives_task: BindingTask,
    selection: pd.DataFrame,
) -> list[Explorer]:
    found = [
        ck.threshold_explorer(runs),
        ck.strategy_explorer(model, task),
        ck.negatives_explorer(negatives_task, selection),
        ck.unfreezing_player(runs["progressive"]),
        ck.forgetting_tradeoff(runs),
    ]
    return found  # type: ignore[return-value]


def controls(explorer: Explorer) -> list[Any]:
    """All controls, from top to bottom."""
    found, boxes = [], [explorer.controls]
    while boxes:
        box = boxes.pop(0)
        if hasattr(box, "children"):
            boxes = [*box.children, *boxes]
        else:
            found.append(box)
    return found


# --- all of them


def test_each_has_a_value_words_a_picture_with_words_and_a_table(every: list[Explorer]) -> None:
    for explorer in every:
        assert explorer.value is not None
        html = explorer.html()
        (alt,) = re.findall(r'<img alt="([^"]*)"', html)
        assert len(alt) > 40
        assert "<table><caption>" in html
        assert not re.search(r"<(script|style|svg|input|button)", html)  # sanitizers take them
        assert len(explorer.words()) > 40


def test_what_can_be_reached_by_keyboard_has_a_name(every: list[Explorer]) -> None:
    """A slider has none that is said; it always follows a field that has one."""
    for explorer in every:
        for control in controls(explorer):
            slider = "Slider" in type(control).__name__
            assert slider or control.description
        fields = [c.value for c in controls(explorer) if "Bounded" in type(c).__name__]
        assert all(c.value in fields for c in controls(explorer) if "Slider" in type(c).__name__)


def test_a_placeholder_opens_nothing_and_stops_nothing(runs: dict[str, Run]) -> None:
    for waiting in (
        ck.threshold_explorer({"frozen": runs["head"], "full": ...}),  # type: ignore[dict-item]
        ck.strategy_explorer(..., ...),  # type: ignore[arg-type]
        ck.negatives_explorer(...),  # type: ignore[arg-type]
        ck.unfreezing_player(...),  # type: ignore[arg-type]
        ck.forgetting_tradeoff({"full": ...}),  # type: ignore[dict-item]
    ):
        assert waiting.value is None
        assert "do the exercises" in str(waiting)
        assert not isinstance(waiting, Explorer)


class Handle:
    """Stands for the display of a notebook."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def update(self, bundle: dict[str, str], raw: bool) -> None:
        self.shown.append(bundle)


def watch(explorer: Explorer) -> list[dict[str, str]]:
    handle = Handle()
    explorer._handles.append(handle)
    return handle.shown


# --- threshold


def test_the_threshold_explorer_follows_its_controls(runs: dict[str, Run]) -> None:
    explorer = ck.threshold_explorer(runs)
    shown = watch(explorer)
    name, field, slider = controls(explorer)
    low, high = field.min + 2 * field.step, field.max - 2 * field.step
    field.value = low
    assert explorer.value == explorer.threshold == slider.value == low
    slider.value = high
    assert explorer.threshold == high
    assert f"Scores from {high:.3g} on" in shown[-1]["text/plain"]
    found = int(explorer.table.loc["hard", "binders found"])
    assert f"{found} of 4 binders are found" in shown[-1]["text/html"]
    name.value = "head"
    assert explorer.run == "head"
    assert shown[-1]["text/plain"].startswith("head: ")
    assert len(shown) == 3  # one frame a change, though two controls move together


def test_thresholds_run_from_below_all_scores_to_above(runs: dict[str, Run]) -> None:
    explorer = ck.threshold_explorer(runs["progressive"])
    _, field = None, controls(explorer)[0]
    explorer.threshold = -99
    assert (explorer.table["recall"] == 1).all()
    assert (explorer.table["false positive rate"] == 1).all()
    explorer.threshold = 99
    assert (explorer.table["recall"] == 0).all()
    assert 10 <= (field.max - field.min) / field.step <= 110
    assert field.max == pytest.approx(round(field.max / field.step) * field.step)


def test_scores_that_are_no_probabilities_have_their_own_range(runs: dict[str, Run]) -> None:
    from dataclasses import replace

    run = runs["head"]
    predictions = run.predictions.assign(score=run.predictions["score"] * 40 - 300)
    explorer = ck.threshold_explorer(replace(run, predictions=predictions))
    scores = predictions["score"][predictions["part"] == "test"]
    assert scores.min() < explorer.threshold < scores.max()


def test_an_unknown_run_is_named(runs: dict[str, Run]) -> None:
    explorer = ck.threshold_explorer(runs)
    with pytest.raises(ScoreError, match="progressive"):
        explorer.run = "forest"
    with pytest.raises(ScoreError, match="no run"):
        ck.threshold_explorer({})


# --- strategy


def test_the_strategy_explorer_gives_what_its_knobs_say(
    model: Classifier, task: BindingTask
) -> None:
    explorer = ck.strategy_explorer(model, task)
    assert explorer.value == ck.ProgressiveUnfreeze()
    shown = watch(explorer)
    knobs = {control.description: control for control in controls(explorer)}
    knobs["Epochs between openings"].value = 2
    knobs["Learning rate"].value = 3e-3
    assert explorer.strategy == ck.ProgressiveUnfreeze(unfreeze_every=2, lr=3e-3)
    assert "ck.ProgressiveUnfreeze(lr=0.003, unfreeze_every=2)" in shown[-1]["text/plain"]
    knobs["Strategy"].value = ck.PartialFinetune
    knobs = {control.description: control for control in controls(explorer)}
    assert "Epochs between openings" not in knobs
    knobs["Blocks that train"].value = 1
    assert explorer.strategy == ck.PartialFinetune(blocks=1)
    knobs["Strategy"].value = ck.ProgressiveUnfreeze
    assert explorer.strategy == ck.ProgressiveUnfreeze(unfreeze_every=2, lr=3e-3)  # as it was left


def test_it_shows_the_plan_of_fit(model: Classifier, task: BindingTask) -> None:
    explorer = ck.strategy_explorer(model, task, ck.PartialFinetune(blocks=1), epochs=3)
    plan = ck.PartialFinetune(blocks=1).plan(model, 3)
    trained = plan.parameters["block.2"] + plan.parameters["head"]
    assert f"{trained:,} of {sum(plan.parameters.values()):,} parameters" in explorer.words()
    html = explorer.html()
    assert plan.plot().alt in html
    assert re.search(r"block\.1</th><td>[\d,]+</td><td>never</td><td>frozen", html)


def test_its_cost_is_measured_once_for_what_costs_the_same(
    model: Classifier, task: BindingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = ck.strategy_explorer(model, task, ck.HeadOnlyFinetune(), epochs=2)
    assert "not measured yet" in explorer.words()
    shown = watch(explorer)
    press = next(c for c in controls(explorer) if c.description == "Measure time and memory")
    press.click()
    assert str(explorer.cost) in shown[-1]["text/plain"]
    calls = []
    monkeypatch.setattr(cost, "Session", lambda *a: calls.append(a))
    explorer.strategy = ck.HeadOnlyFinetune(lr=3e-3)  # another learning rate takes no longer
    assert str(explorer.cost) in explorer.words()
    assert not calls
    explorer.epochs = 3
    assert "not measured yet" in explorer.words()


def test_a_strategy_of_ones_own_is_refused_with_those_there_are(
    model: Classifier, task: BindingTask
) -> None:
    with pytest.raises(TrainingError, match="HeadOnlyFinetune, PartialFinetune"):
        ck.strategy_explorer(model, task, ck.ScheduledFinetune())


# --- negatives


def test_negatives_come_hard_ones_first_the_closest_first(
    negatives_task: BindingTask, selection: pd.DataFrame
) -> None:
    explorer = ck.negatives_explorer(negatives_task, selection)
    kind, place, back, forward = controls(explorer)
    seen = [explorer.value]
    for _ in range(3):
        forward.click()
        seen.append(explorer.molecule)
    assert seen == ["h2", "h1", "e1", "e1"]  # e2's binder is not in the task
    back.click()
    assert explorer.molecule == "h1"
    assert list(explorer.reads.loc["this negative"])[:3] == [1, 2, 3]
    assert explorer.reads.loc["its nearest binder", "target_enrichment"] == 3.2
    assert "Hard negative CCO beside binder CCN" in explorer.html()
    kind.value = "matrix"
    assert (explorer.molecule, place.value, place.max) == ("h2", 1, 1)
    assert explorer.html().count("not in the file") == 16
    explorer.molecule = "e1"
    assert (explorer.kind, explorer.value) == ("", "e1")


def test_without_a_selection_it_says_so(negatives_task: BindingTask) -> None:
    explorer = ck.negatives_explorer(negatives_task)
    assert explorer.reads is None
    assert "selection=" in explorer.html()
    with pytest.raises(ScoreError, match="disynthon"):
        explorer.kind = "odd"
    with pytest.raises(ScoreError, match="h9"):
        explorer.molecule = "h9"
    with pytest.raises(ScoreError, match="no negative"):
        ck.negatives_explorer(negatives_task, part="test")


def test_the_samples_reads_are_found_by_the_tasks_name() -> None:
    explorer = ck.negatives_explorer(ck.load_task("sample"))
    selection = ck.load_selection("sample").set_index("molecule_hash")
    shown = explorer.negative
    assert shown["negative_set"] == "hard"
    for row, name in (("this negative", "molecule_id"), ("its nearest binder", "nearest_binder")):
        expected = selection.loc[shown[name], explorer.reads.columns]
        assert list(explorer.reads.loc[row]) == list(expected)


# --- unfreezing


def test_the_player_steps_through_epochs_and_phases(runs: dict[str, Run]) -> None:
    run = runs["progressive"]
    player = ck.unfreezing_player(run)
    field, slider, back, forward, phase = controls(player)
    assert (player.epoch, player.phase) == (0, 0)
    shown = watch(player)
    phase.click()
    assert (player.epoch, player.phase, slider.value) == (1, 1, 1)
    forward.click()
    forward.click()
    assert player.value == 2  # the last one
    assert "end of epoch 2 (phase 2): head, block.2 and block.1 train" in shown[-1]["text/plain"]
    end = run.history[run.history["split"] == "valid"].set_index("epoch").loc[2]
    for group in ("head", "block.2", "block.1"):
        assert player.table.loc[group, "moved"] == end[f"moved.{group}"] > 0
    assert player.table.loc["embeddings", "moved"] == 0
    back.click()
    assert player.epoch == 1
    field.value = 0
    assert player.table.loc["block.2", "learning rate"] == 0


def test_the_player_goes_by_the_record_too_and_says_where_nothing_was_recorded(
    runs: dict[str, Run],
) -> None:
    run = Run.from_record(runs["progressive"].record())
    player = ck.unfreezing_player(run)
    assert np.isfinite(player.table["moved"]).all()
    older = run.record()
    older["history"] = {k: v for k, v in older["history"].items() if not k.startswith("moved.")}
    player = ck.unfreezing_player(Run.from_record(older))
    assert "was not recorded" in player.words()
    assert "not recorded" in player.html()


def test_a_run_without_epochs_is_refused(task: BindingTask) -> None:
    forest = ck.fingerprint_baseline(task, "forest")
    with pytest.raises(ScoreError, match="epoch by epoch"):
        ck.unfreezing_player(forest)


# --- forgetting


def test_the_tradeoff_has_what_each_run_learned_forgot_and_cost(
    runs: dict[str, Run], task: BindingTask
) -> None:
    several = runs | {"forest": ck.fingerprint_baseline(task, "forest")}
    tradeoff = ck.forgetting_tradeoff(several)
    shown = watch(tradeoff)
    (picker,) = controls(tradeoff)
    picker.value = "head"
    assert (tradeoff.value, tradeoff.run) == ("head", runs["head"])
    told = runs["head"].forgetting
    assert told is not None
    row = tradeoff.table.loc["head"]
    assert row["forgotten"] == pytest.approx(told["loss_after"] - told["loss_before"])
    assert row["hard AUROC"] == runs["head"].scores("test", n_boot=0).auroc_hard.value
    assert f"{runs['head'].cost['trainable_parameters']:,} trainable" in shown[-1]["text/plain"]
    assert "head (picked)" in shown[-1]["text/html"]
    tradeoff.name = "forest"
    assert "does not say what it forgot" in tradeoff.words()
    with pytest.raises(ScoreError, match="heldout"):
        ck.forgetting_tradeoff({"forest": several["forest"]})


# --- in a notebook


@pytest.mark.slow
def test_in_a_notebook_controls_have_a_stand_in_and_the_picture_follows_the_value() -> None:
    """A real kernel, without a front end: the value is set as a Python variable."""
    from coursekit.lessons.notebooks import run_notebook, tidy

    cells = [
        "import coursekit as ck\n"
        "task, parts = ck.load_task('sample'), ('train', 'valid', 'test')\n"
        "few = {part: task.part(part).groupby('negative_set').head(24) for part in parts}",
        "run = ck.fingerprint_baseline(ck.BindingTask('few', **few, settings={}), 'logistic')",
        "explorer = ck.threshold_explorer(run)\nexplorer",
        "explorer.threshold = 0.3\nprint(explorer.value)",
        "ck.unfreezing_player(...)",
    ]
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    ran = run_notebook(nbformat.v4.new_notebook(cells=made), "quick")
    first, second = (output["data"] for output in ran.cells[2].outputs)
    assert CONTROLS in first
    assert "work where this cell has been run" in first["text/html"]
    assert "Scores from 0.3 on" in second["text/html"]  # the picture was drawn again
    assert ran.cells[3].outputs[0].text == "0.3\n"
    assert "do the exercises" in ran.cells[4].outputs[0]["data"]["text/html"]
    kept = tidy(ran)
    assert [list(output["data"]) for output in kept.cells[2].outputs] == [
        ["text/html", "text/plain"]
    ]
    assert "widgets" not in kept.metadata
