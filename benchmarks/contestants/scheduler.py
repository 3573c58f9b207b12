"""finetuning-scheduler on Lightning, with an explicit schedule of one phase an epoch."""

from __future__ import annotations

import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import finetuning_scheduler as fts
import lightning.pytorch as lightning
import numpy as np
import torch
import yaml
from torch.utils.data import DataLoader

from contestants.work import BATCH, LR, SEED, Work, collate, scores
from coursekit.models.classifier import Classifier

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Module(lightning.LightningModule):
    """The network, its loss and its optimizer."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.trained = 0  # parameters, at the end

    def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        return self._loss(batch)

    def validation_step(self, batch: dict[str, torch.Tensor], _: int) -> None:
        self.log("val_loss", self._loss(batch))

    def predict_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        return self.model(batch["input_ids"], batch["attention_mask"])

    def on_train_end(self) -> None:
        self.trained = sum(p.numel() for p in self.parameters() if p.requires_grad)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.AdamW(trained, lr=LR)

    def _loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        logits = self.model(batch["input_ids"], batch["attention_mask"])
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, batch["labels"])


def schedule(model: Classifier, phases: int) -> dict[int, dict[str, Any]]:
    """Head first, then one block an epoch from the top; both sides read the same."""
    top_down = list(reversed(model.groups))[:phases]
    written: dict[int, dict[str, Any]] = {}
    for number, group in enumerate(top_down):
        written[number] = {
            "params": [f"model.{name}" for name in model.groups[group]],
            "max_transition_epoch": number + 1,
            **({"lr": LR} if number else {}),
        }
    return written


def progressive(work: Work) -> dict[str, Any]:
    """``work.epochs`` phases of one epoch each."""
    lightning.seed_everything(SEED, verbose=False)
    model, task = work.model(), work.task()
    tokenizer = model.tokenizer

    def loader(part: str, shuffle: bool = False) -> DataLoader[Any]:
        table = task.part(part)
        ids = tokenizer(list(table["smiles"]))["input_ids"]
        rows = [{"input_ids": i, "labels": x} for i, x in zip(ids, table["label"], strict=True)]
        together = partial(collate, tokenizer.pad_token_id)
        return DataLoader(rows, batch_size=BATCH, shuffle=shuffle, collate_fn=together)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder, work.timed():
        written = Path(folder) / "schedule.yaml"
        written.write_text(yaml.safe_dump(schedule(model, work.epochs)))
        trainer = lightning.Trainer(
            max_epochs=work.epochs,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            gradient_clip_val=1.0,
            callbacks=[
                fts.FinetuningScheduler(ft_schedule=str(written), epoch_transitions_only=True),
                fts.FTSCheckpoint(dirpath=folder, monitor="val_loss"),
            ],
        )
        module = Module(model)
        trainer.fit(module, loader("train", shuffle=True), loader("valid"))
        found = trainer.predict(module, loader("test"))
        logits = torch.cat(found).numpy()  # type: ignore[arg-type]
    return {
        "scores": scores(task.test, np.asarray(logits)),
        "steps": trainer.global_step,
        "trained": module.trained,
    }
