"""What a lesson types in a notebook: setup, checks, hints, solutions, progress, handing in."""

from coursekit.lessons.blind import predict_blind
from coursekit.lessons.environment import Environment, setup
from coursekit.lessons.exercises import check, hint, show_solution
from coursekit.lessons.overview import handin, progress

__all__ = [
    "Environment",
    "check",
    "handin",
    "hint",
    "predict_blind",
    "progress",
    "setup",
    "show_solution",
]
