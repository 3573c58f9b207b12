"""Hugging Face's Trainer, at its defaults and at the best of its own options."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch import nn
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from contestants.work import BATCH, LR, SEED, Work, scores
from coursekit.models.classifier import Classifier

# What its documentation names for speed and what costs nothing to leave out; no search was made.
BEST = {
    "train_sampling_strategy": "group_by_length",
    "length_column_name": "length",
    "optim": "adamw_torch_fused",
    "per_device_eval_batch_size": 128,
    "logging_strategy": "no",
    "save_strategy": "no",
    "report_to": "none",
    "dataloader_pin_memory": False,
}


class WithLoss(nn.Module):
    """The network in the shape that Trainer asks for."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        logits = self.model(input_ids, attention_mask)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
        return {"loss": loss, "logits": logits}


def _run(work: Work, **options: Any) -> dict[str, Any]:
    model, task = work.model(), work.task()
    tokenizer = model.tokenizer

    def encoded(part: str) -> list[dict[str, Any]]:
        table = task.part(part)
        ids = tokenizer(list(table["smiles"]))["input_ids"]
        return [
            {"input_ids": i, "attention_mask": [1] * len(i), "labels": label, "length": len(i)}
            for i, label in zip(ids, table["label"].tolist(), strict=True)
        ]

    with tempfile.TemporaryDirectory() as folder, work.timed():
        arguments = TrainingArguments(
            folder,
            num_train_epochs=work.epochs,
            per_device_train_batch_size=BATCH,
            learning_rate=LR,
            eval_strategy="epoch",
            seed=SEED,
            use_cpu=True,
            disable_tqdm=True,
            **options,
        )
        trainer = Trainer(
            WithLoss(model),
            arguments,
            data_collator=DataCollatorWithPadding(tokenizer),
            train_dataset=encoded("train"),  # type: ignore[arg-type]
            eval_dataset=encoded("valid"),  # type: ignore[arg-type]
        )
        trainer.train()
        # It would group the test part by length too, and give logits in that order.
        arguments.train_sampling_strategy = "random"
        logits = trainer.predict(encoded("test")).predictions  # type: ignore[arg-type]
    return {"scores": scores(task.test, logits), "steps": trainer.state.global_step}


def defaults(work: Work) -> dict[str, Any]:
    """As the documentation's first example has it: batches padded to their longest, fp32."""
    return _run(work)


def best(work: Work) -> dict[str, Any]:
    """With the options that made it faster here."""
    return _run(work, **BEST)


def best_bf16(work: Work) -> dict[str, Any]:
    """The same in bf16."""
    return _run(work, **BEST, bf16=True)
