"""Which parameters the entries of a schedule mean: whole names, patterns of them, or groups."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from coursekit.errors import TrainingError

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

Matched = dict[str, tuple[str, ...]]


def match(params: Sequence[Sequence[str]], model: Classifier) -> list[Matched]:
    """Find the parameters that each entry of each phase means.

    An entry is the name of a parameter, or of a group of the model, or a regular expression that
    fits the whole name of parameters, or else of groups.

    Args:
        params: of each phase of a schedule.
        model: its ``groups`` hold all parameters that take part in its output.

    Returns:
        For each phase, the parameter names by entry.

    Raises:
        TrainingError: naming the phase and the entry that matches nothing, or matches what
            another has.
    """
    taken: dict[str, tuple[int, str]] = {}
    phases = []
    for number, entries in enumerate(params):
        found: Matched = {}
        for entry in entries:
            names = _names(entry, model)
            if not names:
                raise TrainingError(f"schedule: phase {number}: {_nothing(entry, model)}")
            for name in names:
                if name in taken:
                    before, other = taken[name]
                    whose = "of the same phase" if before == number else f"of phase {before}"
                    raise TrainingError(
                        f"schedule: phase {number}: {entry!r} matches {name}, which {other!r} "
                        f"{whose} has already; a parameter opens once: make one of them narrower"
                    )
                taken[name] = number, entry
            found[entry] = names
        phases.append(found)
    return phases


def _names(entry: str, model: Classifier) -> tuple[str, ...]:
    known = [name for names in model.groups.values() for name in names]
    if entry in known:
        return (entry,)
    if entry in model.groups:
        return model.groups[entry]
    pattern = re.compile(entry)
    return tuple(name for name in known if pattern.fullmatch(name)) or tuple(
        name for group in model.groups if pattern.fullmatch(group) for name in model.groups[group]
    )


def _nothing(entry: str, model: Classifier) -> str:
    """Why an entry matches nothing, and what to write instead."""
    pattern = re.compile(entry)
    known = [name for names in model.groups.values() for name in names]
    unused = {name for name, _ in model.named_parameters()} - set(known)
    if any(pattern.fullmatch(name) for name in unused):
        return (
            f"{entry!r} matches only parameters that take no part in the output of {model.name}; "
            "take it out"
        )
    begun = [name for name in known if pattern.match(name)]
    if begun:
        return (
            f"{entry!r} matches only the beginning of names, such as {begun[0]}; whole names are "
            f"matched here: write {entry + '.*'!r} if you mean all {len(begun)}"
        )
    close = get_close_matches(entry, [*known, *model.groups], n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"its groups are {', '.join(model.groups)}"
    return f"{entry!r} matches no parameter and no group of {model.name}; {hint}"


def cut(
    groups: Mapping[str, tuple[str, ...]], phases: Sequence[Matched]
) -> dict[str, tuple[str, ...]]:
    """The model's groups, those cut into pieces of which several phases open a part.

    Args:
        groups: parameter names by group.
        phases: from ``match``.

    Returns:
        Parameter names by group; a piece is named by its phase, or ``rest`` where no phase opens
        it.
    """
    phase_of = {
        name: number
        for number, found in enumerate(phases)
        for names in found.values()
        for name in names
    }
    pieces: dict[str, tuple[str, ...]] = {}
    for group, names in groups.items():
        numbers = list(dict.fromkeys(phase_of.get(name) for name in names))
        for number in numbers:
            piece = group
            if len(numbers) > 1:
                piece += " rest" if number is None else f" phase {number}"
            pieces[piece] = tuple(name for name in names if phase_of.get(name) == number)
    return pieces
