"""Unfreezing player: step through a finished run, and see which blocks moved how far."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.movement_figures import movement_figure, movement_table, movement_words
from coursekit.lessons.widgets.explorer import (
    Explorer,
    Waiting,
    button,
    row,
    slider_for,
    table_html,
    unfinished,
    whole_number,
)

if TYPE_CHECKING:
    from coursekit.runs import Run


class UnfreezingPlayer(Explorer):
    """Shows a run at the end of one of its epochs.

    Args:
        run: trained step by step, and validated at least once.

    Raises:
        ScoreError: the run has no validation in its history.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        valid = run.history[run.history["split"] == "valid"]
        if valid.empty:
            raise ScoreError(
                f"unfreezing_player: {run.name} was not trained epoch by epoch; give a run that "
                "fit() returned."
            )
        self._phases = dict(zip(valid["epoch"].astype(int), valid["phase"], strict=True))
        epochs = list(self._phases)
        self._epoch = whole_number("Epoch", epochs[0], epochs[-1], epochs[0])
        self._follow(self._epoch)
        self.controls.children = [
            row(self._epoch, slider_for(self._epoch)),
            row(
                button("Back", lambda: self._go(self.epoch - 1)),
                button("Next", lambda: self._go(self.epoch + 1)),
                button("Next phase", self._next_phase),
            ),
        ]

    @property
    def epoch(self) -> int:
        """The epoch at whose end the run is shown; may be set."""
        return int(self._epoch.value)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._go(epoch)

    @property
    def value(self) -> int:
        """The epoch."""
        return self.epoch

    @property
    def phase(self) -> object:
        """The phase that the epoch belongs to."""
        return self._phases[self.epoch]

    @property
    def table(self) -> pd.DataFrame:
        """Learning rate of each group in the epoch, and how far it has moved by its end."""
        return movement_table(self.run, self.epoch)

    def words(self) -> str:
        """What trains in the epoch, how far it has moved, and how well the run does by then."""
        return movement_words(self.run, self.epoch)

    def html(self) -> str:
        """The words, the picture, and how far each group had moved at the end of each phase."""
        return (
            f"<p>{escape(self.words())}</p>{movement_figure(self.run, self.epoch)._repr_html_()}"
            + table_html(self._by_phase(), "How far each group had moved, phase by phase", "group")
        )

    def _by_phase(self) -> pd.DataFrame:
        last = {phase: epoch for epoch, phase in self._phases.items()}
        columns = {
            f"phase {phase}, after epoch {epoch}": movement_table(self.run, epoch)["moved"]
            for phase, epoch in last.items()
        }
        table = pd.DataFrame(columns)[::-1]
        return table.map(lambda way: "not recorded" if pd.isna(way) else f"{way:.3f}")

    def _next_phase(self) -> None:
        later = [epoch for epoch in self._phases if epoch > self.epoch]
        other = [epoch for epoch in later if self._phases[epoch] != self.phase]
        self._go(min(other or later or [self.epoch]))

    def _go(self, epoch: int) -> None:
        """To the validated epoch that is nearest."""
        self._epoch.value = min(self._phases, key=lambda one: abs(one - epoch))


def unfreezing_player(run: Run) -> UnfreezingPlayer | Waiting:
    """Step through a finished run: which blocks trained, and how far have they moved by then?

    Shows, for the end of an epoch, how far every group of weights is from where training began,
    beside the curves of loss and AUROC.

    Args:
        run: what ``fit`` gave.

    Returns:
        The player; as the last line of a cell it shows itself. ``player.epoch`` says, and sets,
        the epoch; ``player.phase`` and ``player.table`` go with it.

    Raises:
        ScoreError: the run has no validation in its history.
    """
    return Waiting("unfreezing_player") if unfinished(run) else UnfreezingPlayer(run)
