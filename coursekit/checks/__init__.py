"""What an answer is worth: exercises, and checks that turn plain answers into points and a message.

The same check gives a learner feedback in the notebook and an instructor the score, but never in
the same process: the notebook hands over an :class:`AnswerSheet`, and whoever trusts nobody judges
that.
"""

from coursekit.checks.carried import Carried, read_notebook
from coursekit.checks.exercise import (
    CannotCheck,
    Check,
    Exercise,
    NotAttempted,
    Wrong,
    judge,
)
from coursekit.checks.plain import Unknown, from_plain, to_plain
from coursekit.checks.registry import (
    exercise,
    exercises,
    find,
    judge_sheet,
    lessons,
    reflection,
)
from coursekit.checks.result import CheckResult
from coursekit.checks.sheet import AnswerSheet

__all__ = [
    "AnswerSheet",
    "CannotCheck",
    "Check",
    "CheckResult",
    "Carried",
    "Exercise",
    "NotAttempted",
    "Unknown",
    "Wrong",
    "exercise",
    "exercises",
    "find",
    "from_plain",
    "judge",
    "judge_sheet",
    "lessons",
    "read_notebook",
    "reflection",
    "to_plain",
]
