"""States of many molecules without padding, in memory or in a file that no one else sees."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import torch

from coursekit.errors import TrainingError
from coursekit.models.precision import DTYPES

# bf16 is unknown to numpy: its bits are kept as whole numbers.
KEPT_AS = {"fp32": np.float32, "fp16": np.float16, "bf16": np.int16}
LEFT_FREE = 2**30  # bytes of a disk that checkpoints and other people need


class Ragged:
    """One vector per token of N molecules, (sum of lengths, H), filled once and then read.

    Args:
        lengths: tokens per molecule (N,).
        width: H.
        dtype: ``"fp32"`` keeps every bit, ``"fp16"`` and ``"bf16"`` take half the room.
        folder: keep them in a file there; None keeps them in memory. The file has no name where
            the system can do that, so nothing is left behind even by a process that is killed.

    Raises:
        OSError: if the disk has no room for them.
    """

    def __init__(self, lengths: np.ndarray, width: int, dtype: str, folder: Path | None) -> None:
        self.lengths, self.width, self.dtype = lengths, width, dtype
        self.begins = np.zeros(len(lengths), dtype=np.int64)
        self._filled = 0
        self._computed_in = torch.float32
        self._file: IO[bytes] | None = None
        shape = (int(lengths.sum()), width)
        if folder is None:
            self._values: np.ndarray = np.empty(shape, KEPT_AS[dtype])
            return
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < size_of(lengths, width, dtype) + LEFT_FREE:
            raise OSError(errno.ENOSPC, "not enough room is left on the disk", str(folder))
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()

    def add(self, rows: np.ndarray, hidden: torch.Tensor, mask: torch.Tensor) -> None:
        """Take up the states of some molecules; each molecule comes once.

        Args:
            rows: their positions (B,).
            hidden: (B, T, H).
            mask: 1 for a token, 0 for padding (B, T).

        Raises:
            OSError: if the disk is full.
            TrainingError: if fp16 cannot hold the numbers.
        """
        self._computed_in = hidden.dtype
        found = hidden[mask.bool()]  # (tokens, H), molecule after molecule
        kept = found.to(DTYPES[self.dtype])
        if self.dtype == "fp16" and not kept.isfinite().all() and found.isfinite().all():
            raise TrainingError(
                f"cache='fp16': the encoder's states reach {found.abs().max():.3g}, and fp16 ends "
                "at 65504; take cache='bf16' or 'fp32'"
            )
        kept = kept.cpu().contiguous()
        values = (kept.view(torch.int16) if self.dtype == "bf16" else kept).numpy()
        lengths = self.lengths[rows]
        self.begins[rows] = self._filled + np.cumsum(lengths) - lengths
        if self._file is None:
            self._values[self._filled : self._filled + len(values)] = values
        else:
            self._file.write(values.tobytes())
        self._filled += len(values)

    def finish(self) -> None:
        """Make ready for reading, when all molecules are there.

        Raises:
            OSError: if the disk is full.
        """
        if self._file is not None:
            self._file.flush()
            self._values = np.memmap(
                self._file, KEPT_AS[self.dtype], "r", shape=(self._filled, self.width)
            )

    def padded(self, rows: np.ndarray, device: torch.device) -> torch.Tensor:
        """States of these molecules (B, T, H), zeros behind the shorter ones."""
        lengths = self.lengths[rows]
        found = np.zeros((len(rows), int(lengths.max()), self.width), KEPT_AS[self.dtype])
        for row, begin, length in zip(found, self.begins[rows], lengths, strict=True):
            row[:length] = self._values[begin : begin + length]
        hidden = torch.from_numpy(found)
        if self.dtype == "bf16":
            hidden = hidden.view(torch.bfloat16)
        return hidden.to(device).to(self._computed_in)

    @property
    def in_memory(self) -> int:
        """Bytes of memory taken."""
        return self._values.nbytes if self._file is None else 0

    def close(self) -> None:
        """Let go of the room, on the disk too."""
        self._values = np.empty((0, self.width), KEPT_AS[self.dtype])
        if self._file is not None:
            self._file.close()


def size_of(lengths: np.ndarray, width: int, dtype: str) -> int:
    """Bytes that states of molecules of these lengths take."""
    return int(lengths.sum()) * width * np.dtype(KEPT_AS[dtype]).itemsize
