"""Where a run stands: enough to stop at any step and go on with the same bits."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import torch

from coursekit.errors import TrainingError
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
    was found not to hold a whole batch.
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
    notes: list[str] = field(default_factory=list)


def save(folder: Path, session: Session) -> None:
    """Write everything into one new state folder, atomically.

    Raises:
        OSError: if it cannot be written.
    """
    model, optimizer = session.model, session.optimizer
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in session.best_weights.items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if model.device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(model.device)
    tensors |= {f"optimizer.{k}": v for k, v in moments_of(model, optimizer).items()}
    tensors |= {f"best_moments.{k}": v for k, v in session.best_moments.items()}
    tensors |= {f"ema.{k}": v for k, v in session.average.values.items()}
    facts = {
        "format": FORMAT,
        "identity": session.identity,
        "position": asdict(session.at),
        "history": [
            {k: v for k, v in row.items() if not (isinstance(v, float) and math.isnan(v))}
            for row in session.history
        ],
        "scaler": session.scaler.state_dict(),
        "ema_updates": session.average.updates,
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
    damaged: list[tuple[str, str]] = []
    whole = False
    for state in reversed(states(folder)):
        try:
            tensors, facts = load_state(state)
            version = facts["format"]
            position = Position(**facts["position"])
            found, history, scaler = facts["identity"], list(facts["history"]), facts["scaler"]
            updates = dict(facts["ema_updates"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            damaged.append((f"{state.name} is damaged and was passed over", repr(error)))
            continue
        if version != FORMAT:
            raise TrainingError(
                f"{state} has checkpoint format {version}, this coursekit reads {FORMAT}; "
                "start anew in another folder"
            )
        differing = differences(found, session.identity)
        if differing:
            raise TrainingError(
                f"{folder} holds a checkpoint of another run: {'; '.join(differing)}. Give the "
                "same model, task and settings to go on, or another checkpoint_dir to start anew."
            )
        if session.rates is not None:
            session.rates.load(facts["rates"])
            session.best_facts = facts["best_facts"]
            session.optimizer = session.optimizer_of(position.phase)
        _load_tensors(tensors, session.model, session.optimizer)
        session.scaler.load_state_dict(scaler)
        averages = _below("ema.", tensors)
        session.average.values = {k: v.to(session.model.device) for k, v in averages.items()}
        session.average.updates = updates
        session.at, session.history, session.identity = position, history, found
        session.best_weights = _below("best.", tensors)
        session.best_moments = _below("best_moments.", tensors)
        whole = True
        break
    for sentence, reason in damaged:
        session.note(sentence, reason)
    return whole


def put_aside(folder: Path) -> bool:
    """Rename a folder's states, all of them damaged; True if there were any.

    By their numbers they would outrank the first states of a run that starts anew.
    """
    found = states(folder)
    for state in found:
        with suppress(OSError):  # a folder that cannot be written is noted when saving fails
            state.rename(folder / f"damaged-{state.name}-{uuid4().hex[:8]}")
    return bool(found)


def _load_tensors(
    tensors: dict[str, torch.Tensor], model: Classifier, optimizer: torch.optim.Optimizer
) -> None:
    model.load_state_dict(_below("model.", tensors))
    load_moments(model, optimizer, _below("optimizer.", tensors))
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and model.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng.cuda"], model.device)


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with ``prefix``, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
