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


@dataclass
class State:
    """Position, curves, and the weights of the best epoch."""

    position: Position
    history: list[dict[str, Any]]
    best_weights: dict[str, torch.Tensor]


def fresh_state() -> State:
    """The state before the first step."""
    return State(Position(), [], {})


def save(
    folder: Path,
    state: State,
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    identity: dict[str, Any],
) -> None:
    """Write everything into one new state folder, atomically.

    Raises:
        OSError: if it cannot be written.
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in state.best_weights.items()}
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
        "identity": identity,
        "position": asdict(state.position),
        "history": [
            {k: v for k, v in row.items() if not (isinstance(v, float) and math.isnan(v))}
            for row in state.history
        ],
        "scaler": scaler.state_dict(),
    }
    save_state(folder, state.position.step, tensors, facts)


def restore(
    folder: Path,
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    identity: dict[str, Any],
) -> tuple[State, dict[str, Any]] | None:
    """Load the newest whole state into model, optimizer, scaler and random generators.

    Returns:
        The state and the run's identity, or None where the folder holds none. A damaged newest
        state is passed over for the one before it, and the run's notes say so.

    Raises:
        TrainingError: if the state belongs to another run; the message names the difference.
    """
    damaged: list[str] = []
    for folder_of_state in reversed(states(folder)):
        try:
            tensors, facts = load_state(folder_of_state)
            position = Position(**facts["position"])
            found, history = facts["identity"], list(facts["history"])
            if facts["format"] != FORMAT:
                raise TrainingError(
                    f"{folder_of_state} has checkpoint format {facts['format']}, this coursekit "
                    f"reads {FORMAT}; start anew in another folder"
                )
        except (OSError, KeyError, TypeError) as error:
            damaged.append(f"{folder_of_state.name} is damaged and was passed over ({error!r})")
            continue
        except TrainingError:
            raise
        except ValueError as error:
            damaged.append(f"{folder_of_state.name} is damaged and was passed over ({error})")
            continue
        _same_run(found, identity, folder)
        _load_tensors(tensors, model, optimizer)
        scaler.load_state_dict(facts["scaler"])
        position.notes += damaged
        best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
        return State(position, history, best), found
    return None


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
