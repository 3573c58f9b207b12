"""The errors a user of coursekit can meet.

Each message says what was found, what was expected and what to do about it.
"""


class CourseKitError(ValueError):
    """Base of every error that coursekit raises on purpose."""


class SelectionError(CourseKitError):
    """A selection, split or held-out table is not what KinDEL's schema says."""


class LibraryError(CourseKitError):
    """A combinatorial library cannot be built or enumerated."""


class TaskError(CourseKitError):
    """Labels or a binding task cannot be made as asked."""


class DownloadError(CourseKitError):
    """A file could not be fetched or did not pass verification."""


class EncoderError(CourseKitError):
    """A tokenizer or encoder cannot be loaded, or its blocks cannot be found."""


class TrainingError(CourseKitError):
    """Training cannot start or go on: a bad plan, a bad checkpoint, a loss that is not finite."""


class NoRecordError(TrainingError):
    """Nothing is trained here, and what was handed in has no record of this run."""


class RecordError(CourseKitError):
    """A run's record is malformed, too large, or of another version."""


class ScoreError(CourseKitError):
    """Scores cannot be computed from these predictions."""


class AnswerError(CourseKitError):
    """A sheet of answers is malformed, too large, or of another version; or no such exercise."""


class SubmissionError(CourseKitError):
    """A submission cannot be read: damaged, too large, or not what was asked for."""


class GradingError(CourseKitError):
    """Grading cannot start or go on: no sandbox, no master, no gradebook."""
