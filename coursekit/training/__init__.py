"""Who trains, how fast, until when: phases, strategies and the loop that runs them."""

from coursekit.training.advice import recommend
from coursekit.training.contrastive import ContrastiveFinetune
from coursekit.training.cost import expected_cost
from coursekit.training.lr_finder import find_learning_rate
from coursekit.training.penalties import EWC, L2SP, Replay
from coursekit.training.phases import Phase
from coursekit.training.plan import Plan
from coursekit.training.scheduled import ScheduledFinetune
from coursekit.training.strategies import (
    FullFinetune,
    HeadOnlyFinetune,
    LoRAFinetune,
    PartialFinetune,
    ProgressiveUnfreeze,
)
from coursekit.training.strategy import FinetuneStrategy, rebuild
from coursekit.training.trial import try_strategy

__all__ = [
    "ContrastiveFinetune",
    "EWC",
    "L2SP",
    "FinetuneStrategy",
    "FullFinetune",
    "HeadOnlyFinetune",
    "LoRAFinetune",
    "PartialFinetune",
    "Phase",
    "Plan",
    "ProgressiveUnfreeze",
    "Replay",
    "ScheduledFinetune",
    "expected_cost",
    "find_learning_rate",
    "rebuild",
    "recommend",
    "try_strategy",
]
