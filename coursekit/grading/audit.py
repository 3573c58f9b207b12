"""Runs of a class, drawn by lot, trained again from their seeds and held against the claims."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from coursekit.data.binding_task import BindingTask
from coursekit.errors import CourseKitError, GradingError
from coursekit.grading.again import expected_seconds, train_again
from coursekit.grading.blind import MARGIN, SURE, standard_error
from coursekit.grading.copies import Entry
from coursekit.grading.verify import Layer, State, recomputed_scores
from coursekit.runs import Run
from coursekit.storage import write_json

SCHEMA, VERSION = "coursekit.audit", 1
FIRST_LOSSES = 3
"""Steps whose losses must be the same: rounding has not grown yet, and no other data gives them."""


LOSSES = 1e-3
"""Relative difference of the first losses, processor and processor: rounding gives 1e-6, another
dropout, batch order or head gives 5e-3 and more (FullFinetune, 320 molecules)."""
RANKS = {"same": 0.95, "other": 0.3}
"""Lowest rank correlation of test predictions. On one machine, and on two versions of torch, they
were equal to the last digit. A GPU draws other dropout from the same seed: other draws gave 0.73
with 320 molecules to train on, where another seed altogether gives 0.55."""
AUROC = 0.02
"""Largest difference of an AUROC on test, processor and processor; with a GPU, what blind molecules
are allowed: 0.03 and three standard errors."""


@dataclass(frozen=True)
class Audited:
    """One run that was drawn.

    Args:
        student: whose it is.
        run: its name.
        digest: of its record.
        state: "holds", "fails", "not verified", or "drawn" until it was trained again.
        reason: what was found.
        expected: seconds that training it again was expected to take; None where it is unknown.
    """

    student: str
    run: str
    digest: str
    state: str = "drawn"
    reason: str = ""
    expected: float | None = None

    def layer(self) -> Layer:
        """What it says about the submission."""
        state: State = self.state if self.state in ("holds", "fails") else "not verified"  # type: ignore[assignment]
        return Layer("audit", self.run, state, self.reason or "drawn, and not trained again yet")


@dataclass
class Audit:
    """The draw and what came of it so far.

    Args:
        seed: of the draw.
        fraction: of the students with runs who were drawn.
        found: by digest of the record.
    """

    seed: int
    fraction: float
    found: dict[str, Audited] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write it, whole or not at all."""
        found = [asdict(one) for one in self.found.values()]
        write_json(
            Path(path),
            {"schema": SCHEMA, "version": VERSION, "seed": self.seed, "fraction": self.fraction,
             "runs": found},
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> Audit:
        """Read what ``save`` wrote; an empty one where there is none.

        Raises:
            GradingError: the file is something else.
        """
        if not Path(path).is_file():
            return cls(0, 0.0)
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            ones = [Audited(**one) for one in data["runs"]]
            if (data["schema"], data["version"]) != (SCHEMA, VERSION):
                raise GradingError(f"it is of version {data['version']}")
            return cls(data["seed"], data["fraction"], {one.digest: one for one in ones})
        except (ValueError, KeyError, TypeError) as error:
            raise GradingError(f"{path} is no audit that can be gone on with: {error}") from error

    def layers(self, student: str, digests: Iterable[str]) -> list[Layer]:
        """What was found about the runs that a student has handed in now."""
        return [
            self.found[digest].layer()
            for digest in digests
            if digest in self.found and self.found[digest].student == student
        ]


def draw(entries: Sequence[Entry], fraction: float, seed: int) -> list[Entry]:
    """One trained run of each of so many students, drawn by lot.

    The draw depends on the seed and on who has handed in which runs, not on their order.

    Args:
        entries: all runs of a class.
        fraction: of the students who have trained something; at least one is drawn.
        seed: of the draw.
    """
    runs: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda e: (e.student, e.harvested.digest)):
        if not entry.harvested.run.history.empty:
            runs.setdefault(entry.student, []).append(entry)
    rng = np.random.default_rng([seed, 4])
    students = sorted(runs)
    number = min(len(students), max(1, math.ceil(fraction * len(students)))) if students else 0
    chosen = [students[i] for i in sorted(rng.permutation(len(students))[:number])]
    return [runs[student][int(rng.integers(len(runs[student])))] for student in chosen]


def run_audit(
    drawn: Sequence[Entry],
    tasks: Sequence[BindingTask],
    audit: Audit,
    path: str | Path,
    device: str | None = None,
    longest: float = 3_600.0,
    gpus: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Audit:
    """Train the drawn runs again, those that were not yet, and note each result at once.

    Args:
        drawn: the runs.
        tasks: the instructor's.
        audit: what was found before; goes on from there.
        path: where it is kept.
        device: "cpu" or "cuda"; the best there is by default.
        longest: seconds; a run that is expected to take longer is left out, and named.
        gpus: that students have, as in :func:`compared`.
        say: takes lines of text, the expected time first.
    """
    known = {task.fingerprint: task for task in tasks}
    left = []
    for entry in drawn:
        one = entry.harvested
        before = audit.found.get(one.digest)
        if before is not None and before.state != "drawn":
            continue
        noted = Audited(entry.student, one.run.name, one.digest)
        try:
            task = known[one.run.task["fingerprint"]]
            seconds = expected_seconds(one.run, task, device)
            noted = _with(noted, expected=seconds)
            if seconds > longest:
                raise GradingError(f"training it again would take {seconds / 60:.0f} minutes")
            left.append((noted, one.run, task))
        except (CourseKitError, KeyError) as error:
            noted = _with(noted, state="not verified", reason=str(error)[:500])
            say(f"{noted.student}, {noted.run}: not verified; {noted.reason}")
        audit.found[noted.digest] = noted
        audit.save(path)
    total = sum(noted.expected or 0.0 for noted, _, _ in left)
    say(f"{len(left)} runs to train again, about {total / 60:.1f} minutes in all")
    for noted, run, task in left:
        try:
            again = train_again(run, task, device, seconds=max(60.0, 10 * longest))
            state, reason = compared(run, again, task, gpus)
        except CourseKitError as error:
            state, reason = "not verified", str(error)[:500]
        noted = _with(noted, state=state, reason=reason)
        audit.found[noted.digest] = noted
        audit.save(path)
        say(f"{noted.student}, {noted.run}: {state}; {reason}")
    return audit


def compared(
    claimed: Run, again: Run, task: BindingTask, gpus: Sequence[str] = ()
) -> tuple[State, str]:
    """Whether a run and the same one trained again agree within the tolerance of their devices.

    What a record says of its device its owner can write. So within the wide tolerance of GPUs a run
    holds only if the course knows such a GPU; of any other it says what was found and no more.

    Args:
        claimed: by a student.
        again: made here.
        task: the instructor's.
        gpus: names of the GPUs that students have, or patterns such as "*T4*".

    Returns:
        "holds", "fails" or "not verified", and the numbers behind it.
    """
    from scipy.stats import spearmanr

    devices = [str(run.environment.get("device")) for run in (claimed, again)]
    same = devices == ["CPU", "CPU"]
    known = devices[0] == "CPU" or any(fnmatchcase(devices[0], one) for one in gpus)
    scores = []
    for run in (claimed, again):
        rows = run.predictions[run.predictions["part"] == "test"]
        scores.append(rows.set_index("molecule_id")["score"].sort_index())
    if not scores[0].index.equals(scores[1].index):
        return "fails", "other molecules are predicted than training again predicts"
    ranks = float(spearmanr(scores[0], scores[1])[0])
    try:
        both = [recomputed_scores(run, task) for run in (claimed, again)]
    except CourseKitError as error:
        return "not verified", str(error)
    losses = _first_losses(claimed, again)
    gaps, by_chance = [], True
    for name in ("auroc_easy", "auroc_hard"):
        one, other = (getattr(scores, name) for scores in both)
        gaps.append(abs(one.value - other.value))
        chance = math.hypot(standard_error(one), standard_error(other))
        by_chance &= gaps[-1] <= MARGIN + SURE * chance
    facts = (
        f"first losses differ by {losses:.1e} of themselves, ranks of the test predictions "
        f"correlate by {ranks:.4f}, AUROC differs by {max(gaps):.4f} "
        f"(on {devices[0]!a:.40} by its record, on {devices[1]!a:.40} here)"
    )
    if ranks >= RANKS["same"] and losses <= LOSSES and max(gaps) <= AUROC:
        return "holds", facts
    if not same and ranks >= RANKS["other"] and by_chance:
        if known:
            return "holds", f"{facts}, which is within what a GPU is allowed"
        return "not verified", (
            f"{facts}: near enough for a GPU, too far for a processor, and `gpus` in course.yaml "
            "does not name that device"
        )
    versions = f"versions {_versions(claimed)} there and {_versions(again)} here"
    return "fails", f"trained again from its record it is another run: {facts}; {versions}"


def _first_losses(claimed: Run, again: Run) -> float:
    """Largest relative difference of the first steps' losses; infinite where steps differ."""
    histories = (claimed.history, again.history)
    rows = [history[history["split"] == "train"].head(FIRST_LOSSES) for history in histories]
    if not np.array_equal(rows[0]["step"].to_numpy(), rows[1]["step"].to_numpy()):
        return math.inf
    one, other = (some["loss"].to_numpy(dtype=float) for some in rows)
    return float(np.max(np.abs(one - other) / np.maximum(np.abs(other), 1e-9), initial=0.0))


def _versions(run: Run) -> str:
    versions = run.environment.get("versions")
    versions = versions if isinstance(versions, Mapping) else {}
    return ", ".join(f"{name} {versions.get(name)!s:.20}" for name in ("torch", "coursekit"))


def _with(one: Audited, **changed: Any) -> Audited:
    return Audited(**(asdict(one) | changed))
