"""Plain PyTorch, as a textbook has it: everything padded once, AdamW, ``loss.item()`` each step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from contestants.work import BATCH, LR, SEED, Work, scores


def full(work: Work) -> dict[str, Any]:
    """Full fine-tuning, validated after every epoch."""
    model, task = work.model(), work.task()
    torch.manual_seed(SEED)

    def loader(part: str, shuffle: bool = False) -> DataLoader[Any]:
        table = task.part(part)
        encoded = model.tokenizer(list(table["smiles"]), padding=True, return_tensors="pt")
        labels = torch.tensor(table["label"].to_numpy(dtype=np.float32))
        data = TensorDataset(encoded["input_ids"], encoded["attention_mask"], labels)
        return DataLoader(data, batch_size=BATCH, shuffle=shuffle)

    def predict(batches: DataLoader[Any]) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            return torch.cat([model(ids, mask) for ids, mask, _ in batches]).numpy()

    steps = 0
    with work.timed():
        train, valid, test = loader("train", shuffle=True), loader("valid"), loader("test")
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
        for _ in range(work.epochs):
            model.train()
            running = 0.0
            for ids, mask, labels in train:
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    model(ids, mask), labels
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                running += loss.item()
                steps += 1
            predict(valid)
        logits = predict(test)
    return {"scores": scores(task.test, logits), "steps": steps}
