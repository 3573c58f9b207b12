"""A plan: the phases of a strategy on one model, to look at before anything trains."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

import pandas as pd

if TYPE_CHECKING:
    from coursekit.evaluation.picture import Picture
    from coursekit.training.phases import Phase

Decay = Literal["linear", "cosine", "constant"]


@dataclass(frozen=True)
class Plan:
    """The phases of a strategy on one model, shown before anything trains.

    Args:
        phases: in order, every ``epochs`` resolved to a number.
        groups: the model's parameter groups, input side first.
        parameters: number of parameters per group.
        decay: shape of the learning rate over the whole run.
        warmup: epochs over which each phase's learning rates rise.
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

    @property
    def scheduled(self) -> bool:
        """Whether the phases share the run's epochs, by the rules of their transitions."""
        return any(phase.transition is not None for phase in self.phases)

    def optimizer_from(self, phase: int) -> int | None:
        """The phase that brought the optimizer with which ``phase`` trains; None: the first."""
        return max(
            (
                n
                for n, p in enumerate(self.phases[: phase + 1])
                if p.transition and p.transition.optimizer
            ),
            default=None,
        )

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
                    "trains": spans(phase.learning_rates, self.groups),
                    "trainable parameters": trained,
                    "share": trained / total,
                    "lowest learning rate": min(rates),
                    "highest learning rate": max(rates),
                }
            )
        return pd.DataFrame(rows)

    def per_epoch(self) -> pd.DataFrame:
        """One row per epoch and group: ``phase, epoch, group, learning_rate`` (0 where frozen).

        The learning rate is that at the middle of the epoch, if no phase ends early.
        """
        from coursekit.training.learning_rates import LearningRates

        rows = []
        rates = LearningRates(self.phases) if self.scheduled else None
        for number, phase in enumerate(self.phases):
            if rates is not None and number:
                rates.open(number)
            for epoch in range(phase.epochs or 0):
                factor = self.factor(number, epoch + 0.5)
                peaks = phase.learning_rates if rates is None else rates.by_group()
                for group in self.groups:
                    rate = peaks.get(group, 0.0) * factor
                    rows.append((number, self.start_of(number) + epoch, group, rate))
                if rates is not None:
                    rates.step(None)
        return pd.DataFrame(rows, columns=["phase", "epoch", "group", "learning_rate"])

    def plot(self) -> Picture:
        """The freeze map with learning rates, as a picture with a description."""
        from coursekit.evaluation.figures import freeze_map

        return freeze_map(self.per_epoch())

    def __str__(self) -> str:
        return f"{self._caption()}\n{self._shown().to_string(index=False)}"

    def _repr_html_(self) -> str:
        shown = self._shown()
        head = "".join(f'<th scope="col">{escape(c)}</th>' for c in shown.columns)
        body = "".join(
            f'<tr><th scope="row">{first}</th>'
            + "".join(f"<td>{escape(value)}</td>" for value in rest)
            + "</tr>"
            for first, *rest in shown.to_numpy()
        )
        return (
            f"<table><caption>{escape(self._caption())}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _caption(self) -> str:
        phases = f"{len(self.phases)} phase{'s' if len(self.phases) > 1 else ''}"
        epochs = f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        return f"{phases}, {epochs}; learning rate: warm-up {self.warmup:g} epochs, {self.decay}"

    def _shown(self) -> pd.DataFrame:
        """The table as text, narrow enough for a terminal."""
        rows = []
        for row in self.table().to_dict("records"):
            first, last = row["first epoch"], row["first epoch"] + row["epochs"] - 1
            low, high = (f"{row[f'{end} learning rate']:.1e}" for end in ("lowest", "highest"))
            rows.append(
                {
                    "phase": str(row["phase"]),
                    "epochs": str(first) if first == last else f"{first}-{last}",
                    "patience": "" if pd.isna(row["patience"]) else f"{row['patience']:g}",
                    "trains": row["trains"],
                    "parameters": f"{row['trainable parameters']:,}",
                    "share": f"{100 * row['share']:.1f}%",
                    "learning rate": low if low == high else f"{low} to {high}",
                }
            )
        shown = pd.DataFrame(rows)
        return shown if any(shown["patience"]) else shown.drop(columns="patience")


def spans(chosen: Collection[str], groups: Sequence[str]) -> str:
    """Names of the chosen groups in the order of the network, three or more neighbors as a span.

    Example:
        >>> spans({"embeddings", "block.2", "block.3", "head"},
        ...       ["embeddings", "block.0", "block.1", "block.2", "block.3", "head"])
        'embeddings, block.2 … head'
    """
    runs: list[list[str]] = [[]]
    for group in groups:
        if group in chosen:
            runs[-1].append(group)
        elif runs[-1]:
            runs.append([])
    return ", ".join(
        f"{run[0]} … {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs if run
    )
