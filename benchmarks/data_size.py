"""Which strategy pays at how much data, and what of it is the pretraining's?

    python benchmarks/data_size.py [--seeds 3] [--sizes 96 288 864] [--untrained 288]

Trains every candidate of ``ck.recommend`` on a part of the bundled sample's training molecules, a
third of each kind, for the same number of optimizer steps, with a validation part a quarter as
large, and scores the whole test part. The random forest on fingerprints is beside them, and at one
size the same encoder with random weights in place of the pretrained ones. Each seed has its own
split, its own choice of molecules and its own training.

Results go to ``benchmarks/results/data_size.json``, and what ``ck.recommend`` rests on to
``coursekit/training/measured.json``, after every size; finished runs stay in
``benchmarks/scratch/``, so an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from coursekit.data import load_task
from coursekit.data.binding_task import BindingTask
from coursekit.demo import POOLING
from coursekit.evaluation import fingerprint_baseline
from coursekit.models import Classifier, load_classifier
from coursekit.models.classifier import seeded
from coursekit.runs import Run, describe_environment
from coursekit.storage import write_json
from coursekit.training.closeness import measure_closeness
from coursekit.training.measured import FILE, FOREST, STEPS, candidates

HERE = Path(__file__).resolve().parent
KINDS = ("", "easy", "hard")
ENCODER = "coursekit-mini"
KINDS_OF_ENCODER = ("pretrained", "untrained")


def smaller(task: BindingTask, size: int, seed: int) -> BindingTask:
    """The task with so many training molecules, a quarter as many to validate, the test whole."""

    def some(part: pd.DataFrame, wanted: int) -> pd.DataFrame:
        kinds = [part[part["negative_set"] == kind] for kind in KINDS]
        chosen = [kind.sample(min(len(kind), wanted // 3), random_state=seed) for kind in kinds]
        return pd.concat(chosen).sort_index()

    parts = {"train": some(task.train, size), "valid": some(task.valid, size // 4)}
    settings = {**task.settings, "training molecules": size}
    return BindingTask(task.name, settings=settings, test=task.test, **parts)


def untrained(model: Classifier, seed: int) -> Classifier:
    """The same model with weights drawn as before its pretraining."""
    with seeded(seed):
        drawn = type(model.encoder)(model.encoder.config)
    model.encoder.load_state_dict(drawn.state_dict())
    model.origin = model.digest()
    return model


def scored(run: Run) -> dict[str, float]:
    found = run.scores("test", n_boot=0).table["value"]
    return {name: round(float(found[name]), 5) for name in ("easy AUROC", "hard AUROC")}


def rows_of(task: BindingTask, size: int, seed: int, pretrained: bool) -> dict[str, Any]:
    rows = {FOREST: scored(fingerprint_baseline(task, "forest", seed=seed))}
    for name, (strategy, epochs) in candidates(size).items():
        model = load_classifier(ENCODER, pooling=POOLING, seed=seed)
        if not pretrained:
            untrained(model, seed)
        kind = "sizes" if pretrained else "untrained"
        folder = HERE / "scratch" / kind / f"{name}-{task.fingerprint[:8]}-{seed}"
        run = strategy.fit(model, task, epochs=epochs, seed=seed, checkpoint_dir=folder)
        if run.interrupted:
            raise KeyboardInterrupt
        rows[name] = scored(run)
    words = "" if pretrained else ", encoder not pretrained"
    print(f"\n{size} molecules, seed {seed}{words}\n{pd.DataFrame(rows).T.round(3)}", flush=True)
    return rows


def by_strategy(seeds: dict[str, Any]) -> dict[str, list[float]]:
    """Hard AUROC by candidate, in the order of the seeds."""
    names = next(iter(seeds.values()))
    return {name: [rows[name]["hard AUROC"] for rows in seeds.values()] for name in names}


def write(found: dict[str, Any]) -> None:
    model, task = load_classifier(ENCODER, pooling=POOLING), load_task("sample")
    here = measure_closeness(model, task).here
    facts: dict[str, Any] = {
        "encoder": ENCODER,
        "pooling": POOLING,
        "task": "sample",
        "masked_loss": round(here.mean, 5) if here else None,
    }
    write_json(
        HERE / "results" / "data_size.json",
        {
            "what": f"test part; {STEPS} optimizer steps of 32 molecules; settings of the demo",
            **facts,
            "environment": describe_environment("fp32"),
            **found,
        },
    )
    kept = {
        kind: {size: by_strategy(seeds) for size, seeds in sizes.items()}
        for kind, sizes in found.items()
    }
    write_json(FILE, {**facts, **kept})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 288, 864])
    parser.add_argument(
        "--untrained",
        type=int,
        default=288,
        help="one of the sizes, to train also without pretraining",
    )
    arguments = parser.parse_args()
    found: dict[str, Any] = {"pretrained": {}, "untrained": {}}
    for seed in range(arguments.seeds):
        whole = load_task("sample", seed=seed)
        for size in arguments.sizes:
            task = smaller(whole, size, seed)
            for kind in KINDS_OF_ENCODER[: 1 + (size == arguments.untrained)]:
                rows = rows_of(task, size, seed, kind == "pretrained")
                found[kind].setdefault(str(size), {})[str(seed)] = rows
            write(found)


if __name__ == "__main__":
    main()
