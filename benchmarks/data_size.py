"""Which strategy pays at how much data?

    python benchmarks/data_size.py [--seeds 3] [--sizes 96 288 864] [--encoder coursekit-mini]

Trains every strategy on a part of the bundled sample's training molecules, a third of each kind,
for the same number of optimizer steps, with a validation part a quarter as large, and scores the
whole test part. The random forest on fingerprints is beside them. ``recommend`` rests on this.
Results go to ``benchmarks/results/data_size.json``; finished runs stay in ``benchmarks/scratch/``,
so an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pandas as pd

from coursekit.data import load_task
from coursekit.data.binding_task import BindingTask
from coursekit.demo import POOLING
from coursekit.evaluation import fingerprint_baseline
from coursekit.models import load_classifier
from coursekit.runs import Run, describe_environment
from coursekit.storage import write_json
from coursekit.training import (
    FinetuneStrategy,
    FullFinetune,
    HeadOnlyFinetune,
    LoRAFinetune,
    PartialFinetune,
    ProgressiveUnfreeze,
)

HERE = Path(__file__).resolve().parent
STEPS = 180
KINDS = ("", "easy", "hard")


def smaller(task: BindingTask, size: int, seed: int) -> BindingTask:
    """The task with so many training molecules, a quarter as many to validate, the test whole."""

    def some(part: pd.DataFrame, wanted: int) -> pd.DataFrame:
        kinds = [part[part["negative_set"] == kind] for kind in KINDS]
        chosen = [kind.sample(min(len(kind), wanted // 3), random_state=seed) for kind in kinds]
        return pd.concat(chosen).sort_index()

    parts = {"train": some(task.train, size), "valid": some(task.valid, size // 4)}
    settings = {**task.settings, "training molecules": size}
    return BindingTask(task.name, settings=settings, test=task.test, **parts)


def strategies(epochs: int) -> dict[str, tuple[FinetuneStrategy, int]]:
    """With the settings of the demo and epochs for the same number of steps; frozen costs none."""
    return {
        "frozen": (HeadOnlyFinetune(), 60),
        "LoRA": (LoRAFinetune(), epochs),
        "last two blocks": (PartialFinetune(lr=1e-3, blocks=2), epochs),
        "full": (FullFinetune(lr=1e-3), epochs),
        "progressive": (ProgressiveUnfreeze(lr=1e-3, unfreeze_every=max(1, epochs // 10)), epochs),
    }


def scored(run: Run) -> dict[str, float]:
    found = run.scores("test").table["value"]
    return {
        "easy AUROC": float(found["easy AUROC"]),
        "hard AUROC": float(found["hard AUROC"]),
        "seconds": float(run.cost.get("seconds") or 0.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 288, 864])
    parser.add_argument("--encoder", default="coursekit-mini")
    arguments = parser.parse_args()
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for seed in range(arguments.seeds):
        whole = load_task("sample", seed=seed)
        for size in arguments.sizes:
            task = smaller(whole, size, seed)
            rows = {"forest": scored(fingerprint_baseline(task, "forest", seed=seed))}
            for name, (strategy, epochs) in strategies(max(3, STEPS * 32 // size)).items():
                model = load_classifier(arguments.encoder, pooling=POOLING, seed=seed)
                folder = HERE / "scratch" / "sizes" / f"{name}-{task.fingerprint[:8]}-{seed}"
                run = strategy.fit(model, task, epochs=epochs, seed=seed, checkpoint_dir=folder)
                if run.interrupted:
                    raise KeyboardInterrupt
                rows[name] = scored(run)
            found.setdefault(str(size), {})[str(seed)] = rows
            print(f"\n{size} molecules, seed {seed}\n{pd.DataFrame(rows).T.round(3)}", flush=True)
    write_json(
        HERE / "results" / "data_size.json",
        {
            "what": f"test part; {STEPS} optimizer steps of 32 molecules; settings of the demo",
            "environment": {**describe_environment("fp32"), "cores": os.cpu_count()},
            "sizes": found,
        },
    )


if __name__ == "__main__":
    main()
