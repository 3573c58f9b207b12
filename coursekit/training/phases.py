"""Phases: what trains, how fast, and until when. A strategy is a list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from coursekit.errors import TrainingError
from coursekit.training.plan import Decay, Plan
from coursekit.training.transition import Transition, check_transitions, expected_lengths

if TYPE_CHECKING:
    from coursekit.training.contrast import Contrastive


@dataclass(frozen=True)
class Phase:
    """What trains, how fast, and until when.

    Args:
        learning_rates: peak learning rate per parameter group; a group not named stays frozen.
        epochs: end after this many epochs; None leaves the ending to ``patience``, with the
            epochs that the run still has as the limit, less what later phases need.
        patience: end after this many validations without improvement; None ignores validation.
        name: what the plan calls it.
        transition: the rules of a schedule for beginning and ending; all phases of a strategy
            have them, or none.
        objective: what the phase learns in place of telling binders from negatives.
    """

    learning_rates: Mapping[str, float]
    epochs: int | None = None
    patience: int | None = None
    name: str = ""
    transition: Transition | None = None
    objective: Contrastive | None = None


def make_plan(
    phases: Sequence[Phase],
    parameters: Mapping[str, int],
    epochs: int,
    decay: Decay,
    warmup: float,
) -> Plan:
    """Check phases against a model's groups and give each its number of epochs.

    Args:
        phases: what a strategy's ``phases`` returned.
        parameters: number of parameters of each group of the model, input side first.
        epochs: of the whole run; phases that would begin after it are left out.
        decay: see ``Plan``.
        warmup: see ``Plan``.

    Raises:
        TrainingError: naming the phase and what is wrong with it.
    """
    if epochs < 1:
        raise TrainingError(f"plan: epochs is {epochs}; at least 1 is expected")
    if not isinstance(phases, Sequence):
        raise TrainingError(
            f"plan: phases() gave a {type(phases).__name__}; a list of Phase is expected"
        )
    if not phases:
        raise TrainingError("plan: the strategy gave no phase; phases() must return at least one")
    for number, phase in enumerate(phases):
        _check(number, phase, parameters)
    if any(phase.transition is not None for phase in phases):
        check_transitions(phases)
        lengths = expected_lengths(phases, epochs)
        scheduled = [
            replace(phase, learning_rates=dict(phase.learning_rates), epochs=length)
            for phase, length in zip(phases, lengths, strict=False)
        ]
        return Plan(tuple(scheduled), tuple(parameters), dict(parameters), decay, warmup)
    resolved: list[Phase] = []
    left = epochs
    for number, phase in enumerate(phases):
        later = sum(p.epochs or 1 for p in phases[number + 1 :])
        wanted = phase.epochs if phase.epochs is not None else max(1, left - later)
        length = min(wanted, left)
        if length == 0:
            break
        rates = dict(phase.learning_rates)
        resolved.append(replace(phase, learning_rates=rates, epochs=length))
        left -= length
    return Plan(tuple(resolved), tuple(parameters), dict(parameters), decay, warmup)


def _check(number: int, phase: Phase, parameters: Mapping[str, int]) -> None:
    if not isinstance(phase, Phase):
        raise TrainingError(
            f"plan: phase {number} is a {type(phase).__name__}; phases() must return Phase objects"
        )
    where = f"plan: phase {number}" + (f" ({phase.name})" if phase.name else "")
    if not isinstance(phase.learning_rates, Mapping):
        raise TrainingError(
            f"{where} has learning_rates of type {type(phase.learning_rates).__name__}; a dict "
            "from group to learning rate is expected, such as {'head': 1e-3}"
        )
    if not phase.learning_rates:
        raise TrainingError(f"{where} trains nothing; name at least one group")
    for group, rate in phase.learning_rates.items():
        if group not in parameters:
            raise TrainingError(
                f"{where} names the group {group!r}; the model has {list(parameters)}"
            )
        if not isinstance(rate, int | float) or not 0 < rate < float("inf"):
            raise TrainingError(
                f"{where} gives {group!r} the learning rate {rate!r}; a positive number is "
                "expected. Leave a group out to freeze it."
            )
    for name in ("epochs", "patience"):
        value = getattr(phase, name)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise TrainingError(
                f"{where} has {name}={value!r}; a whole number from 1 on, or None, is expected"
            )
