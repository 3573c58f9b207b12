"""The Run that a session leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from coursekit.runs import Run, describe_environment
from coursekit.runs.record import MAX_NOTES
from coursekit.runs.record_tables import HISTORY_COLUMNS, MAX_COLUMNS, MOVED

if TYPE_CHECKING:
    from coursekit.training.session import Session


def make_run(session: Session) -> Run:
    """What has been trained so far, with the best epoch's weights put back into the model."""
    session.journal.flush()
    at, model, plan = session.at, session.model, session.plan
    session.give_best_back()
    # Also where a finished run was only read from its folder: it predicts as it did then.
    session.open_groups()
    model.eval()
    session.prefix.end(min(at.phase, len(plan.phases) - 1))
    predictions = []
    for name in ("valid", "test"):
        part = session.parts[name]
        columns = part[["molecule_id", "negative_set", "label"]].copy()
        scores = session.processes.spread(part, session.predict)
        predictions.append(columns.assign(part=name, score=scores))
    session.prefix.close()
    notes = [*at.notes]
    if session.processes.size > 1:
        notes.append(f"trained by {session.processes.size} processes together")
    if at.best_epoch is not None:
        notes.append(f"weights of epoch {at.best_epoch}, the best by {session.strategy.monitor}")
    phases = plan.phases
    if plan.scheduled:  # the last ones may not have been reached
        phases = phases[: 1 + max((row["phase"] for row in session.journal.rows), default=0)]
    trained = {group for phase in phases for group in phase.learning_rates}
    kept = dict.fromkeys(name for row in session.journal.rows for name in row)
    others = [n for n in kept if n not in HISTORY_COLUMNS and not n.startswith("learning_rate.")]
    shown = list(plan.groups)
    if len(HISTORY_COLUMNS) + len(others) + len(shown) > MAX_COLUMNS:  # groups cut very fine
        shown = [group for group in shown if group in trained]
    if len(HISTORY_COLUMNS) + len(others) + len(shown) > MAX_COLUMNS:
        others = [name for name in others if not name.startswith(MOVED)]
    rates = [f"learning_rate.{group}" for group in shown]
    return Run(
        name=session.name,
        history=pd.DataFrame(session.journal.rows, columns=[*HISTORY_COLUMNS, *others, *rates]),
        predictions=pd.concat(predictions, ignore_index=True),
        strategy=session.identity["strategy"],
        task={
            "name": session.task.name,
            "fingerprint": session.task.fingerprint,
            "settings": session.task.settings,
        },
        seed=session.seed,
        environment=describe_environment(session.precision),
        cost={
            "seconds": round(at.seconds, 3),
            "trainable_parameters": sum(plan.parameters[group] for group in trained),
            "total_parameters": model.count(),
            "molecules_per_second": round(at.molecules / at.seconds, 1) if at.seconds else None,
            "epochs": at.epoch,
            "steps": at.step,
        },
        notes=_shortened(notes),
        forgetting=session.retention.forgetting(),
    )


def _shortened(notes: list[str]) -> tuple[str, ...]:
    """As many notes as a record takes: those in the middle of a schedule of many phases go."""
    if len(notes) <= MAX_NOTES:
        return tuple(notes)
    half = MAX_NOTES // 2
    left_out = f"{len(notes) - MAX_NOTES + 1} notes are left out here"
    return (*notes[:half], left_out, *notes[len(notes) - half + 1 :])
