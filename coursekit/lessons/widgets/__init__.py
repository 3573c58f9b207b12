"""Things to turn and look at: controls above a picture, whose setting is a Python value too."""

from coursekit.lessons.widgets.forgetting import forgetting_tradeoff
from coursekit.lessons.widgets.negatives import negatives_explorer
from coursekit.lessons.widgets.strategy import strategy_explorer
from coursekit.lessons.widgets.threshold import threshold_explorer
from coursekit.lessons.widgets.unfreezing import unfreezing_player

__all__ = [
    "forgetting_tradeoff",
    "negatives_explorer",
    "strategy_explorer",
    "threshold_explorer",
    "unfreezing_player",
]
