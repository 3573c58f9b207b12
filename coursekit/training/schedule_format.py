"""Schedules as finetuning-scheduler writes them, checked entry by entry."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from coursekit.errors import TrainingError
from coursekit.training.torch_classes import (
    OPTIMIZERS,
    PLATEAU,
    SCHEDULERS,
    allowed,
    try_optimizer,
    try_scheduler,
)
from coursekit.training.transition import NewOptimizer, NewScheduler

KEYS = ("params", "lr", "max_transition_epoch", "new_lr_scheduler", "new_optimizer")
SCHEDULER_KEYS = (
    "lr_scheduler_init",
    "pl_lrs_cfg",
    "init_pg_lrs",
    "use_current_optimizer_pg_lrs",
)
PL_KEYS = ("interval", "frequency", "name", "monitor", "strict", "reduce_on_plateau")


@dataclass(frozen=True)
class Entry:
    """One phase of a schedule, checked, not yet matched against a model."""

    params: tuple[str, ...]
    lr: float | None = None
    max_transition_epoch: int | None = None
    new_lr_scheduler: NewScheduler | None = None
    new_optimizer: NewOptimizer | None = None


def check_schedule(schedule: Mapping[int, Any], monitor: str, lower_is_better: bool) -> list[Entry]:
    """Check every entry of every phase.

    Args:
        schedule: from ``schedule_file.read_schedule``.
        monitor: what ReduceLROnPlateau will be given.
        lower_is_better: of that number.

    Raises:
        TrainingError: naming the phase, the entry and the fix.
    """
    entries = []
    for number, phase in schedule.items():
        where = f"schedule: phase {number}"
        if not isinstance(phase, Mapping):
            raise TrainingError(
                f"{where} is a {type(phase).__name__}; a mapping with 'params' is expected"
            )
        refuse_unknown(where, phase, KEYS)
        until = phase.get("max_transition_epoch")
        if until == -1:  # how finetuning-scheduler says None
            until = None
        if until is not None and not _is_whole(until):
            raise TrainingError(
                f"{where}: max_transition_epoch is {until!r}; a whole number from 1 on is expected "
                "(the epoch of the run, counted from 0, before which the phase ends), or -1 to "
                "leave the end to patience"
            )
        lr = phase.get("lr")
        if number == 0:
            for key, instead in (
                ("new_lr_scheduler", "set ScheduledFinetune(lr_scheduler=...)"),
                ("new_optimizer", "it trains with AdamW"),
            ):
                if phase.get(key) is not None:
                    raise TrainingError(
                        f"{where}: {key} is for the phases from 1 on; take it out: for phase 0 "
                        f"{instead}"
                    )
        scheduler = phase.get("new_lr_scheduler")
        optimizer = phase.get("new_optimizer")
        entries.append(
            Entry(
                _params(where, phase),
                None if lr is None else check_rate(f"{where}: lr", lr),
                until,
                None
                if scheduler is None
                else check_scheduler(
                    f"{where}: new_lr_scheduler", scheduler, number, monitor, lower_is_better
                ),
                None
                if optimizer is None
                else check_optimizer(f"{where}: new_optimizer", optimizer),
            )
        )
    return entries


def _params(where: str, phase: Mapping[str, Any]) -> tuple[str, ...]:
    params = phase.get("params")
    if not isinstance(params, list | tuple) or not params:
        found = "missing" if "params" not in phase else repr(params)
        raise TrainingError(
            f"{where}: params is {found}; a list of at least one parameter name or pattern is "
            "expected"
        )
    for pattern in params:
        if not isinstance(pattern, str) or not pattern:
            raise TrainingError(
                f"{where}: params has {pattern!r}; a parameter name or a pattern, as text, is "
                "expected"
            )
        try:
            re.compile(pattern)
        except re.error as error:
            raise TrainingError(
                f"{where}: params has {pattern!r}, which is no regular expression: {error}. "
                "Write a backslash before a bracket or a star that is meant as such."
            ) from error
    return tuple(params)


def check_scheduler(
    here: str, given: Any, number: int | None, monitor: str, lower_is_better: bool
) -> NewScheduler:
    """Check a scheduler.

    Args:
        here: its place, for the message.
        given: ``new_lr_scheduler`` of a schedule, or only its ``lr_scheduler_init``.
        number: of the phase that it begins with; None if it begins with every phase from 1 on.
        monitor: what ReduceLROnPlateau will be given.
        lower_is_better: of that number.

    Raises:
        TrainingError: naming the place, the entry and the fix.
    """
    if not isinstance(given, Mapping):
        raise TrainingError(f"{here} is {given!r}; a mapping with 'lr_scheduler_init' is expected")
    if "class_path" in given:
        given = {"lr_scheduler_init": given}
    refuse_unknown(here, given, SCHEDULER_KEYS)
    init = given.get("lr_scheduler_init")
    path, arguments = _class(f"{here}.lr_scheduler_init", init, SCHEDULERS)
    arguments.pop("verbose", None)  # torch has it no longer
    plateau = path == PLATEAU
    if plateau:
        mode = "min" if lower_is_better else "max"
        if arguments.setdefault("mode", mode) != mode:
            raise TrainingError(
                f"{here}: mode is {arguments['mode']!r}, but of {monitor} the "
                f"{'lower' if lower_is_better else 'higher'} is the better; take mode out"
            )
    interval, frequency = _steps(f"{here}.pl_lrs_cfg", given.get("pl_lrs_cfg"), monitor, plateau)
    keep = given.get("use_current_optimizer_pg_lrs", False)
    if not isinstance(keep, bool):
        raise TrainingError(
            f"{here}.use_current_optimizer_pg_lrs is {keep!r}; true or false is expected"
        )
    rates = given.get("init_pg_lrs")
    if rates is not None:
        if keep:
            raise TrainingError(
                f"{here} has both init_pg_lrs and use_current_optimizer_pg_lrs; keep one of them"
            )
        rates = _init_rates(f"{here}.init_pg_lrs", rates, number)
    new = NewScheduler(path, arguments, interval, frequency, rates, keep)
    # One that begins with every phase meets a growing number of groups.
    for groups in (2, 3) if number is None else (number + 1,):
        try_scheduler(f"{here}.lr_scheduler_init.init_args", new, groups)
    return new


def _init_rates(where: str, given: Any, number: int | None) -> tuple[float, ...]:
    """Learning rates of the phases before ``number``."""
    if not number:
        raise TrainingError(
            f"{where} is for one phase of a schedule, from 1 on, where the number of phases "
            "before it is known; take it out"
        )
    if not isinstance(given, list | tuple):
        raise TrainingError(f"{where} is {given!r}; a list of {number} learning rates is expected")
    rates = tuple(check_rate(where, rate) for rate in given)
    # Modules with ``no_decay`` have two groups a phase there, which are one here.
    if len(rates) == 2 * number and rates[::2] == rates[1::2]:
        rates = rates[::2]
    if len(rates) != number:
        raise TrainingError(
            f"{where} has {len(rates)} learning rates; {number} are expected, one for each phase "
            "before this one (its own is 'lr')"
        )
    return rates


def _steps(where: str, given: Any, monitor: str, plateau: bool) -> tuple[str, int]:
    """What ``pl_lrs_cfg`` says: what is counted between two steps, and how many."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise TrainingError(f"{where} is {given!r}; a mapping is expected")
    refuse_unknown(where, given, PL_KEYS)
    interval = given.get("interval", "epoch")
    if interval not in ("epoch", "step") or (plateau and interval == "step"):
        raise TrainingError(
            f"{where}.interval is {interval!r}; 'epoch' is expected"
            + (": ReduceLROnPlateau waits for validation" if plateau else ", or 'step'")
        )
    if given.get("reduce_on_plateau", plateau) != plateau:
        raise TrainingError(
            f"{where}.reduce_on_plateau is {given['reduce_on_plateau']!r}; it follows from the "
            "class: take it out"
        )
    named = given.get("monitor")
    if named is not None and re.sub(r"^(val|valid|validation)[_/]", "", str(named)) != monitor:
        raise TrainingError(
            f"{where}.monitor is {named!r}, but {monitor!r} decides in this run; take it out, or "
            "set ScheduledFinetune(monitor=...)"
        )
    frequency = given.get("frequency", 1)
    if not _is_whole(frequency):
        raise TrainingError(f"{where}.frequency is {frequency!r}; a whole number from 1 on, please")
    return interval, int(frequency)


def check_optimizer(here: str, given: Any) -> NewOptimizer:
    """Check an optimizer: ``new_optimizer`` of a schedule, or only its ``optimizer_init``.

    Raises:
        TrainingError: naming the place, the entry and the fix.
    """
    if not isinstance(given, Mapping):
        raise TrainingError(f"{here} is {given!r}; a mapping with 'optimizer_init' is expected")
    if "class_path" in given:
        given = {"optimizer_init": given}
    refuse_unknown(here, given, ("optimizer_init",))
    path, arguments = _class(f"{here}.optimizer_init", given.get("optimizer_init"), OPTIMIZERS)
    if "lr" in arguments:
        arguments["lr"] = check_rate(f"{here}.optimizer_init.init_args.lr", arguments["lr"])
    new = NewOptimizer(path, arguments)
    try_optimizer(f"{here}.optimizer_init.init_args", new)
    return new


def _class(where: str, given: Any, known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class path and arguments, checked as far as they can be without the class."""
    if not isinstance(given, Mapping) or "class_path" not in given:
        found = "missing" if given is None else repr(given)
        raise TrainingError(
            f"{where} is {found}; a mapping with class_path and init_args is expected, such as "
            f"{{class_path: {next(iter(known))}, init_args: {{...}}}}"
        )
    refuse_unknown(where, given, ("class_path", "init_args"))
    path = allowed(f"{where}.class_path", given["class_path"], known)
    arguments = given.get("init_args")
    if arguments is not None and not (
        isinstance(arguments, Mapping) and all(isinstance(key, str) for key in arguments)
    ):
        raise TrainingError(
            f"{where}.init_args is {arguments!r}; a mapping from argument to value is expected"
        )
    return path, dict(arguments or {})


def refuse_unknown(where: str, given: Mapping[Any, Any], known: tuple[str, ...]) -> None:
    """Refuse a key that is not known, with the one that was probably meant."""
    for key in given:
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise TrainingError(f"{where} has the unknown key {key!r}; {hint}")


def check_rate(where: str, rate: Any) -> float:
    """A learning rate as a number; text such as "1e-5" is one.

    Raises:
        TrainingError: if it is none.
    """
    try:
        number = math.nan if isinstance(rate, bool) else float(rate)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise TrainingError(f"{where} is {rate!r}; a positive number is expected, such as 1.0e-5")
    return number


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
