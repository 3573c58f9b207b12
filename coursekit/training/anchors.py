"""Weights held near where training began: L2-SP and EWC, as a pull beside the optimizer.

The pull is decoupled from the gradient, as AdamW decouples weight decay (Loshchilov and Hutter
2019, arXiv 1711.05101) and RecAdam the pull toward pretrained weights (Chen et al. 2020, arXiv
2004.12651): Adam would divide the penalty's gradient by the size of the task's, and clipping and
loss scaling would change it too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from coursekit.training.penalties import EWC, L2SP, Penalty

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

SMALLEST, LARGEST = 2.0**-24, 65504.0  # of fp16


class Anchors:
    """Where the encoder's weights were, and how firmly each is held there.

    One copy of the weights and at most one of the Fisher, however many penalties there are, and
    only of weights that train in some phase.

    Args:
        model: as it is now: its weights become the anchors.
        names: parameters to hold.
        penalties: of the strategy; those that hold nothing are passed over.
        fisher: by name, where EWC is among them; see ``diagonal_fisher``.
    """

    def __init__(
        self,
        model: Classifier,
        names: Collection[str],
        penalties: Sequence[Penalty],
        fisher: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.strength = sum(p.strength for p in penalties if isinstance(p, L2SP))
        self.elastic = next((p for p in penalties if isinstance(p, EWC)), None)
        self.start = {name: model.get_parameter(name).detach().clone() for name in names}
        self.fisher: dict[str, torch.Tensor] = {}
        if self.elastic is not None and fisher is not None:
            held = {n: fisher[n].to(model.device) for n in names}
            self.fisher = _relative(held, self.elastic.half)

    def firmness(self, name: str) -> torch.Tensor | float:
        """The penalty's second derivative at a parameter: one number, or one for each entry."""
        if self.elastic is None:
            return self.strength
        return self.strength + self.elastic.strength * self.fisher[name].float()

    def value(self, model: Classifier) -> torch.Tensor:
        """The penalty itself, half the sum of firmness times squared distance; a scalar."""
        total = torch.zeros((), device=model.device)
        for name, start in self.start.items():
            distance = model.get_parameter(name) - start
            total = total + 0.5 * (self.firmness(name) * distance.square()).sum()
        return total

    @torch.no_grad()
    def pull(self, model: Classifier, rates: Mapping[str, float]) -> torch.Tensor:
        """Take each weight that trains a share of the way back, after the optimizer's step.

        The share is learning rate times firmness, as in AdamW's decay, and never more than all.

        Args:
            model: what has just been stepped.
            rates: learning rate by parameter name; a name that is absent does not train.

        Returns:
            The penalty before the pull, a scalar.
        """
        total = torch.zeros((), device=model.device)
        for name, start in self.start.items():
            parameter = model.get_parameter(name)
            if name not in rates or not parameter.requires_grad:
                continue
            firmness = self.firmness(name)
            total += 0.5 * (firmness * (parameter - start).square()).sum()
            share = rates[name] * firmness
            if isinstance(share, torch.Tensor):
                parameter.lerp_(start, share.clamp_(max=1.0))
            else:
                parameter.lerp_(start, min(share, 1.0))
        return total

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that a saved state needs; see ``load``."""
        kept = {f"start.{name}": value for name, value in self.start.items()}
        return kept | {f"fisher.{name}": value for name, value in self.fisher.items()}

    @classmethod
    def load(
        cls, model: Classifier, penalties: Sequence[Penalty], tensors: Mapping[str, torch.Tensor]
    ) -> Anchors:
        """The anchors that ``tensors`` came from."""
        anchors = cls(model, (), penalties)
        for key, value in tensors.items():
            kind, name = key.split(".", 1)
            getattr(anchors, kind)[name] = value.to(model.device)
        return anchors


def _relative(fisher: Mapping[str, torch.Tensor], half: bool) -> dict[str, torch.Tensor]:
    """The Fisher with a mean of one over all its entries."""
    entries = sum(value.numel() for value in fisher.values())
    mean = sum(float(value.double().sum()) for value in fisher.values()) / max(entries, 1)
    scaled = {name: value / mean if mean > 0 else value for name, value in fisher.items()}
    if not half:
        return scaled
    # What fp16 would round to zero is held by its smallest number; the largest is no infinity.
    return {
        name: torch.where(value > 0, value.clamp(SMALLEST, LARGEST), 0.0).half()
        for name, value in scaled.items()
    }
