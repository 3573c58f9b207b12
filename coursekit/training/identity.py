"""Which run a run is: all that a saved state or a record must agree on to stand for it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from coursekit.errors import RecordError, TrainingError
from coursekit.runs import fields

if TYPE_CHECKING:
    from coursekit.data.task import BindingTask
    from coursekit.models.classifier import Classifier
    from coursekit.training.phases import Phase, Plan
    from coursekit.training.strategy import FinetuneStrategy


def identity_of(
    strategy: FinetuneStrategy,
    plan: Plan,
    model: Classifier,
    task: BindingTask,
    epochs: int,
    seed: int,
) -> dict[str, Any]:
    """Strategy, epochs, encoder and its weights, task and seed, as plain data.

    The phases are part of it: somebody who edits ``phases`` of a strategy of their own has made
    another strategy, though its name and settings stay. Their learning rates are rounded, for
    powers differ in the last digit from one machine to the next.

    Raises:
        TrainingError: if the strategy holds something that a record cannot carry.
    """
    phases = [
        {
            "learning_rates": {g: float(f"{r:.6g}") for g, r in phase.learning_rates.items()},
            "epochs": phase.epochs,
            "patience": phase.patience,
            **_transition(phase),
            **({} if phase.objective is None else {"objective": asdict(phase.objective)}),
        }
        for phase in plan.phases
    ]
    encoder = {
        "name": model.name,
        "pooling": model.pooling,
        "origin": model.origin,
        "fitted": list(model.fitted),
    }
    try:
        # Plain now, so that what comes back from a file compares equal: tuples are lists there.
        described = fields.plain_dict("strategy", strategy.describe())
    except RecordError as error:
        raise TrainingError(f"{type(strategy).__name__} cannot be recorded: {error}") from error
    return {
        "strategy": {**described, "epochs": epochs, "phases": phases, "encoder": encoder},
        "task": task.fingerprint,
        "seed": seed,
    }


def _transition(phase: Phase) -> dict[str, Any]:
    """The transition as plain data, without what follows from the encoder and the settings."""
    if phase.transition is None:
        return {}
    follows = ("matched", "left_closed")
    return {"transition": {k: v for k, v in asdict(phase.transition).items() if k not in follows}}


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Sentences on what differs between the identity in a saved state and that of this run."""
    there, here = _flat(found), _flat(wanted)
    # A cell run twice meets its own, by now trained, model: its weights are put back.
    before, now = there.pop("strategy.encoder.fitted", []), here.pop("strategy.encoder.fitted", [])
    other_phases = there.pop("strategy.phases", None) != here.pop("strategy.phases", None)
    sentences = [
        f"{key.split('.')[-1]} is {there.get(key)!r} there and {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if other_phases and not sentences:
        sentences.append("phases() gives other phases there than here")
    if now[: len(before)] != before:
        sentences.append(f"the model had been trained by {before} there and by {now} here")
    return sentences


def settings_of(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity as settings by name; what is no single value as JSON."""
    return {
        key.removeprefix("strategy."): value
        if value is None or isinstance(value, bool | int | float | str)
        else json.dumps(value)
        for key, value in _flat(identity).items()
    }


def _flat(identity: dict[str, Any], above: str = "") -> dict[str, Any]:
    """The identity without nesting, so that a difference is named by its own word."""
    flat: dict[str, Any] = {}
    for key, value in identity.items():
        flat |= (
            _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
        )
    return flat
