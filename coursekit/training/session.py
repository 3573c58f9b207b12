"""The parts of one run, put together once, and what the loop asks of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from coursekit.data.batches import bucketed_batches, encode, pad
from coursekit.errors import TrainingError
from coursekit.runs import Run, describe_environment
from coursekit.training import state as states
from coursekit.training.embeddings import frozen_embeddings
from coursekit.training.precision import autocast, choose_precision
from coursekit.training.validation import LOWER_IS_BETTER, validation_scores

if TYPE_CHECKING:
    from coursekit.data.task import BindingTask
    from coursekit.models.classifier import Classifier
    from coursekit.training.phases import Phase
    from coursekit.training.strategies import FinetuneStrategy

FLUSH_EVERY = 20
SAVE_SECONDS = 60.0


class Session:
    """One strategy training one model on one task.

    Args:
        strategy: gives the plan and the settings.
        model: trained in place.
        task: its ``train`` part is learned, its ``valid`` part decides.
        epochs: in all phases together.
        seed: of the order of molecules and of dropout.
        folder: where states are kept, or None.
        tracker: called with each row of the history.

    Attributes:
        at: the position; the loop reads it and the session moves it.
        identity: what makes this run this run; a state or a record of another is not taken.
    """

    def __init__(
        self,
        strategy: FinetuneStrategy,
        model: Classifier,
        task: BindingTask,
        epochs: int,
        seed: int,
        folder: Path | None,
        tracker: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self.strategy, self.model, self.task = strategy, model, task
        self.plan = strategy.plan(model, epochs)
        self.identity = _identity(strategy, model, task, epochs, seed)
        self.seed, self.folder, self.tracker = seed, folder, tracker
        self.precision = choose_precision(strategy.precision, model.device)
        self.optimizer = make_optimizer(model, strategy.weight_decay)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=self.precision == "fp16")
        self.at = states.Position()
        self.history: list[dict[str, Any]] = []
        self.best_weights: dict[str, torch.Tensor] = {}
        self.parts = {p: task.part(p) for p in ("train", "valid", "test")}
        self.tokens = encode(model.tokenizer, list(self.parts["train"]["smiles"]))
        self.lengths = np.array([len(t) for t in self.tokens])
        self.labels = torch.tensor(
            self.parts["train"]["label"].to_numpy(dtype=np.float32), device=model.device
        )
        self._pooled: torch.Tensor | None = None
        self._pending: list[tuple[dict[str, Any], torch.Tensor]] = []
        self._saved = time.monotonic()
        torch.manual_seed(seed)

    @property
    def name(self) -> str:
        """The strategy's name."""
        return type(self.strategy).__name__

    @property
    def phase(self) -> Phase:
        """The phase that trains now."""
        return self.plan.phases[self.at.phase]

    @property
    def finished(self) -> bool:
        """Whether all phases are done."""
        return self.at.phase >= len(self.plan.phases)

    # ------------------------------------------------------------------ phases and epochs

    def open_phase(self) -> None:
        """Let this phase's groups train and freeze the others."""
        self.model.open_groups(self.phase.learning_rates)
        self.model.train()
        self._pooled = None
        if not self._encoder_trains():
            vectors, seconds = frozen_embeddings(self.model, list(self.parts["train"]["smiles"]))
            if self.at.phase_epoch == self.at.windows == 0:
                self.at.seconds += seconds  # also where a cache saved them this time
            self._pooled = torch.from_numpy(vectors).to(self.model.device)  # (N, H)

    def phase_is_over(self) -> bool:
        """Whether the phase has had its epochs, or has waited long enough for a better score."""
        phase, at = self.phase, self.at
        if at.phase_epoch >= (phase.epochs or 0):
            return True
        if phase.patience is not None and at.waits >= phase.patience and at.windows == 0:
            at.notes.append(
                f"phase {at.phase} ended by patience after epoch {at.epoch - 1}: no better "
                f"{self.strategy.monitor} in {phase.patience} validations"
            )
            return True
        return False

    def next_phase(self) -> None:
        """Go to the beginning of the next phase."""
        self.at.phase, self.at.phase_epoch, self.at.waits = self.at.phase + 1, 0, 0
        self.save()

    def end_epoch(self) -> dict[str, float]:
        """Validate, and remember the weights if they are the best so far.

        Returns:
            The validation scores.
        """
        self._flush()
        at = self.at
        valid = self.parts["valid"]
        scores = validation_scores(valid, self._predict(valid))
        row = {"step": at.step, "epoch": at.epoch, "phase": at.phase, "split": "valid", **scores}
        self._append(row)
        value = scores[self.strategy.monitor]
        if math.isnan(value):
            raise TrainingError(
                f"{self.strategy.monitor} decides on the best epoch, but the valid part cannot "
                "measure it: it lacks binders or these negatives. Choose another monitor."
            )
        sign = 1.0 if self.strategy.monitor in LOWER_IS_BETTER else -1.0
        if at.best is None or sign * value < sign * at.best:
            at.best, at.best_epoch, at.waits = value, at.epoch, 0
            self.best_weights = {
                k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()
            }
        else:
            at.waits += 1
        at.epoch, at.phase_epoch, at.windows = at.epoch + 1, at.phase_epoch + 1, 0
        self.save()
        return scores

    # ------------------------------------------------------------------ the parts of a step

    def windows(self, epoch: int) -> list[list[np.ndarray]]:
        """Positions of molecules for each optimizer step of an epoch, in batches."""
        rng = np.random.default_rng([self.seed, epoch])
        batches = bucketed_batches(self.lengths, self.strategy.batch_size, rng)
        size = self.strategy.accumulate
        return [batches[i : i + size] for i in range(0, len(batches), size)]

    def logits(self, rows: np.ndarray) -> torch.Tensor:
        """Logits (B,) of these training molecules."""
        if self._pooled is not None:
            return self.model.classify(self._pooled[rows])
        ids, mask = pad([self.tokens[i] for i in rows], self.model.tokenizer.pad_token_id)
        device = self.model.device
        return self.model(ids.to(device, non_blocking=True), mask.to(device, non_blocking=True))

    def set_learning_rates(self, through_epoch: float) -> dict[str, float]:
        """Set each group's learning rate for the moment ``through_epoch`` (0 to 1)."""
        factor = self.plan.factor(self.at.phase, self.at.phase_epoch + through_epoch)
        peaks = self.phase.learning_rates
        rates = {group: peaks.get(group, 0.0) * factor for group in self.plan.groups}
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["name"]]
        return rates

    def count(
        self, loss: torch.Tensor, rates: dict[str, float], molecules: int, seconds: float
    ) -> None:
        """Note that one optimizer step is done."""
        at = self.at
        at.windows += 1
        at.step += 1
        at.molecules += molecules
        at.seconds += seconds
        row = {"step": at.step, "epoch": at.epoch, "phase": at.phase, "split": "train"}
        row |= {f"learning_rate.{group}": rate for group, rate in rates.items()}
        self._pending.append((row, loss))
        if len(self._pending) >= FLUSH_EVERY:
            self._flush()

    def _flush(self) -> None:
        """Bring the losses over from the device in one go, and look at them."""
        if not self._pending:
            return
        losses = torch.stack([loss for _, loss in self._pending]).cpu().tolist()
        rows = [row for row, _ in self._pending]
        self._pending.clear()
        for row, loss in zip(rows, losses, strict=True):
            if not math.isfinite(loss):
                self._give_best_back()
                raise TrainingError(
                    f"the training loss is {loss} at step {row['step']} (epoch {row['epoch']}, "
                    f"phase {row['phase']}); the model has its last good weights back. Lower lr "
                    f"(now {self.strategy.lr:g}), lengthen the warm-up, or use precision='fp32'."
                )
            self._append({**row, "loss": loss})

    def _append(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        if self.tracker is not None:
            self.tracker(row)

    def _encoder_trains(self) -> bool:
        return any(p.requires_grad for p in self.model.encoder.parameters())

    def _predict(self, part: pd.DataFrame) -> np.ndarray:
        smiles = list(part["smiles"])
        if self._encoder_trains():
            with autocast(self.precision, self.model.device):
                return self.model.predict(smiles)
        pooled = torch.from_numpy(frozen_embeddings(self.model, smiles)[0]).to(self.model.device)
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            scores = torch.sigmoid(self.model.classify(pooled).double()).cpu().numpy()
        self.model.train(was_training)
        return scores

    # ------------------------------------------------------------------ stop and go on

    def save_if_due(self) -> None:
        """Save the state where the last one is more than a minute old."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Save the state; a disk that does not take it stops the saving, not the training."""
        self._saved = time.monotonic()
        if self.folder is None:
            return
        self._flush()
        try:
            states.save(self.folder, self)
        except OSError as error:
            self.note(f"checkpoints are no longer saved: {self.folder} cannot be written ({error})")
            self.folder = None

    def resume(self, source: Path) -> bool:
        """Take up the newest whole state in a folder; False where it holds none.

        Raises:
            TrainingError: if the state belongs to another run.
        """
        if not states.restore(source, self):
            return False
        if not self.finished:
            print(f"{self.name}: going on from step {self.at.step}, epoch {self.at.epoch}")
        return True

    def interrupt(self) -> None:
        """Keep what there is and say how to go on."""
        self.save()
        goes_on = (
            f"; fit again with checkpoint_dir={str(self.folder)!r} to go on" if self.folder else ""
        )
        self.note(f"interrupted in epoch {self.at.epoch}, after step {self.at.step}{goes_on}")

    def note(self, sentence: str) -> None:
        """Say it now, and keep it in the Run."""
        print(f"{self.name}: {sentence}")
        self.at.notes.append(sentence)

    def _give_best_back(self) -> None:
        if self.best_weights:
            self.model.load_state_dict(self.best_weights)

    # ------------------------------------------------------------------ the result

    def run(self) -> Run:
        """The Run of what has been trained so far, with the best epoch's weights in the model."""
        self._flush()
        at, model = self.at, self.model
        self._give_best_back()
        predictions = []
        for name in ("valid", "test"):
            part = self.parts[name]
            columns = part[["molecule_id", "negative_set", "label"]].copy()
            predictions.append(columns.assign(part=name, score=self._predict(part)))
        trained = {group for phase in self.plan.phases for group in phase.learning_rates}
        notes = [*at.notes]
        if at.best_epoch is not None:
            notes.append(f"weights of epoch {at.best_epoch}, the best by {self.strategy.monitor}")
        model.eval()
        model.fitted = [*self.identity["strategy"]["encoder"]["fitted"], self.name]
        return Run(
            name=self.name,
            history=pd.DataFrame(self.history),
            predictions=pd.concat(predictions, ignore_index=True),
            strategy=self.identity["strategy"],
            task={
                "name": self.task.name,
                "fingerprint": self.task.fingerprint,
                "settings": self.task.settings,
            },
            seed=self.seed,
            environment=describe_environment(self.precision),
            cost={
                "seconds": round(at.seconds, 3),
                "trainable_parameters": model.count(trained),
                "total_parameters": model.count(),
                "molecules_per_second": round(at.molecules / at.seconds, 1) if at.seconds else None,
                "epochs": at.epoch,
                "steps": at.step,
            },
            notes=tuple(notes),
        )


def make_optimizer(model: Classifier, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over every group from the start; opening a block changes no shape in it.

    Each group of the model gives two of the optimizer, with and without weight decay, both under
    the model's name for it. A parameter without a gradient is skipped, decay and all.
    """
    groups = []
    for name, parameters in model.groups.items():
        tensors = [model.get_parameter(p) for p in parameters]
        matrices = [t for t in tensors if t.ndim > 1]
        others = [t for t in tensors if t.ndim <= 1]
        groups.append({"params": matrices, "name": name, "weight_decay": weight_decay})
        groups.append({"params": others, "name": name, "weight_decay": 0.0})
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, fused=True)


def _identity(
    strategy: FinetuneStrategy, model: Classifier, task: BindingTask, epochs: int, seed: int
) -> dict[str, Any]:
    encoder = {
        "name": model.name,
        "pooling": model.pooling,
        "origin": model.origin,
        "fitted": list(model.fitted),
    }
    return {
        "strategy": {**strategy.describe(), "epochs": epochs, "encoder": encoder},
        "task": task.fingerprint,
        "seed": seed,
    }
