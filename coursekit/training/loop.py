"""One loop that runs the phases of any strategy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from coursekit.errors import TrainingError
from coursekit.interrupt import Interruptible
from coursekit.runs import Run
from coursekit.storage import states
from coursekit.training.identity import identity_of
from coursekit.training.processes import processes
from coursekit.training.recompute import gradient_checkpointing
from coursekit.training.recorded import (
    Recorded,
    has_weights_to_train,
    recorded_run,
    stand_in,
)
from coursekit.training.result import make_run
from coursekit.training.session import Session
from coursekit.training.step import step
from coursekit.training.tracking import TrackerChoice, check_trackers, start_tracking
from coursekit.training.watch import watch

if TYPE_CHECKING:
    from coursekit.data.task import BindingTask
    from coursekit.models.classifier import Classifier
    from coursekit.training.strategy import FinetuneStrategy


def train(
    strategy: FinetuneStrategy,
    model: Classifier,
    task: BindingTask,
    epochs: int,
    seed: int,
    checkpoint_dir: str | Path | None,
    resume_from: str | Path | None,
    tracker: TrackerChoice,
    heldout: Sequence[str] | None = None,
) -> Run:
    """See ``FinetuneStrategy.fit``."""
    if not isinstance(seed, int) or seed < 0:
        raise TrainingError(f"fit: seed is {seed!r}; a whole number from 0 on is expected")
    check_trackers(tracker)
    folder = Path(checkpoint_dir) if checkpoint_dir is not None else None
    together = processes()

    def look_up() -> Recorded | None:
        if resume_from is not None or (folder is not None and states(folder)):
            return None
        plan = strategy.plan(model, epochs)
        return recorded_run(identity_of(strategy, plan, model, task, epochs, seed), folder)

    recorded = together.once(look_up)
    if recorded is not None:
        stand_in(*recorded, model)
        return recorded[1]
    with gradient_checkpointing(model, strategy.gradient_checkpointing):
        session = Session(strategy, model, task, epochs, seed, folder, tracker, together, heldout)
        resumed = session.resume(Path(resume_from) if resume_from is not None else None)
        if not resumed:
            has_weights_to_train(model)
            session.retention.begin()
        model.recorded = None
        if model.fitted and not resumed:
            session.note(
                f"the model had been trained before, by {', '.join(model.fitted)}; load a fresh "
                "one for a fair comparison"
            )
        model.fitted = [*session.identity["strategy"]["encoder"]["fitted"], session.name]
        try:
            start_tracking(session)
            with Interruptible() as ctrl_c:
                run_phases(session, ctrl_c)
            run = make_run(session)
        except BaseException:
            session.tracking.end(None)
            raise
    noted = len(session.at.notes)
    session.tracking.end(run)
    return replace(run, notes=(*run.notes, *session.at.notes[noted:]))


def run_phases(session: Session, ctrl_c: Interruptible) -> None:
    """Train from where the session stands to its end, or until somebody presses ctrl-C.

    A window is what one optimizer step sees: one batch, or several under accumulation.
    """
    at = session.at
    session.journal.watcher, ending = watch(session), "stopped by an error"
    try:
        while not session.finished:
            session.open_phase()
            while not session.phase_is_over():
                windows = session.windows(at.epoch)
                for window in windows[at.windows :]:
                    began = time.monotonic()
                    rates = session.set_learning_rates((at.windows + 0.5) / len(windows))
                    losses = step(session, window)
                    session.count(losses, rates, sum(map(len, window)), began)
                    if session.processes.any(ctrl_c.asked):
                        session.interrupt()
                        ending = "interrupted"
                        return
                    session.save_if_due()
                session.end_epoch()
            session.next_phase()
        ending = "finished"
    finally:
        session.journal.watcher.close(ending)
