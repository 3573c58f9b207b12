"""The kit's strategies that need no more than a list of phases.

``ScheduledFinetune`` and ``ContrastiveFinetune`` have files of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coursekit.errors import TrainingError
from coursekit.training.phases import Phase
from coursekit.training.strategy import FinetuneStrategy, whole_from

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class HeadOnlyFinetune(FinetuneStrategy):
    """Frozen embeddings: the encoder is run once over the molecules, and only the head learns.

    The head is a logistic regression on the pooled vectors, so its learning rate may be large and
    an epoch costs next to nothing.
    """

    lr: float = 1e-2
    warmup: float = 0.0
    batch_size: int = 64

    def phases(self, model: Classifier, epochs: int) -> list[Phase]:
        """One phase: the head."""
        return [Phase({"head": self.lr}, epochs, self.patience, "head only")]


@dataclass(frozen=True, kw_only=True)
class PartialFinetune(FinetuneStrategy):
    """The last blocks and the head train; everything below stays as it was pretrained.

    Args:
        blocks: how many, from the top.
        layer_lr_decay: each block's learning rate is this share of the one above it.
    """

    blocks: int = 2
    layer_lr_decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect("blocks", "a whole number from 1 on", whole_from(1))

    def phases(self, model: Classifier, epochs: int) -> list[Phase]:
        """One phase: the last ``blocks`` blocks and the head."""
        names = [group for group in model.groups if group.startswith("block.")]
        if self.blocks > len(names):
            raise TrainingError(
                f"PartialFinetune: blocks is {self.blocks}; {model.name} has {len(names)} blocks"
            )
        rates = layered([*names, "head"], self.lr, self.layer_lr_decay)
        opened = [*names[len(names) - self.blocks :], "head"]
        name = f"last {self.blocks} blocks"
        return [Phase({group: rates[group] for group in opened}, epochs, self.patience, name)]


@dataclass(frozen=True, kw_only=True)
class LoRAFinetune(FinetuneStrategy):
    """Low-rank adapters in the blocks, and the head; the encoder's own weights stay frozen.

    Source: Hu et al. 2021, arXiv 2106.09685; the adapters are those of the library peft.

    Args:
        rank: width of an adapter.
        alpha: an adapter's output is scaled by ``alpha / rank``.
        dropout: share of a layer's input that does not reach its adapter in training.
        blocks: adapt so many blocks from the top; None adapts all.
    """

    lr: float = 3e-3
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    blocks: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect("rank", "a whole number from 1 on", whole_from(1))
        self._expect("alpha", "a positive number", lambda v: 0 < v < math.inf)
        self._expect("dropout", "a share from 0 to less than 1", lambda v: 0 <= v < 1)
        if self.blocks is not None:
            self._expect("blocks", "None, or a whole number from 1 on", whole_from(1))

    def prepare(self, model: Classifier) -> None:
        """Put the adapters in."""
        from coursekit.training.adapters import add_adapters

        add_adapters(model, self.rank, self.alpha, self.dropout, self.blocks)

    def phases(self, model: Classifier, epochs: int) -> list[Phase]:
        """One phase: adapters and head."""
        return [Phase({"adapters": self.lr, "head": self.lr}, epochs, self.patience, "adapters")]


@dataclass(frozen=True, kw_only=True)
class FullFinetune(FinetuneStrategy):
    """Everything trains, lower blocks slower.

    Args:
        layer_lr_decay: each block's learning rate is this share of the one above it (Howard and
            Ruder 2018, arXiv 1801.06146, use 1/2.6; 0.9 is common for transformers); 1 trains
            all at ``lr``.
    """

    layer_lr_decay: float = 0.9

    def phases(self, model: Classifier, epochs: int) -> list[Phase]:
        """One phase: all groups."""
        rates = layered(list(model.groups), self.lr, self.layer_lr_decay)
        return [Phase(rates, epochs, self.patience, "everything")]


@dataclass(frozen=True, kw_only=True)
class ProgressiveUnfreeze(FinetuneStrategy):
    """Open the head first, then one block after the other from the top (ULMFiT).

    Source: Howard and Ruder 2018, arXiv 1801.06146, section 3.3.

    Args:
        unfreeze_every: epochs between two openings.
        block_lr_scale: each block's learning rate is this share of the one above it.
        max_unfrozen: open so many blocks at most, and never the embeddings; None opens all
            blocks, and the embeddings last.
    """

    unfreeze_every: int = 1
    block_lr_scale: float = 0.9
    max_unfrozen: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect("unfreeze_every", "a whole number from 1 on", whole_from(1))
        if self.max_unfrozen is not None:
            self._expect("max_unfrozen", "None, or a whole number from 0 on", whole_from(0))

    def phases(self, model: Classifier, epochs: int) -> list[Phase]:
        """One phase per opening, top down; the last one takes the epochs that are left."""
        groups = list(model.groups)
        rates = layered(groups, self.lr, self.block_lr_scale)
        blocks = len(groups) - 2
        depth = blocks + 1 if self.max_unfrozen is None else min(self.max_unfrozen, blocks)
        openings = [groups[-1 - opened :] for opened in range(depth + 1)]
        openings = openings[: -(-epochs // self.unfreeze_every)]
        return [
            Phase(
                {group: rates[group] for group in opened},
                None if opened is openings[-1] else self.unfreeze_every,
                self.patience if opened is openings[-1] else None,
                f"open {opened[0]}",
            )
            for opened in openings
        ]


def layered(groups: list[str], lr: float, share: float) -> dict[str, float]:
    """Learning rates that fall by ``share`` from group to group, from the head down.

    The head and the top block both get ``lr``.
    """
    top_down = groups[::-1]
    return {group: lr * share ** max(0, depth - 1) for depth, group in enumerate(top_down)}
