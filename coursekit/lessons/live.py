"""Training as it happens: one picture in the cell, drawn again as the run goes on, then kept.

The picture is an ``<img>`` with alternative text, in HTML under one display id. Of all the ways to
show something that moves, this one is still there, with its words, when a notebook is saved,
opened untrusted in JupyterLab, on Colab, or turned into a page.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Sequence
from html import escape
from typing import Any

from coursekit.lessons.curve import COLORS, Line, Panel, draw
from coursekit.lessons.front_end import in_notebook

EVERY = 0.3  # seconds between two frames: more than an eye follows, less than a connection minds


class LiveView:
    """The picture of one run.

    Args:
        name: of the strategy.
        epochs: in all.
        steps: optimizer steps in one epoch.
        phases: name of each phase.
        earlier: rows of the history from before an interruption.
    """

    def __init__(
        self,
        name: str,
        epochs: int,
        steps: int,
        phases: Sequence[str],
        earlier: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.name, self.epochs, self.steps = name, epochs, max(1, steps)
        self.phases = list(phases)
        self.rows: list[dict[str, Any]] = list(earlier)
        self._began, self._done_before = time.monotonic(), len(self._train())
        self._drawn = -math.inf
        self._handle: Any = None

    def __call__(self, row: dict[str, Any]) -> None:
        """Take one row of the history; draw, if the last frame is old enough."""
        self.rows.append(row)
        if time.monotonic() - self._drawn >= EVERY:
            self._show(self._progress())

    def close(self, ending: str = "finished") -> None:
        """Draw the last frame, which stays: with how it ended, and a table of numbers."""
        seconds = time.monotonic() - self._began
        self._show(f"{ending} after {seconds:,.0f} s", final=True)

    # ------------------------------------------------------------------ what it shows

    def html(self, below: str, final: bool = False) -> str:
        """The picture as it is now.

        Args:
            below: a line under the curves.
            final: with the sentence in view, and the numbers in a table that opens.
        """
        image = base64.b64encode(draw(self._panels(), below).encode()).decode("ascii")
        alt = escape(self.alt())
        caption = escape(self.alt() if final else f"{self.name}, training")
        return (
            f'<figure style="margin: 0"><img alt="{alt}" style="max-width: 100%" '
            f'src="data:image/svg+xml;base64,{image}"><figcaption>{caption}</figcaption></figure>'
            + (self._table() if final else "")
        )

    def alt(self) -> str:
        """What the curves say, in a sentence or two."""
        valid = [row for row in self._valid() if "loss" in row]  # a contrastive epoch has none
        if not valid:
            return f"{self.name}: {len(self._train())} training steps, not validated yet."
        first, last = valid[0], valid[-1]
        sentence = f"{self.name}: over {len(valid)} epoch{'s' if len(valid) != 1 else ''}"
        for kind in ("hard", "easy"):
            a, b = first[f"auroc_{kind}"], last[f"auroc_{kind}"]
            sentence += (
                f" validation AUROC on {kind} negatives goes from {a:.2f} to {b:.2f}"
                if kind == "hard"
                else f", on easy ones from {a:.2f} to {b:.2f}"
            )
        best = min(valid, key=lambda row: row["loss"])
        sentence += (
            f"; the validation loss is lowest, {best['loss']:.3f}, in epoch {best['epoch']}."
        )
        names = [self.phases[p] for p in self._starts() if p < len(self.phases)]
        return sentence + (f" Phases: {', '.join(names)}." if len(names) > 1 else "")

    def _panels(self) -> list[Panel]:
        train, valid = self._train(), self._valid()
        cuts = [
            (at, self.phases[phase] if phase < len(self.phases) else f"phase {phase}")
            for phase, at in self._starts().items()
            if phase
        ]
        end = max(float(self.epochs), (len(train)) / self.steps)
        losses = [
            ((i + 1) / self.steps, row["loss"]) for i, row in enumerate(train) if "loss" in row
        ]
        loss = Panel(
            "Loss by epoch",
            [
                Line("each step", losses, "#9a9a9a"),
                Line("train", self._means(train), COLORS[0], marks=True),
                Line("valid", [(k + 1, r["loss"]) for k, r in enumerate(valid)
                      if "loss" in r], COLORS[1],
                     "6 3", marks=True),
            ],
            end, 0.4, 0.75, cuts,
        )  # fmt: skip
        ranks = Panel(
            "Validation AUROC by epoch",
            [
                Line("easy", [(k + 1, r["auroc_easy"]) for k, r in enumerate(valid)
                      if "loss" in r], COLORS[0],
                     marks=True),
                Line("hard", [(k + 1, r["auroc_hard"]) for k, r in enumerate(valid)
                      if "loss" in r], COLORS[1],
                     "6 3", marks=True),
            ],
            end, 0.5, 1.0, cuts,
        )  # fmt: skip
        return [loss, ranks]

    def _means(self, train: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
        """Mean training loss of each whole epoch."""
        sums: dict[int, list[float]] = {}
        for row in train:
            if "loss" in row:
                sums.setdefault(int(row["epoch"]), []).append(row["loss"])
        done = len(self._valid())
        return [(k + 1, sum(v) / len(v)) for k, v in sums.items() if k < done]

    def _progress(self) -> str:
        train, valid = self._train(), self._valid()
        done, total = len(train), self.epochs * self.steps
        parts = [f"epoch {min(len(valid) + 1, self.epochs)} of {self.epochs}"]
        if train:
            parts += [f"step {done:,} of {total:,}", f"learning rate {self._rate(train[-1]):.1e}"]
        now = done - self._done_before
        if now > 0 and total > done:
            left = (time.monotonic() - self._began) / now * (total - done)
            parts.append(f"about {left:,.0f} s left" if left < 90 else f"{left / 60:.0f} min left")
        return ", ".join(parts)

    def _table(self) -> str:
        train = dict(self._means(self._train()))
        head = ("epoch, from 0", "phase", "train loss", "valid loss", "easy AUROC", "hard AUROC",
                "learning rate")  # fmt: skip
        last_rate = {int(row["epoch"]): self._rate(row) for row in self._train()}
        rows = []
        for k, row in enumerate(self._valid()):
            phase = int(row["phase"])
            cells = [
                self.phases[phase] if phase < len(self.phases) else str(phase),
                f"{train[k + 1]:.3f}" if k + 1 in train else "",
                *(
                    f"{row[key]:.3f}" if key in row else ""
                    for key in ("loss", "auroc_easy", "auroc_hard")
                ),
                f"{last_rate.get(int(row['epoch']), math.nan):.1e}",
            ]
            body = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            rows.append(f'<tr><th scope="row">{row["epoch"]}</th>{body}</tr>')
        titles = "".join(f'<th scope="col">{title}</th>' for title in head)
        return (
            "<details><summary>Numbers by epoch</summary><table><thead><tr>"
            f"{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></details>"
        )

    def _show(self, below: str, final: bool = False) -> None:
        from IPython.display import display

        self._drawn = time.monotonic()
        shown = {"text/html": self.html(below, final), "text/plain": f"{self.alt()} ({below})"}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown, raw=True)

    # ------------------------------------------------------------------ the history

    def _train(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["split"] == "train"]

    def _valid(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["split"] == "valid"]

    def _starts(self) -> dict[int, float]:
        """Where each phase began, in epochs."""
        found: dict[int, float] = {}
        for i, row in enumerate(self._train()):
            found.setdefault(int(row["phase"]), i / self.steps)
        return found

    @staticmethod
    def _rate(row: dict[str, Any]) -> float:
        rates = [v for k, v in row.items() if k.startswith("learning_rate.")]
        return max(rates, default=math.nan)


def live_view(
    name: str,
    epochs: int,
    steps: int,
    phases: Sequence[str],
    earlier: Sequence[dict[str, Any]],
) -> LiveView | None:
    """A view of the run that is about to start, where a notebook shows it; else None."""
    return LiveView(name, epochs, steps, phases, earlier) if in_notebook() else None
