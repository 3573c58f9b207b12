"""How many bytes of tensors are alive at once."""

from __future__ import annotations

import threading
import weakref
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors that are made within ``with alive:``, as long as they live.

    It may be left and entered again: what goes in between is not counted any more. On a processor
    torch's profiler gives the same number, but only where it runs without a break, and then it
    slows what is to be timed.

    Args:
        device: tensors elsewhere are not counted.

    Attributes:
        now: bytes of those that are still there.
        most: the most there were at once; may be set back to ``now``.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.now, self.most = device, 0, 0
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._lock = threading.RLock()  # as a tensor may go while another is counted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if _makes_new(func):
            for tensor in made if isinstance(made, tuple | list) else (made,):
                if isinstance(tensor, torch.Tensor) and tensor.device == self.device:
                    self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()

        def forget(_: object) -> None:
            with self._lock:
                del self._storages[key]
                self.now -= size

        with self._lock:
            if key not in self._storages:
                self._storages[key] = weakref.ref(storage, forget)
                self.now += size
                self.most = max(self.most, self.now)


@cache
def _makes_new(operator: Any) -> bool:
    """Whether it gives tensors of their own, and not views of what it was given."""
    return any(value.alias_info is None for value in operator._schema.returns)
