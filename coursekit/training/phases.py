"""Phases: what trains, how fast, and until when. A strategy is a list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

import pandas as pd

from coursekit.errors import TrainingError

if TYPE_CHECKING:
    from coursekit.evaluation.picture import Picture

Decay = Literal["linear", "cosine", "constant"]


@dataclass(frozen=True)
class Phase:
    """What trains, how fast, and until when.

    Args:
        learning_rates: peak learning rate per parameter group; a group not named stays frozen.
        epochs: end after this many epochs; None leaves the ending to ``patience``, with the
            epochs that the run still has as the limit.
        patience: end after this many validations without improvement; None ignores validation.
        name: what the plan calls it.
    """

    learning_rates: Mapping[str, float]
    epochs: int | None = None
    patience: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Plan:
    """The phases of a strategy on one model, shown before anything trains.

    Args:
        phases: in order, every ``epochs`` resolved to a number.
        groups: the model's parameter groups, input side first.
        parameters: number of parameters per group.
        decay: shape of the learning rate over the whole run.
        warmup: share of each phase's first epoch over which its learning rates rise.
    """

    phases: tuple[Phase, ...]
    groups: tuple[str, ...]
    parameters: Mapping[str, int]
    decay: Decay = "linear"
    warmup: float = 0.5

    @property
    def epochs(self) -> int:
        """Epochs of the whole run, if no phase ends early."""
        return sum(phase.epochs or 0 for phase in self.phases)

    def start_of(self, phase: int) -> int:
        """The epoch at which a phase begins, if none before it ends early."""
        return sum(p.epochs or 0 for p in self.phases[:phase])

    def factor(self, phase: int, progress: float) -> float:
        """Share of the peak learning rate at a moment of a phase.

        Each phase warms up, so that newly opened blocks meet small steps first; the decay is
        one curve over the whole run and does not start again.

        Args:
            phase: its number.
            progress: epochs since the phase began, fractions included.

        Returns:
            Between 0 and 1.
        """
        import math

        rise = min(1.0, progress / self.warmup) if self.warmup > 0 else 1.0
        done = min(1.0, (self.start_of(phase) + progress) / max(self.epochs, 1))
        fall = {
            "constant": 1.0,
            "linear": 1.0 - done,
            "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
        }[self.decay]
        return rise * fall

    def table(self) -> pd.DataFrame:
        """One row a phase: epochs, patience, groups that train, parameters, learning rates."""
        rows = []
        total = sum(self.parameters.values())
        for number, phase in enumerate(self.phases):
            trained = sum(self.parameters[g] for g in phase.learning_rates)
            rates = list(phase.learning_rates.values())
            rows.append(
                {
                    "phase": number,
                    "name": phase.name,
                    "first epoch": self.start_of(number),
                    "epochs": phase.epochs,
                    "patience": phase.patience,
                    "trains": ", ".join(g for g in self.groups if g in phase.learning_rates),
                    "trainable parameters": trained,
                    "share": trained / total,
                    "lowest learning rate": min(rates),
                    "highest learning rate": max(rates),
                }
            )
        return pd.DataFrame(rows)

    def per_epoch(self) -> pd.DataFrame:
        """One row per epoch and group: ``phase, epoch, group, learning_rate`` (0 where frozen).

        The learning rate is that at the middle of the epoch.
        """
        rows = []
        for number, phase in enumerate(self.phases):
            for epoch in range(phase.epochs or 0):
                factor = self.factor(number, epoch + 0.5)
                for group in self.groups:
                    rate = phase.learning_rates.get(group, 0.0) * factor
                    rows.append((number, self.start_of(number) + epoch, group, rate))
        return pd.DataFrame(rows, columns=["phase", "epoch", "group", "learning_rate"])

    def plot(self) -> Picture:
        """The freeze map with learning rates, as a picture with a description."""
        from coursekit.evaluation.figures import freeze_map

        return freeze_map(self.per_epoch())

    def __str__(self) -> str:
        shown = self.table()
        shown["share"] = (100 * shown["share"]).map("{:.1f}%".format)
        for column in ("lowest learning rate", "highest learning rate"):
            shown[column] = shown[column].map("{:.1e}".format)
        return shown.drop(columns="name").to_string(index=False)

    def _repr_html_(self) -> str:
        return (
            f"<p>{len(self.phases)} phases, {self.epochs} epochs</p><pre>{escape(str(self))}</pre>"
        )


def make_plan(
    phases: Sequence[Phase],
    parameters: Mapping[str, int],
    epochs: int,
    decay: Decay,
    warmup: float,
) -> Plan:
    """Check phases against a model's groups and give each its number of epochs.

    Args:
        phases: what a strategy's ``phases`` returned.
        parameters: number of parameters of each group of the model, input side first.
        epochs: of the whole run; phases that would begin after it are left out.
        decay: see ``Plan``.
        warmup: see ``Plan``.

    Raises:
        TrainingError: naming the phase and what is wrong with it.
    """
    if epochs < 1:
        raise TrainingError(f"plan: epochs is {epochs}; at least 1 is expected")
    phases = list(phases)
    if not phases:
        raise TrainingError("plan: the strategy gave no phase; phases() must return at least one")
    resolved: list[Phase] = []
    left = epochs
    for number, phase in enumerate(phases):
        _check(number, phase, parameters)
        last = number == len(phases) - 1
        wanted = phase.epochs if phase.epochs is not None else left
        length = left if last and phase.epochs is None else min(wanted, left)
        if length == 0:
            break
        resolved.append(Phase(dict(phase.learning_rates), length, phase.patience, phase.name))
        left -= length
    return Plan(tuple(resolved), tuple(parameters), dict(parameters), decay, warmup)


def _check(number: int, phase: Phase, parameters: Mapping[str, int]) -> None:
    if not isinstance(phase, Phase):
        raise TrainingError(
            f"plan: phase {number} is a {type(phase).__name__}; phases() must return Phase objects"
        )
    if not phase.learning_rates:
        raise TrainingError(f"plan: phase {number} trains nothing; name at least one group")
    for group, rate in phase.learning_rates.items():
        if group not in parameters:
            raise TrainingError(
                f"plan: phase {number} names the group {group!r}; the model has {list(parameters)}"
            )
        if not 0 < rate < float("inf"):
            raise TrainingError(
                f"plan: phase {number} gives {group!r} the learning rate {rate}; a positive number "
                "is expected. Leave a group out to freeze it."
            )
    if phase.epochs is not None and phase.epochs < 1:
        raise TrainingError(
            f"plan: phase {number} lasts {phase.epochs} epochs; at least 1 is expected"
        )
    if phase.patience is not None and phase.patience < 1:
        raise TrainingError(
            f"plan: phase {number} has patience {phase.patience}; at least 1 is expected"
        )
