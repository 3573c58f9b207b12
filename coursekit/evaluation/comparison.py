"""The comparison table: approaches side by side, with intervals and cost."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape

import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.metrics import (
    METRICS,
    Difference,
    Score,
    Scores,
    check_same_molecules,
    paired_difference,
)
from coursekit.runs.run import Run

COST_COLUMNS = {
    "trainable_parameters": "trainable parameters",
    "seconds": "seconds",
    "molecules_per_second": "molecules/s",
}
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def compare(
    runs: Mapping[str, Run], part: str = "test", n_boot: int = 1000, seed: int = 0
) -> Comparison:
    """Score several runs on the same molecules and put them side by side.

    Args:
        runs: name of each approach to its run, in the order of the rows.
        part: "test" or "valid".
        n_boot: bootstrap resamples behind each interval; 0 leaves the intervals out.
        seed: seed of the resampling.

    Raises:
        ScoreError: no runs, something that is not a run, or runs on different molecules.
    """
    if not isinstance(runs, Mapping) or not runs:
        raise ScoreError('compare: give a dict of runs, such as {"frozen": a, "fine-tuned": b}.')
    for name, run in runs.items():
        if not isinstance(run, Run):
            raise ScoreError(f"compare: '{name}' is a {type(run).__name__}, not a run.")
    named = {str(name): replace(run, name=str(name)) for name, run in runs.items()}
    first = next(iter(named.values()))
    for run in named.values():
        check_same_molecules(first, run, part)
    scores = {name: run.scores(part, n_boot=n_boot, seed=seed) for name, run in named.items()}
    return Comparison(runs=named, scores=scores, part=part, n_boot=n_boot, seed=seed)


@dataclass(frozen=True, repr=False)
class Comparison:
    """Approaches in rows, scores and cost in columns; made by :func:`compare`.

    Args:
        runs: the runs by name of the approach.
        scores: their scores.
        part: the part of the task that was scored.
        n_boot: resamples behind each interval.
        seed: seed of the resampling.
    """

    runs: Mapping[str, Run]
    scores: Mapping[str, Scores]
    part: str
    n_boot: int
    seed: int

    @property
    def table(self) -> pd.DataFrame:
        """Numbers only: four scores, trainable parameters, seconds, molecules per second."""
        rows = {
            name: {METRICS[metric]: score.value for metric, score in self._scores(name).items()}
            | {title: self._cost(name, key) for key, title in COST_COLUMNS.items()}
            for name in self.runs
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("approach")

    @property
    def caption(self) -> str:
        """What the table is about, and what a model that guesses would score."""
        first = next(iter(self.scores.values()))
        easy, hard = first.auroc_easy, first.auroc_hard
        task = next(iter(self.runs.values())).task.get("name", "")
        intervals = (
            f" Under each score its 95% interval from {self.n_boot:,} resamples of the molecules; "
            "how much a run depends on its training seed is not in it."
        )
        return (
            f"Task {task}, part {self.part}: {easy.n_binders} binders against {easy.n_negatives} "
            f"easy or {hard.n_negatives} hard negatives. A model that guesses has AUROC 0.500 and "
            f"AU-PRC {easy.prevalence:.3f} (easy), {hard.prevalence:.3f} (hard)."
            + (intervals if self.n_boot else "")
        )

    def difference(self, a: str, b: str, metric: str = "auroc_hard") -> Difference:
        """Score of approach ``a`` minus score of ``b``, with the interval of paired resamples.

        Raises:
            ScoreError: a name that is not in the table, or an unknown metric.
        """
        for name in (a, b):
            if name not in self.runs:
                raise ScoreError(f"difference: no approach '{name}'; there are {list(self.runs)}.")
        return paired_difference(
            self.runs[a], self.runs[b], metric, self.part, self.n_boot, self.seed
        )

    def differences(self, reference: str | None = None) -> pd.DataFrame:
        """Every other approach minus the reference (by default the first row), score by score.

        Returns:
            Columns ``approach``, ``score``, ``difference``, ``low``, ``high`` and ``clear``
            (whether the interval leaves out zero).
        """
        reference = self._reference(reference)
        rows = []
        for name in self.runs:
            for metric, title in METRICS.items():
                if name == reference:
                    continue
                found = self.difference(name, reference, metric)
                rows.append((name, title, found.value, found.low, found.high, found.clear))
        columns = ["approach", "score", "difference", "low", "high", "clear"]
        return pd.DataFrame(rows, columns=columns)

    def verdict(self, reference: str | None = None, metric: str = "auroc_hard") -> str:
        """One sentence for each other approach: better, worse, or not to be told apart."""
        reference = self._reference(reference)
        return "\n".join(
            f"{self.difference(name, reference, metric)}."
            for name in self.runs
            if name != reference
        )

    def to_csv(self) -> str:
        """Comma-separated text: each score as value, low and high, then the cost, unrounded."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        titles = [f"{title}{end}" for title in METRICS.values() for end in ("", " low", " high")]
        writer.writerow(["approach", *titles, *COST_COLUMNS.values()])
        for name in self.runs:
            numbers = [
                number
                for score in self._scores(name).values()
                for number in (score.value, score.low, score.high)
            ]
            numbers += [self._cost(name, key) for key in COST_COLUMNS]
            # A spreadsheet would run a name that starts like a formula.
            safe = "'" + name if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name
            writer.writerow([safe, *("" if math.isnan(n) else f"{n:.10g}" for n in numbers)])
        return out.getvalue()

    def to_latex(self) -> str:
        r"""A ``table`` for a document that loads the booktabs package."""
        head = " & ".join(_latex(title) for title in ["approach", *self._titles()])
        body = [
            " & ".join([_latex(name), *(_latex(f"{a} {b}".strip()) for a, b in self._cells(name))])
            for name in self.runs
        ]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_latex(self.caption)}}}",
                rf"\begin{{tabular}}{{l{'r' * len(self._titles())}}}",
                r"\toprule",
                head + r" \\",
                r"\midrule",
                *(row + r" \\" for row in body),
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def to_html(self) -> str:
        """A table with a caption and marked headers, and the verdict under it."""
        head = "".join(f'<th scope="col">{title}</th>' for title in ["approach", *self._titles()])
        body = "".join(
            f'<tr><th scope="row">{escape(name)}</th>'
            + "".join(
                f"<td>{a}<br><small>{b}</small></td>" if b else f"<td>{a}</td>"
                for a, b in self._cells(name)
            )
            + "</tr>"
            for name in self.runs
        )
        verdict = "".join(f"<li>{escape(line)}</li>" for line in self.verdict().splitlines())
        return (
            f"<table><caption>{escape(self.caption)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>" + (f"<ul>{verdict}</ul>" if verdict else "")
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        titles = [tuple(title.rsplit(" ", 1)) for title in METRICS.values()]
        heads = [("", "approach"), *titles, ("trainable", "parameters"), ("", "seconds")]
        heads.append(("molecules", "/ s"))
        lines: list[list[str]] = [list(row) for row in zip(*heads, strict=True)]
        for name in self.runs:
            cells = self._cells(name)
            lines.append([name, *(a for a, _ in cells)])
            lines.append(["", *(b.strip("[]").replace(", ", "-") for _, b in cells)])
        widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        rows = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([*rows[:2], rule, *rows[2:], rule, *self._wrapped(len(rule))])

    __repr__ = __str__

    def _wrapped(self, width: int) -> list[str]:
        lines = textwrap.wrap(self.caption, width)
        for sentence in self.verdict().splitlines():
            lines += textwrap.wrap(sentence, width)
        return lines

    def _reference(self, name: str | None) -> str:
        return next(iter(self.runs)) if name is None else name

    def _titles(self) -> list[str]:
        return [*METRICS.values(), *COST_COLUMNS.values()]

    def _scores(self, name: str) -> dict[str, Score]:
        return {metric: getattr(self.scores[name], metric) for metric in METRICS}

    def _cost(self, name: str, key: str) -> float:
        value = self.runs[name].cost.get(key)
        return math.nan if value is None else float(value)

    def _cells(self, name: str) -> list[tuple[str, str]]:
        """Text and small text of each cell of a row."""
        cells = [
            ("-", "")
            if math.isnan(score.value)
            else (
                f"{score.value:.3f}",
                "" if math.isnan(score.low) else f"[{score.low:.3f}, {score.high:.3f}]",
            )
            for score in self._scores(name).values()
        ]
        for key in COST_COLUMNS:
            value = self._cost(name, key)
            digits = 1 if key == "seconds" and value < 100 else 0
            cells.append(("-" if math.isnan(value) else f"{value:,.{digits}f}", ""))
        return cells


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
