"""What a run will cost on this device: a few real steps of each phase, before anything trains."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from coursekit.data.binding_task import BindingTask
from coursekit.training.recompute import gradient_checkpointing
from coursekit.training.recorded import trains_nothing
from coursekit.training.session import Session
from coursekit.training.step import step

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier
    from coursekit.training.strategy import FinetuneStrategy

STEPS = 3  # timed in each phase that is measured, after one that is not
MEASURED = 6  # phases at most; those between two measured ones are taken from them
SCORED = 24  # molecules of each kind that are predicted


@dataclass(frozen=True)
class ExpectedCost:
    """What a run will take, if no phase ends early.

    Args:
        table: one row a phase: ``phase, name, epochs, seconds per epoch`` (training and
            validation), ``memory, MB`` (what training adds to the loaded model).
        training: seconds of training, as ``run.cost["seconds"]`` counts them.
        total: seconds of the whole run: validation, predictions and what is forgotten as well.
        memory: MB that training adds at its height, counted: what graphs keep, gradients, the
            optimizer's moments, averages and anchors, the best epoch's weights, and the states
            that frozen blocks leave. A process grows by more than that.
        device: that it was measured on.
    """

    table: pd.DataFrame
    training: float
    total: float
    memory: float
    device: str

    def __str__(self) -> str:
        minutes = f"{self.total:.0f} s" if self.total < 120 else f"{self.total / 60:.1f} min"
        return f"about {minutes} on this {self.device}, {self.memory:,.0f} MB more memory"

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self))}</p>{self.table.to_html(index=False)}"


def expected_cost(
    strategy: FinetuneStrategy,
    model: Classifier,
    task: BindingTask,
    epochs: int = 5,
    seed: int = 0,
) -> ExpectedCost:
    """Measure a few steps of each phase on a copy of the model, and multiply.

    On a grading machine, where ``fit`` gives recorded runs back, nothing is measured: a run costs
    nothing there.

    Args:
        strategy: what is to be trained.
        model: stays as it is, weights and random numbers too.
        task: its parts give the numbers of molecules and their lengths.
        epochs: of the whole run.
        seed: of the molecules that are measured on.

    Returns:
        Seconds and memory; a phase that patience ends early takes less.

    Raises:
        TrainingError: as ``fit`` would, where plan and model do not fit.
    """
    if trains_nothing():
        return _free(strategy, model, epochs)
    gpu = [model.device] if model.device.type == "cuda" else []
    model = copy.deepcopy(model, {id(model.tokenizer): model.tokenizer})
    small = _sample(task, (STEPS + 1) * strategy.batch_size * strategy.accumulate, seed)
    with (
        torch.random.fork_rng(devices=gpu),
        gradient_checkpointing(model, strategy.gradient_checkpointing),
    ):
        session = Session(strategy, model, small, epochs, seed, None, None)
        once = _around(session)
        phases = session.plan.phases
        chosen = sorted({round(i * (len(phases) - 1) / (MEASURED - 1)) for i in range(MEASURED)})
        measured = pd.DataFrame([_phase(session, n) for n in chosen], index=chosen)
        session.prefix.close()
    rates = measured.reindex(range(len(phases))).interpolate()
    train, valid, test = (len(task.part(p)) for p in ("train", "valid", "test"))
    lengths = pd.Series([phase.epochs or 0 for phase in phases])
    tokens = session.lengths.mean() * (train + valid)  # whose states are kept
    memory = rates["memory"] + (rates["states"] * tokens).clip(upper=session.prefix.budget)
    training = rates["step"] * train  # seconds an epoch
    scoring = rates["score"] * valid
    filled = measured["fill"].max() * train  # training counts this pass as its own
    also = measured["fill"].max() * (valid + test)
    table = pd.DataFrame(
        {
            "phase": lengths.index,
            "name": [phase.name for phase in phases],
            "epochs": lengths,
            "seconds per epoch": training + scoring,
            "memory, MB": memory / 2**20,
        }
    )
    whole = float((training * lengths).sum() + filled)
    last = float(rates["score"].iloc[-1]) * (valid + test)
    total = whole + float((scoring * lengths).sum()) + also + last + once
    return ExpectedCost(
        table, whole, total, float(table["memory, MB"].max()), model.device.type.upper()
    )


def _free(strategy: FinetuneStrategy, model: Classifier, epochs: int) -> ExpectedCost:
    phases = strategy.plan(model, epochs).phases
    table = pd.DataFrame(
        {
            "phase": range(len(phases)),
            "name": [phase.name for phase in phases],
            "epochs": [phase.epochs or 0 for phase in phases],
            "seconds per epoch": 0.0,
            "memory, MB": 0.0,
        }
    )
    return ExpectedCost(table, 0.0, 0.0, 0.0, model.device.type.upper())


def _sample(task: BindingTask, molecules: int, seed: int) -> BindingTask:
    """Some molecules of each part, of all kinds that are in it."""

    def some(name: str) -> pd.DataFrame:
        kinds = task.part(name).groupby("negative_set", dropna=False)
        return kinds.sample(frac=1, random_state=seed).groupby("negative_set").head(SCORED)

    train = task.train.sample(min(molecules, len(task.train)), random_state=seed)
    parts = {"train": train.reset_index(drop=True)}
    parts |= {name: some(name).reset_index(drop=True) for name in ("valid", "test")}
    return BindingTask(task.name, settings=dict(task.settings), **parts)


def _around(session: Session) -> float:
    """Seconds before and after training: what the encoder forgets, and the weights to hold."""
    retention, seconds = session.retention, 0.0
    if retention.heldout:
        _ = retention.whole  # is read once
        began = _now(session.model)
        retention.measure()
        seconds = (_now(session.model) - began) * (1 + retention.encoder_trains)
    began = _now(session.model)
    retention.hold()
    return seconds + _now(session.model) - began


def _phase(session: Session, number: int) -> dict[str, float]:
    """Seconds a molecule in steps, in validation, in the pass below; bytes, and those a token."""
    model, at = session.model, session.at
    at.phase = number
    session.optimizer = session.optimizer_of(number)
    session.open_phase()
    windows = session.windows(0)
    with _kept_for_backward(model) as kept:
        step(session, windows[0])
    seen, began = 0, _now(model)
    for window in windows[1:] or windows:
        at.step += 1
        step(session, window)
        seen += sum(len(rows) for rows in window)
    stepped = (_now(model) - began) / seen
    valid = session.parts["valid"]
    session.predict(valid)  # once before, as what is frozen below is computed only once
    began = _now(model)
    session.predict(valid)
    scored = (_now(model) - began) / len(valid)
    trained = (p for p in model.parameters() if p.requires_grad)
    moments = _bytes(
        value
        for state in session.optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
    if session.rates is not None:  # a schedule goes back to the best epoch's as well
        moments *= 2
    held = _bytes(session.average.values.values()) + _bytes(session.retention.tensors().values())
    weights = _bytes(trained) + _bytes(model.state_dict().values())  # gradients; the best epoch's
    return {
        "step": stepped,
        "score": scored,
        "fill": session.below.seconds / len(session.lengths),
        "memory": float(kept["bytes"] + moments + held + weights),
        "states": float(session.prefix.per_token),
    }


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@contextmanager
def _kept_for_backward(model: Classifier) -> Iterator[dict[str, Any]]:
    """Count the bytes that graphs keep at most between two backward passes, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[str, Any] = {"bytes": 0}
    alive: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            alive[storage.data_ptr()] = storage.nbytes()
            found["bytes"] = max(found["bytes"], sum(alive.values()))
        return tensor

    def give(tensor: torch.Tensor) -> torch.Tensor:
        alive.clear()  # backward has begun: what comes next belongs to another pass
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, give):
        yield found


def _now(model: Classifier) -> float:
    """Seconds on a clock, when the device has done what it was given."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
