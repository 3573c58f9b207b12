"""Reading a schedule: YAML text, a file of it, or a mapping, as plain data numbered by phase."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from coursekit.errors import TrainingError


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
    return {number: plain(f"phase {number}", numbered[number]) for number in sorted(numbered)}


def plain(where: str, value: Any) -> Any:
    """A copy as plain data, so that a schedule can be recorded and nobody changes it later.

    Raises:
        TrainingError: if something in it is no plain data.
    """
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, int) else str(key): plain(f"{where}: {key}", item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(where, item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TrainingError(
        f"schedule: {where} holds a {type(value).__name__}; a schedule is plain data: numbers, "
        "text, lists and mappings. For a function of the epoch write a list of its values."
    )


def without_first_lr(schedule: dict[int, Any]) -> dict[int, Any]:
    """The schedule without ``lr`` in phase 0, which counts for nothing, as a warning says."""
    first = schedule[0]
    if not isinstance(first, dict) or "lr" not in first:
        return schedule
    warnings.warn(
        f"schedule: phase 0: lr is {first['lr']!r}, but phase 0 begins with the strategy's own "
        "lr; give that as ScheduledFinetune(lr=...)",
        stacklevel=2,
    )
    return schedule | {0: {key: value for key, value in first.items() if key != "lr"}}


def _text(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        return source, "the text"
    path = Path(source)
    try:
        return path.read_text(encoding="utf-8"), path.name
    except (OSError, ValueError) as error:  # no file, no UTF-8, no path
        raise TrainingError(
            f"schedule: {path} cannot be read ({error}); give the path of a YAML file, YAML text "
            "of several lines, or a dict"
        ) from error
