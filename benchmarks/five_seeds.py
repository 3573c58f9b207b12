"""Does full fine-tuning beat frozen embeddings on hard negatives, whatever the seed?

    python benchmarks/five_seeds.py [--seeds 5] [--task sample] [--encoder coursekit-mini]

Each seed makes its own split of the bundled sample and its own training (head, order, dropout),
with the settings of ``coursekit demo``. Prints the test scores of every seed, the difference
between full fine-tuning and frozen embeddings with its paired 95% interval, and on how many seeds
the interval lies above zero; full fine-tuning also in bf16, beside that in fp32. Results go to
``benchmarks/results/five_seeds.json``; finished runs stay in ``benchmarks/scratch/``, so an
interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from coursekit.data import load_task
from coursekit.demo import POOLING, strategies
from coursekit.evaluation import Comparison, compare, fingerprint_baseline
from coursekit.models import load_classifier
from coursekit.runs import describe_environment
from coursekit.storage import write_json
from coursekit.training import FinetuneStrategy

REFERENCE = "frozen"
HERE = Path(__file__).resolve().parent
JUDGED = ("fine-tuned", "progressive", "forest")
FULL, HALF = "fine-tuned", "fine-tuned in bf16"


def approaches() -> dict[str, tuple[FinetuneStrategy, int]]:
    """Those of the demo, and full fine-tuning in half precision."""
    found = strategies()
    strategy, epochs = found[FULL]
    return {**found, HALF: (replace(strategy, precision="bf16"), epochs)}


def compared(task_name: str, encoder: str, seed: int) -> Comparison:
    task = load_task(task_name, seed=seed)
    runs = {}
    for name, (strategy, epochs) in approaches().items():
        model = load_classifier(encoder, pooling=POOLING, seed=seed)
        folder = HERE / "scratch" / "seeds" / f"{name}-{task.fingerprint[:8]}-{seed}"
        runs[name] = strategy.fit(model, task, epochs=epochs, seed=seed, checkpoint_dir=folder)
        if runs[name].interrupted:
            raise KeyboardInterrupt
    runs["forest"] = fingerprint_baseline(task, "forest", seed=seed)
    return compare(runs)


def judged(comparison: Comparison) -> dict[str, Any]:
    def gain(name: str, over: str) -> dict[str, float]:
        found = comparison.difference(name, over)
        return {"value": found.value, "low": found.low, "high": found.high}

    return {
        "scores": json.loads(comparison.table.to_json(orient="index")),
        f"hard AUROC minus {REFERENCE}": {name: gain(name, REFERENCE) for name in JUDGED},
        "hard AUROC of bf16 minus fp32": gain(HALF, FULL),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--task", default="sample")
    parser.add_argument("--encoder", default="coursekit-mini")
    arguments = parser.parse_args()
    seeds: dict[str, Any] = {}
    for seed in range(arguments.seeds):
        comparison = compared(arguments.task, arguments.encoder, seed)
        seeds[str(seed)] = judged(comparison)
        print(f"\nseed {seed}\n{comparison}", flush=True)
    clear = {
        name: sum(s[f"hard AUROC minus {REFERENCE}"][name]["low"] > 0 for s in seeds.values())
        for name in JUDGED
    }
    print()
    for name, count in clear.items():
        values = [s[f"hard AUROC minus {REFERENCE}"][name]["value"] for s in seeds.values()]
        print(
            f"{name} beats {REFERENCE} on hard AUROC by more than the interval on {count} of "
            f"{len(seeds)} seeds; difference {min(values):+.3f} to {max(values):+.3f}"
        )
    write_json(
        HERE / "results" / "five_seeds.json",
        {
            "what": "test part; each seed has its own split and training; settings of the demo",
            "task": arguments.task,
            "encoder": arguments.encoder,
            "environment": describe_environment("fp32"),
            "beats frozen on hard AUROC by more than the interval": clear,
            "seeds": seeds,
        },
    )


if __name__ == "__main__":
    main()
