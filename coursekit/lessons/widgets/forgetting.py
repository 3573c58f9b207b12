"""Forgetting trade-off: what runs learned against what they forgot, and what each of them cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from coursekit.errors import ScoreError
from coursekit.evaluation.tradeoff_figures import tradeoff_figure, tradeoff_table
from coursekit.lessons.widgets.explorer import (
    Explorer,
    Waiting,
    choice,
    row,
    table_html,
    unfinished,
)

if TYPE_CHECKING:
    import pandas as pd

    from coursekit.runs import Run


class ForgettingTradeoff(Explorer):
    """Runs as points: hard AUROC over the masked-token loss after training.

    Args:
        runs: by name.
        part: "test" or "valid".

    Raises:
        ScoreError: no run says what it forgot, or predictions that cannot be scored.
    """

    def __init__(self, runs: Mapping[str, Run], part: str = "test") -> None:
        super().__init__()
        self.runs = dict(runs)
        scores = {name: run.scores(part) for name, run in self.runs.items()}
        self.table: pd.DataFrame = tradeoff_table(self.runs, scores)
        tradeoff_figure(self.table)  # what cannot be drawn is said here
        self._run = choice("Run", list(self.runs), next(iter(self.runs)))
        self._follow(self._run)
        self.controls.children = [row(self._run)]

    @property
    def value(self) -> str:
        """Name of the run that is picked."""
        return str(self._run.value)

    @property
    def name(self) -> str:
        """Name of the run that is picked; may be set."""
        return self.value

    @name.setter
    def name(self, name: str) -> None:
        if name not in self.runs:
            raise ScoreError(f"forgetting_tradeoff: no run {name!r}; there are {list(self.runs)}.")
        self._run.value = name

    @property
    def run(self) -> Run:
        """The run that is picked."""
        return self.runs[self.value]

    def words(self) -> str:
        """What the picked run learned and forgot, and what it cost."""
        row = {str(k): v for k, v in self.table.loc[self.value].to_dict().items()}
        text = f"{self.value}: AUROC {row['hard AUROC']:.3f} on hard negatives"
        if math.isnan(row["forgotten"]):
            text += "; it does not say what it forgot"
        else:
            text += (
                f"; masked-token loss {row['loss before']:.3f} before and {row['loss after']:.3f} "
                f"after training ({row['forgotten']:+.3f})"
            )
        cost = []
        if not math.isnan(row["seconds"]):
            cost.append(f"{row['seconds']:,.0f} s of training")
        if not math.isnan(row["trainable parameters"]):
            cost.append(f"{row['trainable parameters']:,.0f} trainable parameters")
        return text + (f". Cost: {', '.join(cost)}." if cost else ".")

    def html(self) -> str:
        """The words, the picture, and a table of all runs."""
        picture = tradeoff_figure(self.table, self.value)
        return f"<p>{escape(self.words())}</p>{picture._repr_html_()}" + table_html(
            self._as_text(), "Learned, forgotten, spent", "run"
        )

    def _as_text(self) -> pd.DataFrame:
        digits = dict.fromkeys(self.table.columns, "{:.3f}")
        digits |= {"seconds": "{:,.0f}", "trainable parameters": "{:,.0f}"}
        texts = self.table.drop(columns=["low", "high"]).apply(
            lambda column: column.map(
                lambda value: "unknown" if math.isnan(value) else digits[column.name].format(value)
            )
        )
        return texts.rename(index={self.value: f"{self.value} (picked)"})


def forgetting_tradeoff(
    runs: Mapping[str, Run], part: str = "test"
) -> ForgettingTradeoff | Waiting:
    """Runs by what they learned and what they forgot; pick one and read what it cost.

    Args:
        runs: by name; those of an encoder whose pretraining molecules are known say what they
            forgot, others are only in the table.
        part: "test" or "valid".

    Returns:
        The trade-off; as the last line of a cell it shows itself. ``tradeoff.name`` says, and
        sets, which run is picked; ``tradeoff.run`` is the run and ``tradeoff.table`` has all.

    Raises:
        ScoreError: no run says what it forgot, or predictions that cannot be scored.
    """
    return Waiting("forgetting_tradeoff") if unfinished(runs) else ForgettingTradeoff(runs, part)
