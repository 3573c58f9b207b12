"""What is kept of a graded submission beside its grades: formgrader's notebook, when it came."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from nbgrader.utils import parse_utc

from coursekit.classroom.formgrader import write_for_formgrader
from coursekit.grading.gradebook import flag
from coursekit.grading.lateness import Late, set_arrival, settle_late
from coursekit.grading.master import Master
from coursekit.grading.report import Graded
from coursekit.storage import atomic_file

TIMESTAMP, SECRET = "timestamp.txt", "submission_secret.txt"


def file_away(
    graded: Graded,
    master: Master,
    rubrics: Mapping[str, str],
    late: Late,
    db_url: str,
    submitted: Path,
    autograded: Path,
) -> str:
    """Complete a submission whose grades are recorded; doing it twice changes nothing.

    Args:
        graded: the outcome.
        master: what was given.
        rubrics: by exercise.
        late: what lateness costs.
        db_url: of the gradebook.
        submitted: folder of what was handed in.
        autograded: folder for formgrader's notebook and nbgrader's own files.

    Returns:
        What is wrong with the time at which it came in; "" if nothing is.
    """
    student, lesson = graded.student, graded.assignment
    write_for_formgrader(graded, master, rubrics, autograded)
    arrived, trouble = arrival(submitted)
    if arrived is not None:
        set_arrival(db_url, lesson, student, arrived)
    if trouble:
        flag(db_url, lesson, master.name, student)
    for name in (TIMESTAMP, SECRET):
        carry(submitted / name, autograded / name)
    settle_late(db_url, lesson, late, student)
    return trouble


def arrival(folder: Path) -> tuple[datetime | None, str]:
    """When a submission came in, as its ``timestamp.txt`` says (UTC), and what is wrong with it."""
    path = folder / TIMESTAMP
    text = _small_file(path)
    if not os.path.lexists(path) or text == "":
        return None, ""
    try:
        return parse_utc((text or "?").strip()), ""
    except (ValueError, OverflowError, AttributeError):
        return None, f"{TIMESTAMP} is no time: when it came in is not known"


def _small_file(path: Path) -> str | None:
    """Text of a small regular file; None for a link, a pipe, a large file, or none at all."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        regular = stat.S_ISREG(os.fstat(handle).st_mode)
        return file.read(200).decode("utf-8", "replace") if regular else None


def carry(source: Path, target: Path) -> None:
    """Copy a small file as text, if there is one."""
    text = _small_file(source)
    if text is not None:
        with atomic_file(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
