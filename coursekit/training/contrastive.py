"""The strategy that trains an encoder contrastively first, and its classification head then."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import nn

from coursekit.errors import TrainingError
from coursekit.models.classifier import seeded
from coursekit.training.contrast import Contrastive
from coursekit.training.phases import Phase
from coursekit.training.strategies import layered
from coursekit.training.strategy import FinetuneStrategy, whole_from

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

GROUP = "projection"


@dataclass(frozen=True, kw_only=True)
class ContrastiveFinetune(FinetuneStrategy):
    """The encoder learns to put binders together and hard negatives apart; then the head learns.

    Source: Khosla et al. 2020, arXiv 2004.11362: two stages, and a projection between encoder and
    loss that the second stage does without. See ``contrast`` for the loss.

    Args:
        contrastive_epochs: epochs of the first stage; None takes half of all.
        temperature: see ``Contrastive``.
        binders: least number of binders in a batch of the first stage.
        projection: width of the vectors that are compared.
        then: ``"head"`` trains the head on the encoder as the first stage has left it; ``"full"``
            trains everything.
        head_lr: learning rate of the head where only it trains.
        layer_lr_decay: each block's learning rate is this share of the one above it.
    """

    batch_size: int = 64
    contrastive_epochs: int | None = None
    temperature: float = 0.1
    binders: int = 8
    projection: int = 64
    then: Literal["head", "full"] = "head"
    head_lr: float = 1e-2
    layer_lr_decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("temperature", "head_lr", "layer_lr_decay"):
            self._expect(name, "a positive number", lambda v: 0 < v < math.inf)
        self._expect("binders", "a whole number from 2 on", whole_from(2))
        self._expect("projection", "a whole number from 1 on", whole_from(1))
        self._expect("then", "'head' or 'full'", ("head", "full").__contains__)
        if self.contrastive_epochs is not None:
            self._expect("contrastive_epochs", "None, or a whole number from 1 on", whole_from(1))

    def prepare(self, model: Classifier) -> None:
        """Put the projection in."""
        add_projection(model, self.projection)

    def phases(self, model: Classifier, epochs: int) -> list[Phase]:
        """Two phases: encoder and projection, then the head or everything."""
        first = max(1, epochs // 2) if self.contrastive_epochs is None else self.contrastive_epochs
        if first >= epochs >= 1:
            raise TrainingError(
                f"ContrastiveFinetune: {first} of {epochs} epochs are contrastive and none is left "
                "for the head; give fit more epochs, or fewer to contrastive_epochs"
            )
        below = [group for group in model.groups if group not in (GROUP, "head")]
        rates = layered([*below, "head"], self.lr, self.layer_lr_decay)
        encoder = {group: rates[group] for group in below}
        learned = Contrastive(self.temperature, self.binders)
        last = {"head": self.head_lr} if self.then == "head" else rates
        name = "head only" if self.then == "head" else "everything"
        return [
            Phase({**encoder, GROUP: self.lr}, first, None, "contrastive", objective=learned),
            Phase(last, None, self.patience, name),
        ]


def add_projection(model: Classifier, width: int, seed: int = 0) -> None:
    """Put two layers behind the pooling, as a group of parameters of its own below the head.

    The classifier predicts without them. A model that has them already keeps them.

    Args:
        model: changed in place; its other groups keep their names.
        width: of the vectors that come out.
        seed: of the weights.

    Raises:
        TrainingError: if the model has a projection of another width.
    """
    if model.projection is not None:
        found = list(model.projection.parameters())[-1].numel()  # the last bias
        if found != width:
            raise TrainingError(
                f"{model.name} has a projection of width {found} already; load a fresh classifier "
                f"for one of {width}"
            )
        return
    with seeded(seed):
        layers = nn.Sequential(
            nn.Linear(model.width, model.width), nn.ReLU(), nn.Linear(model.width, width)
        )
    model.projection = layers.to(model.device)
    groups = dict(model.groups)
    head = groups.pop("head")
    groups[GROUP] = tuple(f"projection.{name}" for name, _ in layers.named_parameters())
    model.groups = {**groups, "head": head}
