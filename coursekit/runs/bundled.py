"""Runs that come with the course: for readers without the time to train, and for many seeds.

They are records like any other, in the form that travels in notebooks, one file a run; beside some
are the vectors that their encoder gave. Which they are, and the command that makes them again, is
in :mod:`coursekit.lessons.recordings`.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from coursekit.data.paths import bundled
from coursekit.errors import RecordError
from coursekit.runs.record import decode_record
from coursekit.runs.run import Run

FOLDER = "runs"
ENDING, EMBEDDINGS = ".txt", ".npz"


def bundled_names() -> dict[str, list[int]]:
    """Which runs there are: name to seeds."""
    found: dict[str, list[int]] = {}
    for path in sorted(bundled(FOLDER).glob(f"*{ENDING}")):
        named = re.fullmatch(r"(.+)-(\d+)", path.stem)
        if named is not None:
            found.setdefault(named[1], []).append(int(named[2]))
    return {name: sorted(seeds) for name, seeds in found.items()}


def bundled_run(name: str, seed: int = 0) -> Run:
    """A run on the bundled sample that the course brings along.

    Args:
        name: of the approach, such as ``"frozen"``.
        seed: of the training.

    Raises:
        RecordError: there is no such run; the message names those there are.
    """
    known = bundled_names()
    if seed not in known.get(name, []):
        there = ", ".join(
            f"{n!r} (seed{'s' if len(s) > 1 else ''} {', '.join(map(str, s))})"
            for n, s in known.items()
        )
        raise RecordError(
            f"bundled_run: there is no run {name!r:.40} of seed {seed!r:.20}; {there}"
        )
    text = bundled(f"{FOLDER}/{name}-{seed}{ENDING}").read_text(encoding="ascii")
    return Run.from_record(decode_record(text))


def bundled_embeddings(name: str, seed: int = 0) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Where the encoder of a bundled run puts test molecules, before and after its training.

    Args:
        name: of the approach, such as ``"contrastive"``.
        seed: of the training.

    Returns:
        Vectors by name of the stage, each float32 (N, H), and their N molecules with
        ``negative_set``: what ``embedding_figure`` takes.

    Raises:
        RecordError: there is no such run, or it comes without vectors.
    """
    predicted = bundled_run(name, seed).predictions
    path = bundled(FOLDER) / f"{name}-{seed}{EMBEDDINGS}"
    if not path.is_file():
        there = sorted(p.stem for p in bundled(FOLDER).glob(f"*{EMBEDDINGS}"))
        raise RecordError(
            f"bundled_embeddings: the run {name!r} of seed {seed} comes without vectors; those "
            f"that have some are {', '.join(there)} (name and seed)."
        )
    with np.load(path, allow_pickle=False) as kept:
        stages = {stage.replace("_", " "): kept[stage].astype(np.float32) for stage in kept.files}
    return stages, predicted[predicted["part"] == "test"].reset_index(drop=True)
