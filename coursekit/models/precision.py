"""Mixed precision by what the hardware really has.

On a processor in bf16, each matrix product of a shape that is new is translated first, which can
take longer than the product. So shapes are made to repeat there: ``even``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from coursekit.errors import TrainingError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def has_bf16(device: torch.device) -> bool:
    """Whether a GPU computes in bfloat16 itself.

    A T4 answers yes to ``torch.cuda.is_bf16_supported()`` because it can emulate it, slowly
    (pytorch issue 148322); this asks for the hardware.
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def choose_precision(wanted: str, device: torch.device) -> str:
    """The precision that ``wanted`` means on this device: "fp32", "bf16" or "fp16".

    Raises:
        TrainingError: if the word is none of "auto", "fp32", "bf16", "fp16", or the device
            cannot train in it.
    """
    if wanted == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if has_bf16(device) else "fp16"
    if wanted not in DTYPES:
        raise TrainingError(
            f"precision is {wanted!r}; 'auto', 'fp32', 'bf16' or 'fp16' is expected"
        )
    if wanted == "fp16" and device.type != "cuda":
        raise TrainingError("precision 'fp16' trains on a GPU only; take 'fp32' or 'bf16' on a CPU")
    return wanted


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """The context in which forward passes run."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


def is_half(device: torch.device) -> bool:
    """Whether passes run in bf16 on a processor at this moment, under ``autocast``."""
    return device.type == "cpu" and torch.is_autocast_enabled("cpu")


def even(size: int, step: int, device: torch.device) -> int:
    """The next multiple of ``step`` where passes run in bf16 on a processor; else ``size``."""
    return -(-size // step) * step if is_half(device) else size
