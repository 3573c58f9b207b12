"""A plan: the phases of a strategy on one model, to look at before anything trains."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

if TYPE_CHECKING:
    from coursekit.evaluation.picture import Picture
    from coursekit.training.phases import Phase

Decay = Literal["linear", "cosine", "constant"]
ADAMW = "torch.optim.AdamW"


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

    def optimizer_class(self, phase: int) -> str:
        """Class path of the optimizer with which a phase trains."""
        new = self.optimizer_from(phase)
        change = None if new is None else self.phases[new].transition
        return change.optimizer.class_path if change and change.optimizer else ADAMW

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
        """One row a phase: epochs, patience, groups that train, parameters, learning rates.

        The learning rates are the peaks; of a schedule, those with which the phase begins. Epochs
        are counted as if no phase ended early; 0 stands for a phase that is not reached otherwise.
        """
        rows = []
        opened = self._opened_rates()
        total = sum(self.parameters.values())
        for number, phase in enumerate(self.phases):
            trained = sum(self.parameters[g] for g in phase.learning_rates)
            rates = list(opened[number].values())
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

    def _opened_rates(self) -> list[Mapping[str, float]]:
        """For each phase, the learning rates with which its groups begin."""
        if not self.scheduled:
            return [phase.learning_rates for phase in self.phases]
        return [before for before, _ in self._preview()]

    def _preview(self) -> Iterator[tuple[dict[str, float], list[dict[str, float]]]]:
        """For each phase of a schedule, the rates at its beginning and in each of its epochs.

        As if validation never called for a lower rate, and without steps within an epoch.
        """
        from coursekit.training.learning_rates import LearningRates

        rates = LearningRates(self.phases)
        for number, phase in enumerate(self.phases):
            if number:
                rates.open(number)
            begins, epochs = rates.by_group(), []
            for epoch in range(phase.epochs or 0):
                epochs.append(rates.by_group())
                rates.end_epoch(self.start_of(number) + epoch, None)
            yield begins, epochs

    def per_epoch(self) -> pd.DataFrame:
        """One row per epoch and group: ``phase, epoch, group, learning_rate`` (0 where frozen).

        The learning rate is that at the middle of the epoch, if no phase ends early.
        """
        peaks: list[list[Any]]
        if self.scheduled:
            peaks = [epochs for _, epochs in self._preview()]
        else:
            peaks = [[phase.learning_rates] * (phase.epochs or 0) for phase in self.phases]
        rows = [
            (
                number,
                self.start_of(number) + epoch,
                group,
                rates.get(group, 0.0) * self.factor(number, epoch + 0.5),
            )
            for number, epochs in enumerate(peaks)
            for epoch, rates in enumerate(epochs)
            for group in self.groups
        ]
        return pd.DataFrame(rows, columns=["phase", "epoch", "group", "learning_rate"])

    def entries(self) -> pd.DataFrame:
        """What each entry of a schedule matched: ``phase, entry, parameters, names``."""
        rows = [
            (number, entry, len(names), names)
            for number, phase in enumerate(self.phases)
            if phase.transition is not None
            for entry, names in phase.transition.matched.items()
        ]
        return pd.DataFrame(rows, columns=["phase", "entry", "parameters", "names"])

    def plot(self) -> Picture:
        """The freeze map with learning rates, as a picture with a description."""
        from coursekit.evaluation.figures import freeze_map

        return freeze_map(self.per_epoch())

    def __str__(self) -> str:
        return "\n\n".join(
            f"{caption}\n{shown.to_string(index=False)}" for caption, shown in self._tables()
        )

    def _repr_html_(self) -> str:
        return "".join(self._html(caption, shown) for caption, shown in self._tables())

    def _tables(self) -> list[tuple[str, pd.DataFrame]]:
        """The phases, and under them what the entries of a schedule matched."""
        tables = [(self._caption(), self._shown())]
        entries = self.entries()
        if len(entries):
            shown = entries.astype(str)
            shown["names"] = [
                _matched(entry, names)
                for entry, names in zip(entries["entry"], entries["names"], strict=True)
            ]
            tables.append(("what the entries of the schedule match", shown))
        return tables

    @staticmethod
    def _html(caption: str, shown: pd.DataFrame) -> str:
        head = "".join(f'<th scope="col">{escape(c)}</th>' for c in shown.columns)
        body = "".join(
            f'<tr><th scope="row">{first}</th>'
            + "".join(f"<td>{escape(value)}</td>" for value in rest)
            + "</tr>"
            for first, *rest in shown.to_numpy()
        )
        return (
            f"<table><caption>{escape(caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _caption(self) -> str:
        phases = f"{len(self.phases)} phase{'s' if len(self.phases) > 1 else ''}"
        epochs = f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        if self.scheduled:
            ends = [p.transition.until_epoch for p in self.phases[:-1] if p.transition]
            guess = "; where patience alone ends a phase, its epochs are a guess"
            guess = guess if None in ends else ""
            return f"{phases}, {epochs}; learning rates as each phase begins{guess}"
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
                    "epochs": _span(first, last),
                    "patience": "" if pd.isna(row["patience"]) else f"{row['patience']:g}",
                    "trains": row["trains"],
                    "parameters": f"{row['trainable parameters']:,}",
                    "share": f"{100 * row['share']:.1f}%",
                    "learning rate": low if low == high else f"{low} to {high}",
                }
            )
        shown = pd.DataFrame(rows)
        return shown if any(shown["patience"]) else shown.drop(columns="patience")


def _matched(entry: str, names: tuple[str, ...]) -> str:
    if not names:
        return "passed over: not in this model"
    return "itself" if names == (entry,) else " … ".join(dict.fromkeys((names[0], names[-1])))


def _span(first: int, last: int) -> str:
    if last < first:
        return "if earlier"  # reached only where patience ends a phase before it
    return str(first) if first == last else f"{first}-{last}"


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
