"""Progress with an estimate for everything that takes long."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

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
    yield from tqdm(
        iterable, desc=description, total=total, unit=unit, leave=False, disable=not visible()
    )


def visible() -> bool:
    """Whether anybody watches: a terminal, or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules
