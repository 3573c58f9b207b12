"""How far each group's weights have gone from where training began."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from coursekit.runs.record_tables import MOVED

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier
    from coursekit.training.plan import Plan


class Movement:
    """The weights as training began, to measure by.

    Args:
        model: prepared, with the weights that training begins from.
        groups: parameter names by group.
        plan: weights are kept only of groups that one of its phases opens; no other can move.

    Attributes:
        start: those weights by name, on the CPU.
    """

    def __init__(
        self, model: Classifier, groups: Mapping[str, tuple[str, ...]], plan: Plan
    ) -> None:
        opened = {group for phase in plan.phases for group in phase.learning_rates}
        self.model = model
        self.groups = {group: names for group, names in groups.items() if group in opened}
        self.start = {
            name: model.get_parameter(name).detach().to("cpu", copy=True)
            for names in self.groups.values()
            for name in names
        }

    def by_group(self, averages: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """How far each group has moved, as columns of a history.

        Args:
            averages: weights that stand in for the model's own, by name, as in
                ``MovingAverage.values``.

        Returns:
            ``moved.<group>``: the Euclidean length of the way from the first weights, as a share
            of their own length (of what began at zero: the length itself).
        """
        return {f"{MOVED}{group}": self._moved(names, averages) for group, names in self._known()}

    def _known(self) -> list[tuple[str, tuple[str, ...]]]:
        """Groups with their first weights; none in a run that an older coursekit began."""
        return [(g, names) for g, names in self.groups.items() if self.start.keys() >= set(names)]

    @torch.no_grad()
    def _moved(self, names: tuple[str, ...], averages: Mapping[str, torch.Tensor]) -> float:
        way = whole = 0.0
        for name in names:
            start = self.start[name].double()
            now = averages[name] if name in averages else self.model.get_parameter(name)
            way += float((now.detach().cpu().double() - start).square().sum())
            whole += float(start.square().sum())
        return math.sqrt(way / whole if whole else way)
