"""Where a run stands: enough to stop at any step and go on with the same bits."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from coursekit.errors import TrainingError
from coursekit.storage import load_state, save_state, states

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier
    from coursekit.training.session import Session

FORMAT = 1


@dataclass
class Position:
    """How far the run is. ``windows`` counts optimizer steps done in the current epoch."""

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
    names = _optimizer_names(model, optimizer)
    # Moments go by parameter name, and one that has never trained has none.
    for index, moments in optimizer.state_dict()["state"].items():
        for moment, value in moments.items():
            tensors[f"optimizer.{moment}.{names[index]}"] = torch.as_tensor(value)
    facts = {
        "format": FORMAT,
        "identity": session.identity,
        "position": asdict(session.at),
        "history": [
            {k: v for k, v in row.items() if not (isinstance(v, float) and math.isnan(v))}
            for row in session.history
        ],
        "scaler": session.scaler.state_dict(),
    }
    save_state(folder, session.at.step, tensors, facts)


def restore(folder: Path, session: Session) -> bool:
    """Put the newest whole state into the session, its model and the random generators.

    A damaged newest state is passed over for the one before it, and the run's notes say so.

    Returns:
        Whether the folder holds a state.

    Raises:
        TrainingError: if the state belongs to another run; the message names the difference.
    """
    damaged: list[str] = []
    for state in reversed(states(folder)):
        try:
            tensors, facts = load_state(state)
            version = facts["format"]
            position = Position(**facts["position"])
            found, history, scaler = facts["identity"], list(facts["history"]), facts["scaler"]
        except (OSError, KeyError, TypeError, ValueError) as error:
            damaged.append(f"{state.name} is damaged and was passed over ({error!r})")
            continue
        if version != FORMAT:
            raise TrainingError(
                f"{state} has checkpoint format {version}, this coursekit reads {FORMAT}; "
                "start anew in another folder"
            )
        _same_run(found, session.identity, folder)
        _load_tensors(tensors, session.model, session.optimizer)
        session.scaler.load_state_dict(scaler)
        position.notes += damaged
        session.at, session.history, session.identity = position, history, found
        session.best_weights = {
            k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")
        }
        return True
    return False


def _same_run(found: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    there, here = _flat(found), _flat(wanted)
    # A cell run twice meets its own, by now trained, model: its weights are put back.
    before, now = there.pop("fitted", []), here.pop("fitted", [])
    differences = [
        f"{key} is {there.get(key)!r} there and {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if now[: len(before)] != before:
        differences.append(f"the model had been trained by {before} there and by {now} here")
    if differences:
        raise TrainingError(
            f"{folder} holds a checkpoint of another run: {'; '.join(differences)}. Give the same "
            "model, task and settings to go on, or another checkpoint_dir to start anew."
        )


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity without nesting, so that a difference is named by its own word."""
    flat: dict[str, Any] = {}
    for key, value in identity.items():
        flat |= _flat(value) if isinstance(value, dict) else {key: value}
    return flat


def _load_tensors(
    tensors: dict[str, torch.Tensor], model: Classifier, optimizer: torch.optim.Optimizer
) -> None:
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    )
    index_of = {name: index for index, name in _optimizer_names(model, optimizer).items()}
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, moment, name = key.split(".", 2)
            saved["state"].setdefault(index_of[name], {})[moment] = value
    optimizer.load_state_dict(saved)
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and model.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng.cuda"], model.device)


def _optimizer_names(model: Classifier, optimizer: torch.optim.Optimizer) -> dict[int, str]:
    """The name behind each number that ``optimizer.state_dict`` uses for a parameter."""
    name_of = {id(p): n for n, p in model.named_parameters()}
    ordered = [p for group in optimizer.param_groups for p in group["params"]]
    return {index: name_of[id(parameter)] for index, parameter in enumerate(ordered)}
