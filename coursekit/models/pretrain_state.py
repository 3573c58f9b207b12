"""Where a pretraining stands: enough to go on with the same bits after ctrl-C or a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coursekit.errors import EncoderError
from coursekit.storage import load_state, save_state, states

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def save(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    folder: Path,
    identity: Mapping[str, Any],
    step: int,
    seconds: float,
) -> None:
    """Write weights, optimizer and position as one state; see ``coursekit.storage``."""
    facts = {**identity, "step": step, "seconds": seconds}
    save_state(folder, step, _tensors(model, optimizer), facts)


def restore(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    folder: Path,
    identity: Mapping[str, Any],
    report: Callable[[str], None],
) -> tuple[int, float]:
    """Put the newest whole state into model and optimizer.

    A damaged state is reported and passed over for the one before it.

    Returns:
        Steps done and seconds spent; zeros where the folder holds no state.

    Raises:
        EncoderError: if the state belongs to a run of other settings or files.
    """
    for state in reversed(states(folder)):
        try:
            tensors, facts = load_state(state)
            found = {key: facts[key] for key in identity}
            step, seconds = int(facts["step"]), float(facts["seconds"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            report(f"{state.name} cannot be read ({error}); trying the one before")
            continue
        _same(found, identity, folder)
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        )
        saved = optimizer.state_dict()
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, moment = name.split(".")
                saved["state"].setdefault(int(index), {})[moment] = value
        optimizer.load_state_dict(saved)
        report(f"going on from step {step:,}")
        return step, seconds
    return 0, 0.0


def _same(found: dict[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Refuse a state of another run: of other settings, other files, or files in another order."""
    if list(found["files"]) != list(wanted["files"]):
        differences = [f"files are {list(found['files'])} there, {list(wanted['files'])} here"]
    else:
        differences = [
            f"the content of {name} has changed"
            for name, digest in wanted["files"].items()
            if found["files"][name] != digest
        ]
    here, there = wanted["settings"], found["settings"]
    differences += [
        f"{name} is {there.get(name)} there, {here.get(name)} here"
        for name in {**here, **there}
        if there.get(name) != here.get(name)
    ]
    if differences:
        raise EncoderError(
            f"pretrain: {folder} holds the state of another run: {'; '.join(differences)}. Give "
            "the same to go on, or another folder to start anew."
        )


def _tensors(model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer.{index}.{name}"] = value
    return tensors
