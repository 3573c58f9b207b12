"""This kit; what the encoder forgets is not measured, as nobody else measures it."""

from __future__ import annotations

import tempfile
from typing import Any

import torch

from contestants.work import BATCH, LR, SEED, Work, scores
from coursekit.runs import Run
from coursekit.training import FullFinetune, ProgressiveUnfreeze


def _found(work: Work, run: Run) -> dict[str, Any]:
    test = run.predictions[run.predictions["part"] == "test"]
    return {
        "scores": scores(test, test["score"].to_numpy()),
        "steps": run.cost["steps"],
        "trained": run.cost["trainable_parameters"],
    }


def full(work: Work, **options: Any) -> dict[str, Any]:
    """Full fine-tuning at one learning rate, validated after every epoch."""
    model, task = work.model(), work.task()
    strategy = FullFinetune(lr=LR, batch_size=BATCH, layer_lr_decay=1.0, warmup=0.0, **options)
    with work.timed():
        run = strategy.fit(model, task, epochs=work.epochs, seed=SEED, heldout=())
    return _found(work, run)


def full_by_length(work: Work) -> dict[str, Any]:
    """The same with molecules of like length in a batch."""
    return full(work, group_by_length=True)


def full_bf16(work: Work) -> dict[str, Any]:
    """The same in bf16."""
    return full(work, precision="bf16")


def progressive(work: Work, **options: Any) -> dict[str, Any]:
    """``work.epochs`` phases of one epoch each: the head, then one block more each time."""
    model, task = work.model(), work.task()
    strategy = ProgressiveUnfreeze(
        lr=LR, batch_size=BATCH, block_lr_scale=1.0, decay="constant", warmup=0.0, **options
    )
    with tempfile.TemporaryDirectory() as folder, work.timed():
        run = strategy.fit(
            model, task, epochs=work.epochs, seed=SEED, checkpoint_dir=folder, heldout=()
        )
    return _found(work, run)


def progressive_bf16(work: Work) -> dict[str, Any]:
    """The same in bf16."""
    return progressive(work, precision="bf16")


def embed(work: Work, half: bool = False) -> dict[str, Any]:
    """Pooled vectors of the train part."""
    model, molecules = work.model(), list(work.task().train["smiles"])
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        model.embed(molecules[:BATCH])
        with work.timed():
            vectors = model.embed(molecules)
    return {"first": vectors[0, :4].tolist(), "molecules": len(molecules)}


def embed_bf16(work: Work) -> dict[str, Any]:
    """The same in bf16."""
    return embed(work, half=True)
