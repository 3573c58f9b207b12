"""The same work for everybody: molecules, weights, batch size, epochs, learning rate."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from coursekit.data import load_task
from coursekit.data.binding_task import BindingTask
from coursekit.models import load_classifier
from coursekit.models.classifier import Classifier

BATCH = 32
LR = 1e-3
SEED = 0
SCRATCH = Path(__file__).resolve().parent.parent / "scratch"
ENCODERS = {"coursekit-mini": 6, "ChemBERTa-77M's shape": 3}  # and their blocks


@dataclass
class Work:
    """One piece of work, and the clock that a contestant starts and stops.

    Args:
        encoder: name or folder, as ``load_classifier`` takes it.
        epochs: of training.
        share: of the sample task's molecules that are used.
    """

    encoder: str
    epochs: int
    share: float = 1.0
    seconds: float = field(default=0.0, init=False)
    grown_mb: float = field(default=0.0, init=False)
    peak_mb: float = field(default=0.0, init=False)

    def task(self) -> BindingTask:
        """The bundled task, or a share of each of its parts."""
        task = load_task("sample")
        parts = {
            name: task.part(name).sample(frac=self.share, random_state=SEED)
            for name in ("train", "valid", "test")
        }
        return BindingTask(task.name, settings={"share": self.share}, **parts)

    def model(self) -> Classifier:
        """The pretrained network with its new head: the same for all, bit for bit."""
        return load_classifier(self.encoder, pooling="mean", seed=SEED, device="cpu")

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time inside, and how far memory rises above where it stood."""
        before = reset_peak()
        began = time.perf_counter()
        yield
        self.seconds = time.perf_counter() - began
        self.peak_mb = memory("VmHWM")
        self.grown_mb = self.peak_mb - before


def encoder_at(name: str) -> str:
    """The bundled encoder's name, or a folder with a random one of ChemBERTa-77M-MLM's shape."""
    if name == "coursekit-mini":
        return name
    folder = SCRATCH / "chemberta-77m-shape"
    if not (folder / "config.json").exists():
        from transformers import AutoTokenizer, RobertaConfig, RobertaModel

        from coursekit.data.paths import bundled

        tokenizer = AutoTokenizer.from_pretrained(bundled("coursekit-mini"))
        torch.manual_seed(0)
        config = RobertaConfig(
            vocab_size=len(tokenizer),
            hidden_size=384,
            num_hidden_layers=3,
            num_attention_heads=12,
            intermediate_size=464,
            max_position_embeddings=515,
            type_vocab_size=1,
            pad_token_id=tokenizer.pad_token_id,
        )
        tokenizer.save_pretrained(folder)
        RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


def memory(what: str) -> float:
    """A line of this process's memory accounts, in MB; 0 where the system keeps none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(what)), 0.0)


def reset_peak() -> float:
    """Let the peak begin anew and give what is in use now, in MB.

    What was freed goes back to the system first: room that is used again would not be counted.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return memory("VmHWM")
    return memory("VmRSS")


def scores(part: pd.DataFrame, logits: np.ndarray) -> dict[str, float]:
    """AUROC on easy and on hard negatives."""
    from sklearn.metrics import roc_auc_score

    found = {}
    for negatives in ("easy", "hard"):
        rows = (part["negative_set"] != {"easy": "hard", "hard": "easy"}[negatives]).to_numpy()
        found[negatives] = float(roc_auc_score(part["label"][rows], np.asarray(logits)[rows]))
    return found


def collate(pad_id: int, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pad a batch to its longest, as Hugging Face's DataCollatorWithPadding does."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
        mask[number, : len(row["input_ids"])] = 1
    labels = torch.tensor([float(row["labels"]) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
