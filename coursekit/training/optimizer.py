"""The optimizer that all phases share, and its moments by parameter name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import torch

from coursekit.training.torch_classes import make_torch_optimizer

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier
    from coursekit.training.transition import NewOptimizer


def make_optimizer(
    model: Classifier,
    weight_decay: float,
    groups: Mapping[str, tuple[str, ...]] | None = None,
    new: NewOptimizer | None = None,
    held: Collection[str] = (),
) -> torch.optim.Optimizer:
    """An optimizer over every group from the start; opening a block changes no shape in it.

    Each group gives two of the optimizer, with and without weight decay, both under the group's
    name. A parameter without a gradient is skipped, decay and all.

    Args:
        model: whose parameters it moves.
        weight_decay: of matrices; none of biases and norms.
        groups: parameter names by group; the model's own by default.
        new: what a schedule asks for; AdamW by default.
        held: names of parameters that a penalty holds, which decay toward nothing else.
    """
    if new is not None:
        weight_decay = new.init_args.get("weight_decay", weight_decay)
    parts = []
    for name, parameters in (model.groups if groups is None else groups).items():
        tensors = {p: model.get_parameter(p) for p in parameters}
        matrices = [t for p, t in tensors.items() if t.ndim > 1 and p not in held]
        others = [t for p, t in tensors.items() if t.ndim <= 1 or p in held]
        parts.append({"params": matrices, "name": name, "weight_decay": weight_decay})
        parts.append({"params": others, "name": name, "weight_decay": 0.0})
    parts = [part for part in parts if part["params"]]
    if new is not None:
        return make_torch_optimizer(new, parts)
    return torch.optim.AdamW(parts, lr=0.0, fused=True)


def parameter_names(model: Classifier, optimizer: torch.optim.Optimizer) -> dict[int, str]:
    """The name behind each number that ``optimizer.state_dict`` uses for a parameter."""
    name_of = {id(p): n for n, p in model.named_parameters()}
    ordered = [p for group in optimizer.param_groups for p in group["params"]]
    return {index: name_of[id(parameter)] for index, parameter in enumerate(ordered)}


def moments_of(model: Classifier, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's moments, ``<moment>.<parameter>``; what has never trained has none."""
    names = parameter_names(model, optimizer)
    return {
        f"{moment}.{names[index]}": torch.as_tensor(value)
        for index, moments in optimizer.state_dict()["state"].items()
        for moment, value in moments.items()
        if value is not None
    }


def load_moments(
    model: Classifier, optimizer: torch.optim.Optimizer, moments: Mapping[str, torch.Tensor]
) -> None:
    """Give the optimizer these moments and no others; see ``moments_of``."""
    index_of = {name: index for index, name in parameter_names(model, optimizer).items()}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in moments.items():
        moment, name = key.split(".", 1)
        state.setdefault(index_of[name], {})[moment] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
