"""The main job on the bundled data: frozen, fine-tuned and progressively unfrozen, compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from coursekit.data.task import BindingTask
    from coursekit.evaluation.comparison import Comparison
    from coursekit.runs import Run
    from coursekit.training import FinetuneStrategy

SIMULATED = (
    " The bundled sample is simulated: its numbers compare methods, they say nothing about MAPK14 "
    "itself."
)
BASELINES = {"fingerprints, logistic": "logistic", "fingerprints, forest": "forest"}
# [CLS] has no task in masked-token pretraining; the mean of all tokens serves frozen embeddings
# better (valid part, easy negatives: AUROC 0.78 against 0.68), and a comparison should be fair.
POOLING: Literal["cls", "mean"] = "mean"


def strategies() -> dict[str, tuple[FinetuneStrategy, int]]:
    """The three approaches of the course, with the number of epochs of each.

    Learning rates and epochs were chosen on the valid part of the bundled sample.
    """
    from coursekit.training import FullFinetune, HeadOnlyFinetune, ProgressiveUnfreeze

    return {
        "frozen": (HeadOnlyFinetune(), 60),
        "fine-tuned": (FullFinetune(lr=1e-3), 6),
        "progressive": (ProgressiveUnfreeze(lr=1e-3), 10),
    }


def run_demo(
    out: str | Path = "report",
    seed: int = 0,
    encoder: str = "coursekit-mini",
    task_name: str = "sample",
    say: Callable[[str], None] = print,
) -> Comparison:
    """Train, compare, and write ``report.html`` with pictures, ``comparison.csv`` and the records.

    Each finished run is kept under ``out/runs``; interrupted, the next call goes on from there.

    Args:
        out: folder for the report.
        seed: of the head's weights, of the order of molecules and of the forest.
        encoder: see ``load_classifier``.
        task_name: see ``load_task``.
        say: takes lines for the reader.

    Raises:
        KeyboardInterrupt: on ctrl-C, after the run in progress has been saved.
    """
    from coursekit.data import load_task
    from coursekit.evaluation import compare, fingerprint_baseline
    from coursekit.models import load_classifier

    out = Path(out)
    began = time.monotonic()
    task = load_task(task_name)
    say(f"{task}\n")
    runs: dict[str, Run] = {}
    todo = strategies()
    steps = len(BASELINES) + len(todo)
    for name, kind in BASELINES.items():
        say(f"[{len(runs) + 1} of {steps}] {name}")
        runs[name] = fingerprint_baseline(task, kind, seed=seed)
    for name, (strategy, epochs) in todo.items():
        model = load_classifier(encoder, pooling=POOLING, seed=seed)
        say(f"[{len(runs) + 1} of {steps}] {name}: {epochs} epochs of {type(strategy).__name__}")
        folder = out / "runs" / f"{name}-{model.origin[:8]}-{task.fingerprint[:8]}-{seed}"
        runs[name] = strategy.fit(model, task, epochs=epochs, seed=seed, checkpoint_dir=folder)
        if runs[name].interrupted:
            raise KeyboardInterrupt
        hard = runs[name].scores(n_boot=0).auroc_hard.value
        say(f"    hard AUROC {hard:.3f}, {runs[name].cost['seconds']:.0f} s of training")
    comparison = compare({name: runs[name] for name in [*todo, *BASELINES]})
    say(f"\n{comparison}\n")
    page = _write(out, comparison, task, encoder)
    say(f"\nReport: {page} ({(time.monotonic() - began) / 60:.1f} minutes)")
    return comparison


def _write(out: Path, comparison: Comparison, task: BindingTask, encoder: str) -> Path:
    from coursekit.evaluation.figures import (
        freeze_map,
        loss_curves,
        molecules_beside_nearest_binder,
        roc_pr_curves,
        scores_figure,
    )
    from coursekit.evaluation.report import Section, write_report
    from coursekit.models import load_classifier

    model = load_classifier(encoder, pooling=POOLING)
    trained = strategies()
    plans = {name: strategy.plan(model, epochs) for name, (strategy, epochs) in trained.items()}
    pictures = {
        "scores": scores_figure(comparison),
        "curves": roc_pr_curves(comparison.runs),
        "loss": loss_curves({name: comparison.runs[name] for name in trained}),
        "plan": freeze_map(plans["progressive"].per_epoch()),
        "negatives": molecules_beside_nearest_binder(_with_binders(task)),
    }
    for name, picture in pictures.items():
        picture.save(out / f"{name}.png")
    for name, run in comparison.runs.items():
        run.save(out / "records" / name.replace(", ", "-"))
    (out / "comparison.txt").write_text(f"{comparison}\n", encoding="utf-8")
    (out / "comparison.csv").write_text(comparison.to_csv(), encoding="utf-8")
    return write_report(
        out / "report.html",
        "Frozen, fine-tuned or progressively unfrozen?",
        comparison,
        task,
        [
            Section("The scores as a picture", "", [pictures["scores"]]),
            Section("ROC and precision-recall, by negative set", "", [pictures["curves"]]),
            Section("Training", "", [pictures["loss"], pictures["plan"]]),
            Section(
                "Negatives beside their nearest binder",
                "A hard negative looks like a binder; its counts say that it is none. An easy one "
                "looks like no binder.",
                [pictures["negatives"]],
            ),
        ],
        lead=[
            f"Encoder {encoder}; selection {task.name}.{SIMULATED if task.name == 'sample' else ''}"
        ],
    )


def _with_binders(task: BindingTask):  # type: ignore[no-untyped-def]
    import pandas as pd

    return pd.concat([task.train, task.test], ignore_index=True)
