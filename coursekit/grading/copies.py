"""Runs of one class that are too much alike to have been made apart.

Two students with the same strategy, seed and task on the same kind of machine get the same numbers
honestly; the duration of a run, to the millisecond, they do not share. A run with another seed or
strategy has predictions of its own, however close its scores are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from coursekit.grading.harvest import Harvested
from coursekit.grading.verify import Layer

NEAR = 0.9999
"""Rank correlation of the predictions of two runs above which they are near-equal."""
NOISED = 0.995
"""Above it, noise was added to a copy; heads of three seeds, on the sample, reach 0.988."""
SAME_VALUES = 1e-5
"""Largest gap between two sorted, rescaled lists of scores that are one list."""


@dataclass(frozen=True)
class Entry:
    """A run with the student who handed it in."""

    student: str
    harvested: Harvested


@dataclass(frozen=True)
class Likeness:
    """Two runs of different students that are alike.

    Args:
        students: both.
        runs: names of their runs.
        kind: "same record", "same predictions", "same history", "rescaled", "near-equal or
            noised", or "permuted".
        expected: whether both did the same thing with the same seed, so that honest work can
            look like this.
        reason: for the instructor.
    """

    students: tuple[str, str]
    runs: tuple[str, str]
    kind: str
    expected: bool
    reason: str


def find_copies(entries: Sequence[Entry]) -> list[Likeness]:
    """Compare every run with every run of other students, on the same task.

    Args:
        entries: of a whole class; baselines without training may be among them and are left out.
    """
    trained = [e for e in entries if not e.harvested.run.history.empty]
    tasks: dict[str, list[Entry]] = {}
    for entry in trained:
        tasks.setdefault(entry.harvested.run.task["fingerprint"], []).append(entry)
    return [found for some in tasks.values() for found in _within_task(some)]


def copies_layer(student: str, found: Sequence[Likeness]) -> Layer:
    """What :func:`find_copies` says about one student."""
    mine = [one for one in found if student in one.students]
    if not mine:
        return Layer("copies", "runs", "holds", "no run of anybody else is like these")
    odd = [one for one in mine if not one.expected]
    if not odd:
        others = {s for one in mine for s in one.students} - {student}
        text = f"like runs of {len(others)} others with the same strategy and seed, as expected"
        return Layer("copies", "runs", "holds", text)
    text = "; ".join(
        f"{one.kind} as {one.students[1 - one.students.index(student)]}: {one.reason}"
        for one in odd[:5]
    )
    return Layer("copies", "runs", "fails", text)


def _within_task(entries: Sequence[Entry]) -> list[Likeness]:
    if len(entries) < 2:
        return []
    scores = [_scores(entry) for entry in entries]
    ranks = {i: _ranks(np.array(list(s.values()))) for i, s in enumerate(scores)}
    orders = {i: tuple(s) for i, s in enumerate(scores)}
    sorted_values = {i: _rescaled(np.sort(list(s.values()))) for i, s in enumerate(scores)}
    found = []
    for i, j in combinations(range(len(entries)), 2):
        if entries[i].student == entries[j].student:
            continue
        one, other = entries[i], entries[j]
        kind, reason = _history(one, other)
        if not kind and orders[i] == orders[j] and len(orders[i]) >= 10:
            correlation = float(ranks[i] @ ranks[j])
            a, b = np.array(list(scores[i].values())), np.array(list(scores[j].values()))
            permuted = _same_values(sorted_values[i], sorted_values[j], a, b)
            kind, reason = _predictions(a, b, correlation, permuted)
        if kind:
            expected = kind != "same record" and _same_work(one, other)
            students = (one.student, other.student)
            names = (one.harvested.run.name, other.harvested.run.name)
            found.append(Likeness(students, names, kind, expected, reason))
    return found


def _history(one: Entry, other: Entry) -> tuple[str, str]:
    a, b = one.harvested.run, other.harvested.run
    if one.harvested.digest == other.harvested.digest:
        return "same record", f"the record of {a.name} is the same to the last digit"
    seconds = a.cost.get("seconds")
    mine, theirs = (run.history["loss"].to_numpy(dtype=float) for run in (a, b))
    same_losses = len(mine) > 3 and np.array_equal(mine, theirs, equal_nan=True)
    if same_losses and seconds is not None and seconds == b.cost.get("seconds"):
        return "same record", f"{a.name}: loss history and duration ({seconds} s) are the same"
    if same_losses:
        return "same history", f"every loss of {a.name} is the same"
    return "", ""


def _predictions(
    a: np.ndarray, b: np.ndarray, correlation: float, permuted: bool
) -> tuple[str, str]:
    if np.array_equal(a, b):
        return "same predictions", "all predictions are the same"
    if _same_values(_rescaled(a), _rescaled(b), a, b):
        return "rescaled", "the predictions are the same up to a factor and an offset"
    if correlation > NEAR:
        return "near-equal or noised", f"the predictions rank alike ({correlation:.5f})"
    if correlation > NOISED:
        return "near-equal or noised", f"the ranks correlate by {correlation:.4f}"
    if permuted and len(np.unique(a)) > 10:
        return "permuted", "the same scores, given to other molecules"
    return "", ""


def _same_values(one: np.ndarray, other: np.ndarray, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two rescaled lists are one, to the digits that a record keeps of ``a`` and ``b``."""
    kept = sum(2e-7 * np.abs(x).max() / np.ptp(x) for x in (a, b) if np.ptp(x))
    return float(np.abs(one - other).max()) < SAME_VALUES + 2 * kept


def _same_work(one: Entry, other: Entry) -> bool:
    a, b = one.harvested.run, other.harvested.run
    return a.seed == b.seed and a.strategy == b.strategy


def _scores(entry: Entry) -> dict[str, float]:
    rows = entry.harvested.run.predictions.sort_values("molecule_id")
    values = rows["score"].astype(np.float32).astype(float)
    return dict(zip(rows["molecule_id"], values, strict=True))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, ties shared, centered and of length 1, so that a product is Spearman's correlation."""
    from scipy.stats import rankdata

    ranks = rankdata(values)
    ranks = ranks - ranks.mean()
    length = np.linalg.norm(ranks)
    return ranks / length if length else ranks


def _rescaled(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    width = np.ptp(values) if len(values) else 0.0
    return (values - values.min()) / width if width else np.zeros_like(values)
