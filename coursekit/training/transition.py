"""How a phase of a schedule begins and ends, in the sense of finetuning-scheduler.

Phases with a ``Transition`` share the epochs of the run: where one ends early, the next one begins
early. A group that is already open keeps the learning rate that it has come to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coursekit.errors import TrainingError

if TYPE_CHECKING:
    from coursekit.training.phases import Phase


@dataclass(frozen=True)
class NewScheduler:
    """A scheduler of torch, stepped once every ``frequency`` epochs.

    Args:
        class_path: such as ``torch.optim.lr_scheduler.StepLR``; see ``torch_classes.SCHEDULERS``.
        init_args: its arguments; an ``lr_lambda`` is a list of factors, one an epoch, of which
            the last one stays.
        frequency: epochs between two steps.
        init_rates: learning rates of the phases opened before, in their order.
        keep_rates: begin with the learning rates that there are; otherwise with those with which
            each phase was opened.
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)
    frequency: int = 1
    init_rates: tuple[float, ...] | None = None
    keep_rates: bool = False


@dataclass(frozen=True)
class NewOptimizer:
    """An optimizer of torch that takes over, without moments.

    Args:
        class_path: such as ``torch.optim.AdamW``; see ``torch_classes.OPTIMIZERS``.
        init_args: its arguments; ``lr`` goes to the phases opened before, ``weight_decay`` to
            matrices only.
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Transition:
    """How a phase begins, and what ends it besides patience.

    Args:
        until_epoch: the phase ends before this epoch of the run, counted from 0; the last phase
            runs to the end of the run, which is no earlier.
        min_delta: a validation counts as better only by more than this.
        restore_best: begin with the weights, the optimizer's moments and the scheduler's counters
            of the best epoch so far; learning rates stay.
        scheduler: begin with this scheduler in place of the one before.
        optimizer: begin with this optimizer in place of the one before.
        apply_lambdas: under LambdaLR, multiply the new groups' learning rate by the factor of
            the moment at once, and not only from the next epoch on.
        matched: parameter names found for each entry of the schedule, for the plan to show.
    """

    until_epoch: int | None = None
    min_delta: float = 0.0
    restore_best: bool = True
    scheduler: NewScheduler | None = None
    optimizer: NewOptimizer | None = None
    apply_lambdas: bool = False
    matched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def transition_of(phase: Phase) -> Transition:
    """The phase's transition, where the plan is known to have them."""
    assert phase.transition is not None
    return phase.transition


def newly_opened(phases: Sequence[Phase]) -> list[list[str]]:
    """For each phase, the groups that no phase before it has named."""
    seen: set[str] = set()
    found = []
    for phase in phases:
        found.append([group for group in phase.learning_rates if group not in seen])
        seen |= set(phase.learning_rates)
    return found


def check_transitions(phases: Sequence[Phase]) -> None:
    """Check what only holds for phases that have transitions.

    Raises:
        TrainingError: naming the phase and the fix.
    """
    before = 0
    for number, (phase, opened) in enumerate(zip(phases, newly_opened(phases), strict=True)):
        where = f"plan: phase {number}" + (f" ({phase.name})" if phase.name else "")
        last = number == len(phases) - 1
        transition = phase.transition
        if not isinstance(transition, Transition):
            raise TrainingError(
                f"{where} has no transition, others have one; give it Transition() too"
            )
        if len({phase.learning_rates[group] for group in opened}) != 1:
            raise TrainingError(
                f"{where} opens groups at several learning rates, or none; phases with a "
                "transition open at least one group, all new ones at one learning rate"
            )
        until = transition.until_epoch
        if until is None and phase.patience is None and not last:
            raise TrainingError(
                f"{where} would never end; give it a patience or until_epoch, as phases follow it"
            )
        if until is not None and (not isinstance(until, int) or until <= before):
            raise TrainingError(
                f"{where} has until_epoch={until!r}; a whole number above {before}, where the "
                "phases before it end, is expected"
            )
        before = until if until is not None else before


def expected_lengths(phases: Sequence[Phase], epochs: int) -> list[int]:
    """Epochs of each phase if patience ends none early, for the plan to show.

    Phases that only patience ends share what is left evenly: nobody knows how long they take.

    Returns:
        Fewer numbers than phases where the run is over before the last ones.
    """
    total = max(epochs, transition_of(phases[-1]).until_epoch or 0)
    kept = phases[:total]
    ends = [transition_of(phase).until_epoch for phase in kept]
    lengths: list[int] = []
    for number, (phase, end) in enumerate(zip(kept, ends, strict=True)):
        start, later = sum(lengths), len(kept) - number - 1
        if end is not None and end >= total and phase.patience is None:
            later = 0  # it never gives way to another
        if not later:
            return [*lengths, total - start]
        if end is None:
            following = [n for n in range(number, len(kept)) if ends[n] is not None]
            stop = following[0] if following else len(kept) - 1
            until = min(ends[stop] or total, total)
            end = start + max(1, (until - start) // (stop - number + 1))
        lengths.append(max(1, min(end, total - later) - start))
    return lengths
