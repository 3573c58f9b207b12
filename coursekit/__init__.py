"""coursekit: fine-tune a molecular transformer on a DNA-encoded library, and see what it buys.

The names below are what a lesson types; everything else is reached through its module. They are
looked up when first used, so that ``import coursekit`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from coursekit.version import __version__

_FACE = {
    "BindingTask": "coursekit.data",
    "Classifier": "coursekit.models",
    "ContrastiveFinetune": "coursekit.training",
    "CourseKitError": "coursekit.errors",
    "EWC": "coursekit.training",
    "FinetuneStrategy": "coursekit.training",
    "FullFinetune": "coursekit.training",
    "HeadOnlyFinetune": "coursekit.training",
    "L2SP": "coursekit.training",
    "LabelRules": "coursekit.data",
    "LoRAFinetune": "coursekit.training",
    "PartialFinetune": "coursekit.training",
    "Phase": "coursekit.training",
    "ProgressiveUnfreeze": "coursekit.training",
    "Replay": "coursekit.training",
    "Run": "coursekit.runs",
    "ScheduledFinetune": "coursekit.training",
    "bundled_run": "coursekit.runs",
    "check": "coursekit.lessons",
    "compare": "coursekit.evaluation",
    "enrichment": "coursekit.data",
    "expected_cost": "coursekit.training",
    "find_learning_rate": "coursekit.training",
    "fingerprint_baseline": "coursekit.evaluation",
    "forgetting_tradeoff": "coursekit.lessons.widgets",
    "handin": "coursekit.lessons",
    "hint": "coursekit.lessons",
    "label_selection": "coursekit.data",
    "load_classifier": "coursekit.models",
    "load_heldout": "coursekit.data",
    "load_selection": "coursekit.data",
    "load_splits": "coursekit.data",
    "load_task": "coursekit.data",
    "make_task": "coursekit.data",
    "masked_token_loss": "coursekit.models",
    "negatives_explorer": "coursekit.lessons.widgets",
    "paired_difference": "coursekit.evaluation",
    "predict_blind": "coursekit.lessons",
    "progress": "coursekit.lessons",
    "recommend": "coursekit.training",
    "setup": "coursekit.lessons",
    "show_solution": "coursekit.lessons",
    "strategy_explorer": "coursekit.lessons.widgets",
    "threshold_explorer": "coursekit.lessons.widgets",
    "try_strategy": "coursekit.training",
    "unfreezing_player": "coursekit.lessons.widgets",
}

__all__ = ["__version__", *_FACE]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        from difflib import get_close_matches

        close = get_close_matches(name, __all__, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(_FACE))}"
        raise AttributeError(f"module 'coursekit' has no attribute {name!r}; {hint}")
    return getattr(import_module(_FACE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
