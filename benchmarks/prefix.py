"""What computing frozen blocks once saves: each strategy with the cache and without it, in turn.

    python benchmarks/prefix.py [--repeats 3] [--share 0.07]

The whole of ``fit`` counts: the pass that fills the cache, training, validation after each epoch
and the last predictions, on the bundled encoder (six blocks) and part of the bundled sample. The
times are those of one processor core, so that other work on the machine counts for less. Results
go to ``benchmarks/results/prefix.json``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import coursekit as ck
from coursekit.data.binding_task import BindingTask
from coursekit.runs import Run, describe_environment
from coursekit.storage import write_json
from coursekit.training import embeddings

HERE = Path(__file__).resolve().parent
WORKS: dict[str, tuple[ck.FinetuneStrategy, int]] = {
    "progressive, six phases of one epoch": (ck.ProgressiveUnfreeze(), 6),
    "head only, 5 epochs": (ck.HeadOnlyFinetune(), 5),
    "last 2 of 6 blocks, 4 epochs": (ck.PartialFinetune(blocks=2), 4),
    "adapters in the last 2 blocks, 4 epochs": (ck.LoRAFinetune(blocks=2), 4),
    "last 5 of 6 blocks, 4 epochs": (ck.PartialFinetune(blocks=5), 4),
    "last 2 of 6 blocks, 1 epoch": (ck.PartialFinetune(blocks=2), 1),
}


def sample(share: float) -> BindingTask:
    """A share of each part of the bundled task."""
    task = ck.load_task("sample")
    parts = {p: task.part(p).sample(frac=share, random_state=0) for p in ("train", "valid", "test")}
    return BindingTask(task.name, settings={"share": share}, **parts)


def timed(strategy: ck.FinetuneStrategy, task: BindingTask, epochs: int) -> tuple[float, Run]:
    """Processor seconds of one training, with nothing in any cache."""
    model = ck.load_classifier("coursekit-mini", pooling="mean")
    embeddings._memory.clear()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["COURSEKIT_CACHE"] = cache
        began = time.process_time()
        run = strategy.fit(model, task, epochs=epochs)
        return time.process_time() - began, run


def compare(
    strategy: ck.FinetuneStrategy, task: BindingTask, epochs: int, repeats: int
) -> dict[str, Any]:
    """With and without, in turn."""
    ways = {"without": "off", "with": "fp32"}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    losses = {}
    for _ in range(repeats):
        for way, cache in ways.items():
            found, run = timed(replace(strategy, cache=cache), task, epochs)
            seconds[way].append(found)
            losses[way] = run.history["loss"].to_numpy()
    gains = [a / b for a, b in zip(seconds["without"], seconds["with"], strict=True)]
    return {
        "without, seconds": round(statistics.median(seconds["without"]), 2),
        "with, seconds": round(statistics.median(seconds["with"]), 2),
        "gain": round(statistics.median(gains), 2),
        "lowest": round(min(gains), 2),
        "highest": round(max(gains), 2),
        "largest difference of a loss": float(np.abs(losses["with"] - losses["without"]).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.07, help="of the sample's molecules")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = sample(arguments.share)
    results = {}
    for name, (strategy, epochs) in WORKS.items():
        results[name] = compare(strategy, task, epochs, arguments.repeats)
        print(name, results[name], flush=True)
    write_json(
        HERE / "results" / "prefix.json",
        {
            "what": "seconds of one core for the whole of fit",
            "molecules": {part: len(task.part(part)) for part in ("train", "valid", "test")},
            "repeats": arguments.repeats,
            "environment": describe_environment(),
            "results": results,
        },
    )


if __name__ == "__main__":
    main()
