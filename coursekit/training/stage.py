"""What a session does where phases have transitions: end an epoch, end a phase, begin the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coursekit.training.optimizer import load_moments, moments_of
from coursekit.training.transition import transition_of

if TYPE_CHECKING:
    from coursekit.training.learning_rates import LearningRates
    from coursekit.training.session import Session


def end_epoch(session: Session, rates: LearningRates, value: float) -> None:
    """Step the scheduler, and keep moments and phase where the epoch was the best so far."""
    at = session.at
    if at.best_epoch == at.epoch:
        moments = moments_of(session.model, session.optimizer)
        session.best_moments = {k: v.detach().cpu().clone() for k, v in moments.items()}
        session.best_facts = {"phase": at.phase, "first_rates": rates.first_rates}
    rates.end_epoch(at.epoch, value)


def is_better(session: Session, value: float) -> bool:
    """Whether patience begins anew; ``value`` is turned so that lower is better."""
    before = session.at.better_than
    if before is not None and not value + transition_of(session.phase).min_delta < before:
        return False
    session.at.better_than = value
    return True


def is_over(session: Session) -> bool:
    """Whether the phase ends before the coming epoch: patience, its last epoch, or the run's."""
    why = _why_it_ends(session)
    if why is None:
        return False
    at = session.at
    at.notes.append(f"phase {at.phase} ended {why}")
    closed = transition_of(session.phase).left_closed
    if closed:
        which = f"phase {closed[0]}" if len(closed) == 1 else f"phases {closed[0]} to {closed[-1]}"
        at.notes.append(f"max_depth left {which} closed")
    return True


def _why_it_ends(session: Session) -> str | None:
    """Why the phase ends before the coming epoch, or None where it goes on."""
    plan, phase, at = session.plan, session.phase, session.at
    if at.windows:
        return None
    after = f"after epoch {at.epoch - 1}"
    if at.epoch >= plan.epochs:
        return f"with the run, {after}"
    if not at.phase_epoch:
        return None
    if phase.patience is not None and at.waits >= phase.patience:
        monitor = session.strategy.monitor
        return f"by patience {after}: no better {monitor} in {phase.patience} validations"
    until = transition_of(phase).until_epoch
    if until is not None and at.epoch >= until and at.phase + 1 < len(plan.phases):
        return f"by its schedule {after}"
    return None


def begin(session: Session, rates: LearningRates) -> None:
    """Begin the phase that the session has come to, or end the run where its epochs are over."""
    at, plan = session.at, session.plan
    if at.epoch >= plan.epochs:
        at.phase = len(plan.phases)
    if session.finished:
        return
    transition = transition_of(session.phase)
    first_rates = None
    if transition.restore_best and session.best_weights:
        restore_best(session)
        first_rates = session.best_facts["first_rates"]
    if transition.optimizer is not None:
        session.optimizer = session.optimizer_of(at.phase)
    rates.open(at.phase, first_rates)


def restore_best(session: Session) -> None:
    """Go back to the weights and moments of the best epoch.

    Learning rates and their scheduler go on, and so does the scaler of fp16. Moments of an
    optimizer of another class are not brought back: the one there is begins without.
    """
    at, plan = session.at, session.plan
    session.give_best_back()
    same = plan.optimizer_class(session.best_facts["phase"]) == plan.optimizer_class(at.phase - 1)
    # Clones: the optimizer works on what it is given, and this epoch may be gone back to again.
    moments = {k: v.clone() for k, v in session.best_moments.items()} if same else {}
    load_moments(session.model, session.optimizer, moments)
    at.notes.append(f"phase {at.phase} began with the weights of epoch {at.best_epoch}, the best")
