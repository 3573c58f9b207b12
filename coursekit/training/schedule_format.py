"""Schedules as finetuning-scheduler writes them: read from YAML, checked entry by entry."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

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


@dataclass(frozen=True)
class Entry:
    """One phase of a schedule, checked, not yet matched against a model."""

    params: tuple[str, ...]
    lr: float | None = None
    max_transition_epoch: int | None = None
    new_lr_scheduler: NewScheduler | None = None
    new_optimizer: NewOptimizer | None = None


class _Loader(yaml.SafeLoader):
    """Plain data only, no key twice, and 1e-5 is a number (YAML 1.1 asks for 1.0e-5)."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
        line = key_node.start_mark.line + 1
        if not isinstance(key, str | int):
            raise TrainingError(f"schedule: line {line} has the key {key!r}; text is expected")
        if key in seen:
            raise TrainingError(
                f"schedule: {key!r} stands twice, in lines {seen[key]} and {line}; the first "
                "would be lost. Join the two or number them differently."
            )
        seen[key] = line
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_schedule(source: Mapping[Any, Any] | str | Path) -> dict[int, Any]:
    """A schedule as plain data, numbered by phase; its entries are not checked yet.

    Args:
        source: a mapping; YAML text of several lines, or within braces; or a path to a file of it.

    Raises:
        TrainingError: if there is no such file, if it is no YAML, or not one of plain data, or if
            the phases are not numbered 0, 1, 2, …
    """
    schedule: Any = source
    if isinstance(source, str | Path):
        text, where = _text(source)
        try:
            schedule = yaml.load(text, _Loader)  # _Loader is a SafeLoader
        except yaml.constructor.ConstructorError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            raise TrainingError(
                f"schedule: line {line} of {where}: {error.problem}; a schedule is plain data: "
                "numbers, text, lists and mappings, without tags"
            ) from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else "?"
            raise TrainingError(
                f"schedule: line {line} of {where} is no YAML: "
                f"{getattr(error, 'problem', None) or error}. Patterns with a backslash go into "
                "single quotes or none; lists are indented by spaces."
            ) from error
    if not isinstance(schedule, Mapping):
        raise TrainingError(
            f"schedule: it is a {type(schedule).__name__}; a mapping from the number of a phase to "
            "its entries is expected, such as {0: {'params': [...]}}"
        )
    if not schedule:
        raise TrainingError("schedule: it has no phase; give at least phase 0 with its params")
    numbered: dict[int, Any] = {}
    for key, phase in schedule.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() else key
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise TrainingError(
                f"schedule: a phase is numbered {key!r}; phases are numbered 0, 1, 2, …"
            )
        if number in numbered:
            raise TrainingError(f"schedule: phase {number} stands twice; join the two")
        numbered[number] = phase
    for expected, number in enumerate(sorted(numbered)):
        if number != expected:
            raise TrainingError(
                f"schedule: phase {number} is there, but no phase {expected}; number them 0, 1, "
                f"2, … to {len(numbered) - 1} without gaps"
            )
    return {number: numbered[number] for number in sorted(numbered)}


def _text(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        return source, "the text"
    path = Path(source)
    try:
        return path.read_text(encoding="utf-8"), path.name
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(
            f"schedule: {path} cannot be read ({error}); give the path of a YAML file, YAML text "
            "of several lines, or a dict"
        ) from error


def check_schedule(schedule: Mapping[int, Any], monitor: str, lower_is_better: bool) -> list[Entry]:
    """Check every entry of every phase.

    Args:
        schedule: from ``read_schedule``.
        monitor: what ReduceLROnPlateau will be given.
        lower_is_better: of that number.

    Raises:
        TrainingError: naming the phase, the entry and the fix.
    """
    entries = []
    before = 0
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
        if until is not None and (not _is_whole(until) or until <= before):
            raise TrainingError(
                f"{where}: max_transition_epoch is {until!r}; a whole number above {before} is "
                "expected: epochs count from the beginning of the run, and each phase has one "
                "at least"
            )
        before = before if until is None else until
        lr = phase.get("lr")
        if lr is not None:
            check_rate(f"{where}: lr", lr)
        if number == 0:
            for key, instead in (
                ("lr", "lr"),
                ("new_lr_scheduler", "lr_scheduler"),
                ("new_optimizer", "weight_decay"),
            ):
                if phase.get(key) is not None:
                    raise TrainingError(
                        f"{where}: {key} is for the phases from 1 on; take it out, and give phase "
                        f"0 its own by ScheduledFinetune({instead}=...)"
                    )
        scheduler = phase.get("new_lr_scheduler")
        optimizer = phase.get("new_optimizer")
        entries.append(
            Entry(
                _params(where, phase),
                lr,
                until,
                None
                if scheduler is None
                else check_scheduler(where, scheduler, number, monitor, lower_is_better),
                None if optimizer is None else check_optimizer(where, optimizer),
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
    where: str, given: Any, number: int, monitor: str, lower_is_better: bool
) -> NewScheduler:
    """Check a ``new_lr_scheduler`` of phase ``number``; see ``check_schedule``."""
    here = f"{where}: new_lr_scheduler"
    if not isinstance(given, Mapping):
        raise TrainingError(f"{here} is {given!r}; a mapping with 'lr_scheduler_init' is expected")
    refuse_unknown(here, given, SCHEDULER_KEYS)
    init = given.get("lr_scheduler_init")
    path, arguments = _class(f"{here}.lr_scheduler_init", init, SCHEDULERS)
    arguments.pop("verbose", None)  # torch has it no longer
    if path == PLATEAU:
        mode = "min" if lower_is_better else "max"
        if arguments.setdefault("mode", mode) != mode:
            raise TrainingError(
                f"{here}: mode is {arguments['mode']!r}, but of {monitor} the "
                f"{'lower' if lower_is_better else 'higher'} is the better; take mode out"
            )
    frequency = _frequency(f"{here}.pl_lrs_cfg", given.get("pl_lrs_cfg"), monitor)
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
        if not isinstance(rates, list | tuple) or len(rates) != number:
            raise TrainingError(
                f"{here}.init_pg_lrs is {rates!r}; a list of {number} learning rates is expected, "
                f"one for each phase before this one (its own is 'lr')"
            )
        for rate in rates:
            check_rate(f"{here}.init_pg_lrs", rate)
        rates = tuple(float(rate) for rate in rates)
    new = NewScheduler(path, arguments, frequency, rates, keep)
    try_scheduler(f"{here}.lr_scheduler_init.init_args", new, number + 1)
    return new


def _frequency(where: str, given: Any, monitor: str) -> int:
    """What ``pl_lrs_cfg`` says: how many epochs lie between two steps."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise TrainingError(f"{where} is {given!r}; a mapping is expected")
    refuse_unknown(
        where, given, ("interval", "frequency", "name", "monitor", "strict", "reduce_on_plateau")
    )
    if given.get("interval", "epoch") != "epoch":
        raise TrainingError(
            f"{where}.interval is {given['interval']!r}; schedules step once an epoch here: write "
            "'epoch', and count the scheduler's arguments in epochs"
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
    return int(frequency)


def check_optimizer(where: str, given: Any) -> NewOptimizer:
    """Check a ``new_optimizer``; see ``check_schedule``."""
    here = f"{where}: new_optimizer"
    if not isinstance(given, Mapping):
        raise TrainingError(f"{here} is {given!r}; a mapping with 'optimizer_init' is expected")
    refuse_unknown(here, given, ("optimizer_init",))
    path, arguments = _class(f"{here}.optimizer_init", given.get("optimizer_init"), OPTIMIZERS)
    if "lr" in arguments:
        check_rate(f"{here}.optimizer_init.init_args.lr", arguments["lr"])
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


def check_rate(where: str, rate: Any) -> None:
    """Refuse what is no learning rate."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise TrainingError(f"{where} is {rate!r}; a positive number is expected, such as 1.0e-5")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
