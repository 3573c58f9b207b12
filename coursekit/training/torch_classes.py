"""Schedulers and optimizers that a schedule may name: torch's own, and no other code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch.optim import lr_scheduler

from coursekit.errors import TrainingError
from coursekit.training.transition import NewOptimizer, NewScheduler

# Those which finetuning-scheduler has tested: each works with groups that are added later.
SCHEDULERS: dict[str, type] = {
    f"torch.optim.lr_scheduler.{cls.__name__}": cls
    for cls in (
        lr_scheduler.StepLR,
        lr_scheduler.MultiStepLR,
        lr_scheduler.ExponentialLR,
        lr_scheduler.CosineAnnealingLR,
        lr_scheduler.CosineAnnealingWarmRestarts,
        lr_scheduler.LinearLR,
        lr_scheduler.ConstantLR,
        lr_scheduler.LambdaLR,
        lr_scheduler.MultiplicativeLR,
        lr_scheduler.ReduceLROnPlateau,
    )
}
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    f"torch.optim.{cls.__name__}": cls
    for cls in (
        torch.optim.AdamW,
        torch.optim.Adam,
        torch.optim.Adamax,
        torch.optim.NAdam,
        torch.optim.RAdam,
        torch.optim.RMSprop,
        torch.optim.SGD,
    )
}
ALIASES = {"lightning.pytorch.cli.ReduceLROnPlateau": "torch.optim.lr_scheduler.ReduceLROnPlateau"}
PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau"
SET_HERE = {"optimizer", "params", "last_epoch"}
LONGEST = 1000  # steps for which a scheduler is tried


@dataclass
class Factors:
    """A function of the epoch that a file can carry: factors, of which the last one stays."""

    values: Sequence[float]

    def __call__(self, epoch: int) -> float:
        """The factor of an epoch."""
        return self.values[min(epoch, len(self.values) - 1)]


def allowed(where: str, class_path: Any, known: Mapping[str, Any]) -> str:
    """The class path, if it is one of those known; nothing is imported to find out.

    A name without a module stands for torch's.

    Args:
        where: the place in the schedule, for the message.
        class_path: what the schedule says.
        known: ``SCHEDULERS`` or ``OPTIMIZERS``.

    Raises:
        TrainingError: if it is not known here.
    """
    module = next(iter(known)).rpartition(".")[0]
    path = ALIASES.get(str(class_path), str(class_path))
    path = path if "." in path else f"{module}.{path}"
    if path in known:
        return path
    names = ", ".join(name.rpartition(".")[2] for name in known)
    close = get_close_matches(path, known, n=1, cutoff=0.9)
    if close:
        raise TrainingError(f"{where} is {class_path!r}; did you mean {close[0]!r}?")
    if path.rpartition(".")[0] == module:
        found = f"{class_path!r}, which is not supported in a schedule"
    else:
        found = f"{class_path!r}, which is outside {module}; a schedule imports no other code"
    raise TrainingError(f"{where} is {found}. Use one of {module}: {names}.")


def make_scheduler(new: NewScheduler, holder: torch.optim.Optimizer) -> Any:
    """The scheduler over the groups that ``holder`` has now."""
    arguments = dict(new.init_args)
    if "lr_lambda" in arguments:
        arguments["lr_lambda"] = Factors(arguments["lr_lambda"])
    return SCHEDULERS[new.class_path](holder, **arguments)


def try_scheduler(where: str, new: NewScheduler, groups: int) -> None:
    """Make the scheduler over so many groups and step it, to meet bad arguments before training.

    Raises:
        TrainingError: if torch does not take them.
    """
    _check_arguments(where, new.init_args)
    factors = new.init_args.get("lr_lambda")
    if factors is not None and not (
        isinstance(factors, list | tuple)
        and factors
        and all(isinstance(f, int | float) and 0 <= f < math.inf for f in factors)
    ):
        raise TrainingError(
            f"{where}.lr_lambda is {factors!r}; a list of factors is expected, one an epoch, of "
            "which the last one stays, such as [1.0, 0.5, 0.25]"
        )
    holder = torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)]} for _ in range(groups)], lr=1.0
    )
    try:
        scheduler = make_scheduler(new, holder)
        ends = getattr(scheduler, "total_iters", 0)  # some go wrong only there
        for _ in range(min(ends, LONGEST) + 3):
            holder.step()
            scheduler.step(*([0.5] if new.class_path == PLATEAU else []))
        good = all(0 <= group["lr"] < math.inf for group in holder.param_groups)
    except Exception as error:
        raise TrainingError(
            f"{where}: {new.class_path} does not take {dict(new.init_args)!r}: {error}. Its "
            "arguments are in the documentation of torch."
        ) from error
    if not good:
        raise TrainingError(
            f"{where}: {new.class_path} with {dict(new.init_args)!r} gives learning rates that "
            "are no positive numbers; change its arguments"
        )


def make_torch_optimizer(new: NewOptimizer, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer over ``groups``, whose learning rates the session sets."""
    settings = {k: v for k, v in new.init_args.items() if k not in ("lr", "weight_decay")}
    return OPTIMIZERS[new.class_path](groups, lr=0.0, **settings)  # type: ignore[call-arg]


def first_rate(new: NewOptimizer) -> float:
    """The learning rate that the optimizer gives to the parameters of phase 0."""
    parameter = torch.zeros(1, requires_grad=True)
    return float(OPTIMIZERS[new.class_path]([parameter], **new.init_args).defaults["lr"])


def try_optimizer(where: str, new: NewOptimizer) -> None:
    """Make the optimizer over one parameter and step it, to meet bad arguments before training.

    Raises:
        TrainingError: if torch does not take them.
    """
    _check_arguments(where, new.init_args)
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.zeros(1)
    try:
        OPTIMIZERS[new.class_path]([parameter], **new.init_args).step()
    except Exception as error:
        raise TrainingError(
            f"{where}: {new.class_path} does not take {dict(new.init_args)!r}: {error}. Its "
            "arguments are in the documentation of torch."
        ) from error


def _check_arguments(where: str, arguments: Mapping[str, Any]) -> None:
    taken = sorted(SET_HERE & set(arguments))
    if taken:
        raise TrainingError(f"{where} has {taken}, which the engine sets itself; leave it out")
