"""``coursekit grade``: a lesson's submissions in an instructor's folder, all of them in one go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from coursekit.classroom.filing import SECRET, TIMESTAMP, carry, file_away
from coursekit.classroom.formgrader import settled
from coursekit.errors import GradingError
from coursekit.grading.cluster import ClusterWorkers
from coursekit.grading.course import Course
from coursekit.grading.feedback import feedback_content, write_page
from coursekit.grading.fleet import Places, Say, Summary, Workers, grade_class
from coursekit.grading.report import Graded
from coursekit.grading.sandbox import find_sandbox
from coursekit.grading.unit import pack
from coursekit.grading.workers import LocalWorkers


def grade_lesson(
    course: Course,
    lesson: str,
    students: Sequence[str] = (),
    jobs: int | None = None,
    scheduler: str = "",
    unsafe: bool = False,
    say: Say = lambda line: None,
) -> Summary:
    """Grade what is new or changed in ``submitted/``.

    Gradebook, ``autograded/`` and ``feedback/`` of the course are then as nbgrader's own commands
    would leave them.

    Args:
        course: the instructor's folder.
        lesson: such as "02".
        students: whose; all if none is named.
        jobs: how many submissions at a time; as many as there are processors if not given.
        scheduler: address of a Dask cluster that does the work; "" for processes of this machine.
        unsafe: go on without a sandbox where there is none.
        say: takes lines about the progress.

    Raises:
        GradingError: no such lesson or student, no submission, no sandbox, or a gradebook that
            cannot be used.
    """
    assignment = course.assignment(lesson)
    submissions = course.submissions(lesson)
    missing = sorted(set(students) - set(submissions))
    if missing or not submissions:
        raise GradingError(
            f"nothing of {lesson} was handed in by {', '.join(missing) or 'anybody'}; expected "
            f"{course.folder / 'submitted' / '<student>' / lesson}."
        )
    if students:
        submissions = {student: submissions[student] for student in students}
    rubrics = course.rubrics(lesson)

    def finish(graded: Graded, folder: Path) -> None:
        student, url = graded.student, course.db_url
        submitted = course.folder / "submitted" / student / lesson
        master = assignment.master
        trouble = file_away(graded, master, rubrics, course.late, url, submitted, folder)
        if trouble:
            say(f"{student}: {trouble}")
        page = course.folder / "feedback" / student / lesson / f"{master.name}.html"
        write_page(feedback_content(graded), page, settled(url, lesson, master, student))
        for name in (TIMESTAMP, SECRET):
            carry(submitted / name, page.parent / name)

    packed = pack(assignment, course.image, unsafe)
    workers: Workers
    if scheduler:
        workers = ClusterWorkers(packed, scheduler, course.image, unsafe)
        where = f"on the cluster of {scheduler}"
    else:
        sandbox = find_sandbox(course.image, unsafe)
        workers = LocalWorkers(packed, jobs or os.cpu_count() or 1)
        where = f"{workers.places} at a time, sandbox: {sandbox.kind}"
    say(f"{lesson}: {len(submissions)} submissions, {where}")
    try:
        places = Places(course.db_url, course.folder / "autograded", finish)
        return grade_class(assignment, submissions, places, workers, say)
    finally:
        workers.close()
