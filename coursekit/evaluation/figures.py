"""The figures, under one name: each function gives a Picture, which carries its alt text."""

from coursekit.evaluation.embedding_figures import embedding_figure, pull_and_push
from coursekit.evaluation.history_figures import loss_curves
from coursekit.evaluation.molecule_figures import (
    molecules_beside_nearest_binder,
    negative_beside_binder,
)
from coursekit.evaluation.movement_figures import movement_figure
from coursekit.evaluation.plan_figures import freeze_map, learning_rate_plan
from coursekit.evaluation.score_figures import roc_pr_curves, scores_figure
from coursekit.evaluation.seed_figures import seeds_figure
from coursekit.evaluation.selection_figures import reads_figure
from coursekit.evaluation.sweep_figures import learning_rate_sweep
from coursekit.evaluation.threshold_figures import threshold_figure
from coursekit.evaluation.tradeoff_figures import tradeoff_figure

__all__ = [
    "embedding_figure",
    "freeze_map",
    "learning_rate_plan",
    "learning_rate_sweep",
    "loss_curves",
    "molecules_beside_nearest_binder",
    "movement_figure",
    "negative_beside_binder",
    "pull_and_push",
    "reads_figure",
    "roc_pr_curves",
    "scores_figure",
    "seeds_figure",
    "threshold_figure",
    "tradeoff_figure",
]
