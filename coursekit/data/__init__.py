"""From a selection's counts to labelled molecules in three parts."""

from coursekit.data.binding_task import BindingTask
from coursekit.data.heldout import load_heldout
from coursekit.data.labels import label_counts, label_selection
from coursekit.data.library import Library
from coursekit.data.published_splits import load_splits
from coursekit.data.rules import LabelRules
from coursekit.data.schema import enrichment
from coursekit.data.selection import load_selection, validate_selection
from coursekit.data.task import load_task, make_task

__all__ = [
    "BindingTask",
    "LabelRules",
    "Library",
    "enrichment",
    "label_counts",
    "label_selection",
    "load_heldout",
    "load_selection",
    "load_splits",
    "load_task",
    "make_task",
    "validate_selection",
]
