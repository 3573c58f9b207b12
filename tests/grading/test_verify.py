"""Layers of verification: honest runs pass all of them, and each kind of claim fails its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from families import small_classifier
from safetensors.torch import save
from sklearn.metrics import roc_auc_score
from tiny import EPOCHS, STRATEGIES

from coursekit.data.binding_task import BindingTask
from coursekit.evaluation import compare, fingerprint_baseline
from coursekit.grading.harvest import harvest
from coursekit.grading.verify import (
    Layer,
    recomputed_scores,
    verify_coverage,
    verify_history,
    verify_plausible,
    verify_runs,
    verify_table,
)
from coursekit.grading.weights import verify_weights
from coursekit.models import load_classifier
from coursekit.runs import Run
from coursekit.runs.embedded import embed_record
from coursekit.training import FullFinetune, HeadOnlyFinetune


def through_a_record(run: Run) -> Run:
    return harvest([embed_record(run)]).runs[0].run


@pytest.fixture(scope="session")
def trained(task: BindingTask) -> dict[str, Run]:
    """Runs that were really trained, as they come out of a notebook."""
    runs = {}
    for name, strategy in STRATEGIES.items():
        run = strategy.fit(small_classifier("bert"), task, epochs=EPOCHS, seed=3)
        runs[name] = through_a_record(dataclasses.replace(run, name=name))
    return runs


def states(layers: list[Layer]) -> dict[str, str]:
    return {layer.name: layer.state for layer in layers}


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_honest_run_holds(trained: dict[str, Run], task: BindingTask, name: str) -> None:
    found = [verify_coverage(trained[name], task), verify_history(trained[name], task)]
    assert [layer.state for layer in found] == ["holds", "holds"], list(map(str, found))


def test_a_baseline_has_no_history_to_verify(task: BindingTask) -> None:
    run = through_a_record(fingerprint_baseline(task, "logistic"))
    layers = verify_runs(harvest([embed_record(run)]).runs, task)
    assert states(layers) == {
        "coverage": "holds", "plausibility": "holds", "history": "not verified"
    }  # fmt: skip


def test_without_runs_nothing_is_verified(task: BindingTask) -> None:
    assert [layer.state for layer in verify_runs([], task)] == ["not verified"]


def change_predictions(run: Run, change: Callable[[pd.DataFrame], Any]) -> Run:
    predictions = run.predictions.copy()
    result = change(predictions)
    return dataclasses.replace(run, predictions=predictions if result is None else result)


def test_scores_are_computed_from_the_instructors_labels(
    trained: dict[str, Run], task: BindingTask
) -> None:
    run = trained["full"]

    def flip(rows: pd.DataFrame) -> None:
        swapped = rows["label"] == 1
        rows["label"] = (~swapped).astype("int8")
        rows["negative_set"] = np.where(swapped, "hard", "")

    lying = change_predictions(run, flip)
    test = task.test.merge(run.predictions[["molecule_id", "score"]], on="molecule_id")
    hard = test[test["negative_set"] != "easy"]
    expected = roc_auc_score(hard["label"], hard["score"].astype("float32"))
    for one in (run, lying):
        assert recomputed_scores(one, task).auroc_hard.value == pytest.approx(expected, abs=1e-12)
    assert "carry another label" in verify_coverage(lying, task).reason


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda rows: rows.iloc[1:], "not predicted"),
        (lambda rows: rows.replace({"molecule_id": {rows["molecule_id"][0]: "new"}}), "for other"),
        (lambda rows: rows.assign(part="test"), "not predicted"),
    ],
)
def test_coverage(trained: dict[str, Run], task: BindingTask, change: Any, word: str) -> None:
    layer = verify_coverage(change_predictions(trained["head"], change), task)
    assert layer.state == "fails"
    assert word in layer.reason


def test_the_order_of_rows_does_not_matter(trained: dict[str, Run], task: BindingTask) -> None:
    shuffled = change_predictions(trained["head"], lambda rows: rows.sample(frac=1, random_state=1))
    assert verify_coverage(shuffled, task).state == "holds"
    assert verify_history(shuffled, task).state == "holds"
    assert recomputed_scores(shuffled, task) == recomputed_scores(trained["head"], task)


def test_predictions_that_no_model_made(trained: dict[str, Run], task: BindingTask) -> None:
    run = trained["head"]
    constant = change_predictions(run, lambda rows: rows.assign(score=0.5))
    labels = change_predictions(run, lambda rows: rows.assign(score=rows["label"].astype(float)))
    assert verify_plausible(constant, task).state == "fails"
    assert verify_plausible(labels, task).state == "fails"
    assert verify_plausible(run, task).state == "holds"
    assert verify_history(labels, task).state == "fails"


def change_history(run: Run, change: Callable[[pd.DataFrame], None]) -> Run:
    history = run.history.copy()
    change(history)
    return dataclasses.replace(run, history=history)


def change_loss(loss: Callable[[np.ndarray], Any]) -> Callable[[pd.DataFrame], None]:
    def change(history: pd.DataFrame) -> None:
        rows = history["split"] == "train"
        history.loc[rows, "loss"] = loss(np.arange(rows.sum()))

    return change


def claims(**changed: Any) -> Callable[[Run], Run]:
    return lambda run: dataclasses.replace(run, cost=dict(run.cost) | changed)


def history(change: Callable[[pd.DataFrame], None]) -> Callable[[Run], Run]:
    return lambda run: change_history(run, change)


def batches_of(size: int) -> Callable[[Run], Run]:
    return lambda run: dataclasses.replace(run, strategy=dict(run.strategy) | {"batch_size": size})


def columns(part: str, value: Callable[[pd.DataFrame], Any]) -> Callable[[pd.DataFrame], None]:
    return lambda rows: rows.update(value(rows.filter(like=part)))


HISTORIES: dict[str, tuple[Callable[[Run], Run], str]] = {
    "drawn with a ruler": (history(change_loss(lambda n: 0.7 - 0.01 * n)), "smooth"),
    "an exponential": (history(change_loss(lambda n: 0.7 * 0.99**n)), "smooth"),
    "constant": (history(change_loss(lambda n: 0.5)), "never changes"),
    "repeated": (history(change_loss(lambda n: 0.5 + n % 3)), "repeats"),
    "negative": (history(change_loss(lambda n: -np.sqrt(n * 7 % 13))), "below zero"),
    "more epochs claimed": (claims(epochs=9), "validations"),
    "fewer steps claimed": (claims(steps=2), "ends at step"),
    "too fast": (claims(seconds=1e-3), "a second"),
    "no length": (claims(epochs=None), "does not say how many"),
    "other batches": (batches_of(15), "steps an epoch"),
    "other rates": (history(columns("learning_rate", lambda x: x * 50)), "higher"),
    "other groups": (history(columns("rate.emb", lambda x: x * 0)), "other groups"),
    "better validation": (history(columns("auroc", lambda x: x * 0 + 1)), "no validation"),
    "weights at rest": (history(columns("moved.", lambda x: x * 0)), "did not move"),
    "weights that stop": (history(columns("moved.", lambda x: x * 0 + 0.5)), "in each epoch"),
    "weights in step": (
        history(columns("moved.", lambda x: (x * 0).add(range(1, len(x) + 1), axis=0))),
        "all groups went",
    ),
    "without": (lambda r: dataclasses.replace(r, history=r.history.iloc[:0]), "without"),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_that_was_made_up(trained: dict[str, Run], task: BindingTask, name: str) -> None:
    change, word = HISTORIES[name]
    layer = verify_history(change(trained["full"]), task)
    assert layer.state == "fails"
    assert word in layer.reason


def test_weights_that_moved_while_they_were_frozen(
    trained: dict[str, Run], task: BindingTask
) -> None:
    moved = history(columns("moved.block", lambda x: x * 0 + 0.1))(trained["progressive"])
    layer = verify_history(moved, task)
    assert layer.state == "fails"
    assert "moved in phase 0, where it was still frozen" in layer.reason


def test_the_table_follows_from_the_predictions(trained: dict[str, Run], task: BindingTask) -> None:
    runs = {"frozen": trained["head"], "fine-tuned": trained["full"]}
    table = compare(runs).table

    def state(changed: Any) -> str:
        layer = verify_table("table", changed, runs, task)
        return "none" if layer is None else layer.state

    assert state(table) == "holds"
    assert state(table.iloc[:, :4].round(2)) == "holds"
    assert state(table.rename(index={"frozen": "my frozen model"})) == "holds"
    better = table.copy()
    better.iloc[1, 2] = 0.02
    assert state(better) == "fails"
    assert state(better.rename(index={"fine-tuned": "another"})) == "not verified"
    nan = table.copy()
    nan.iloc[0, 0] = np.nan
    assert state(nan) == "fails"
    assert state(pd.DataFrame({"molecule": [1]})) == "none"
    assert state("0.9") == "none"
    assert verify_table("t", table, {}, task).state == "not verified"
    text = table.astype(object)
    text.iloc[0, 0] = "=1+1"
    assert state(text) == "fails"


@pytest.fixture(scope="session")
def with_weights(task: BindingTask) -> tuple[Run, dict[str, Any]]:
    model = load_classifier("coursekit-mini")
    run = HeadOnlyFinetune(lr=0.05, batch_size=8).fit(model, task, epochs=2, seed=1)
    return through_a_record(run), {k: v.clone() for k, v in model.state_dict().items()}


def test_weights_give_the_predictions_again(
    with_weights: tuple[Run, dict[str, Any]], task: BindingTask
) -> None:
    run, tensors = with_weights
    good = save(tensors)
    assert verify_weights(run, {"model.safetensors": good}, task).state == "holds"
    assert verify_weights(run, {"a": b"junk", "m": good}, task).state == "holds"
    state = save({f"best.{k}": v for k, v in tensors.items()})
    assert verify_weights(run, {"state": state}, task).state == "holds"
    assert verify_weights(run, {}, task).state == "not verified"

    pretrained = load_classifier("coursekit-mini").state_dict()
    other = verify_weights(run, {"m": save(pretrained)}, task)
    assert other.state == "fails"
    assert "predicted differently" in other.reason

    block = next(k for k in tensors if "layer" in k or "block" in k or "layers" in k)
    moved = tensors | {block: tensors[block] + 1e-4}
    frozen = verify_weights(run, {"m": save(moved)}, task)
    assert frozen.state == "fails"
    assert "keeps it frozen" in frozen.reason

    far = dataclasses.replace(run, strategy=dict(run.strategy) | {"encoder": {"name": "evil/hub"}})
    assert verify_weights(far, {"m": good}, task).state == "not verified"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95junk pickle",
        b"\xff" * 8 + b"{}",
        (10**12).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (5).to_bytes(8, "little") + b"{\"a\":",
        save({}),
    ],
)  # fmt: skip
def test_files_that_are_no_weights(
    make_run: Callable[..., Run], task: BindingTask, content: bytes
) -> None:
    run = make_run()
    encoder = {"name": "coursekit-mini", "pooling": "cls"}
    run = dataclasses.replace(run, strategy=dict(run.strategy) | {"encoder": encoder})
    assert verify_weights(run, {"m": content}, task).state == "not verified"


def test_full_finetuning_is_what_it_says(task: BindingTask) -> None:
    """The bundled encoder, all of it trained: its weights are verified as well."""
    model = load_classifier("coursekit-mini")
    run = FullFinetune(lr=1e-3, batch_size=8).fit(model, task, epochs=1, seed=1)
    weights = {"m.safetensors": save(model.state_dict())}
    assert verify_weights(through_a_record(run), weights, task).state == "holds"
