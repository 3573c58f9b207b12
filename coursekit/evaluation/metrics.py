"""AUROC and AU-PRC on easy and on hard negatives, with intervals that say how sure they are.

Binders are shared: "easy" scores rank them against the easy negatives, "hard" scores against the
hard ones. Intervals are 95% percentile bootstrap intervals (Efron and Tibshirani, "An Introduction
to the Bootstrap", 1993, chapter 13) over the molecules, resampled within each class, so that every
resample keeps the stated prevalence; AU-PRC would change its meaning otherwise. They tell how much
the score depends on the molecules drawn, not on the seed of the training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.bootstrap import Floats, bootstrap

if TYPE_CHECKING:
    from coursekit.runs.run import Run

METRICS = {
    "auroc_easy": "easy AUROC",
    "au_prc_easy": "easy AU-PRC",
    "auroc_hard": "hard AUROC",
    "au_prc_hard": "hard AU-PRC",
}
NEGATIVE_SETS = ("easy", "hard")
INTERVAL = (0.025, 0.975)
_COLUMNS = ("molecule_id", "part", "negative_set", "label", "score")


@dataclass(frozen=True)
class Score:
    """One number and how sure it is.

    Args:
        value: the score; NaN where it is not defined, ``note`` then says why.
        low: lower end of the 95% interval; NaN without one.
        high: upper end.
        n_binders: molecules with label 1 behind it.
        n_negatives: molecules with label 0 behind it.
        prevalence: binders among them, which is the AU-PRC of guessing (AUROC of guessing: 0.5).
        note: what a reader must know, "" if nothing.
    """

    value: float
    low: float
    high: float
    n_binders: int
    n_negatives: int
    prevalence: float
    note: str = ""

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"not defined: {self.note}"
        text = f"{self.value:.3f}"
        if not math.isnan(self.low):
            text += f" [{self.low:.3f}, {self.high:.3f}]"
        return text + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Scores:
    """The four scores of one part of a task."""

    part: str
    auroc_easy: Score
    au_prc_easy: Score
    auroc_hard: Score
    au_prc_hard: Score

    @property
    def table(self) -> pd.DataFrame:
        """One row per score: value, low, high, binders, negatives, prevalence, note."""
        rows = {}
        for metric, name in METRICS.items():
            score: Score = getattr(self, metric)
            rows[name] = {
                "value": score.value,
                "low": score.low,
                "high": score.high,
                "binders": score.n_binders,
                "negatives": score.n_negatives,
                "prevalence": score.prevalence,
                "note": score.note,
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")

    def _caption(self) -> str:
        easy, hard = self.auroc_easy, self.auroc_hard
        return (
            f"{self.part}: {easy.n_binders} binders against {easy.n_negatives} easy "
            f"or {hard.n_negatives} hard negatives, with 95% intervals"
        )

    def _lines(self) -> list[tuple[str, str, str]]:
        lines = []
        for metric, name in METRICS.items():
            score: Score = getattr(self, metric)
            guess = 0.5 if metric.startswith("auroc") else score.prevalence
            lines.append((name, str(score), f"{guess:.3f}"))
        return lines

    def __str__(self) -> str:
        body = [f"  {name:<12}{text:<24}guessing {guess}" for name, text, guess in self._lines()]
        return "\n".join([self._caption(), *body])

    def _repr_html_(self) -> str:
        body = "".join(
            f'<tr><th scope="row">{name}</th><td>{escape(text)}</td><td>{guess}</td></tr>'
            for name, text, guess in self._lines()
        )
        return (
            f"<table><caption>{escape(self._caption())}</caption><thead><tr>"
            '<th scope="col">score</th><th scope="col">value</th><th scope="col">guessing</th>'
            f"</tr></thead><tbody>{body}</tbody></table>"
        )


@dataclass(frozen=True)
class Difference:
    """How much better run ``a`` scores than run ``b`` on the same molecules.

    Args:
        a: name of the run that is judged.
        b: name of the run it is held against.
        metric: one of :data:`METRICS`.
        value: score of ``a`` minus score of ``b``; NaN where a score is not defined.
        low: lower end of the 95% interval from paired resamples; NaN without resamples.
        high: upper end.
        note: why ``value`` is NaN, else "".
    """

    a: str
    b: str
    metric: str
    value: float
    low: float
    high: float
    note: str = ""

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        name = METRICS[self.metric]
        if math.isnan(self.value):
            return f"{self.a} and {self.b} cannot be compared on {name}: {self.note}"
        if math.isnan(self.low):
            return (
                f"{self.a} minus {self.b} on {name}: {self.value:+.3f} (no interval was asked for)"
            )
        if not self.clear:
            interval = f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
            return f"{self.a} and {self.b} cannot be told apart on {name}: difference {interval}"
        first, second = (self.a, self.b) if self.value > 0 else (self.b, self.a)
        low, high = sorted((abs(self.low), abs(self.high)))
        return f"{first} beats {second} on {name} by {abs(self.value):.3f} [{low:.3f}, {high:.3f}]"


def score_predictions(
    predictions: pd.DataFrame, part: str = "test", n_boot: int = 1000, seed: int = 0
) -> Scores:
    """Score the predictions of one part against both kinds of negatives.

    Args:
        predictions: columns ``molecule_id``, ``part``, ``negative_set``, ``label``, ``score``, as
            in :class:`coursekit.runs.Run`. The order of rows does not matter.
        part: "test" or "valid".
        n_boot: resamples behind each interval; 0 leaves the intervals out.
        seed: seed of the resampling: the same molecules are drawn for every run of a task.

    Returns:
        The scores. Where one cannot be defined (no binders, no negatives of a kind) its value is
        NaN with a note; scores that are all equal are 0.5 and the prevalence, with a note.

    Raises:
        ScoreError: no predictions for ``part``, a column or label that is not as expected, a
            molecule that occurs twice, or a score that is not a finite number.
    """
    classes = scores_by_class(predictions, part)
    scores: dict[str, Score] = {}
    for kind in NEGATIVE_SETS:
        pair = {"binder": classes["binder"], kind: classes[kind]}
        replicates = None
        if n_boot and all(len(values) for values in pair.values()):
            replicates = bootstrap(pair, n_boot, seed)
        for row, name in enumerate(("auroc", "au_prc")):
            draws = None if replicates is None else replicates[row]
            scores[f"{name}_{kind}"] = _score(name, classes["binder"], classes[kind], kind, draws)
    return Scores(part=part, **scores)


def paired_difference(
    run_a: Run,
    run_b: Run,
    metric: str = "auroc_hard",
    part: str = "test",
    n_boot: int = 1000,
    seed: int = 0,
) -> Difference:
    """Score of ``run_a`` minus score of ``run_b``, both on the same resampled molecules.

    Two intervals that overlap can still hide a clear difference: easy molecules are easy for both
    runs. Drawing the same molecules for both takes that shared part out.

    Raises:
        ScoreError: an unknown metric, runs of different tasks, or different molecules.
    """
    if metric not in METRICS:
        raise ScoreError(f"paired_difference: no metric '{metric}'; there are {list(METRICS)}.")
    check_same_molecules(run_a, run_b, part)
    name, kind = metric.rsplit("_", 1)
    found = []
    for run in (run_a, run_b):
        classes = scores_by_class(run.predictions, part)
        pair = {"binder": classes["binder"], kind: classes[kind]}
        score = _score(name, pair["binder"], pair[kind], kind, None)
        if math.isnan(score.value):
            nan = math.nan
            return Difference(run_a.name, run_b.name, metric, nan, nan, nan, score.note)
        draws = bootstrap(pair, n_boot, seed)[0 if name == "auroc" else 1] if n_boot else math.nan
        found.append((score.value, draws))
    (value_a, draws_a), (value_b, draws_b) = found
    low, high = np.quantile(draws_a - draws_b, INTERVAL)  # of nothing but NaN: NaN
    return Difference(run_a.name, run_b.name, metric, value_a - value_b, float(low), float(high))


def check_same_molecules(run_a: Run, run_b: Run, part: str) -> None:
    """Refuse to compare runs that were not scored on the same labeled molecules.

    Raises:
        ScoreError: naming the difference.
    """
    both = f"'{run_a.name}' and '{run_b.name}' cannot be compared"
    prints = [str(run.task.get("fingerprint")) for run in (run_a, run_b)]
    if prints[0] != prints[1]:
        raise ScoreError(
            f"{both}: they were made on different tasks (fingerprints {prints[0][:12]} and "
            f"{prints[1][:12]}). Train both on one task."
        )
    labeled = []
    for run in (run_a, run_b):
        rows = _rows(run.predictions, part)
        labeled.append(dict(zip(rows["molecule_id"], rows["negative_set"], strict=True)))
    if labeled[0].keys() != labeled[1].keys():
        only = [len(labeled[i].keys() - labeled[1 - i].keys()) for i in (0, 1)]
        raise ScoreError(
            f"{both}: of part '{part}', {only[0]} molecules are only in the first and {only[1]} "
            "only in the second. Predict every molecule of the task with both."
        )
    changed = [molecule for molecule, kind in labeled[0].items() if labeled[1][molecule] != kind]
    if changed:
        raise ScoreError(
            f"{both}: {len(changed)} molecules have another label, first {changed[0]}. "
            "Were the labels made with other rules?"
        )


def _rows(predictions: pd.DataFrame, part: str) -> pd.DataFrame:
    """The checked predictions of one part, in an order that does not depend on the input's."""
    missing = [name for name in _COLUMNS if name not in predictions.columns]
    if missing:
        raise ScoreError(f"scores: predictions lack {missing}; expected columns {list(_COLUMNS)}.")
    rows = predictions[predictions["part"] == part].sort_values("molecule_id")
    if rows.empty:
        there = sorted(set(predictions["part"]))
        raise ScoreError(f"scores: no predictions for part '{part}'; there are {there}.")
    repeated = rows["molecule_id"].duplicated()
    if repeated.any():
        raise ScoreError(
            f"scores: molecule {rows.loc[repeated, 'molecule_id'].iloc[0]} is predicted more than "
            f"once in part '{part}'. Keep one prediction per molecule."
        )
    is_binder = rows["label"] == 1
    fits = is_binder & (rows["negative_set"] == "")
    fits |= (rows["label"] == 0) & rows["negative_set"].isin(NEGATIVE_SETS)
    if not fits.all():
        row = rows.loc[~fits].iloc[0]
        raise ScoreError(
            f"scores: molecule {row['molecule_id']} has label {row['label']} and negative_set "
            f"'{row['negative_set']}'; expected label 1 with '' or label 0 with 'easy' or 'hard'."
        )
    return rows


def scores_by_class(predictions: pd.DataFrame, part: str) -> dict[str, Floats]:
    """Scores of the binders ("binder"), the "easy" and the "hard" negatives of a part.

    Each (N,), in the order of the molecule ids, rounded to float32.

    Raises:
        ScoreError: as for :func:`score_predictions`.
    """
    rows = _rows(predictions, part)
    # A record keeps float32: judged from it, a run must get the very same numbers.
    with np.errstate(over="ignore"):
        scores = pd.to_numeric(rows["score"], errors="coerce").to_numpy(dtype=np.float32)
    bad = ~np.isfinite(scores)
    if bad.any():
        raise ScoreError(
            f"scores: {int(bad.sum())} of {len(rows)} predictions of part '{part}' are not finite "
            f"numbers, first molecule {rows['molecule_id'].iloc[int(np.argmax(bad))]}. Did the "
            "training diverge? Look at the loss curve, and try a smaller learning rate."
        )
    kinds = rows["negative_set"].to_numpy()
    return {
        "binder": scores[kinds == ""].astype(np.float64),
        "easy": scores[kinds == "easy"].astype(np.float64),
        "hard": scores[kinds == "hard"].astype(np.float64),
    }


def _score(name: str, binders: Floats, negatives: Floats, kind: str, draws: Floats | None) -> Score:
    n_binders, n_negatives = len(binders), len(negatives)
    total = n_binders + n_negatives
    prevalence = n_binders / total if total else math.nan
    if not n_binders or not n_negatives:
        note = f"no {kind} negatives" if n_binders else "no binders"
        return Score(math.nan, math.nan, math.nan, n_binders, n_negatives, prevalence, note)
    from sklearn.metrics import average_precision_score, roc_auc_score

    labels = np.repeat([1, 0], [n_binders, n_negatives])
    scores = np.concatenate([binders, negatives])
    metric = roc_auc_score if name == "auroc" else average_precision_score
    low, high = (math.nan, math.nan) if draws is None else np.quantile(draws, INTERVAL)
    note = "all scores are equal, nothing is ranked" if np.ptp(scores) == 0 else ""
    return Score(
        float(metric(labels, scores)),
        float(low),
        float(high),
        n_binders,
        n_negatives,
        prevalence,
        note,
    )
