"""An exponential moving average of the weights that train.

Source: Polyak and Juditsky 1992, SIAM J. Control Optim. 30, 838; with warm-up as in TensorFlow's
``ExponentialMovingAverage``. The update is torch's own (``torch.optim.swa_utils``); its
``AveragedModel`` is not used, for it copies a whole model, frozen blocks and all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """Averages of a model's trainable parameters; what is frozen has none and is as in the model.

    Args:
        model: whose parameters are averaged.
        decay: share of the old average in the new one; None averages nothing. A parameter's n-th
            update, from 0 on, takes ``min(decay, (1 + n) / (10 + n))``, so that an average forgets
            where it began, and a short run is not judged by the weights it started from.

    Attributes:
        values: the averages, by parameter name.
        updates: how many updates each has had, by parameter name.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self.model, self.decay = model, decay
        self.values: dict[str, torch.Tensor] = {}
        self.updates: dict[str, int] = {}

    def follow(self) -> None:
        """Average what trains now: newcomers join at their current value, the frozen leave."""
        if self.decay is None:
            return
        trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.values = {
            n: self.values[n] if n in self.values else p.detach().clone()
            for n, p in trained.items()
        }
        self.updates = {n: self.updates.get(n, 0) for n in trained}

    def update(self) -> None:
        """Take in the weights that an optimizer step has come to."""
        if self.decay is None:
            return
        for count in sorted(set(self.updates.values())):
            names = [n for n, updates in self.updates.items() if updates == count]
            values = [self.values[n] for n in names]
            weights = [self.model.get_parameter(n) for n in names]
            decay = min(self.decay, (1 + count) / (10 + count))
            get_ema_multi_avg_fn(decay)(values, weights, None)
        self.updates = {n: count + 1 for n, count in self.updates.items()}

    def settle(self) -> None:
        """Leave the averages in the model, and begin anew at the next ``follow``."""
        _put(self.values, {name: self.model.get_parameter(name) for name in self.values})
        self.values, self.updates = {}, {}


@contextmanager
def apply_ema(model: nn.Module, averages: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Work with averaged weights inside the block.

    The model's own are back after it, to the bit and whatever happens inside.

    Args:
        model: what to put them in.
        averages: by parameter name, as in ``MovingAverage.values``; other parameters stay.
    """
    parameters = {name: model.get_parameter(name) for name in averages}
    own = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        _put(averages, parameters)
        yield
    finally:
        _put(own, parameters)


@torch.no_grad()
def _put(values: Mapping[str, torch.Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
