"""Pooled vectors of a frozen encoder: computed once, kept by content.

A vector is found again by the weights that made it, the pooling and the token ids, never by a
position or a file name, so a changed encoder or molecule cannot meet a stale one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from coursekit.data.paths import cache_dir
from coursekit.errors import CourseKitError
from coursekit.models.classifier import Classifier
from coursekit.models.partway import digests_below
from coursekit.storage import atomic_file

_memory: dict[str, tuple[np.ndarray, float]] = {}
KEPT_IN_MEMORY = 16


def frozen_embeddings(
    model: Classifier,
    smiles: Sequence[str],
    digest: str | None = None,
    compute: Callable[[], np.ndarray] | None = None,
) -> tuple[np.ndarray, float]:
    """Pooled vectors of molecules under the encoder as it is now.

    Args:
        model: its encoder is run in eval mode; its head plays no part.
        smiles: N SMILES.
        digest: of all that decides on the vectors, where it is known already.
        compute: gives the vectors where there are none yet; ``model.embed`` by default.

    Returns:
        float32 array (N, H), computed or taken from memory or from the cache folder, and the
        seconds that computing it took, so that a run can count them either way.
    """
    digest = digest or digests_below(model)[-1]
    key = hashlib.sha256("\n".join([digest, *smiles]).encode()).hexdigest()
    if key not in _memory:
        while len(_memory) >= KEPT_IN_MEMORY:
            _memory.pop(next(iter(_memory)))
        path = _path(key)
        stored = _from_disk(path, (len(smiles), model.width)) if path is not None else None
        _memory[key] = stored or _compute(compute or (lambda: model.embed(smiles)), path)
    return _memory[key]


def _path(key: str) -> Path | None:
    try:
        return cache_dir() / "embeddings" / f"{key}.npz"
    except CourseKitError:  # no cache folder can be had here
        return None


def _from_disk(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, float] | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            vectors, seconds = stored["vectors"], float(stored["seconds"])
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return None
    return (vectors, seconds) if vectors.shape == shape and vectors.dtype == np.float32 else None


def _compute(compute: Callable[[], np.ndarray], path: Path | None) -> tuple[np.ndarray, float]:
    began = time.monotonic()
    vectors = compute()
    seconds = time.monotonic() - began
    if path is None:
        return vectors, seconds
    # A cache that cannot be written costs time, never a run.
    with suppress(OSError), atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, vectors=vectors, seconds=seconds)
    return vectors, seconds
