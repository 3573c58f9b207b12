"""From predictions to numbers with intervals, tables and pictures."""

from coursekit.evaluation.baselines import fingerprint_baseline
from coursekit.evaluation.comparison import Comparison, compare
from coursekit.evaluation.metrics import (
    Difference,
    Score,
    Scores,
    paired_difference,
    score_predictions,
)

__all__ = [
    "Comparison",
    "Difference",
    "Score",
    "Scores",
    "compare",
    "fingerprint_baseline",
    "paired_difference",
    "score_predictions",
]
