"""Whether a loss history can have come from the run it is said to come from.

Training with coursekit leaves numbers that hang together: steps from epochs and batches, learning
rates from phases, duration from molecules, the way of weights from who trained, the best validation
from the predictions. Whoever makes a history up has to get all of them right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from coursekit.runs import Run
from coursekit.runs.record_tables import MOVED

TOLERANCE = 2e-3
"""Of validation scores: arithmetic differs from one device to the next."""
MAX_PROCESSES = 8
MOVES = 1e-6
"""Learning rate from which on a group's weights move by more than their last digit."""


def history_faults(run: Run, relabeled: Run, train_molecules: int) -> list[str]:
    """Sentences on what does not fit; none if all does.

    Args:
        run: as claimed, with a history that is not empty.
        relabeled: the same run with the instructor's labels.
        train_molecules: size of the task's train part.
    """
    train = run.history[run.history["split"] == "train"]
    valid = run.history[run.history["split"] == "valid"]
    faults = [
        *_order(train, valid),
        *_length(run, train, valid, train_molecules),
        *_phases(run, train),
        *_losses(train),
        *_movement(run, valid),
    ]
    if not run.interrupted and len(valid):
        faults += _best_validation(valid, relabeled)
    return faults


def _order(train: pd.DataFrame, valid: pd.DataFrame) -> list[str]:
    if train.empty or valid.empty:
        return ["there is no training step or no validation in it"]
    steps = train["step"].to_numpy()
    if (np.diff(steps) <= 0).any() or (np.diff(valid["step"].to_numpy()) <= 0).any():
        return ["its steps do not count up"]
    if (np.diff(valid["epoch"].to_numpy()) <= 0).any():
        return ["its epochs do not count up"]
    return []


def _length(run: Run, train: pd.DataFrame, valid: pd.DataFrame, molecules: int) -> list[str]:
    faults = []
    epochs, steps = run.cost.get("epochs"), run.cost.get("steps")
    if epochs is None or steps is None or train.empty:
        return ["the record does not say how many epochs and steps were trained"]
    if len(valid) != epochs and not run.interrupted:
        faults.append(f"it has {len(valid)} validations for {epochs:g} epochs")
    if int(train["step"].max()) != steps:
        faults.append(f"it ends at step {int(train['step'].max())}, the record says {steps:g}")
    batch = _whole(run.strategy.get("batch_size"))
    windows = _whole(run.strategy.get("accumulate", 1))
    if batch and windows and epochs and not run.interrupted:
        per_epoch = math.ceil(math.ceil(molecules / batch) / windows)
        # On several processes each takes its share of the batches.
        shares = {math.ceil(per_epoch / n) for n in range(1, MAX_PROCESSES + 1)}
        if steps / epochs not in shares:
            faults.append(
                f"{steps / epochs:.4g} steps an epoch, where {molecules} molecules in batches of "
                f"{batch} take about {per_epoch}"
            )
    planned = run.strategy.get("epochs")
    if type(planned) is int and epochs > planned:
        faults.append(f"{epochs:g} epochs were trained, {planned} were asked for")
    seconds, speed = run.cost.get("seconds"), run.cost.get("molecules_per_second")
    if seconds and speed and epochs and not run.interrupted:
        trained = seconds * speed
        if not 0.9 <= trained / (epochs * molecules) <= 1.1:
            faults.append(
                f"{speed:g} molecules a second for {seconds:g} s are {trained:,.0f} molecules, "
                f"not {epochs:g} x {molecules:,}"
            )
    return faults


def _phases(run: Run, train: pd.DataFrame) -> list[str]:
    phases = run.strategy.get("phases")
    if not isinstance(phases, list) or not phases:
        return []
    faults = []
    numbers = pd.to_numeric(train["phase"], errors="coerce").to_numpy()
    if (np.diff(numbers) < 0).any() or not ((numbers >= 0) & (numbers < len(phases))).all():
        return ["its phases are not those of the strategy, in order"]
    rates = [name for name in train.columns if name.startswith("learning_rate.")]
    for number, phase in enumerate(phases):
        rows = train[numbers == number]
        if rows.empty:
            continue
        groups = phase.get("learning_rates") if isinstance(phase, Mapping) else None
        if not isinstance(groups, Mapping):
            continue
        used = {n.removeprefix("learning_rate.") for n in rates if (rows[n].fillna(0) > 0).any()}
        if len(rows) > 1 and used != {g for g, rate in groups.items() if _positive(rate)}:
            faults.append(f"in phase {number} other groups trained than the strategy says")
        highest = {g: rows[f"learning_rate.{g}"].max() for g in used}
        if not _scheduled(phase) and any(
            _positive(groups.get(g)) and rate > 1.001 * float(groups[g])
            for g, rate in highest.items()
        ):
            faults.append(f"in phase {number} a learning rate is higher than the strategy's")
    return faults


def _whole(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _scheduled(phase: Any) -> bool:
    return isinstance(phase, Mapping) and "transition" in phase


def _positive(rate: Any) -> bool:
    return isinstance(rate, int | float) and rate > 0


def _losses(train: pd.DataFrame) -> list[str]:
    losses = train["loss"].to_numpy(dtype=float)
    if len(losses) >= 10:
        # Batches differ; a loss that does not scatter was drawn with a ruler.
        if np.ptp(losses) == 0:
            return ["the training loss never changes"]
        second = np.abs(np.diff(losses, 2))
        if second.max() < 1e-3 * np.ptp(losses):
            return ["the training loss is a smooth curve; real batches scatter"]
        if len(np.unique(losses)) < len(losses) / 2:
            return ["the training loss repeats itself"]
    if (losses < 0).any():
        return ["a loss is below zero"]
    return []


def _movement(run: Run, valid: pd.DataFrame) -> list[str]:
    """How far weights went: nowhere while their group is frozen, and each group its own way."""
    phases = run.strategy.get("phases")
    moved = {name.removeprefix(MOVED): pd.to_numeric(valid[name], errors="coerce")
             for name in valid.columns if name.startswith(MOVED)}  # fmt: skip
    if not moved or not isinstance(phases, list):
        return []  # a run that an older coursekit made does not say
    numbers = pd.to_numeric(valid["phase"], errors="coerce").to_numpy()
    opened: set[str] = set()
    ways: dict[str, list[float]] = {}  # of each group, in the epochs in which it trained
    for number, phase in enumerate(phases):
        groups = phase.get("learning_rates") if isinstance(phase, Mapping) else None
        if not isinstance(groups, Mapping):
            return []
        opened |= set(groups)
        for group, way in moved.items():
            here = way.to_numpy(dtype=float)[numbers == number]
            if group not in opened and (np.nan_to_num(here) > 0).any():
                return [f"{group} moved in phase {number}, where it was still frozen"]
            if not _positive(groups.get(group)) or float(groups[group]) < MOVES:
                continue
            if not (here > 0).all():
                return [f"{group} trained in phase {number} and did not move"]
            ways.setdefault(group, []).extend(here)
    for group, way_of in ways.items():
        if len(way_of) > 2 and len(set(way_of)) == 1:
            return [f"{group} went equally far in each epoch"]
    if len(ways) > 2 and len(set(map(tuple, ways.values()))) == 1 and any(ways.values()):
        return ["all groups went equally far"]
    return []


def _best_validation(valid: pd.DataFrame, relabeled: Run) -> list[str]:
    """Predictions come from the best epoch's weights: one validation must have their scores."""
    # With the training part comes torch, for which a command that judges nothing need not wait.
    from coursekit.training.validation import validation_scores

    rows = relabeled.predictions[relabeled.predictions["part"] == "valid"]
    scores = rows["score"].to_numpy(dtype=float)
    if rows.empty or not ((scores >= 0) & (scores <= 1)).all():
        return ["the predictions for valid are no probabilities"]
    found = validation_scores(rows, scores)
    for _, row in valid.iterrows():
        gaps = [abs(row[name] - found[name]) for name in found if not math.isnan(row[name])]
        if all(gap <= TOLERANCE * max(1.0, abs(found["loss"])) for gap in gaps):
            return []
    return ["no validation in it has the scores of the predictions for valid"]
