"""Blind predictions travel with the notebook, and are scored where the labels are."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from course import RIGHT, exercises, solved
from families import small_classifier
from hostile import notebook, with_output
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sandbox import sandbox  # noqa: F401
from test_submission import ASSIGNMENT, grade
from tiny import EPOCHS, STRATEGIES

import coursekit as ck
from coursekit.data.binding_task import BindingTask
from coursekit.data.blind import BlindSet
from coursekit.errors import RecordError, TaskError, TrainingError
from coursekit.grading.blind import standard_error, verify_blind
from coursekit.grading.harvest import Harvested, harvest
from coursekit.grading.sandbox import Limits, Sandbox
from coursekit.runs import Run
from coursekit.runs.blind import BlindPredictions
from coursekit.runs.embedded import embed_record
from coursekit.training.trial_parts import tiny_molecules


@pytest.fixture(scope="module")
def blind(task: BindingTask) -> BlindSet:
    """What is left of the chains, made longer, and four molecules of test under other names."""
    rows = pd.DataFrame(
        [("CC" * 8 + smiles, kind, "") for smiles, kind in tiny_molecules()]
        + list(task.test[["smiles", "negative_set", "molecule_id"]].head(4).to_numpy()),
        columns=["smiles", "negative_set", "known_as"],
    )
    rows = rows.drop_duplicates("smiles").sample(frac=1, random_state=0)
    rows["molecule_id"] = [f"blind-{n:04d}" for n in range(len(rows))]
    rows["label"] = (rows["negative_set"] == "").astype(int)
    return BlindSet(
        rows[["molecule_id", "smiles"]].reset_index(drop=True),
        rows[["molecule_id", "label", "negative_set", "known_as"]].reset_index(drop=True),
        task.fingerprint,
    )


@pytest.fixture(scope="module")
def trained(task: BindingTask) -> tuple[Any, Run]:
    model = small_classifier("bert")
    return model, STRATEGIES["full"].fit(model, task, epochs=EPOCHS, seed=3)


@pytest.fixture(scope="module")
def predicted(
    trained: tuple[Any, Run], blind: BlindSet, tmp_path_factory: pytest.TempPathFactory
) -> BlindPredictions:
    path = blind.save(tmp_path_factory.mktemp("blind")) / "blind.csv"
    return ck.predict_blind(*trained, path)


def shown(run: Run, *blind: BlindPredictions) -> list[str]:
    return [embed_record(run), *(one._repr_html_() for one in blind)]


def claimed(run: Run) -> Harvested:
    return harvest(shown(run)).runs[0]


def test_predictions_travel_in_the_output_and_hold(
    trained: tuple[Any, Run], predicted: BlindPredictions, blind: BlindSet, task: BindingTask
) -> None:
    found = harvest(shown(trained[1], predicted))
    layer = verify_blind(found.runs[0], found.blind, blind, task)
    assert layer.state == "holds", layer
    smiles = list(blind.molecules["smiles"])
    expected = trained[0].predict(smiles).astype(np.float32)
    assert (found.blind[0].scores["score"].astype(np.float32) == expected).all()
    files = {"blind.json": json.dumps(predicted.record()).encode()}
    assert harvest([], files).blind[0].record() == predicted.record()
    assert "predicted by the model of FullFinetune" in repr(predicted)
    assert "<script" not in predicted._repr_html_()


def changed(predicted: BlindPredictions, change: Callable[[pd.Series], Any], **more: Any) -> Any:
    scores = predicted.scores.assign(score=change(predicted.scores["score"]))
    return dataclasses.replace(predicted, scores=scores, **more)


def test_each_claim_that_does_not_hold(
    trained: tuple[Any, Run], predicted: BlindPredictions, blind: BlindSet, task: BindingTask
) -> None:
    run = claimed(trained[1])

    def state(*found: BlindPredictions) -> tuple[str, str]:
        layer = verify_blind(run, found, blind, task)
        return layer.state, layer.reason

    assert state()[0] == "not verified"
    assert state(dataclasses.replace(predicted, run="ab" * 32))[0] == "not verified"
    assert state(dataclasses.replace(predicted, molecules="ab" * 32))[0] == "not verified"
    less = dataclasses.replace(predicted, scores=predicted.scores.iloc[1:])
    assert state(less)[0] == "fails"
    other = changed(predicted, lambda s: s * 0.9)
    assert state(other)[0] == "fails"
    assert "another model" in state(other)[1]


def drawn(n: int, strength: float, rng: np.random.Generator) -> pd.DataFrame:
    """Molecules of the three kinds, and scores of a model that tells them apart so well."""
    kinds = np.array(["", "easy", "hard"])[np.arange(n) % 3]
    center = strength * np.select([kinds == "", kinds == "easy"], [1.0, -1.0], 0.0)
    return pd.DataFrame(
        {
            "molecule_id": [f"m-{rng.integers(2**60)}" for _ in range(n)],
            "smiles": "C",
            "negative_set": kinds,
            "label": (kinds == "").astype(int),
            "score": 1 / (1 + np.exp(-rng.normal(center, 1))),
        }
    )


def test_honest_models_go_on_and_made_up_scores_do_not(make_run: Callable[..., Run]) -> None:
    """Forty classes of a usual size: 400 binders in test, 200 blind ones."""
    halves = []
    columns = ["molecule_id", "negative_set", "label", "score"]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        test, fresh = drawn(1_200, 1.0, rng), drawn(600, 1.0, rng)
        rest = {"train": test.iloc[:30], "valid": test.iloc[30:60], "test": test.iloc[60:]}
        task = BindingTask("made", settings={}, **rest)
        run = make_run(
            predictions=test.iloc[30:][columns].assign(
                part=["valid"] * 30 + ["test"] * (len(test) - 60)
            ),
            task={"name": "made", "fingerprint": task.fingerprint, "settings": {}},
        )
        blind = BlindSet(fresh[["molecule_id", "smiles"]], fresh.assign(known_as=""), "")
        one = Harvested(run, "ab" * 32, "here", {})

        def state(scores: Any, one: Any = one, blind: Any = blind, task: Any = task) -> str:
            table = blind.labels[["molecule_id"]].assign(score=scores)
            found = BlindPredictions(one.digest, "mine", blind.fingerprint, table)
            return verify_blind(one, [found], blind, task).state

        assert state(fresh["score"]) == "holds"
        assert state(rng.random(len(fresh))) == "fails"
        # Half way between: what a claim inflated by training on the test part would look like.
        halves.append(state(drawn(600, 0.5, rng)["score"]))
    assert halves.count("fails") >= 36


def test_the_standard_error_is_that_of_chance() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    label = np.repeat([1, 0], [100, 150])
    found = [roc_auc_score(label, rng.normal(label, 1)) for _ in range(2_000)]
    score = ck.evaluation.metrics.Score(float(np.mean(found)), 0, 1, 100, 150, 0.4)
    assert standard_error(score) == pytest.approx(np.std(found), rel=0.1)


def test_the_model_must_be_the_runs(
    trained: tuple[Any, Run], blind: BlindSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = blind.save(tmp_path) / "blind.csv"
    with pytest.raises(TrainingError, match="not trained yet"):
        ck.predict_blind(small_classifier("bert"), trained[1], path)
    with pytest.raises(TaskError, match="beside the notebook"):
        ck.predict_blind(*trained, tmp_path / "nowhere.csv")
    # On a grading machine nothing is trained: the recorded predictions are given back.
    predicted = ck.predict_blind(*trained, path)
    (tmp_path / "run-00").mkdir()
    (tmp_path / "run-00/blind.json").write_text(json.dumps(predicted.record()))
    (tmp_path / "run-00/other").mkdir()
    (tmp_path / "run-00/other/blind.json").write_text("{}")
    monkeypatch.setenv("COURSEKIT_RECORDS", str(tmp_path))
    again = ck.predict_blind(small_classifier("bert"), trained[1], "nowhere.csv")
    assert again.record() == predicted.record()


CELL = """# 97.1 The mean of the counts
mean = sum(counts) / len(counts)
from pathlib import Path
import os
from coursekit.runs import Run
run = Run.load(next(Path(os.environ["COURSEKIT_RECORDS"]).rglob("record.json")).parent)
print(ck.predict_blind(None, run))
for place in ("/", os.path.expanduser("~"), "."):
    for folder, _, names in os.walk(place):
        print(*(n for n in names if "blind-labels" in n), end="")"""


def test_through_a_whole_submission_and_nothing_of_the_labels_goes_in(
    trained: tuple[Any, Run],
    predicted: BlindPredictions,
    blind: BlindSet,
    task: BindingTask,
    sandbox: Sandbox,  # noqa: F811
    tmp_path: Path,
) -> None:
    assignment = dataclasses.replace(
        ASSIGNMENT, tasks=(task,), blind=(blind,), exercises=exercises(), limits=Limits()
    )
    blind.save(tmp_path / "kept")
    some = solved(RIGHT | {"97.1": CELL})
    with_output(some, {"text/html": shown(trained[1], predicted)})
    graded = grade(notebook(some)(tmp_path), sandbox, assignment, out=tmp_path / "out")
    layers = {layer.name: layer for layer in graded.layers}
    assert layers["blind"].state == "holds", graded
    printed = "".join(run.output.text for run in graded.execution.cells.values())
    assert "blind molecules, predicted by the model of FullFinetune" in printed
    assert "blind-labels" not in printed
    page = (tmp_path / "out/feedback.html").read_text()
    assert layers["blind"].reason not in page


odd = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.floats())


FIELDS = ["schema", "version", "run", "name", "molecules", "molecule_id", "score", "more"]


@settings(max_examples=150, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(FIELDS), odd))
def test_any_blind_record_is_read_or_refused(changes: dict[str, Any]) -> None:
    good = {
        "schema": "coursekit.blind", "version": 1, "run": "ab" * 32, "name": "x",
        "molecules": "cd" * 32, "molecule_id": ["a", "b"], "score": [0.25, 0.5],
    }  # fmt: skip
    assert BlindPredictions.from_record(copy.deepcopy(good)).record() == good
    try:
        found = BlindPredictions.from_record(good | changes)
    except RecordError:
        return
    assert found.scores["score"].between(0, 1).all()


def test_labels_in_an_instructors_folder_are_used(blind: BlindSet, tmp_path: Path) -> None:
    from coursekit.grading.course import Course

    blind.save(tmp_path / "blind" / "first")
    notebooks = Path(__file__).resolve().parents[2] / "notebooks"
    assignment = Course(tmp_path, tasks=(), notebooks=notebooks).assignment("01")
    assert [one.fingerprint for one in assignment.blind] == [blind.fingerprint]
