"""Passes through a model side by side, each on a processor core of its own.

The matrices of a small encoder are too small to be shared out well: two cores that take a pass
each are done sooner than two that share every operator of one pass (``benchmarks/rivals.py``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

Item = TypeVar("Item")
Found = TypeVar("Found")
MOST = 4  # beyond, they would mostly wait for Python's lock


def side_by_side(
    model: Classifier, function: Callable[[Classifier, Item], Found], items: Sequence[Item]
) -> Iterator[Found]:
    """Call a function for each item, several at once where the model is on a processor.

    Each thread has a model of its own with the same weights, so what an encoder remembers of its
    last pass (ESM: its table of rotations) is not another's. A thread computes with its share of
    torch's threads, under the caller's autocast, and is counted by what counts the caller's
    tensors; it does not inherit ``inference_mode`` or ``no_grad``.

    Args:
        model: with its parameters and modes as they shall be.
        function: called with a model and an item; it draws no random numbers.
        items: of which none needs another's result.

    Yields:
        What the function returns, in the order of the items.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(items), MOST)
    if model.device.type != "cpu" or workers < 2 or _is_watched(model):
        yield from (function(model, item) for item in items)
        return
    models: SimpleQueue[Classifier] = SimpleQueue()
    for _ in range(workers):
        models.put(_twin(model))
    modes = _get_current_dispatch_mode_stack()
    autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def call(item: Item) -> Found:
        own = models.get()
        try:
            with ExitStack() as inside:
                for mode in modes:
                    inside.enter_context(mode)
                inside.enter_context(torch.autocast("cpu", autocast[1], enabled=autocast[0]))
                return function(own, item)
        finally:
            models.put(own)

    pool = ThreadPoolExecutor(workers, "pass", torch.set_num_threads, (threads // workers,))
    try:
        yield from pool.map(call, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # for threads to come; this one has kept its number


def _is_watched(model: Classifier) -> bool:
    """Whether somebody looks into its passes, who expects one after the other."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def _twin(model: Classifier) -> Classifier:
    """The same tensors in modules of their own."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, {**shared, id(model.tokenizer): model.tokenizer})
