"""Runs of one class that are too much alike to have been made apart.

Two students with the same strategy, seed and task on the same kind of machine get the same numbers
honestly; the duration of a run, to the millisecond, they do not share. A run with another seed or
strategy has predictions of its own, however close its scores are.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from typing import Any

import numpy as np

from coursekit.grading.harvest import Harvested
from coursekit.grading.verify import Layer

NOISED = 0.995
"""Rank correlation of the predictions of two runs above which one is the other, noise or not."""
SAME_VALUES = 1e-5
"""Largest gap between two rescaled lists of scores that are one list."""
SAME = "same record"
NEARLY = "near-equal or noised"
Found = tuple[set[tuple[int, int]], str, str]
"""Pairs of places, their kind, and the reason."""


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

    All pairs at once, as matrices: a thousand runs of a thousand molecules take seconds.

    Args:
        entries: of a whole class; baselines without training may be among them and are left out.

    Returns:
        Each pair once, for the plainest of its likenesses.
    """
    trained = [e for e in entries if not e.harvested.run.history.empty]
    tasks: dict[str, list[Entry]] = {}
    for entry in trained:
        tasks.setdefault(entry.harvested.run.task["fingerprint"], []).append(entry)
    return [found for some in tasks.values() for found in _within_task(some)]


def copies_layers(students: Iterable[str], found: Sequence[Likeness]) -> dict[str, Layer]:
    """What :func:`find_copies` says about each student."""
    mine: dict[str, list[Likeness]] = {student: [] for student in students}
    for one in found:
        for student in one.students:
            mine.setdefault(student, []).append(one)
    return {student: _layer(student, some) for student, some in mine.items()}


def _layer(student: str, mine: Sequence[Likeness]) -> Layer:
    if not mine:
        return Layer("copies", "runs", "holds", "no run of anybody else is like these")
    odd = [one for one in mine if not one.expected]
    if not odd:
        others = {s for one in mine for s in one.students} - {student}
        people = "one other" if len(others) == 1 else f"{len(others)} others"
        text = f"like runs of {people} who did the same, as expected: {mine[0].reason}"
        return Layer("copies", "runs", "holds", text)
    text = "; ".join(
        f"{one.kind} as {one.students[1 - one.students.index(student)]}: {one.reason}"
        for one in odd[:5]
    )
    more = f"; and {len(odd) - 5} more" if len(odd) > 5 else ""
    return Layer("copies", "runs", "fails", text + more)


def _within_task(entries: Sequence[Entry]) -> list[Likeness]:
    kinds: dict[tuple[int, int], tuple[str, str]] = {}
    # The plainest likeness first: a pair that is found twice keeps what was said first.
    for pairs, kind, reason in (*_by_history(entries), *_by_predictions(entries)):
        for pair in pairs:
            kinds.setdefault(pair, (kind, reason))
    found = []
    for (i, j), (kind, reason) in sorted(kinds.items()):
        one, other = entries[i], entries[j]
        if one.student == other.student:
            continue
        honest = _same_work(one, other)
        if kind == NEARLY and not honest and _heads_alone(one, other):
            honest, reason = True, f"{reason}; a head alone comes to one place from any seed"
        names = (one.harvested.run.name, other.harvested.run.name)
        found.append(
            Likeness((one.student, other.student), names, kind, honest and kind != SAME, reason)
        )
    return found


def _by_history(entries: Sequence[Entry]) -> Iterator[Found]:
    """Pairs with one record, one loss history and duration, or one loss history."""
    digests, losses, durations = [], [], []
    for number, entry in enumerate(entries):
        run = entry.harvested.run
        loss = run.history["loss"].to_numpy(dtype=float)
        digests.append(entry.harvested.digest)
        losses.append(loss.tobytes() if len(loss) > 3 else number)
        seconds = run.cost.get("seconds")
        durations.append(number if seconds is None else (losses[-1], seconds))
    yield _equal(digests), SAME, "the records are the same to the last digit"
    yield _equal(durations), SAME, "loss history and duration are the same"
    yield _equal(losses), "same history", "every loss is the same"


def _by_predictions(entries: Sequence[Entry]) -> Iterator[Found]:
    """Pairs whose predictions for the same molecules are alike."""
    from scipy.spatial.distance import pdist
    from scipy.stats import rankdata

    molecules: dict[bytes, list[int]] = {}
    scores = {}
    for number, entry in enumerate(entries):
        rows = entry.harvested.run.predictions.sort_values("molecule_id")
        scores[number] = rows["score"].to_numpy(dtype=np.float32).astype(float)
        names = "\n".join(rows["molecule_id"]).encode("utf-8", "surrogatepass")
        molecules.setdefault(sha256(names).digest(), []).append(number)
    for numbers in molecules.values():
        values = np.stack([scores[number] for number in numbers])  # (runs, molecules)
        if len(numbers) < 2 or values.shape[1] < 10:
            continue
        pairs = [(a, b) for n, a in enumerate(numbers) for b in numbers[n + 1 :]]
        first, second = np.triu_indices(len(numbers), k=1)
        width = np.ptp(values, axis=1)
        rescaled = (values - values.min(axis=1)[:, None]) / np.where(width, width, 1.0)[:, None]
        # A record keeps seven digits of a score, of which fewer are left after rescaling.
        kept = np.where(width, 2e-7 * np.abs(values).max(axis=1) / np.where(width, width, 1.0), 0)
        limit = SAME_VALUES + 2 * (kept[first] + kept[second])
        ranks = rankdata(values, axis=1)
        ranks -= ranks.mean(axis=1)[:, None]
        length = np.linalg.norm(ranks, axis=1)[:, None]
        ranks = np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
        correlation = (ranks @ ranks.T)[first, second]  # Spearman's
        varied = np.array([len(np.unique(row)) > 10 for row in values])
        same = _equal([row.tobytes() for row in values])
        yield {(numbers[i], numbers[j]) for i, j in same}, "same predictions", "all are the same"
        chosen = (pdist(rescaled, "chebyshev") < limit) & (width[first] * width[second] > 0)
        yield _where(pairs, chosen), "rescaled", "the same up to a factor and an offset"
        for n in np.flatnonzero(correlation > NOISED).tolist():
            yield {pairs[n]}, NEARLY, f"the predictions' ranks correlate by {correlation[n]:.5f}"
        chosen = pdist(np.sort(rescaled, axis=1), "chebyshev") < limit
        chosen &= varied[first] & varied[second]
        yield _where(pairs, chosen), "permuted", "the same scores, given to other molecules"


def _equal(keys: Sequence[Hashable]) -> set[tuple[int, int]]:
    """Pairs of places with equal keys."""
    places: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return {pair for some in places.values() for pair in combinations(some, 2)}


def _where(pairs: Sequence[tuple[int, int]], chosen: np.ndarray) -> set[tuple[int, int]]:
    return {pairs[n] for n in np.flatnonzero(chosen).tolist()}


def _same_work(one: Entry, other: Entry) -> bool:
    a, b = one.harvested.run, other.harvested.run
    return a.seed == b.seed and a.strategy == b.strategy


def _heads_alone(one: Entry, other: Entry) -> bool:
    """Whether both trained nothing but the head, whose one best place every seed finds."""
    return all(_trained(entry.harvested.run.strategy.get("phases")) == {"head"}
               for entry in (one, other))  # fmt: skip


def _trained(phases: Any) -> set[str]:
    groups: set[str] = set()
    for phase in phases if isinstance(phases, list) else ():
        rates = phase.get("learning_rates") if isinstance(phase, Mapping) else None
        groups |= set(rates) if isinstance(rates, Mapping) else {"?"}
    return groups
