"""coursekit's engine behind nbgrader's own commands and the buttons of its formgrader.

``nbgrader generate_assignment``, ``autograde`` and ``generate_feedback`` each build one converter
and call its ``start``. :func:`install`, called from a course's ``nbgrader_config.py``, puts
converters of ours in their place, so that nothing of a student is run in nbgrader's process, a
broken submission costs nobody else anything, and feedback is the sanitized page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import nbgrader.apps.api
import nbgrader.apps.autogradeapp
import nbgrader.apps.generateassignmentapp
import nbgrader.apps.generatefeedbackapp
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback, NbGraderException

from coursekit.classroom.filing import SECRET, TIMESTAMP, arrival, carry, file_away
from coursekit.classroom.formgrader import settled
from coursekit.errors import CourseKitError, GradingError
from coursekit.grading.course import Course, submitted_file
from coursekit.grading.feedback import CONTENT, write_page
from coursekit.grading.gradebook import opened, register_assignment
from coursekit.grading.lateness import settle_late
from coursekit.grading.sandbox import Sandbox, find_sandbox
from coursekit.grading.submission import Assignment, grade_submission
from coursekit.lessons.notebooks import STUB, as_text, learner_steps, source_notebook
from coursekit.lessons.source import read_source
from coursekit.storage import atomic_file

_course: Course | None = None


def install(config: Any, course: Course) -> None:
    """Let nbgrader work with a course's folder, gradebook and our converters.

    Args:
        config: what ``get_config()`` gives in ``nbgrader_config.py``.
        course: the instructor's folder.

    Raises:
        GradingError: this nbgrader keeps its converters elsewhere.
    """
    global _course
    places = {
        "Autograde": (nbgrader.apps.autogradeapp, SandboxedAutograde),
        "GenerateFeedback": (nbgrader.apps.generatefeedbackapp, PageFeedback),
        "GenerateAssignment": (nbgrader.apps.generateassignmentapp, LessonAssignment),
    }
    for name, (app, ours) in places.items():
        for module in (app, nbgrader.apps.api):
            if not hasattr(module, name):
                raise GradingError(
                    f"nbgrader {nbgrader.__version__} has no {module.__name__}.{name}; its own "
                    "autograding would run students' code without a sandbox. Install nbgrader 0.9."
                )
            setattr(module, name, ours)
    _course = course
    config.CourseDirectory.root = str(course.folder)
    config.CourseDirectory.course_id = course.course
    config.CourseDirectory.db_url = course.db_url
    config.ClearSolutions.code_stub = {"python": STUB}
    config.GenerateAssignment.preprocessors = learner_steps()


def the_course() -> Course:
    """The course that ``nbgrader_config.py`` has named.

    Raises:
        GradingError: none was named.
    """
    if _course is None:
        raise GradingError("no course was installed; nbgrader_config.py does that.")
    return _course


class SandboxedAutograde(Autograde):  # type: ignore[misc]
    """``nbgrader autograde``: each submission through :func:`grade_submission`."""

    def start(self) -> None:
        """Grade what is new, or all with ``--force``; failures never stop the others."""
        lesson = self.coursedir.assignment_id
        with _told(self.log):
            course = the_course()
            assignment = course.assignment(lesson)
            rubrics = course.rubrics(lesson)
            sandbox = find_sandbox(course.image)
            register_assignment(self.coursedir.db_url, lesson, assignment.master)
        failed, found = [], _folders(self, self._input_directory)
        if not found:
            pattern = self._format_source(lesson, self.coursedir.student_id)
            self.log.error("No submissions were matched by '%s'", pattern)
            raise NbGraderException(f"no submissions in {pattern}")
        for student, folder in found.items():
            try:
                if self._wanted(student, lesson):
                    self._grade(student, folder, assignment, sandbox, rubrics)
            except (CourseKitError, OSError, NbGraderException) as error:
                self.log.error("%s was not graded: %s", ascii(student)[:100], error)
                failed.append(student)
        if failed:
            raise NbGraderException(f"{len(failed)} of {len(found)} were not graded")

    def _wanted(self, student: str, lesson: str) -> bool:
        if student in self.coursedir.student_id_exclude.split(","):
            return False
        dest = Path(self._format_dest(lesson, student))
        if self.force or not (dest / CONTENT).is_file():
            return True
        new = arrival(Path(self._format_source(lesson, student)))[0]
        old = arrival(dest)[0]
        if new is not None and (old is None or new > old):
            return True
        self.log.info("Skipping existing assignment: %s", dest)
        return False

    def _grade(
        self,
        student: str,
        folder: Path,
        assignment: Assignment,
        sandbox: Sandbox,
        rubrics: dict[str, str],
    ) -> None:
        url, lesson = self.coursedir.db_url, assignment.name
        if not self.create_student:
            with opened(url) as book:
                if not any(one.id == student for one in book.students):
                    raise NbGraderException("no such student is in the gradebook")
        dest = Path(self._format_dest(lesson, student))
        self.log.info("Grading %s", folder)
        path = submitted_file(folder)
        graded = grade_submission(path, student, assignment, sandbox, gradebook=url, out=dest)
        trouble = file_away(
            graded, assignment.master, rubrics, the_course().late, url, folder, dest
        )
        if trouble:
            self.log.warning("%s: %s", student, trouble)
        self.log.info("%s", graded)


class PageFeedback(GenerateFeedback):  # type: ignore[misc]
    """``nbgrader generate_feedback``: our page, with the points and comments of a person."""

    def start(self) -> None:
        """Write a page for each graded submission, from what the gradebook says now."""
        lesson, url = self.coursedir.assignment_id, self.coursedir.db_url
        with _told(self.log):
            master = the_course().master(lesson)
            settle_late(url, lesson, the_course().late)
            found = _folders(self, self._input_directory)
            ready = {s: folder for s, folder in found.items() if (folder / CONTENT).is_file()}
            if not ready:
                raise GradingError(f"nothing of {lesson} is graded yet; run nbgrader autograde.")
        for student, folder in ready.items():
            dest = Path(self._format_dest(lesson, student))
            content = json.loads((folder / CONTENT).read_text(encoding="utf-8"))
            page = write_page(
                content, dest / f"{master.name}.html", settled(url, lesson, master, student)
            )
            for name in (TIMESTAMP, SECRET):
                carry(folder / name, dest / name)
            # Releasing needs both; without nbgrader's exchange nobody knows this file's name.
            for name, text in ((TIMESTAMP, ""), (SECRET, token_hex(16))):
                if not (dest / name).is_file():
                    (dest / name).write_text(text, encoding="ascii")
            self.log.info("Feedback: %s", page)


class LessonAssignment(GenerateAssignment):  # type: ignore[misc]
    """``nbgrader generate_assignment``: nbgrader's own, from a lesson's source where need be."""

    def start(self) -> None:
        """Write the instructor's version out of ``solutions/`` if it is not there, and release."""
        lesson = self.coursedir.assignment_id
        place = Path(self.coursedir.format_path(self.coursedir.source_directory, ".", lesson))
        if not any(place.glob("*.ipynb")):
            with _told(self.log):
                source = _source(the_course(), lesson)
                with atomic_file(place / f"{source.name}.ipynb") as temporary:
                    temporary.write_text(as_text(source_notebook(source)), encoding="utf-8")
            self.log.info("Made the instructor's notebook from %s", source.path)
        super().start()


def _source(course: Course, lesson: str) -> Any:
    found = sorted((course.folder / course.solutions).glob(f"{lesson}_*.py"))
    if len(found) != 1:
        raise GradingError(
            f"{(course.folder / course.solutions).resolve()} has {len(found)} sources of lesson "
            f"{lesson!r:.20}; one is needed, or a notebook in source/{lesson}."
        )
    return read_source(found[0])


def _folders(converter: Any, step: str) -> dict[str, Path]:
    """Folders of one step by student, of those students that were asked for."""
    course = converter.coursedir
    pattern = course.format_path(step, course.student_id or "*", course.assignment_id)
    match = course.format_path(step, "(?P<student>[^/]*)", course.assignment_id, escape=True)
    found = {}
    for path in sorted(Path("/").glob(pattern.lstrip("/"))):
        named = re.fullmatch(match, str(path))
        if path.is_dir() and not path.is_symlink() and named and named["student"][:1] != ".":
            found[named["student"]] = path
    return found


@contextmanager
def _told(log: Any) -> Iterator[None]:
    """Errors of ours in nbgrader's log, and as the kind that ends its command."""
    try:
        yield
    except CourseKitError as error:
        log.error("%s", error)
        raise NbGraderException(str(error)) from error
