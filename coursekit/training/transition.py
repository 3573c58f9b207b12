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
    """A scheduler of torch over the phases that are open.

    Args:
        class_path: such as ``torch.optim.lr_scheduler.StepLR``; see ``torch_classes.SCHEDULERS``.
        init_args: its arguments; an ``lr_lambda`` is a list of factors, one an epoch, of which
            the last one stays.
        interval: what it counts, ``"epoch"`` or ``"step"``: batches of the optimizer.
        frequency: it moves where the epoch, or the batch within its epoch, is a multiple of this.
        init_rates: learning rates of the phases opened before, in their order.
        keep_rates: begin with the learning rates that there are; otherwise with those with which
            each phase was opened. Torch's closed forms (LambdaLR, CosineAnnealingWarmRestarts)
            begin with the latter in any case.
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)
    interval: str = "epoch"
    frequency: int = 1
    init_rates: tuple[float, ...] | None = None
    keep_rates: bool = False


@dataclass(frozen=True)
class NewOptimizer:
    """An optimizer of torch that takes over, without moments.

    Args:
        class_path: such as ``torch.optim.AdamW``; see ``torch_classes.OPTIMIZERS``.
        init_args: its arguments; ``lr`` is where a scheduler that begins anew lets phase 0 begin
            (without one, learning rates go on), ``weight_decay`` goes to matrices only.
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Transition:
    """How a phase begins, and what ends it besides patience.

    Args:
        until_epoch: the phase ends before this epoch of the run, counted from 0, and has one epoch
            at least; the last phase runs to the end of the run, which is no earlier.
        min_delta: a validation counts as better only by more than this.
        restore_best: begin with the weights and the optimizer's moments of the best epoch so far;
            learning rates and the scheduler go on from where they are.
        scheduler: begin with this scheduler in place of the one before.
        optimizer: begin with this optimizer in place of the one before.
        apply_lambdas: under LambdaLR, multiply the new groups' learning rate by the factor of
            the moment at once, and not only from the next epoch on.
        matched: parameter names found for each entry of the schedule, for the plan to show; none
            for an entry that was passed over.
        left_closed: of the last phase, the numbers of those of the schedule that ``max_depth``
            keeps from following it, for the run's notes.
    """

    until_epoch: int | None = None
    min_delta: float = 0.0
    restore_best: bool = True
    scheduler: NewScheduler | None = None
    optimizer: NewOptimizer | None = None
    apply_lambdas: bool = False
    matched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_closed: tuple[int, ...] = ()


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
        if until is not None and (not isinstance(until, int) or until < 1):
            raise TrainingError(
                f"{where} has until_epoch={until!r}; a whole number from 1 on is expected"
            )


def expected_lengths(phases: Sequence[Phase], epochs: int) -> list[int]:
    """Epochs of each phase if patience ends none early, for the plan to show.

    Phases that only patience ends share what is left evenly: nobody knows how long they take.

    Returns:
        0 for a phase that begins only if patience ends one before it early; fewer numbers than
        phases where the last ones cannot be reached.
    """
    total = max(epochs, transition_of(phases[-1]).until_epoch or 0)
    kept = phases[:total]  # each has one epoch at least
    ends = [transition_of(phase).until_epoch for phase in kept]
    lengths: list[int] = []
    for number, end in enumerate(ends):
        start = sum(lengths)
        if start >= total and all(before.patience is None for before in kept[:number]):
            break
        if number == len(kept) - 1:
            end = total
        elif end is None:
            following = [n for n in range(number, len(kept)) if ends[n] is not None]
            stop = following[0] if following else len(kept) - 1
            shared = min(ends[stop] or total, total) - start
            end = start + max(1, shared // (stop - number + 1))
        lengths.append(max(0, min(max(end, start + 1), total) - start))
    return lengths
