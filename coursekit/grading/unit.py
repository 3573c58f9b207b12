"""The unit of work of a class: one submission, from its files to what it is graded as, anywhere.

A unit and an assignment are all that a worker needs; it shares no folder, gradebook or state with
the process that asked, and the same arguments give the same outcome on every machine.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from coursekit.errors import SubmissionError
from coursekit.grading.files import Files, read_files
from coursekit.grading.fork_server import ForkServer
from coursekit.grading.report import Graded
from coursekit.grading.sandbox import Room, find_sandbox
from coursekit.grading.submission import Assignment, grade_files
from coursekit.version import __version__

PATIENCE = 600
"""Seconds that a submission may take besides running its notebook, before its process is ended."""


_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Unit:
    """One submission to grade.

    Args:
        student: id.
        files: what was handed in; or why it could not be read.
        key: digest of everything that the outcome follows from.
    """

    student: str
    files: Files | str
    key: str


def read_unit(student: str, path: str | Path, assignment: Assignment, rules: str) -> Unit:
    """Read a submission; its key changes with its content, and with what it is held against.

    Args:
        student: id.
        path: a notebook, a folder or a zip.
        assignment: for its limits.
        rules: digest of the assignment, from :func:`digest`.
    """
    content = sha256(rules.encode())
    try:
        files = read_files(path, assignment.intake)
    except SubmissionError as error:
        content.update(str(error).encode())
        return Unit(student, str(error), content.hexdigest())
    for kind in (files.notebooks, files.records, files.weights):
        for name in sorted(kind):
            content.update(repr((name, sha256(kind[name]).hexdigest())).encode())
    content.update(repr(files.notices).encode())
    return Unit(student, files, content.hexdigest())


def digest(assignment: Assignment) -> str:
    """A digest of the kit's version and of everything in an assignment that outcomes depend on."""
    facts = (
        __version__,
        assignment.name,
        assignment.master,
        [(one.id, one.points, one.by_person, one.answers) for one in assignment.exercises],
        [task.fingerprint for task in assignment.tasks],
        sorted(assignment.hidden),
        assignment.hidden_digest,
        assignment.limits,
        assignment.intake,
        assignment.train,
        [(one.fingerprint, one.task) for one in assignment.blind],
        # Changes with the course's secret, and not with every student who comes late.
        assignment.personal and assignment.personal.task_name("anybody"),
    )
    return sha256(repr(facts).encode("utf-8", "backslashreplace")).hexdigest()


def grade_unit(unit: Unit, assignment: Assignment, sandbox: Room) -> Graded:
    """Grade a unit here; nothing is raised, whatever was handed in."""
    return replace(grade_files(unit.files, unit.student, assignment, sandbox), key=unit.key)


def pack(assignment: Assignment, image: str = "", unsafe: bool = False) -> bytes:
    """An assignment for workers, with how they find their sandbox; hidden checks travel by value.

    Args:
        assignment: what submissions are held against.
        image: of a container, where there is no bubblewrap; as in ``find_sandbox``.
        unsafe: whether to go on without a sandbox.
    """
    import cloudpickle

    return bytes(cloudpickle.dumps((assignment, image, unsafe)))


def work(packed: bytes, unit: Unit) -> Graded:
    """Grade a unit in a worker process.

    Args:
        packed: from :func:`pack`, in the process that asked. Never from anybody else: it is code.
        unit: what to grade.

    Raises:
        GradingError: there is no sandbox on this machine.
    """
    with _one_at_a_time:  # a cluster's worker may have several threads
        assignment, sandbox = _unpacked(packed)
    alone = threading.current_thread() is threading.main_thread()
    if alone:  # what hangs in our own code ends this process, and is tried in another
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(assignment.limits.notebook_seconds) + PATIENCE)
    try:
        return grade_unit(unit, assignment, sandbox)
    finally:
        if alone:
            signal.alarm(0)


@lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> tuple[Assignment, Room]:
    import cloudpickle

    assignment, image, unsafe = cloudpickle.loads(packed)
    return assignment, ForkServer(find_sandbox(image, unsafe))
