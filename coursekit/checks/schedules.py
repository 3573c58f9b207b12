"""A schedule that a learner wrote, read where it may do no harm: judging runs beside the labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import yaml

from coursekit.checks import expect
from coursekit.checks.exercise import Wrong
from coursekit.errors import TrainingError
from coursekit.training.schedule_file import read_schedule
from coursekit.training.schedule_format import Entry, check_schedule
from coursekit.training.schedule_match import match

PREFIX = "model"  # of the bundled encoder's family in transformers
MAX_SCHEDULE = 4_000
MAX_PATTERN = 120
# A repeated repetition, (a+)+, can take longer than the universe has. Without such, and
# with few repetitions, matching takes a small power of a name's length.
MAX_REPEATS = 4
_REPEAT = re.compile(r"(?<!\\)(?:\\\\)*[*+?{]")
_REPEATED_GROUP = re.compile(r"\)[*+?{]")


def entries_of(name: str, schedule: Any) -> list[Entry]:
    """The phases of a schedule, read and checked by the library.

    Args:
        name: of the learner's variable.
        schedule: YAML text or a dict. Never a path: a stranger wrote it, and this machine would
            read the file.

    Raises:
        Wrong: with what the library objects to.
    """
    if not isinstance(schedule, dict):
        _check_text(name, expect.kind(name, schedule, str))
    try:
        read = read_schedule(schedule)
        for phase in read.values():
            params = phase.get("params") if isinstance(phase, Mapping) else None
            for pattern in params if isinstance(params, list) else ():
                _check_pattern(name, pattern)
        if isinstance(read[0], dict):  # phase 0 begins with the strategy's rate, whatever it says
            read[0] = {key: value for key, value in read[0].items() if key != "lr"}
        return check_schedule(read, "loss", True)
    except TrainingError as error:
        raise _refused(name, error) from None


def opened_by(
    name: str, entries: list[Entry], groups: Mapping[str, tuple[str, ...]]
) -> list[set[str]]:
    """Names of the parameters that each phase opens.

    Args:
        name: of the learner's variable.
        entries: from :func:`entries_of`.
        groups: of the learner's model, parameter names by group.

    Raises:
        Wrong: an entry matches nothing, or what another has.
    """
    family = SimpleNamespace(base_model_prefix=PREFIX)
    model: Any = SimpleNamespace(
        name="the model", groups=groups, named_parameters=tuple, encoder=family
    )
    try:
        phases = match([entry.params for entry in entries], model)
    except TrainingError as error:
        raise _refused(name, error) from None
    return [{one for names in phase.values() for one in names} for phase in phases]


def _refused(name: str, error: TrainingError) -> Wrong:
    return Wrong(f"The library refuses `{name}`. It says: {error}")


def _check_text(name: str, text: str) -> None:
    if "\n" not in text.strip() and not text.lstrip().startswith("{"):
        raise Wrong(
            f"`{name}` is a single line; write the YAML itself between triple quotes, a line or "
            "more for each phase."
        )
    if len(text) > MAX_SCHEDULE:
        raise Wrong(f"`{name}` has {len(text):,} characters; {MAX_SCHEDULE:,} are plenty.")
    try:
        tokens = list(yaml.scan(text))
    except yaml.YAMLError:
        return  # the library says where
    if any(isinstance(token, yaml.AnchorToken | yaml.AliasToken) for token in tokens):
        raise Wrong(
            f"`{name}` has an anchor (&) or an alias (*), with which a short text can unfold "
            "without end; write names out. A pattern that begins with * goes into quotes."
        )


def _check_pattern(name: str, pattern: Any) -> None:
    if not isinstance(pattern, str):
        return  # the library says what it is
    repeats = len(_REPEAT.findall(pattern))
    if len(pattern) > MAX_PATTERN or repeats > MAX_REPEATS or _REPEATED_GROUP.search(pattern):
        raise Wrong(
            f"`{name}` has the pattern {pattern!r:.60}, which is more than is needed; write names "
            "of groups, or a pattern without repeated brackets, such as 'block.[0-3]'."
        )
