"""Progress with an estimate for everything that takes long."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(
    iterable: Iterable[T], description: str, total: int | None = None, unit: str = "it"
) -> Iterator[T]:
    """Iterate while a line on stderr shows how far, how fast and how long it still takes.

    Args:
        iterable: what to go through.
        description: a few words in front of the bar.
        total: number of items, where ``len(iterable)`` cannot tell.
        unit: name of one item.

    Yields:
        The items, unchanged. Nothing is shown where stderr is not a terminal, unless a notebook
        is running, so that logs and tests stay readable.
    """
    yield from bar(iterable, desc=description, total=total, unit=unit)


def bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A tqdm bar where somebody watches, taken away when it is closed.

    In a notebook it is one display that is updated in place: what a bar prints to stderr would pile
    up there, frame by frame, and be saved.

    Args:
        iterable: what to go through, if anything.
        options: tqdm's.
    """
    kind = _InNotebook if in_notebook() else tqdm
    return kind(iterable, leave=False, disable=not visible(), **options)


_silent = 0


@contextmanager
def silence() -> Iterator[None]:
    """Show nothing of what is trained inside, for trainings that nobody asked to watch."""
    global _silent
    _silent += 1
    try:
        yield
    finally:
        _silent -= 1


def visible() -> bool:
    """Whether anybody watches: a terminal, or a notebook."""
    return not _silent and first_process() and (sys.stderr.isatty() or in_notebook())


def first_process() -> bool:
    """Whether this process speaks for its job: alone, or the first that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this."""
    # Looked up and not imported: outside of IPython nothing is to be loaded for this.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class _InNotebook(tqdm):
    """A bar drawn as one text output of the cell, which is empty in the end."""

    _handle: Any = None

    def __init__(self, iterable: Iterable[Any] | None = None, **options: Any) -> None:
        super().__init__(iterable, file=io.StringIO(), ncols=80, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar as it is now, or ``msg``."""
        from IPython.display import display

        shown = {"text/plain": str(self) if msg is None else msg}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)
