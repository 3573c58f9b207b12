"""The hidden checks of ``autograder/``: right answers pass, what is made up does not."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from small import ROOT

import coursekit as ck
from coursekit.checks import exercises, judge
from coursekit.grading.judge import load_hidden
from coursekit.runs import Run

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


def hidden(exercise: str, **answers: Any) -> str:
    one = next(e for e in exercises(exercise[:2]) if e.id == exercise)
    return judge(one, answers, checks(exercise[:2])[exercise]).state


def changed(run: Run, **fields: Any) -> Run:
    return Run(**{**vars(run), **fields})


def test_a_rate_that_was_guessed() -> None:
    assert hidden("00.3", reads_per_load=1.2, p_silent=float(np.exp(-4.8))) == "wrong"
    selection = ck.load_selection("sample")
    binders = selection[selection["target_enrichment"] >= 1]
    reads = binders[[f"seq_target_{i}" for i in (1, 2, 3)]].to_numpy().sum()
    rate = float(reads / binders["seq_load"].sum())
    assert hidden("00.3", reads_per_load=rate, p_silent=float(np.exp(-4 * rate))) == "right"


def test_predictions_that_were_made_up() -> None:
    task = ck.load_task("sample")
    forest = ck.fingerprint_baseline(task, "forest")
    head = {"strategy": "HeadOnlyFinetune", "phases": [{"learning_rates": {"head": 1e-3}}]}
    frozen = changed(forest, strategy=head)
    table = ck.compare({"frozen": frozen, "forest": forest}).table
    assert hidden("01.4", frozen=frozen, forest=forest, table=table) == "right"

    scores = forest.predictions["score"].to_numpy().copy()
    np.random.default_rng(0).shuffle(scores)
    made_up = changed(forest, predictions=forest.predictions.assign(score=scores))
    assert hidden("01.4", frozen=frozen, forest=made_up, table=table) == "cannot be checked"

    all_moved = {"strategy": "HeadOnlyFinetune", "phases": [{"learning_rates": {"block.0": 1e-3}}]}
    moved = changed(forest, strategy=all_moved)
    assert hidden("01.4", frozen=moved, forest=forest, table=table) == "wrong"

    labels = forest.predictions["label"] * 0.9
    perfect = changed(frozen, predictions=forest.predictions.assign(score=labels))
    assert hidden("01.4", frozen=perfect, forest=forest, table=table) == "cannot be checked"
    known = {"name": task.name, "fingerprint": task.fingerprint}
    perfect_scores = task.test["label"].to_numpy() * 0.9
    assert hidden("01.3", frozen_scores=perfect_scores, task=known) == "cannot be checked"
    part = forest.predictions[forest.predictions["part"] == "test"].set_index("molecule_id")
    honest = part["score"].reindex(task.test["molecule_id"]).to_numpy()
    assert hidden("01.3", frozen_scores=honest, task=known) == "right"
