"""Late submissions: due dates and extensions as nbgrader keeps them, and what lateness costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from coursekit.errors import GradingError
from coursekit.grading.gradebook import check_student_id, opened


@dataclass(frozen=True)
class Late:
    """What a late submission costs.

    Args:
        share_per_day: of the points it got, for each day begun.
        grace_minutes: that cost nothing.
        most: the largest share that is taken.
    """

    share_per_day: float = 0.0
    grace_minutes: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.share_per_day <= 1 and 0 <= self.most <= 1 and self.grace_minutes >= 0):
            raise ValueError("late: shares are from 0 to 1, minutes from 0 up")

    def penalty(self, points: float, seconds: float) -> float:
        """Points taken from a submission that came ``seconds`` after its due date."""
        counted = seconds - 60 * self.grace_minutes
        if counted <= 0:
            return 0.0
        days = -(-counted // 86_400)
        return max(points, 0.0) * min(self.share_per_day * days, self.most)


def set_arrival(db_url: str, assignment: str, student: str, arrived: datetime) -> None:
    """Note when a submission that is in the gradebook came in (UTC, as nbgrader keeps it)."""
    with opened(db_url) as book:
        submission = book.find_submission(assignment, student)
        if submission.timestamp != arrived:
            submission.timestamp = arrived
            book.db.commit()


def settle_late(db_url: str, assignment: str, late: Late, student: str | None = None) -> None:
    """Compute what lateness costs from the points of now, those given by a person included.

    Args:
        db_url: of the gradebook.
        assignment: its name there.
        late: the course's rule.
        student: one; all if None.
    """
    with opened(db_url) as book:
        every = student is None
        for submission in (
            book.assignment_submissions(assignment)
            if every
            else [book.find_submission(assignment, student)]
        ):
            for notebook in submission.notebooks:
                taken = round(late.penalty(notebook.score, _seconds_late(submission)), 4)
                if (notebook.late_submission_penalty or 0.0) != taken:
                    notebook.late_submission_penalty = taken or None
        book.db.commit()


def _seconds_late(submission: Any) -> float:
    """Beyond the due date with its extension; nbgrader's own count fails where no date is set."""
    due = submission.assignment.duedate
    if due is None or submission.timestamp is None:
        return 0.0
    late = submission.timestamp - due - (submission.extension or timedelta())
    return max(0.0, float(late.total_seconds()))


def extend(db_url: str, assignment: str, student: str, days: float) -> None:
    """Give a student more time; a second extension replaces the first, and 0 takes it back.

    The student need not have handed in yet.

    Raises:
        GradingError: an id that cannot be used, an unknown assignment, or negative days.
    """
    check_student_id(student)
    if not 0 <= days <= 3_650:
        raise GradingError(f"an extension of {days:g} days was asked for; 0 to 3650 are possible.")
    with opened(db_url) as book:
        from nbgrader.api import MissingEntry

        try:
            book.find_assignment(assignment)
        except MissingEntry as error:
            raise GradingError(f"the gradebook has no assignment {assignment!r:.40}.") from error
        book.update_or_create_student(student)
        with book.db.no_autoflush:  # nbgrader asks for the notebooks of what it has not added yet
            submission = book.update_or_create_submission(assignment, student)
        submission.extension = timedelta(days=days) if days else None
        book.db.commit()
