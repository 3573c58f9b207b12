"""What does it cost to hold an encoder near its pretraining, and what is held?

    python benchmarks/penalties.py [--seeds 3] [--molecules 480] [--epochs 3]

Full fine-tuning of the bundled encoder on a part of the bundled sample, without and with L2-SP, EWC
and replay at several strengths, beside LoRA and frozen embeddings: masked-token loss on held-out
pretraining molecules afterwards, against AUROC on the whole test part. Each seed has its own split
and its own training. Results go to ``benchmarks/results/penalties.json`` after every seed; finished
runs stay in ``benchmarks/scratch/``, so an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
from data_size import smaller

from coursekit.data import load_task
from coursekit.demo import POOLING
from coursekit.models import load_classifier
from coursekit.runs import Run, describe_environment
from coursekit.storage import write_json
from coursekit.training import (
    EWC,
    L2SP,
    FinetuneStrategy,
    FullFinetune,
    HeadOnlyFinetune,
    LoRAFinetune,
    Replay,
)

HERE = Path(__file__).resolve().parent
FROZEN_EPOCHS = 60  # an epoch costs next to nothing


def full(*penalties: Any) -> FinetuneStrategy:
    return FullFinetune(lr=1e-3, penalties=penalties)


STRATEGIES: dict[str, FinetuneStrategy] = {
    "nothing": full(),
    **{f"L2-SP {strength}": full(L2SP(strength)) for strength in (30, 100, 300)},
    **{f"EWC {strength}": full(EWC(strength)) for strength in (10, 30, 100)},
    **{f"replay {weight}": full(Replay(weight=weight)) for weight in (0.03, 0.1, 0.3, 1.0)},
    "LoRA": LoRAFinetune(),
    "frozen": HeadOnlyFinetune(),
}


def measured(run: Run) -> dict[str, float]:
    scores = run.scores("test", n_boot=0).table["value"]
    told = run.forgetting or {}
    return {
        "masked loss before": told["loss_before"],
        "masked loss after": told["loss_after"],
        "easy AUROC": round(float(scores["easy AUROC"]), 5),
        "hard AUROC": round(float(scores["hard AUROC"]), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--molecules", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    seeds: dict[str, Any] = {}
    for seed in range(arguments.seeds):
        task = smaller(load_task("sample", seed=seed), arguments.molecules, seed)
        rows = {}
        for name, strategy in STRATEGIES.items():
            model = load_classifier("coursekit-mini", pooling=POOLING, seed=seed)
            epochs = FROZEN_EPOCHS if name == "frozen" else arguments.epochs
            folder = HERE / "scratch" / "penalties" / f"{name}-{epochs}-{task.fingerprint[:8]}"
            run = strategy.fit(model, task, epochs=epochs, seed=seed, checkpoint_dir=folder)
            if run.interrupted:
                raise KeyboardInterrupt
            rows[name] = measured(run)
            print(seed, name, rows[name], flush=True)
        seeds[str(seed)] = rows
        print(f"\nseed {seed}\n{pd.DataFrame(rows).T.round(3)}\n", flush=True)
        write_json(
            HERE / "results" / "penalties.json",
            {
                "what": "test part and 200 held-out pretraining molecules; full fine-tuning at a "
                "learning rate of 1e-3, but for the last two rows",
                "training molecules": arguments.molecules,
                "epochs": arguments.epochs,
                "environment": describe_environment("fp32"),
                "seeds": seeds,
            },
        )


if __name__ == "__main__":
    main()
