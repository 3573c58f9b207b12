"""What a record claims, held against what can be known without training again.

Each layer says "holds", "fails" or "not verified", with its reason. None of them is proof of
honest work: a layer that fails is a question that a person puts, never a score of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from coursekit.data.binding_task import BindingTask
from coursekit.errors import CourseKitError
from coursekit.evaluation.metrics import METRICS, Scores, score_predictions
from coursekit.grading.harvest import Harvested
from coursekit.grading.history import history_faults
from coursekit.runs import Run

State = Literal["holds", "fails", "not verified"]
TABLE_TOLERANCE = 0.0051
"""A table may be rounded to two digits."""
_NAMES = {name.lower(): metric for metric, name in METRICS.items()} | {m: m for m in METRICS}


@dataclass(frozen=True)
class Layer:
    """One look at what was handed in.

    Args:
        name: of the layer: "coverage", "table", "history", "weights" or "copies".
        subject: which run or table was looked at.
        state: "holds", "fails" or "not verified".
        reason: what was found, for the instructor.
    """

    name: str
    subject: str
    state: State
    reason: str

    def to_plain(self) -> dict[str, str]:
        """The layer as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.name} of {self.subject}: {self.state}; {self.reason}"


def relabeled(run: Run, task: BindingTask) -> Run:
    """The run with the instructor's labels in place of its own; other molecules are left out.

    Args:
        run: what a student claims.
        task: the instructor's.
    """
    known = pd.concat([task.part(part).assign(part=part) for part in ("valid", "test")])
    known = known[["molecule_id", "part", "label", "negative_set"]]
    claimed = run.predictions[["molecule_id", "score"]]
    predictions = claimed.merge(known, on="molecule_id", how="inner")
    return Run(**{**vars(run), "predictions": predictions})


def with_shares(tasks: Sequence[BindingTask], runs: Iterable[Run]) -> tuple[BindingTask, ...]:
    """The tasks, and those shares of them that runs say they were made on, and were."""
    known = {task.fingerprint: task for task in tasks}
    for run in runs:
        settings = run.task.get("settings")
        share = settings.get("share") if isinstance(settings, Mapping) else None
        if run.task["fingerprint"] in known or not isinstance(share, float) or not 0 < share < 1:
            continue
        for task in tasks:
            part = task.share(share)
            if part.fingerprint == run.task["fingerprint"]:
                known[part.fingerprint] = part
    return tuple(known.values())


def recomputed_scores(run: Run, task: BindingTask, part: str = "test", n_boot: int = 0) -> Scores:
    """AUROC and AU-PRC of a run's predictions under the instructor's labels.

    Raises:
        ScoreError: nothing of the part is predicted.
    """
    return score_predictions(relabeled(run, task).predictions, part=part, n_boot=n_boot)


def verify_coverage(run: Run, task: BindingTask) -> Layer:
    """Whether the predictions are for exactly the molecules of valid and test, labels included."""
    faults = []
    for part in ("valid", "test"):
        wanted = task.part(part).set_index("molecule_id")
        found = run.predictions[run.predictions["part"] == part].set_index("molecule_id")
        missing = wanted.index.difference(found.index)
        strange = found.index.difference(wanted.index)
        if len(missing):
            faults.append(f"{len(missing)} of {len(wanted)} molecules of {part} are not predicted")
        if len(strange):
            faults.append(f"{len(strange)} predictions of {part} are for other molecules")
        both = wanted.index.intersection(found.index)
        other = (wanted.loc[both, "label"] != found.loc[both, "label"]) | (
            wanted.loc[both, "negative_set"] != found.loc[both, "negative_set"]
        )
        if other.any():
            faults.append(f"{int(other.sum())} molecules of {part} carry another label")
    if faults:
        return Layer("coverage", run.name, "fails", "; ".join(faults))
    count = len(task.valid) + len(task.test)
    return Layer("coverage", run.name, "holds", f"all {count} molecules, each once, as labeled")


def verify_plausible(run: Run, task: BindingTask) -> Layer:
    """Whether the predictions look like a model's: neither constant nor the labels themselves."""
    try:
        scores = recomputed_scores(run, task)
    except CourseKitError as error:
        return Layer("plausibility", run.name, "not verified", str(error))
    values = run.predictions["score"].to_numpy(dtype=float)
    both = (scores.auroc_easy.value, scores.auroc_hard.value)
    if np.ptp(values) == 0:
        return Layer("plausibility", run.name, "fails", "all predictions are the same number")
    if len(np.unique(values)) <= 3:
        return Layer("plausibility", run.name, "fails", "there are three different scores or fewer")
    if scores.auroc_hard.value >= 0.9999 and scores.auroc_hard.n_binders >= 20:
        text = "the hard test molecules are ranked without one mistake: are labels in the scores?"
        return Layer("plausibility", run.name, "fails", text)
    text = f"AUROC easy {both[0]:.3f}, hard {both[1]:.3f} under the instructor's labels"
    return Layer("plausibility", run.name, "holds", text)


def verify_history(run: Run, task: BindingTask) -> Layer:
    """Whether the loss history fits the run's length, strategy, batches and predictions."""
    if run.history.empty:
        if "phases" in run.strategy:
            return Layer("history", run.name, "fails", "a trained run without a history")
        return Layer("history", run.name, "not verified", "not trained step by step")
    faults = history_faults(run, relabeled(run, task), len(task.train))
    if faults:
        return Layer("history", run.name, "fails", "; ".join(faults))
    text = "length, phases, learning rates, duration and the best validation fit each other"
    return Layer("history", run.name, "holds", text)


def verify_table(
    subject: str, table: Any, runs: Mapping[str, Run], task: BindingTask
) -> Layer | None:
    """Whether a student's table of scores is what the predictions give.

    Args:
        subject: what to call it, such as "02.4 table".
        table: an answer; None is returned for what has no column of scores.
        runs: the runs by name.
        task: the instructor's.
    """
    if not isinstance(table, pd.DataFrame):
        return None
    columns = {
        str(name): metric
        for name in table.columns
        if (metric := _NAMES.get(str(name).strip().lower()))
    }
    if not columns or table.empty or len(table) > 200:
        return None
    known: dict[str, Scores] = {}
    for name, run in runs.items():
        try:
            known[name] = recomputed_scores(run, task)
        except CourseKitError:
            continue
    if not known:
        return Layer("table", subject, "not verified", "no run with predictions was handed in")
    wrong: list[str] = []
    unknown: list[str] = []
    for label, row in table.iterrows():
        claimed = {metric: _number(row.get(name)) for name, metric in columns.items()}
        named = [run for run in runs if run.lower() == str(label).strip().lower()]
        candidates = [known[n] for n in named if n in known] or list(known.values())
        if any(_agree(claimed, scores) for scores in candidates):
            continue
        (wrong if named else unknown).append(f"{label!s:.40}")
    if wrong:
        text = f"the predictions give other scores than the rows {', '.join(wrong)}"
        return Layer("table", subject, "fails", text)
    if unknown:
        text = f"no run that was handed in has the scores of the rows {', '.join(unknown)}"
        return Layer("table", subject, "not verified", text)
    return Layer("table", subject, "holds", f"all {len(table)} rows follow from the predictions")


def verify_runs(runs: Iterable[Harvested], task: BindingTask) -> list[Layer]:
    """Coverage, plausibility and history of every run."""
    layers = []
    for harvested in runs:
        run = harvested.run
        layers.append(verify_coverage(run, task))
        layers.append(verify_plausible(run, task))
        layers.append(verify_history(run, task))
    if not layers:
        layers.append(Layer("coverage", "runs", "not verified", "no run of this task was found"))
    return layers


def _agree(claimed: Mapping[str, float], scores: Scores) -> bool:
    real = {metric: getattr(scores, metric).value for metric in claimed}
    return all(
        math.isnan(value) == math.isnan(real[metric])
        and (math.isnan(value) or abs(value - real[metric]) <= TABLE_TOLERANCE)
        for metric, value in claimed.items()
    )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.inf
