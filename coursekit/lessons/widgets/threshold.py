"""Threshold explorer: what calling molecules binders from a score on finds, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.threshold import at_threshold
from coursekit.evaluation.threshold_figures import threshold_figure, threshold_words
from coursekit.lessons.widgets.explorer import (
    Explorer,
    Waiting,
    choice,
    number,
    row,
    slider_for,
    table_html,
    unfinished,
)

if TYPE_CHECKING:
    from coursekit.runs import Run

DIGITS = 1  # of the way from lowest to highest score, after the first: 10 to 100 steps


class ThresholdExplorer(Explorer):
    """Moves a threshold along a run's scores.

    Args:
        runs: by name; the controls choose one.
        part: "test" or "valid".
        threshold: to begin with; by default one half, or the middle of scores that are no
            probabilities.

    Raises:
        ScoreError: there is no run, or predictions that cannot be scored.
    """

    def __init__(
        self, runs: Mapping[str, Run], part: str = "test", threshold: float | None = None
    ) -> None:
        super().__init__()
        if not runs:
            raise ScoreError("threshold_explorer: there is no run in the dict; give one or more.")
        self.runs, self.part = dict(runs), part
        for run in self.runs.values():
            at_threshold(run, 0.5, part)  # what cannot be scored is said here
        low, high, step = self._range()
        middle = 0.5 if low < 0.5 < high else round((low + high) / 2 / step) * step
        start = middle if threshold is None else min(max(threshold, low), high)
        self._run = choice("Run", list(self.runs), next(iter(self.runs)))
        self._field = number("Threshold", low, high, start, step)
        self._slider = slider_for(self._field)
        self._follow(self._run, self._field)
        first = [row(self._run)] if len(self.runs) > 1 else []
        self.controls.children = [*first, row(self._field, self._slider)]

    @property
    def threshold(self) -> float:
        """Scores from here on are called binders; may be set, between lowest and highest score."""
        return float(self._field.value)

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._field.value = value

    @property
    def value(self) -> float:
        """The threshold."""
        return self.threshold

    @property
    def run(self) -> str:
        """Name of the run that is shown; may be set."""
        return str(self._run.value)

    @run.setter
    def run(self, name: str) -> None:
        if name not in self.runs:
            raise ScoreError(f"threshold_explorer: no run {name!r}; there are {list(self.runs)}.")
        self._run.value = name

    @property
    def table(self) -> pd.DataFrame:
        """Confusion matrix and rates, as :func:`coursekit.evaluation.threshold.at_threshold`."""
        return at_threshold(self.runs[self.run], self.threshold, self.part)

    def words(self) -> str:
        """What the threshold finds and takes along."""
        return f"{self.run}: {threshold_words(self.table, self.threshold)}"

    def html(self) -> str:
        """Scores, ROC and PR curves with the threshold's place on them, and the table."""
        shown = replace(self.runs[self.run], name=self.run)
        picture = threshold_figure(shown, self.threshold, self.part)
        return f"<p>{escape(self.words())}</p>{picture._repr_html_()}" + table_html(
            _as_text(self.table), f"At threshold {self.threshold:.3g}", "against"
        )

    def _range(self) -> tuple[float, float, float]:
        """From just below the lowest score of all runs to just above the highest, and a step."""
        tables = pd.concat([run.predictions for run in self.runs.values()])
        scores = tables.loc[tables["part"] == self.part, "score"]
        low, high = float(scores.min()), float(scores.max())
        digits = DIGITS - math.floor(math.log10(high - low)) if high > low else 2
        step = 10.0**-digits
        ends = math.floor(low / step) - 1, math.ceil(high / step) + 1
        return round(ends[0] * step, digits), round(ends[1] * step, digits), step


def threshold_explorer(
    runs: Run | Mapping[str, Run], part: str = "test", threshold: float | None = None
) -> ThresholdExplorer | Waiting:
    """Move a threshold along a run's scores: who is found, and who is taken along?

    Shows the scores of binders, easy and hard negatives, the threshold's point on ROC and PR
    curves, confusion matrix, precision and enrichment.

    Args:
        runs: one run, or several by name, of which one is shown at a time.
        part: "test" or "valid".
        threshold: to begin with.

    Returns:
        The explorer; as the last line of a cell it shows itself. ``explorer.threshold`` and
        ``explorer.run`` say, and set, what is chosen; ``explorer.table`` has the numbers.

    Raises:
        ScoreError: there is no run, or predictions that cannot be scored.
    """
    if unfinished(runs):
        return Waiting("threshold_explorer")
    several = runs if isinstance(runs, Mapping) else {runs.name: runs}
    return ThresholdExplorer(several, part, threshold)


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    counts = table.iloc[:, :4].astype(int).astype(str)
    rates = table.iloc[:, 4:].map(lambda value: "none" if math.isnan(value) else f"{value:.3f}")
    return counts.join(rates).rename(index=lambda kind: f"{kind} negatives")
