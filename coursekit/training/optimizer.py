"""The optimizer that all phases share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier


def make_optimizer(model: Classifier, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over every group from the start; opening a block changes no shape in it.

    Each group of the model gives two of the optimizer, with and without weight decay, both under
    the model's name for it. A parameter without a gradient is skipped, decay and all.
    """
    groups = []
    for name, parameters in model.groups.items():
        tensors = [model.get_parameter(p) for p in parameters]
        matrices = [t for t in tensors if t.ndim > 1]
        others = [t for t in tensors if t.ndim <= 1]
        groups.append({"params": matrices, "name": name, "weight_decay": weight_decay})
        groups.append({"params": others, "name": name, "weight_decay": 0.0})
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, fused=True)


def parameter_names(model: Classifier, optimizer: torch.optim.Optimizer) -> dict[int, str]:
    """The name behind each number that ``optimizer.state_dict`` uses for a parameter."""
    name_of = {id(p): n for n, p in model.named_parameters()}
    ordered = [p for group in optimizer.param_groups for p in group["params"]]
    return {index: name_of[id(parameter)] for index, parameter in enumerate(ordered)}
