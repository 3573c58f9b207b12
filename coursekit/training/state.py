"""Where a run stands: enough to stop at any step and go on with the same bits."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import torch

from coursekit.errors import TrainingError
from coursekit.models.generators import generators, set_generators
from coursekit.storage import load_state, save_state, states
from coursekit.training.identity import differences
from coursekit.training.optimizer import load_moments, moments_of

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier
    from coursekit.training.session import Session

FORMAT = 1


@dataclass
class Position:
    """How far the run is. ``windows`` counts optimizer steps done in the current epoch.

    ``better_than`` is the score that patience measures by, which under a schedule's ``min_delta``
    may be worse than the best. ``fits`` is how many molecules the memory holds at once, where it
    was found not to hold a whole batch; ``tracked_as`` is what trackers know the run by.
    """

    phase: int = 0
    phase_epoch: int = 0
    windows: int = 0
    epoch: int = 0
    step: int = 0
    waits: int = 0
    molecules: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_epoch: int | None = None
    better_than: float | None = None
    fits: int | None = None
    tracked_as: str | None = None
    notes: list[str] = field(default_factory=list)


def save(folder: Path, session: Session) -> None:
    """Write everything into one new state folder, atomically; of several processes the first does.

    Raises:
        OSError: if it cannot be written; in all processes.
    """
    drawn = session.processes.gather(generators(session.model.device))
    session.processes.once(lambda: _write(folder, session, drawn))


def spoiled(model: Classifier, optimizer: torch.optim.Optimizer) -> str | None:
    """The name of a trained weight or of a moment that has an infinity or a NaN, or None."""
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    for name, value in (trained | moments_of(model, optimizer)).items():
        if not math.isfinite(value.sum(dtype=torch.float64)):
            return name
    return None


def _write(folder: Path, session: Session, drawn: list[dict[str, torch.Tensor]]) -> None:
    model, optimizer = session.model, session.optimizer
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in session.best_weights.items()}
    for rank, states_ in enumerate(drawn):
        tensors |= {f"rng.{rank}.{kind}": value for kind, value in states_.items()}
    tensors |= {f"optimizer.{k}": v for k, v in moments_of(model, optimizer).items()}
    tensors |= {f"best_moments.{k}": v for k, v in session.best_moments.items()}
    tensors |= {f"ema.{k}": v for k, v in session.average.values.items()}
    tensors |= {f"held.{k}": v for k, v in session.retention.tensors().items()}
    tensors |= {f"start.{k}": v for k, v in session.movement.start.items()}
    facts = {
        "format": FORMAT,
        "identity": session.identity,
        "position": asdict(session.at),
        "history": [
            {k: v for k, v in row.items() if not (isinstance(v, float) and math.isnan(v))}
            for row in session.journal.rows
        ],
        "scaler": session.scaler.state_dict(),
        "processes": session.processes.size,
        "ema_updates": session.average.updates,
        "forgetting_before": session.retention.before,
    }
    if session.rates is not None:
        facts["rates"] = session.rates.state()
        facts["best_facts"] = session.best_facts
    save_state(folder, session.at.step, tensors, facts)


def restore(folder: Path, session: Session) -> bool:
    """Put the newest whole state into the session, its model and the random generators.

    A damaged newest state is passed over for the one before it, and the run's notes say so.

    Returns:
        Whether the folder holds a whole state.

    Raises:
        TrainingError: if the state belongs to another run; the message names the difference.
    """
    tensors, facts, damaged = session.processes.once(lambda: _newest(folder, session.identity))
    if facts is not None:
        if session.rates is not None:
            session.rates.load(facts["rates"])
            session.best_facts = facts["best_facts"]
            session.optimizer = session.optimizer_of(facts["position"]["phase"])
        session.model.load_state_dict(_below("model.", tensors))
        load_moments(session.model, session.optimizer, _below("optimizer.", tensors))
        session.scaler.load_state_dict(facts["scaler"])
        session.at = Position(**facts["position"])
        session.journal.rows, session.identity = list(facts["history"]), facts["identity"]
        averages = _below("ema.", tensors)
        session.average.values = {k: v.to(session.model.device) for k, v in averages.items()}
        session.average.updates = dict(facts["ema_updates"])
        session.best_weights = _below("best.", tensors)
        session.best_moments = _below("best_moments.", tensors)
        session.retention.load(facts["forgetting_before"], _below("held.", tensors))
        session.movement.start = _below("start.", tensors)
        _restore_generators(session, tensors, facts["processes"])
    for sentence, reason in damaged:
        session.note(sentence, reason)
    return facts is not None


def _newest(
    folder: Path, identity: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None, list[tuple[str, str]]]:
    """Tensors and facts of the newest whole state, if any, and what is wrong with newer ones."""
    damaged: list[tuple[str, str]] = []
    for state in reversed(states(folder)):
        try:
            tensors, facts = load_state(state)
            version = facts["format"]
            if version == FORMAT:
                found, _ = facts["identity"], Position(**facts["position"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            damaged.append((f"{state.name} is damaged and was passed over", repr(error)))
            continue
        if version != FORMAT:
            raise TrainingError(
                f"{state} has checkpoint format {version}, this coursekit reads {FORMAT}; "
                "start anew in another folder"
            )
        differing = differences(found, identity)
        if differing:
            raise TrainingError(
                f"{folder} holds a checkpoint of another run: {'; '.join(differing)}. Give the "
                "same model, task and settings to go on, or another checkpoint_dir to start anew."
            )
        return tensors, facts, damaged
    return {}, None, damaged


def put_aside(folder: Path) -> bool:
    """Rename a folder's states, all of them damaged; True if there were any.

    By their numbers they would outrank the first states of a run that starts anew.
    """
    found = states(folder)
    for state in found:
        with suppress(OSError):  # a folder that cannot be written is noted when saving fails
            state.rename(folder / f"damaged-{state.name}-{uuid4().hex[:8]}")
    return bool(found)


def _restore_generators(session: Session, tensors: dict[str, torch.Tensor], saved: int) -> None:
    """Go on drawing where this process stopped; one that was not there begins with a seed."""
    own = session.processes
    if own.size != saved:
        session.note(
            f"saved by {saved} process{'es' * (saved > 1)} and gone on with by {own.size}: dropout "
            "is drawn otherwise from here on"
        )
    drawn = _below(f"rng.{own.rank}.", tensors)
    if not drawn:
        torch.manual_seed(own.seed(session.seed + session.at.step))
    set_generators(session.model.device, drawn)


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with ``prefix``, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
