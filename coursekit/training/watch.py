"""What somebody sees of a run while it trains: a bar in a terminal, a picture in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from coursekit import bars

if TYPE_CHECKING:
    from coursekit.training.session import Session


class Watcher(Protocol):
    """Shows a run; called with each row of its history."""

    def __call__(self, row: dict[str, Any]) -> None:
        """Take one row."""

    def close(self, ending: str = "finished") -> None:
        """Stop showing, or show the last of it."""


class RunBar:
    """A run as a progress bar, which is gone when the run ends."""

    def __init__(self, name: str, steps: int, done: int) -> None:
        self._bar = bars.bar(total=steps, initial=done, unit="step", desc=name)

    def __call__(self, row: dict[str, Any]) -> None:
        """Move on by a step, or show the scores of a validation."""
        if row["split"] == "train":
            self._bar.update()
        else:
            shown = ("loss", "auroc_hard", "contrastive_loss")
            self._bar.set_postfix({name: f"{row[name]:.3f}" for name in shown if name in row})

    def close(self, ending: str = "finished") -> None:
        """Take the bar away."""
        self._bar.close()


def watch(session: Session) -> Watcher:
    """The watcher for where this process runs; it begins with what was trained before."""
    steps = session.steps_per_epoch
    epochs = session.plan.epochs
    if not bars.in_notebook() or not bars.visible():
        return RunBar(session.name, epochs * steps, session.at.step)
    from coursekit.lessons.live import LiveView  # on demand: a run that shows itself

    names = [phase.name or f"phase {n}" for n, phase in enumerate(session.plan.phases)]
    return LiveView(session.name, epochs, steps, names, session.journal.rows)
