"""A task of 54 molecules and settings under which a random encoder learns it in seconds."""

from __future__ import annotations

from coursekit.training import (
    EWC,
    L2SP,
    ContrastiveFinetune,
    FinetuneStrategy,
    FullFinetune,
    HeadOnlyFinetune,
    LoRAFinetune,
    PartialFinetune,
    ProgressiveUnfreeze,
    Replay,
    ScheduledFinetune,
)
from coursekit.training.trial_parts import SIZES, tiny_task

__all__ = ["EPOCHS", "SIZES", "STRATEGIES", "tiny_task"]

COMMON = {"batch_size": 8, "lr": 3e-3}

PRETRAINING = ("CCOC(=O)CCN", "CC(C)CCO", "NCCCCCl", "CCCCCC", "OCC(C)CBr")
PENALTIES = (L2SP(1.0), EWC(1.0, PRETRAINING), Replay(0.5, 0.1, PRETRAINING))

SCHEDULE = """
0:
  params: [head]
  max_transition_epoch: 2
1:
  params: [block.2, block.1]
  lr: 5e-3
  new_lr_scheduler:
    lr_scheduler_init:
      class_path: torch.optim.lr_scheduler.ReduceLROnPlateau
      init_args: {factor: 0.5, patience: 1}
  new_optimizer:
    optimizer_init: {class_path: torch.optim.Adam, init_args: {lr: 1e-2}}
"""

STRATEGIES: dict[str, FinetuneStrategy] = {
    "head": HeadOnlyFinetune(**COMMON | {"lr": 3e-2}),
    "full": FullFinetune(**COMMON),
    "progressive": ProgressiveUnfreeze(**COMMON),
    "partial": PartialFinetune(**COMMON, group_by_length=True),
    "averaged": ProgressiveUnfreeze(
        **COMMON, ema=0.8, gradient_checkpointing=True, class_weight=2.0, label_smoothing=0.1
    ),
    "held": ProgressiveUnfreeze(**COMMON, penalties=PENALTIES),
    "contrastive": ContrastiveFinetune(
        **COMMON | {"lr": 1e-3},
        temperature=0.2,
        binders=2,
        projection=16,
        head_lr=5e-2,
    ),
    "adapters": LoRAFinetune(**COMMON | {"lr": 5e-3}, rank=4, dropout=0.1),
    "scheduled": ScheduledFinetune(
        SCHEDULE,
        **COMMON | {"lr": 1e-2},
        patience=None,
        lr_scheduler={"class_path": "StepLR", "init_args": {"step_size": 1, "gamma": 0.7}},
    ),
}
EPOCHS = 3  # progressive: the head, then one block, then another
