"""The rows of a run's history, on their way from the device to everybody who reads them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import torch

if TYPE_CHECKING:
    from coursekit.training.tracking import Tracking
    from coursekit.training.watch import Watcher

FLUSH_EVERY = 20
FLUSH_SECONDS = 1.0  # where steps are slow, somebody watches each


class Journal:
    """History rows; losses wait on their device until there are some, as each look stops a GPU.

    Args:
        tracking: gets each row.
        give_up: called with what is not a number, and its row.

    Attributes:
        rows: what has been looked at, in order.
        watcher: the live view, where there is one.
    """

    def __init__(
        self, tracking: Tracking, give_up: Callable[[str, dict[str, Any]], NoReturn]
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self.watcher: Watcher | None = None
        self._tracking, self._give_up = tracking, give_up
        self._waiting: list[tuple[dict[str, Any], dict[str, torch.Tensor]]] = []
        self._flushed = time.monotonic()

    def add(self, row: dict[str, Any], losses: dict[str, torch.Tensor], began: float) -> None:
        """Take a step's row, which lacks its losses.

        Args:
            row: what is known without the device.
            losses: scalars by the name of their column.
            began: when the step began, by ``time.monotonic``.
        """
        self._waiting.append((row, losses))
        if len(self._waiting) >= FLUSH_EVERY or began - self._flushed > FLUSH_SECONDS:
            self._flushed = began
            self.flush()

    def flush(self) -> None:
        """Bring the losses over from the device in one go, and look at them."""
        if not self._waiting:
            return
        found = [(row, name) for row, losses in self._waiting for name in losses]
        tensors = [loss for _, losses in self._waiting for loss in losses.values()]
        rows = [row for row, _ in self._waiting]
        self._waiting.clear()
        for (row, name), loss in zip(found, torch.stack(tensors).cpu().tolist(), strict=True):
            if not math.isfinite(loss):
                what = "training loss" if name == "loss" else name.replace("_", " ")
                self._give_up(f"the {what} is {loss}", row)
            row[name] = loss
        for row in rows:
            self.append(row)

    def append(self, row: dict[str, Any]) -> None:
        """Keep a whole row and show it."""
        self.rows.append(row)
        if self.watcher is not None:
            self.watcher(row)
        self._tracking.row(row)
