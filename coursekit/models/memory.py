"""What to do where a device's memory is at its end."""

from __future__ import annotations

import gc

import torch

# What torch says on a processor; for a GPU there is an error class.
CPU_OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate", "DefaultCPUAllocator: not enough"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or on a processor."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in CPU_OUT_OF_MEMORY
    )


def free_memory(device: torch.device) -> None:
    """Give back what nobody holds any more.

    To be called after the ``except`` clause, not in it: inside, the error's traceback still holds
    the frames of what failed, and with them its tensors.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
