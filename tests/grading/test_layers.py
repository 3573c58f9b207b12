"""Each layer of verification is worth its place: a forgery that it alone catches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save
from test_copies import disguised

import coursekit as ck
from coursekit.data.binding_task import BindingTask
from coursekit.data.blind import BlindSet
from coursekit.grading.audit import compared
from coursekit.grading.blind import verify_blind
from coursekit.grading.copies import Entry, copies_layers, find_copies
from coursekit.grading.harvest import Harvested, harvest
from coursekit.grading.verify import verify_runs, verify_table
from coursekit.grading.weights import verify_weights
from coursekit.runs import Run
from coursekit.runs.blind import BlindPredictions
from coursekit.runs.embedded import embed_record
from coursekit.training.trial_parts import ENDS


@dataclass(frozen=True)
class Claim:
    """All that a student hands in about one run, and what a neighbor handed in."""

    run: Run
    again: Run
    weights: Mapping[str, Any]
    table: pd.DataFrame
    blind: pd.DataFrame
    neighbors: tuple[Run, ...] = field(default=())


@pytest.fixture(scope="module")
def larger_task() -> BindingTask:
    """Chains of all lengths: 25 binders in test, for scores that mean something."""
    smiles = [
        ("C" * (1 + (7 * n) % 60) + ENDS[kind][n % 3], kind) for n in range(60) for kind in ENDS
    ]
    parts, rows = {}, iter(smiles)
    for name, size in (("train", 60), ("valid", 30), ("test", 75)):
        some = pd.DataFrame([next(rows) for _ in range(size)], columns=["smiles", "negative_set"])
        some["label"] = (some["negative_set"] == "").astype("int8")
        parts[name] = some.assign(molecule_id="m-" + some["smiles"])
    return BindingTask("larger", settings={}, **parts)


@pytest.fixture(scope="module")
def kept(larger_task: BindingTask) -> BlindSet:
    """Molecules that are in no part, and ten of test."""
    fresh = pd.DataFrame(
        [("N" + "C" * n + ENDS[kind][n % 3], kind, "") for n in range(2, 32) for kind in ENDS],
        columns=["smiles", "negative_set", "known_as"],
    )
    known = larger_task.test.head(10)
    known = known.assign(known_as=known["molecule_id"])[["smiles", "negative_set", "known_as"]]
    rows = pd.concat([fresh, known], ignore_index=True)
    rows["molecule_id"] = [f"blind-{n:04d}" for n in range(len(rows))]
    rows["label"] = (rows["negative_set"] == "").astype(int)
    labels = rows[["molecule_id", "label", "negative_set", "known_as"]]
    return BlindSet(rows[["molecule_id", "smiles"]], labels, larger_task.fingerprint)


def through_a_record(run: Run) -> Run:
    return harvest([embed_record(run)]).runs[0].run


@pytest.fixture(scope="module")
def honest(larger_task: BindingTask, kept: BlindSet) -> Claim:
    """A head on the bundled encoder, really trained, and its neighbor's with another seed."""
    strategy = ck.HeadOnlyFinetune(lr=0.05, batch_size=16)
    model = ck.load_classifier("coursekit-mini")
    run = through_a_record(strategy.fit(model, larger_task, epochs=3, seed=1))
    other = ck.load_classifier("coursekit-mini", seed=5)
    neighbor = through_a_record(strategy.fit(other, larger_task, epochs=2, seed=2))
    blind = kept.molecules[["molecule_id"]].assign(
        score=model.predict(list(kept.molecules["smiles"]))
    )
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    return Claim(run, run, weights, ck.compare({"mine": run}).table, blind, (neighbor,))


def failing(claim: Claim, task: BindingTask, kept: BlindSet) -> set[str]:
    """Names of the layers that do not hold; none of them is without a verdict."""
    mine = Harvested(claim.run, "ab" * 32, "here", {})
    blind = BlindPredictions(mine.digest, "mine", kept.fingerprint, claim.blind)
    others = [Entry(f"b{n}", Harvested(r, f"{n}", "there", {}))
              for n, r in enumerate(claim.neighbors)]  # fmt: skip
    table = verify_table("table", claim.table, {"mine": claim.run}, task)
    layers = [
        *verify_runs([mine], task),
        verify_weights(claim.run, {"m.safetensors": save(dict(claim.weights))}, task),
        verify_blind(mine, [blind], kept, task),
        copies_layers(["a"], find_copies([Entry("a", mine), *others]))["a"],
    ]
    states = {layer.name: layer.state for layer in layers}
    assert table is not None
    states |= {"table": table.state, "audit": compared(claim.run, claim.again, task)[0]}
    assert "not verified" not in states.values(), layers
    return {name for name, state in states.items() if state == "fails"}


def test_honest_work_holds_in_every_layer(
    honest: Claim, larger_task: BindingTask, kept: BlindSet
) -> None:
    assert failing(honest, larger_task, kept) == set()


def rows_of(run: Run, part: str) -> pd.Series:
    return run.predictions["part"] == part


def with_run(claim: Claim, run: Run, again: bool = True) -> Claim:
    """The claim with another run, to whose numbers everything that follows from it is fitted."""
    table = ck.compare({"mine": run}).table
    return dataclasses.replace(claim, run=run, table=table, again=run if again else claim.again)


def a_better_table(claim: Claim) -> Claim:
    table = claim.table.copy()
    table.iloc[0, 2] = table.iloc[0, 2] + 0.02
    return dataclasses.replace(claim, table=table)


def labels_of_one_molecule_changed(claim: Claim) -> Claim:
    """A negative moved to the easier set; the predictions are as they were."""
    predictions = claim.run.predictions.copy()
    hard = np.flatnonzero((predictions["negative_set"] == "hard") & rows_of(claim.run, "test"))
    predictions.loc[hard[0], "negative_set"] = "easy"
    run = dataclasses.replace(claim.run, predictions=predictions)
    return dataclasses.replace(claim, run=run)


def a_loss_drawn_with_a_ruler(claim: Claim) -> Claim:
    history = claim.run.history.copy()
    train = history["split"] == "train"
    history.loc[train, "loss"] = np.linspace(0.7, 0.3, int(train.sum()))
    return with_run(claim, dataclasses.replace(claim.run, history=history))


def other_weights(claim: Claim) -> Claim:
    head = next(name for name in claim.weights if name.startswith("head") and "bias" in name)
    return dataclasses.replace(
        claim, weights=dict(claim.weights) | {head: claim.weights[head] + 0.5}
    )


def another_model_predicts_blind(claim: Claim) -> Claim:
    return dataclasses.replace(
        claim, blind=claim.blind.assign(score=1 - claim.blind["score"] * 0.5)
    )


def a_neighbors_copy(claim: Claim) -> Claim:
    copy = disguised(claim.run, lambda scores: 0.3 + 0.5 * scores)
    return dataclasses.replace(claim, neighbors=(*claim.neighbors, copy))


def a_run_of_another_seed(claim: Claim) -> Claim:
    """A run that really was made, but not with what its record says."""
    return dataclasses.replace(claim, again=claim.neighbors[0])


FORGERIES: dict[str, Callable[[Claim], Claim]] = {
    "table": a_better_table,
    "coverage": labels_of_one_molecule_changed,
    "history": a_loss_drawn_with_a_ruler,
    "weights": other_weights,
    "blind": another_model_predicts_blind,
    "copies": a_neighbors_copy,
    "audit": a_run_of_another_seed,
}


@pytest.mark.parametrize("layer", FORGERIES)
def test_a_forgery_that_only_one_layer_catches(
    honest: Claim, larger_task: BindingTask, kept: BlindSet, layer: str
) -> None:
    assert failing(FORGERIES[layer](honest), larger_task, kept) == {layer}


def test_labels_in_the_scores_are_caught_by_plausibility_alone(
    make_run: Callable[..., Run], larger_task: BindingTask
) -> None:
    """Noise hides the labels from a look at the numbers; no hard molecule is ranked wrong."""
    task, rng = larger_task, np.random.default_rng(0)
    frames = [task.part(part).assign(part=part) for part in ("valid", "test")]
    rows = pd.concat(frames, ignore_index=True)[["molecule_id", "part", "negative_set", "label"]]
    rows["score"] = 0.55 * rows["label"] + 0.2 + 0.2 * rng.random(len(rows))
    run = make_run(
        predictions=rows,
        task={"name": task.name, "fingerprint": task.fingerprint, "settings": {}},
    )
    layers = verify_runs([Harvested(run, "ab" * 32, "here", {})], task)
    states = {layer.name: layer for layer in layers}
    assert states["plausibility"].state == "fails"
    assert "without one mistake" in states["plausibility"].reason
    assert states["coverage"].state == "holds"
