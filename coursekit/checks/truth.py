"""What checks hold answers against: the task and the selection themselves, loaded once."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coursekit.checks.exercise import CannotCheck, Wrong
from coursekit.checks.expect import columns, kind
from coursekit.data import BindingTask, load_selection, load_task
from coursekit.data.sources import TARGETS
from coursekit.data.variants import variant_of
from coursekit.errors import CourseKitError, ScoreError
from coursekit.evaluation.metrics import METRICS, score_predictions
from coursekit.runs import Run
from coursekit.runs.bundled import bundled_names, bundled_run

TABLE_TOLERANCE = 0.002  # a table that was rounded to three digits, or to two with luck, is right


NAMES = ("sample", *TARGETS)
"""What a notebook may name. Never a path: a stranger wrote the name, and this machine would read
the file."""


@lru_cache(maxsize=4)
def task_named(name: str) -> BindingTask:
    """``load_task(name)``, kept for the next who asks."""
    return load_task(name)


@lru_cache(maxsize=8)
def _share_of(name: str, share: float) -> BindingTask:
    return task_named(name).share(share)


@lru_cache(maxsize=2)
def _selection_named(name: str) -> pd.DataFrame:
    return load_selection(name)


def facts_of_selection(selection: Any) -> dict[str, Any]:
    """What a notebook hands over of its selection: enough to find the same one here."""
    source = str(selection.attrs.get("coursekit", {}).get("source", "sample"))
    return {"name": Path(source).stem, "rows": len(selection)}


def the_selection(name: str, facts: Any) -> pd.DataFrame:
    """The selection that the learner worked on; exceptions as in :func:`the_task`."""
    if not isinstance(facts, dict) or not {"name", "rows"} <= set(facts):
        raise Wrong(f"`{name}` is no selection; `ck.load_selection()` gives one.")
    selection = None
    if facts["name"] in NAMES:
        with suppress(CourseKitError, OSError):
            selection = _selection_named(facts["name"])
    if selection is None:
        raise CannotCheck(
            f"`{name}` is {str(facts['name'])!r:.40}, which is not at hand here; with "
            '`ck.load_selection("sample")` it can be checked anywhere.'
        )
    if len(selection) != facts["rows"]:
        raise Wrong(
            f"`{name}` has {facts['rows']} rows, {facts['name']!r:.40} has {len(selection):,}: "
            "load it again, and keep what you filter under another name."
        )
    return selection


def facts_of_task(task: Any) -> dict[str, Any]:
    """What a notebook hands over of its task: enough to find the same one here."""
    facts = {"name": str(task.name), "fingerprint": str(task.fingerprint)}
    return facts | {"share": float(task.settings.get("share", 1.0))}


def the_task(name: str, facts: Any) -> BindingTask:
    """The task that the learner worked on.

    Args:
        name: of the learner's variable.
        facts: what :func:`facts_of_task` gave, or a run's ``task``.

    Raises:
        Wrong: it is no task.
        CannotCheck: this machine does not have it.
    """
    if not isinstance(facts, dict) or not {"name", "fingerprint"} <= set(facts):
        raise Wrong(f"`{name}` is no task; `ck.load_task()` gives one.")
    variant = variant_of(str(facts["name"]))
    if (variant[0] if variant else facts["name"]) in NAMES:
        settings = facts.get("settings", facts)
        with suppress(CourseKitError, OSError, AttributeError, TypeError):
            task = _share_of(facts["name"], settings.get("share", 1.0))
            if task.fingerprint == facts["fingerprint"]:
                return task
    raise CannotCheck(
        f"`{name}` is the task {str(facts['name'])!r:.40} with fingerprint "
        f"{str(facts['fingerprint'])[:12]!r}, which is not at hand here; with "
        '`ck.load_task("sample")` it can be checked anywhere.'
    )


def scored(scores: np.ndarray, task: BindingTask, part: str = "test") -> dict[str, float]:
    """The four scores of predictions in the order of a part's molecules."""
    table = task.part(part)[["molecule_id", "negative_set", "label"]].assign(
        part=part, score=scores
    )
    return _four(table, part)


def judged(name: str, run: Any, part: str = "test") -> dict[str, float]:
    """The four scores of a run, from its predictions and from labels that are known here.

    Raises:
        Wrong: no run, or predictions that do not cover the part.
        CannotCheck: a task that is not at hand.
    """
    kind(name, run, Run)
    known = the_task(name, dict(run.task)).part(part)
    own = run.predictions[run.predictions["part"] == part]
    merged = known[["molecule_id", "negative_set", "label"]].merge(
        own[["molecule_id", "score"]], on="molecule_id", how="left"
    )
    missing = int(merged["score"].isna().sum())
    if missing or len(own) != len(known):
        raise Wrong(
            f"`{name}` has {len(own):,} predictions for the {part} part, {missing} of its "
            f"{len(known):,} molecules are not among them; fit it again on the task as it is."
        )
    return _four(merged.assign(part=part), part)


def is_bundled(run: Run) -> bool:
    """Whether a run is one of those that come with the course, by its predictions."""
    own = run.predictions.sort_values(["part", "molecule_id"])["score"].to_numpy()
    for name, seeds in bundled_names().items():
        for seed in seeds:
            kept = bundled_run(name, seed)
            if kept.strategy.get("strategy") != run.strategy.get("strategy"):
                break
            known = kept.predictions.sort_values(["part", "molecule_id"])["score"].to_numpy()
            if known.shape == own.shape and np.array_equal(known, own):
                return True
    return False


def table_agrees(name: str, table: Any, rows: dict[str, dict[str, float]]) -> None:
    """Whether a comparison's table says what the runs behind it say.

    Args:
        name: of the learner's table.
        table: the answer; one row for each approach, with at least the four scores.
        rows: the four scores by name of the learner's run, in the order of the rows expected.
    """
    found = columns(name, table, list(METRICS.values()))
    if len(found) < len(rows):
        raise Wrong(f"`{name}` has {len(found)} rows; one for each of {', '.join(rows)} is wanted.")
    for run, scores in rows.items():
        close = [
            all(
                abs(float(row[title]) - scores[metric]) <= TABLE_TOLERANCE
                for metric, title in METRICS.items()
            )
            for _, row in found.iterrows()
        ]
        if not any(close):
            expected = ", ".join(f"{METRICS[m]} {v:.3f}" for m, v in scores.items())
            raise Wrong(
                f"No row of `{name}` has the scores of `{run}` ({expected}). Did you fit again "
                "after you made the table? Then make it again."
            )


def _four(table: pd.DataFrame, part: str) -> dict[str, float]:
    try:
        scores = score_predictions(table, part=part, n_boot=0)
    except ScoreError as error:
        raise Wrong(f"These predictions cannot be scored: {error}") from None
    return {metric: getattr(scores, metric).value for metric in METRICS}
