"""Which parameters the entries of a schedule mean: whole names, patterns of them, or groups."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from coursekit.errors import TrainingError
from coursekit.training.schedule_names import names_elsewhere, names_without_counterpart

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

Matched = dict[str, tuple[str, ...]]


def match(params: Sequence[Sequence[str]], model: Classifier) -> list[Matched]:
    """Find the parameters that each entry of each phase means.

    An entry is the name of a parameter, or of a group of the model, or a regular expression that
    fits the whole name of parameters, or else of groups. What fits none of these is tried with the
    names of Hugging Face's classifiers, which files of finetuning-scheduler use.

    Args:
        params: of each phase of a schedule.
        model: its ``groups`` hold all parameters that take part in its output.

    Returns:
        For each phase, the parameter names by entry; none for an entry that is passed over, as it
        names only what lies between encoder and head there and is not here: a pooler.

    Raises:
        TrainingError: naming the phase and the entry that matches nothing, or matches what
            another has; or the phase all of whose entries are passed over.
    """
    taken: dict[str, tuple[int, str]] = {}
    phases = []
    for number, entries in enumerate(params):
        found: Matched = {}
        for entry in entries:
            names = _names(entry, model)
            if not names and not _without_counterpart(entry, model):
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
        if not any(found.values()):
            raise TrainingError(
                f"schedule: phase {number}: {_passed_over(entries, model)}, so that nothing is "
                "left to open; take the phase out, and number those after it anew"
            )
        phases.append(found)
    return phases


def warn_of_passed_over(phases: Sequence[Matched], model: Classifier) -> None:
    """Warn of the entries that name only what this model has not.

    Args:
        phases: from ``match``.
        model: the one that they were matched with.
    """
    for number, found in enumerate(phases):
        over = [entry for entry, names in found.items() if not names]
        if over:
            warnings.warn(
                f"schedule: phase {number}: {_passed_over(over, model)}; passed over, the rest of "
                f"the phase opens: take {'it' if len(over) == 1 else 'them'} out",
                stacklevel=3,
            )


def _passed_over(entries: Sequence[str], model: Classifier) -> str:
    names = [name for entry in entries for name in _without_counterpart(entry, model)]
    return (
        f"{', '.join(map(repr, entries))} name{'s' * (len(entries) == 1)} only what takes no part "
        f"in the output of {model.name}, such as {names[0]}: it pools by itself, and its head is "
        "one linear layer"
    )


def _names(entry: str, model: Classifier) -> tuple[str, ...]:
    known = [name for names in model.groups.values() for name in names]
    if entry in known:
        return (entry,)
    if entry in model.groups:
        return model.groups[entry]
    pattern = re.compile(entry)
    return (
        tuple(name for name in known if pattern.fullmatch(name))
        or tuple(
            n for group in model.groups if pattern.fullmatch(group) for n in model.groups[group]
        )
        or _by_name_elsewhere(entry, model)
    )


def _by_name_elsewhere(entry: str, model: Classifier) -> tuple[str, ...]:
    elsewhere = names_elsewhere(model)
    if entry in elsewhere:
        return (elsewhere[entry],)
    pattern = re.compile(entry)
    return tuple(dict.fromkeys(own for name, own in elsewhere.items() if pattern.fullmatch(name)))


def _without_counterpart(entry: str, model: Classifier) -> list[str]:
    """What an entry names that Hugging Face's classifiers have, and this model does not use."""
    pattern = re.compile(entry)
    return [n for n in names_without_counterpart(model) if n == entry or pattern.fullmatch(n)]


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
    elsewhere = names_elsewhere(model)
    begun = {name: name for name in known if pattern.match(name)}
    begun = begun or {name: own for name, own in elsewhere.items() if pattern.match(name)}
    if begun:
        return (
            f"{entry!r} matches only the beginning of names, such as {next(iter(begun))}; whole "
            f"names are matched here: write {entry + '.*'!r} if you mean all "
            f"{len(set(begun.values()))}"
        )
    close = get_close_matches(entry, [*known, *model.groups, *elsewhere], n=1)
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
