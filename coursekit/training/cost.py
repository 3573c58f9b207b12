"""What a run will cost on this device: a few real steps of each phase, before anything trains."""

from __future__ import annotations

import copy
import heapq
import time
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from coursekit.data.batches import groups_of_like_length
from coursekit.data.binding_task import BindingTask
from coursekit.models.memory import free_memory
from coursekit.models.packed import first_position
from coursekit.training.alive import Alive
from coursekit.training.passes import GROUP_TOKENS, steps_of_an_epoch
from coursekit.training.recompute import gradient_checkpointing
from coursekit.training.recorded import trains_nothing
from coursekit.training.session import Session
from coursekit.training.step import step

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier
    from coursekit.training.strategy import FinetuneStrategy

STEPS = 3  # timed in each phase that is measured, again and again, after two whose memory is
LEAST_SECONDS = 0.3  # for so long: one slow moment is not to stand for an epoch
MEASURED = 6  # phases at most; those between two measured ones are taken from them
LIKELY = 50  # steps that may be the heaviest of all
SEEN_EPOCHS = 100  # in which it is looked for
SCORED = 24  # molecules of each kind that are predicted
# Beside tensors, on a processor: tokens and tables, modules, what libraries keep for themselves. Of
# twelve runs of two encoders half took 5 to 10 MB there (benchmarks/cost_model.py).
ROOM = 8 * 2**20


@dataclass(frozen=True)
class ExpectedCost:
    """What a run will take, if no phase ends early.

    Args:
        table: one row a phase: ``phase, name, epochs, seconds per epoch`` (training and
            validation), ``memory, MB`` (as below, in this phase).
        training: seconds of training, as ``run.cost["seconds"]`` counts them.
        total: seconds of the whole run: validation, predictions and what is forgotten as well.
        memory: MB that tensors of the run take at its height on the model's device, beyond those
            that were there, and what is kept of frozen blocks; on a GPU, what
            ``torch.cuda.max_memory_allocated`` rises by. On a processor, 8 MB for all else are
            added; a process grows by more, as the C library keeps much of what was freed.
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
    heaviest = _heaviest_step(strategy, model, task, epochs, seed)
    small = _sample(task, heaviest, (STEPS + 1) * len(heaviest), seed)
    with (
        torch.random.fork_rng(devices=gpu),
        gradient_checkpointing(model, strategy.gradient_checkpointing),
    ):
        alive = Alive(model.device)
        with alive:
            session = Session(strategy, model, small, epochs, seed, None, None)
            once = _around(session)
        around = alive.most
        phases = session.plan.phases
        chosen = sorted({round(i * (len(phases) - 1) / (MEASURED - 1)) for i in range(MEASURED)})
        # A phase is timed for no longer than it lasts.
        all_of = [len(task.train) * (phase.epochs or 1) for phase in phases]
        measured = pd.DataFrame(
            [_phase(session, n, len(heaviest), all_of[n], alive) for n in chosen], index=chosen
        )
        session.prefix.close()
    rates = measured.reindex(range(len(phases))).interpolate()
    train, valid, test = (len(task.part(p)) for p in ("train", "valid", "test"))
    lengths = pd.Series([phase.epochs or 0 for phase in phases])
    memory = rates["memory"]
    room = 0 if gpu else ROOM
    memory += room
    if not gpu:  # states and vectors that are kept stay with the processor
        states = rates["states"] * session.lengths.mean() * (train + valid)
        memory += states.clip(upper=session.prefix.budget)
        memory += rates["vectors"] * (train + valid + test)
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
    height = max(float(memory.max()), around + room) / 2**20
    device = model.device
    del session, model
    free_memory(device)  # before the run that was asked about needs it
    return ExpectedCost(table, whole, total, height, device.type.upper())


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


def _heaviest_step(
    strategy: FinetuneStrategy, model: Classifier, task: BindingTask, epochs: int, seed: int
) -> np.ndarray:
    """Training molecules of the step that will take the most memory, by the length of SMILES."""
    lengths = task.train["smiles"].str.len().to_numpy()
    packed = first_position(model) is not None
    steps = (
        rows
        for epoch in range(min(epochs, SEEN_EPOCHS))
        for rows in steps_of_an_epoch(strategy, lengths, np.random.default_rng([seed, epoch]))
    )

    def tokens(rows: np.ndarray) -> int:
        parts = groups_of_like_length(lengths[rows], GROUP_TOKENS) if packed else [slice(None)]
        groups = [lengths[rows[part]] for part in parts]
        return sum(len(group) * int(group.max()) for group in groups)

    # Of those with the most tokens, one may have more padding than the others.
    return max(heapq.nlargest(LIKELY, steps, key=lambda rows: lengths[rows].sum()), key=tokens)


def _sample(task: BindingTask, first: np.ndarray, molecules: int, seed: int) -> BindingTask:
    """Some molecules of each part, of all kinds that are in it; to train on, ``first`` and others.

    Args:
        task: it stays.
        first: positions in the train part.
        molecules: of the train part, at most.
        seed: of the others.
    """

    def some(name: str) -> pd.DataFrame:
        kinds = task.part(name).groupby("negative_set", dropna=False)
        return kinds.sample(frac=1, random_state=seed).groupby("negative_set").head(SCORED)

    others = np.random.default_rng(seed).permutation(len(task.train))
    order = np.concatenate([first, others[~np.isin(others, first)]])
    parts = {"train": task.train.iloc[order[:molecules]].reset_index(drop=True)}
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


def _phase(session: Session, number: int, heavy: int, most: int, alive: Alive) -> dict[str, float]:
    """Seconds a molecule in steps, in validation, in the pass below; bytes at the height, and kept.

    What is kept while the run goes on is given for a token (states) and for a molecule (vectors).
    The first ``heavy`` molecules are those of the heaviest step; those timed see about
    ``most``.
    """
    model, at = session.model, session.at
    at.phase = number
    alive.most = alive.now
    with alive:
        session.optimizer = session.optimizer_of(number)
        session.open_phase()
        _, *windows = session.windows(0)
        if session.contrast is None:
            first = session.passes(np.arange(heavy))
        else:
            first = max(
                (window for epoch in range(LIKELY) for window in session.windows(epoch)),
                key=lambda window: max(session.lengths[rows].sum() for rows in window),
            )
        for _ in range(2):  # the second time beside what the first has left
            step(session, first)
            at.best = None  # so that its weights are kept, while there are those from before
            session.end_epoch()
        model.embed_tokens(session.tokens)  # as of a part that is predicted at the end
    seen, took, began = 0, 0.0, _now(model)
    while took < LEAST_SECONDS and seen < most:
        for window in windows or [first]:
            at.step += 1
            step(session, window)
            seen += sum(len(rows) for rows in window)
        took = _now(model) - began
    valid = session.parts["valid"]
    session.predict(valid)  # once before, as what is frozen below is computed only once
    began = _now(model)
    session.predict(valid)
    return {
        "step": took / seen,
        "score": (_now(model) - began) / len(valid),
        "fill": session.below.seconds / len(session.lengths),
        "memory": float(alive.most),
        "states": float(session.prefix.per_token),
        "vectors": 0.0 if session.below.pooled is None else model.width * 4.0,
    }


def _now(model: Classifier) -> float:
    """Seconds on a clock, when the device has done what it was given."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
