"""What can only be said of a whole class: copies, the audit, and each run's scores side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coursekit.data.binding_task import BindingTask
from coursekit.errors import CourseKitError
from coursekit.evaluation.metrics import Scores
from coursekit.grading.audit import Audit
from coursekit.grading.copies import Entry, Likeness, copies_layers, find_copies
from coursekit.grading.files import Limits, read_files
from coursekit.grading.harvest import Harvest, harvest
from coursekit.grading.notebook import read_notebook
from coursekit.grading.verify import Layer, recomputed_scores, with_shares

OF_CLASS = ("copies", "audit")
"""Layers that follow from the class, not from the submission."""


@dataclass(frozen=True)
class RunScores:
    """One run of a student, under the instructor's labels.

    Args:
        student: whose it is; "" for a reference.
        name: of the run.
        scores: of its test predictions; None where they cannot be scored.
    """

    student: str
    name: str
    scores: Scores | None

    def value(self, metric: str) -> float | None:
        """One of the four scores, None where there is none."""
        return None if self.scores is None else float(getattr(self.scores, metric).value)


@dataclass(frozen=True)
class Classwork:
    """A class as its page shows it.

    Args:
        lesson: which.
        reports: by student, with the layers of the class.
        runs: every run that was handed in.
        references: the instructor's.
        copies: every pair of runs that are alike.
        audit: of drawn runs.
    """

    lesson: str
    reports: Mapping[str, Mapping[str, Any]]
    runs: tuple[RunScores, ...] = ()
    references: tuple[RunScores, ...] = ()
    copies: tuple[Likeness, ...] = ()
    audit: Audit = field(default_factory=lambda: Audit(0, 0.0))


def class_entries(
    submissions: Mapping[str, Path],
    tasks_of: Callable[[str], Sequence[BindingTask]],
    limits: Limits | None = None,
) -> tuple[list[Entry], tuple[BindingTask, ...]]:
    """Every run of a class; what cannot be read has been reported already.

    Args:
        submissions: by student, a notebook, folder or zip.
        tasks_of: a student's tasks. Runs on shares of them are as good.
        limits: of what is taken in.

    Returns:
        The runs that were made on anybody's task, so that one on a neighbor's is compared as well;
        and the tasks, with those shares of them that runs were made on.
    """
    known: dict[str, BindingTask] = {}
    claimed: dict[str, Harvest] = {}
    for student, path in sorted(submissions.items()):
        try:
            files = read_files(path, limits or Limits())
        except (CourseKitError, OSError):
            continue
        html: list[str] = []
        for content in files.notebooks.values():
            try:
                html += read_notebook(content).html()
            except CourseKitError:
                continue
        claimed[student] = harvest(html, files.records)
        runs = [one.run for one in claimed[student].runs]
        runs = [run for run in runs if run.task["fingerprint"] not in known]
        known |= {task.fingerprint: task for task in with_shares(tasks_of(student), runs)}
    entries = [
        Entry(student, one) for student in claimed for one in claimed[student].for_task(known).runs
    ]
    return entries, tuple(known.values())


def review(
    lesson: str,
    reports: Mapping[str, Mapping[str, Any]],
    entries: Sequence[Entry],
    tasks: Sequence[BindingTask],
    references: Iterable[RunScores] = (),
    audit: Audit | None = None,
) -> Classwork:
    """Look at a class as a whole.

    Args:
        lesson: which.
        reports: by student, as grading one submission wrote them.
        entries: from :func:`class_entries`.
        tasks: that runs were made on, from :func:`class_entries`.
        references: the instructor's own runs.
        audit: what training again has found.

    Returns:
        The class, its reports with the layers *copies* and *audit*; a layer that fails makes a
        submission one for a person.
    """
    audit = audit or Audit(0, 0.0)
    mine: dict[str, list[Entry]] = {student: [] for student in reports}
    for entry in entries:
        mine.setdefault(entry.student, []).append(entry)
    copies = find_copies(entries)
    alike = copies_layers(mine, copies)
    amended = {}
    for student, report in sorted(reports.items()):
        trained = [e for e in mine[student] if not e.harvested.run.history.empty]
        layers = [alike[student]] if trained else []
        layers += audit.layers(student, (e.harvested.digest for e in mine[student]))
        amended[student] = with_layers(report, layers)
    known = {task.fingerprint: task for task in tasks}
    runs = [score_run(e, known[e.harvested.run.task["fingerprint"]]) for e in entries]
    return Classwork(lesson, amended, tuple(runs), tuple(references), tuple(copies), audit)


def score_run(entry: Entry, task: BindingTask) -> RunScores:
    """A run's scores under the instructor's labels."""
    run = entry.harvested.run
    try:
        return RunScores(entry.student, run.name, recomputed_scores(run, task))
    except CourseKitError:
        return RunScores(entry.student, run.name, None)


def with_layers(report: Mapping[str, Any], layers: Sequence[Layer]) -> dict[str, Any]:
    """A report with the layers of the class in place of those it may have had.

    Whoever needs a person for another reason still does; whoever needed one only for a layer that
    is gone does not any more.
    """
    own = [one for one in report["layers"] if one["name"] not in OF_CLASS]
    starts = tuple(f"{name} of " for name in OF_CLASS)
    reasons = [why for why in report["reasons"] if not why.startswith(starts)]
    reasons += [str(layer) for layer in layers if layer.state == "fails"]
    waiting = any(
        one["by_person"] and one["state"] != "not attempted" for one in report["exercises"]
    )
    state = "needs a person" if reasons else "partial" if waiting else "graded"
    return {
        **report,
        "state": state,
        "reasons": reasons,
        "layers": [*own, *(layer.to_plain() for layer in layers)],
    }
