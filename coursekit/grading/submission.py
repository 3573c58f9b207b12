"""One submission, from the file that was handed in to its grades, its feedback and its report.

Whatever is handed in, exactly one state comes out; nothing in here raises for what a student did.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from coursekit.checks import Check, Exercise
from coursekit.checks.fresh import packed
from coursekit.checks.plain import from_plain
from coursekit.checks.truth import task_named
from coursekit.data.binding_task import BindingTask
from coursekit.data.blind import BlindSet
from coursekit.errors import CourseKitError, SubmissionError
from coursekit.grading import files as intake
from coursekit.grading.blind import verify_blind
from coursekit.grading.execute import Code, Execution, execute
from coursekit.grading.feedback import write_feedback
from coursekit.grading.gradebook import CellGrade, check_student_id, record_grades
from coursekit.grading.harvest import Harvest, harvest, profile_in
from coursekit.grading.judge import Judged, answers_of, drawn, judge_notebook
from coursekit.grading.master import Master
from coursekit.grading.notebook import Notebook, read_notebook
from coursekit.grading.personal import Personal
from coursekit.grading.rebuild import Rebuilt, rebuild
from coursekit.grading.report import Graded, state_of
from coursekit.grading.sandbox import Limits, Room
from coursekit.grading.verify import Layer, verify_runs, verify_table, with_shares
from coursekit.grading.weights import verify_weights
from coursekit.runs import Run


@dataclass(frozen=True)
class Assignment:
    """What submissions are held against.

    Args:
        name: of the assignment in the gradebook.
        master: the notebook that students were given.
        exercises: what is checked, in order.
        tasks: the instructor's binding tasks, by whose labels runs are judged; runs of other
            tasks are named and do not count.
        hidden: checks that students do not see.
        hidden_digest: of their source, so that a change of it is one of the assignment.
        limits: of the sandbox.
        intake: limits of what may be handed in.
        train: whether ``fit`` may train in the sandbox where no record was handed in.
        threads: for numerical libraries in the sandbox.
        blind: molecules that students predict blind, with the labels; never given to the sandbox.
        personal: how each student was given a task of their own; None where all have the same.
    """

    name: str
    master: Master
    exercises: tuple[Exercise, ...]
    tasks: tuple[BindingTask, ...] = ()
    hidden: Mapping[str, Check] = field(default_factory=dict)
    hidden_digest: str = ""
    limits: Limits = field(default_factory=Limits)
    intake: intake.Limits = field(default_factory=intake.Limits)
    train: bool = False
    threads: int = 1
    blind: tuple[BlindSet, ...] = ()
    personal: Personal | None = None

    def of(self, student: str) -> Assignment:
        """The assignment as one student was given it."""
        if self.personal is None:
            return self
        own = task_named(self.personal.task_name(student))
        return replace(self, master=self.personal.master(self.master, student), tasks=(own,))


def grade_submission(
    path: str | Path,
    student: str,
    assignment: Assignment,
    sandbox: Room,
    gradebook: str | None = None,
    out: str | Path | None = None,
) -> Graded:
    """Grade what one student handed in.

    Args:
        path: a notebook, a folder or a zip.
        student: id, as in the gradebook.
        assignment: what it is held against.
        sandbox: where the code is run.
        gradebook: SQLAlchemy URL; None records nothing.
        out: folder for ``report.json`` and ``feedback.html``; None writes none.

    Returns:
        The outcome, in one of three states.

    Raises:
        GradingError: the student id or the gradebook cannot be used. What is wrong with the
            submission is never raised.
    """
    check_student_id(student)
    try:
        files: intake.Files | str = intake.read_files(path, assignment.intake)
    except SubmissionError as error:
        files = str(error)
    graded = grade_files(files, student, assignment, sandbox)
    if gradebook is not None:
        record_grades(
            gradebook,
            assignment.name,
            assignment.master,
            student,
            cell_grades(graded, assignment.master),
            flagged=graded.state == "needs a person",
        )
    if out is not None:
        graded.save(out)
        write_feedback(graded, out)
    return graded


def grade_files(
    files: intake.Files | str, student: str, assignment: Assignment, sandbox: Room
) -> Graded:
    """Grade what was read of a submission: the outcome follows from the arguments alone.

    Args:
        files: content of what was handed in; or why it could not be read.
        student: id.
        assignment: what it is held against.
        sandbox: where the code is run.

    Returns:
        The outcome, in one of three states; nothing is raised.
    """
    start = time.monotonic()
    try:
        if isinstance(files, str):
            raise SubmissionError(files)
        graded = _grade(files, student, assignment, sandbox)
    except SubmissionError as error:
        graded = ungraded(student, assignment, f"it could not be read: {error}")
    except CourseKitError as error:
        graded = ungraded(student, assignment, f"grading stopped: {error}", fault=True)
    except Exception as error:  # a fault of ours: the class goes on, and somebody looks at this
        reason = f"grading broke down ({type(error).__name__}: {str(error)[:300]})"
        graded = ungraded(student, assignment, reason, fault=True)
    return replace(graded, seconds=time.monotonic() - start)


def _grade(files: intake.Files, student: str, assignment: Assignment, sandbox: Room) -> Graded:
    assignment = assignment.of(student)
    name, notebook, rebuilt = _choose(files, assignment.master)
    everything = claimed = harvest(notebook.html(), files.records)
    if assignment.tasks:
        tasks = with_shares(assignment.tasks, [one.run for one in claimed.runs])
        assignment = replace(assignment, tasks=tasks)
        claimed = claimed.for_task(task.fingerprint for task in assignment.tasks)
    # From the file itself: the same again for the same file, and nobody's to know beforehand.
    fresh = drawn(assignment.hidden, int(sha256(files.notebooks[name]).hexdigest()[:15], 16))
    execution = execute(
        [Code(cell.number, cell.source) for cell in rebuilt.code],
        sandbox,
        assignment.limits,
        records=[one.record for one in claimed.runs] + [one.record() for one in claimed.blind],
        exercises={one.id: one.answers for one in assignment.exercises},
        train=assignment.train,
        threads=assignment.threads,
        # What is to be trained here takes as little as shows it; a record fits its own settings.
        profile="quick" if assignment.train and not claimed.runs else profile_in(notebook.html()),
        fresh={exercise: packed(calls) for exercise, calls in fresh.items()},
    )
    judged = judge_notebook(
        assignment.exercises, rebuilt, execution, assignment.hidden, assignment.tasks, fresh
    )
    layers = _verify(assignment, rebuilt, execution, claimed, files.weights)
    if assignment.personal is not None:
        layers += assignment.personal.layers(
            student,
            [one.run for one in everything.runs],
            {e.id: _answers(e, rebuilt, execution) for e in assignment.exercises},
            assignment.tasks[0],
        )
    reasons = [one.person for one in judged if one.person]
    reasons += [str(layer) for layer in layers if layer.state == "fails"]
    digest = sha256(files.notebooks[name])
    for record in sorted(files.records):
        digest.update(files.records[record])
    return Graded(
        student=student,
        assignment=assignment.name,
        state=state_of(judged, reasons),
        reasons=tuple(reasons),
        judged=tuple(judged),
        layers=tuple(layers),
        findings=(*files.notices, *rebuilt.findings, *claimed.notices, *execution.notices),
        digest=digest.hexdigest(),
        sandbox=sandbox.kind,
        warning=execution.warning,
        rebuilt=rebuilt,
        execution=execution,
    )


def ungraded(student: str, assignment: Assignment, reason: str, fault: bool = False) -> Graded:
    """The outcome of a submission that could not be graded: a person has to look at all of it.

    Args:
        student: id.
        assignment: what it would have been held against.
        reason: why.
        fault: whether grading is to blame, and not what was handed in.
    """
    judged = tuple(
        Judged(e.id, "cannot be checked", 0.0, e.points, "A person will look at it.", reason)
        for e in assignment.exercises
    )
    return Graded(student, assignment.name, "needs a person", (reason,), judged, fault=fault)


def _choose(files: intake.Files, master: Master) -> tuple[str, Notebook, Rebuilt]:
    """The notebook of this assignment among those handed in.

    Raises:
        SubmissionError: none can be read, or two of them could be meant.
    """
    found: dict[str, tuple[Notebook, Rebuilt]] = {}
    problems: list[str] = []
    for name, content in sorted(files.notebooks.items()):
        try:
            notebook = read_notebook(content)
            found[name] = (notebook, rebuild(master, notebook))
        except SubmissionError as error:
            problems.append(str(error) if len(files.notebooks) == 1 else f"{name!a:.80}: {error}")
    if not found:
        raise SubmissionError("; ".join(problems)[:1000])
    for problem in problems:
        files.notice(f"{problem} (another notebook was graded)")

    def worth(name: str) -> tuple[bool, int]:
        cells = found[name][1].cells
        own = sum(c.touched and c.master is not None and c.master.editable for c in cells)
        return Path(name).stem == master.name, own

    best = max(map(worth, found))
    names = [name for name in found if worth(name) == best]
    if len(names) > 1:
        different = {files.notebooks[name] for name in names}
        if len(different) > 1:
            shown = ", ".join(ascii(name)[:60] for name in names[:5])
            raise SubmissionError(f"several notebooks could be meant: {shown}")
    if len(found) > 1:
        files.notice(f"of {len(found)} notebooks {ascii(names[0])[:80]} was graded")
    return names[0], *found[names[0]]


def _verify(
    assignment: Assignment,
    rebuilt: Rebuilt,
    execution: Execution,
    claimed: Harvest,
    weights: Mapping[str, bytes],
) -> list[Layer]:
    """All layers over the runs that were handed in, and over the tables among the answers."""
    if not assignment.tasks:
        return []
    layers: list[Layer] = []
    for task in assignment.tasks:
        mine = claimed.for_task([task.fingerprint]).runs
        if not mine and len(assignment.tasks) > 1:
            continue
        layers += verify_runs(mine, task)
        if weights or mine:
            trained = [one.run for one in mine if not one.run.history.empty]
            layers += [verify_weights(run, weights, task) for run in trained]
        for blind in assignment.blind:
            if blind.task == task.fingerprint:
                layers += [
                    verify_blind(one, claimed.blind, blind, task)
                    for one in mine
                    if not one.run.history.empty
                ]
        runs = {f"{one.run.name}": one.run for one in mine}
        for exercise in assignment.exercises:
            for name, value in _answers(exercise, rebuilt, execution).items():
                if isinstance(value, Run):
                    layers.append(_origin(exercise.id, name, value, claimed))
                    runs[name] = value
            for name, value in _answers(exercise, rebuilt, execution).items():
                layer = verify_table(f"{exercise.id} {name}", value, runs, task)
                layers += [layer] if layer is not None else []
    return layers


def _answers(exercise: Exercise, rebuilt: Rebuilt, execution: Execution) -> dict[str, object]:
    read: dict[str, object] = {}
    for name, value in (answers_of(exercise.id, rebuilt, execution) or {}).items():
        try:
            read[name] = from_plain(value)
        except CourseKitError:
            continue  # the judge has said so
    return read


def _origin(exercise: str, name: str, run: Run, claimed: Harvest) -> Layer:
    subject = f"{exercise} {name!a:.40}"
    try:
        text = json.dumps(run.record(), sort_keys=True)
    except CourseKitError as error:
        return Layer("origin", subject, "not verified", str(error))
    if sha256(text.encode()).hexdigest() in {one.digest for one in claimed.runs}:
        return Layer("origin", subject, "holds", "the run whose record was handed in")
    if any(_same_outcome(run, one.run) for one in claimed.runs):
        return Layer("origin", subject, "holds", "made again here, as in the record handed in")
    return Layer("origin", subject, "not verified", "its record is not in the submission")


def _same_outcome(run: Run, other: Run) -> bool:
    """Whether two runs did the same and predict the same: baselines are made again in seconds."""
    same = (run.strategy, run.task["fingerprint"], run.seed) == (
        other.strategy,
        other.task["fingerprint"],
        other.seed,
    )
    scores = [r.predictions.set_index("molecule_id")["score"].sort_index() for r in (run, other)]
    return (
        same
        and scores[0].index.equals(scores[1].index)
        and bool((abs(scores[0] - scores[1]) < 1e-5).all())
    )


def cell_grades(graded: Graded, master: Master) -> list[CellGrade]:
    """The outcome by cells of the gradebook.

    Args:
        graded: a submission.
        master: whose cells have points.
    """
    by_id = {one.exercise: one for one in graded.judged}
    touched = {
        cell.master.grade_id: cell.touched
        for cell in (graded.rebuilt.cells if graded.rebuilt else ())
        if cell.master is not None
    }
    grades = []
    for cell in master.cells:
        if cell.role not in ("check", "written"):
            if cell.role == "solution":
                comment = _comment(by_id, cell.mentions)
                grades.append(CellGrade(cell.grade_id, None, False, comment))
            continue
        ones = [by_id[e] for e in dict.fromkeys((*cell.checks, *cell.mentions)) if e in by_id]
        if graded.rebuilt is None:
            grades.append(CellGrade(cell.grade_id, None, True, "; ".join(graded.reasons)))
        elif cell.role == "written" or any(one.by_person for one in ones):
            empty = (
                not touched.get(cell.grade_id, False)
                if cell.role == "written"
                else (all(one.state == "not attempted" for one in ones))
            )
            text = "No response." if empty else _comment(by_id, cell.mentions)
            grades.append(CellGrade(cell.grade_id, 0.0 if empty else None, not empty, text))
        elif not ones:
            text = "no exercise of this cell is known"
            grades.append(CellGrade(cell.grade_id, None, True, text))
        else:
            grades.append(_checked_cell(cell.grade_id, cell.points, ones))
    return grades


def _checked_cell(grade_id: str, points: float, ones: Sequence[Judged]) -> CellGrade:
    most = sum(one.max_points for one in ones)
    share = sum(one.points for one in ones) / most if most else 0.0
    person = any(one.person for one in ones)
    comment = " ".join(one.message for one in ones)
    return CellGrade(grade_id, points * min(max(share, 0.0), 1.0), person, comment)


def _comment(by_id: Mapping[str, Judged], exercises: Sequence[str]) -> str:
    ones = [by_id[e] for e in exercises if e in by_id]
    return " ".join(f"{one.exercise}: {one.state}. {one.message}" for one in ones)
