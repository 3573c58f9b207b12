"""A lesson's class as a whole: copies, the audit, and the page that shows them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from coursekit.data import BindingTask
from coursekit.errors import GradingError, TaskError
from coursekit.grading.audit import Audit, draw, run_audit
from coursekit.grading.class_page import write_class_page
from coursekit.grading.classwork import (
    Classwork,
    RunScores,
    class_entries,
    review,
    score_run,
)
from coursekit.grading.copies import Entry
from coursekit.grading.course import Course
from coursekit.grading.gradebook import flag
from coursekit.grading.submission import Assignment
from coursekit.storage import write_json
from coursekit.version import __version__

Say = Callable[[str], None]
AUDIT_SEED = 0
REFERENCES = 3
"""Tasks for which a reference is made: a profile's share each."""


def review_lesson(course: Course, lesson: str) -> tuple[Classwork, Path]:
    """Look for copies, join the audit, and write the class page.

    Reports get the layers of the class; a submission that needs a person because of them is
    flagged in the gradebook. Whoever looks may do so any number of times.

    Args:
        course: the instructor's folder.
        lesson: such as "02".

    Returns:
        The class, and the page's path.

    Raises:
        GradingError: nothing of the lesson has been graded.
    """
    assignment = course.assignment(lesson)
    reports = _reports(course, lesson)
    if not reports:
        raise GradingError(f"nothing of {lesson} is graded yet; run coursekit grade {lesson}.")
    submissions = {s: p for s, p in course.submissions(lesson).items() if s in reports}
    tasks_of = partial(_tasks_of, course, assignment)
    entries, tasks = class_entries(submissions, tasks_of, assignment.intake)
    work = review(
        lesson,
        reports,
        entries,
        tasks,
        references(course, lesson, _most_used(entries, tasks)),
        Audit.load(_folder(course, lesson) / "audit.json"),
    )
    for student, report in work.reports.items():
        if report != reports[student]:
            write_json(_report(course, student, lesson), report)
            if report["state"] == "needs a person":
                flag(course.db_url, lesson, assignment.master.name, student)
    return work, write_class_page(work, _folder(course, lesson) / "index.html")


def audit_lesson(
    course: Course,
    lesson: str,
    fraction: float,
    students: Sequence[str] = (),
    seed: int = AUDIT_SEED,
    device: str | None = None,
    longest: float = 3_600.0,
    say: Say = lambda line: None,
) -> Audit:
    """Train a drawn sample of a class's runs again; called again, it goes on.

    Args:
        course: the instructor's folder.
        lesson: such as "02".
        fraction: of the students with runs.
        students: audit these, every one of them, in place of a drawn sample.
        seed: of the draw.
        device: "cpu" or "cuda"; the best there is by default.
        longest: seconds that one run may be expected to take.
        say: takes lines about the progress.

    Raises:
        GradingError: no such lesson or student, or no trained run.
    """
    assignment = course.assignment(lesson)
    submissions = course.submissions(lesson)
    tasks_of = partial(_tasks_of, course, assignment)
    entries, tasks = class_entries(submissions, tasks_of, assignment.intake)
    if students:
        missing = sorted(set(students) - {entry.student for entry in entries})
        if missing:
            raise GradingError(f"no run of {lesson} was handed in by {', '.join(missing)}.")
        entries = [entry for entry in entries if entry.student in students]
    drawn = draw(entries, 1.0 if students else fraction, seed)
    if not drawn:
        raise GradingError(f"no trained run of {lesson} has been handed in.")
    path = _folder(course, lesson) / "audit.json"
    audit = Audit.load(path)
    if not students:
        audit.seed, audit.fraction = seed, fraction
    say(f"drawn: {', '.join(one.student for one in drawn)}")
    return run_audit(drawn, tasks, audit, path, device, longest, course.gpus, say)


def references(course: Course, lesson: str, tasks: Sequence[BindingTask]) -> tuple[RunScores, ...]:
    """The instructor's own runs: those in the lesson's executed solution, else a forest.

    Args:
        course: the instructor's folder.
        lesson: such as "02".
        tasks: the instructor's.
    """
    solutions = course.folder / course.solutions
    found = {path.stem: path for path in sorted(solutions.glob(f"{lesson}_*.ipynb"))}
    entries, of_solution = class_entries(found, lambda name: tasks)
    known = {task.fingerprint: task for task in of_solution}
    runs = [
        score_run(Entry("", one.harvested), known[one.harvested.run.task["fingerprint"]])
        for one in entries
    ]
    if runs:
        return tuple(runs)
    return tuple(_forest(course, task) for task in tasks)


def _forest(course: Course, task: BindingTask) -> RunScores:
    """A random forest on fingerprints, made once for a task."""
    from coursekit.evaluation import fingerprint_baseline
    from coursekit.grading.verify import recomputed_scores
    from coursekit.runs import Run

    folder = course.folder / "class" / f"reference-{task.fingerprint[:12]}"
    if (folder / "record.json").is_file():
        run = Run.load(folder)
    else:
        run = fingerprint_baseline(task, "forest")
        run.save(folder)
    return RunScores("", run.name, recomputed_scores(run, task))


def _tasks_of(course: Course, assignment: Assignment, student: str) -> tuple[BindingTask, ...]:
    """What a student was to work on; a task of their own is drawn once, and then kept."""
    if assignment.personal is None:
        return assignment.tasks
    name = assignment.personal.task_name(student)
    folder = course.folder / "class" / "tasks" / f"{name}-{__version__}"
    try:
        return (BindingTask.load(folder),)
    except TaskError:
        (task,) = assignment.of(student).tasks
        task.save(folder)
        return (task,)


def _most_used(entries: Sequence[Entry], tasks: Sequence[BindingTask]) -> list[BindingTask]:
    """The tasks that most runs were made on: a lesson does another share in each profile."""
    counts = Counter(entry.harvested.run.task["fingerprint"] for entry in entries)
    known = {task.fingerprint: task for task in tasks}
    return [known[fingerprint] for fingerprint, _ in counts.most_common(REFERENCES)]


def _folder(course: Course, lesson: str) -> Path:
    return course.folder / "class" / lesson


def _report(course: Course, student: str, lesson: str) -> Path:
    return course.folder / "autograded" / student / lesson / "report.json"


def _reports(course: Course, lesson: str) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted((course.folder / "autograded").glob(f"*/{lesson}/report.json")):
        try:
            found[path.parent.parent.name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # a grader is writing it, or it will be graded again
    return found
