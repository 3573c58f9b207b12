"""Which strategies are compared, and what they scored at several sizes of the training part.

The scores come from ``benchmarks/data_size.py``, which trains exactly these candidates with the
bundled encoder on parts of the bundled sample, and writes ``measured.json`` beside this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from coursekit.training.strategies import (
    FullFinetune,
    HeadOnlyFinetune,
    LoRAFinetune,
    PartialFinetune,
    ProgressiveUnfreeze,
)
from coursekit.training.strategy import FinetuneStrategy

FILE = Path(__file__).with_name("measured.json")
STEPS = 180  # of the optimizer, with 32 molecules each, whatever the number of molecules
FOREST = "forest"

ByStrategy = Mapping[str, tuple[float, ...]]
"""Hard AUROC on the test part by name of the candidate, one number a seed."""


def candidates(molecules: int) -> dict[str, tuple[FinetuneStrategy, int]]:
    """Strategies with the settings of the demo, and epochs for the same number of steps.

    Args:
        molecules: to train on. From 1,920 on, three epochs are more than the steps measured.
    """
    epochs = max(3, STEPS * 32 // molecules)
    opening = max(1, epochs // 10)
    return {
        "frozen": (HeadOnlyFinetune(), 60),  # an epoch costs next to nothing
        "LoRA": (LoRAFinetune(), epochs),
        "last two blocks": (PartialFinetune(lr=1e-3, blocks=2), epochs),
        "full": (FullFinetune(lr=1e-3), epochs),
        "progressive": (ProgressiveUnfreeze(lr=1e-3, unfreeze_every=opening), epochs),
    }


@dataclass(frozen=True)
class Measured:
    """Scores by size of the training part.

    Args:
        encoder: that they were measured with.
        pooling: of that encoder.
        task: that the molecules were taken from.
        masked_loss: of that encoder on that task's molecules, nats per masked token.
        pretrained: hard AUROC by number of training molecules, then by candidate and seed.
        untrained: the same where the encoder's weights were drawn at random.
    """

    encoder: str
    pooling: str
    task: str
    masked_loss: float
    pretrained: Mapping[int, ByStrategy]
    untrained: Mapping[int, ByStrategy]


@cache
def measured() -> Measured:
    """What the benchmark found."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    by_size = {
        kind: {
            int(size): {name: tuple(values) for name, values in rows.items()}
            for size, rows in found[kind].items()
        }
        for kind in ("pretrained", "untrained")
    }
    return Measured(
        found["encoder"], found["pooling"], found["task"], found["masked_loss"], **by_size
    )
