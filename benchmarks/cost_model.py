"""Is a run's cost foretold? Expected against measured seconds and memory, strategy by strategy.

    python benchmarks/cost_model.py [--share 0.1] [--repeats 3] [--only "full; coursekit-mini"]

Each strategy is foretold and then run, in a process of its own and several times, on a share of
the bundled sample, with the bundled encoder and one of another size. It runs a second time for its
memory: how far the process grew, at its height, where the C library gives back at once what was
freed, as it otherwise does not. Results go to ``benchmarks/results/cost_model.json``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from contestants.work import ENCODERS, Work, encoder_at, memory, reset_peak

from coursekit.runs import describe_environment
from coursekit.storage import write_json
from coursekit.training import (
    FinetuneStrategy,
    FullFinetune,
    HeadOnlyFinetune,
    LoRAFinetune,
    PartialFinetune,
    ProgressiveUnfreeze,
    ScheduledFinetune,
    expected_cost,
)

HERE = Path(__file__).resolve().parent
MARK = "RESULT "
# glibc: what takes more than this comes from the system and goes back to it, and the limit stays.
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
# Epochs by strategy: a run should last some seconds.
EPOCHS = {
    "head only": 30,
    "last two blocks": 3,
    "LoRA": 2,
    "full": 2,
    "progressive": 8,
    "scheduled": 8,
}


def strategies(blocks: int) -> dict[str, FinetuneStrategy]:
    """One of each kind for an encoder of so many blocks."""
    last = blocks - 1
    # Phases that end by epoch: one that patience ends early is foretold too long, and meant to be.
    rest = [f"block.{n}" for n in range(last - 1)]  # a parameter opens in one phase only
    opened = [["head"], [f"block.{last}"], [f"block.{last - 1}"], [*rest, "embeddings"]]
    schedule = {
        n: {"params": names, "max_transition_epoch": 2 * n + 2} for n, names in enumerate(opened)
    }
    return {
        "head only": HeadOnlyFinetune(),
        "last two blocks": PartialFinetune(),
        "LoRA": LoRAFinetune(),
        "full": FullFinetune(),
        "progressive": ProgressiveUnfreeze(),
        "scheduled": ScheduledFinetune(schedule, lr=1e-3, patience=None),
    }


def one(name: str, encoder: str, share: float) -> dict[str, float]:
    """Foretell one strategy and run it, here."""
    warnings.simplefilter("ignore")
    work = Work(encoder, 0, share)
    model, task = work.model(), work.task()
    strategy, epochs = strategies(len(model.groups) - 2)[name], EPOCHS[name]
    # Libraries that are loaded late are no memory of the run that is measured.
    import peft  # noqa: F401

    tiny = Work(encoder, 0, 0.02)
    for warm_up in (FullFinetune(), HeadOnlyFinetune()):
        warm_up.fit(tiny.model(), tiny.task(), epochs=1)
    began = time.perf_counter()
    expected = expected_cost(strategy, model, task, epochs)
    asked = time.perf_counter() - began
    gc.collect()
    before, began = reset_peak(), time.perf_counter()
    run = strategy.fit(model, task, epochs=epochs)
    seconds, grown = time.perf_counter() - began, memory("VmHWM") - before
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return {"measured memory": grown}
    lasted = len(run.history.query("split == 'valid'"))
    return {
        "epochs": lasted,
        "expected epoch": expected.training / epochs,
        "measured epoch": float(run.cost["seconds"]) / lasted,
        "expected whole": expected.total,
        "measured whole": seconds,
        "expected memory": expected.memory,
        "memory with what is kept": grown,
        "seconds to foretell": asked,
    }


def started(name: str, encoder: str, share: float) -> dict[str, Any]:
    """The same in two processes of its own, one for the time and one for the memory."""
    command = [sys.executable, __file__, "--one", name, encoder_at(encoder), "--share", str(share)]
    found: dict[str, Any] = {}
    for more in ({}, GIVEN_BACK):
        # Vectors that an earlier strategy, turn or benchmark has kept would be met again.
        with tempfile.TemporaryDirectory() as nothing:
            env = {**os.environ, "COURSEKIT_CACHE": nothing, "HF_HUB_OFFLINE": "1", **more}
            done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
        if not lines:
            raise SystemExit(done.stderr[-3000:])
        found |= json.loads(lines[-1].removeprefix(MARK))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose names hold this; others stay")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(MARK + json.dumps(one(*arguments.one, arguments.share)), flush=True)
        return
    path = HERE / "results" / "cost_model.json"
    results = json.loads(path.read_text())["results"] if arguments.only and path.exists() else {}
    for encoder in ENCODERS:
        turns: dict[str, list[dict[str, Any]]] = {
            name: [] for name in EPOCHS if arguments.only in f"{name}; {encoder}"
        }
        for _ in range(arguments.repeats):
            for name, found in turns.items():
                found.append(started(name, encoder, arguments.share))
        for name, found in turns.items():
            middle = {key: round(statistics.median(x[key] for x in found), 2) for key in found[0]}
            ratios = {
                what: [round(x[f"measured {what}"] / x[f"expected {what}"], 3) for x in found]
                for what in ("epoch", "whole", "memory")
            }
            results[f"{name}; {encoder}"] = {"median": middle, "measured over expected": ratios}
            print(name, encoder, middle, ratios, flush=True)
    write_json(
        path,
        {
            "what": "seconds, and MB that the process grew by, freed memory given back at once",
            "share of the sample": arguments.share,
            "environment": {**describe_environment("fp32"), "cores": os.cpu_count()},
            "results": results,
        },
    )


if __name__ == "__main__":
    main()
