"""One loop that runs the phases of any strategy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from coursekit import progress
from coursekit.data.batches import bucketed_batches, encode, pad
from coursekit.errors import TrainingError
from coursekit.runs import Run, describe_environment
from coursekit.training import state as states
from coursekit.training.embeddings import frozen_embeddings
from coursekit.training.interrupt import Interruptible
from coursekit.training.phases import Plan
from coursekit.training.precision import autocast, choose_precision
from coursekit.training.validation import LOWER_IS_BETTER, validation_scores

if TYPE_CHECKING:
    from coursekit.data.task import BindingTask
    from coursekit.models.classifier import Classifier
    from coursekit.training.strategies import FinetuneStrategy

FLUSH_EVERY = 20
SAVE_SECONDS = 60.0
Tracker = Callable[[dict[str, Any]], None]


def train(
    strategy: FinetuneStrategy,
    model: Classifier,
    task: BindingTask,
    epochs: int,
    seed: int,
    checkpoint_dir: str | Path | None,
    resume_from: str | Path | None,
    tracker: Tracker | None,
) -> Run:
    """See ``FinetuneStrategy.fit``."""
    plan = strategy.plan(model, epochs)
    identity = _identity(strategy, model, task, epochs, seed)
    folder = Path(checkpoint_dir) if checkpoint_dir is not None else None
    session = _Session(strategy, model, task, plan, seed, folder, identity, tracker)
    source = Path(resume_from) if resume_from is not None else folder
    resumed = source is not None and session.resume(source)
    if resumed and session.finished:
        print(f"{session.name}: this run is finished in {source}; its result is given back")
        return session.run()
    if model.fitted and not resumed:
        session.note(
            f"the model had been trained before, by {', '.join(model.fitted)}; load a fresh one "
            "for a fair comparison"
        )
    with Interruptible() as ctrl_c:
        session.go(ctrl_c)
    return session.run()


class _Session:
    """The parts of one run, put together once; ``go`` is the loop."""

    def __init__(
        self,
        strategy: FinetuneStrategy,
        model: Classifier,
        task: BindingTask,
        plan: Plan,
        seed: int,
        folder: Path | None,
        identity: dict[str, Any],
        tracker: Tracker | None,
    ) -> None:
        self.strategy, self.model, self.task, self.plan = strategy, model, task, plan
        self.seed, self.folder, self.identity, self.tracker = seed, folder, identity, tracker
        self.precision = choose_precision(strategy.precision, model.device)
        self.optimizer = make_optimizer(model, strategy.weight_decay)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=self.precision == "fp16")
        self.state = states.fresh_state()
        self.parts = {p: task.part(p) for p in ("train", "valid", "test")}
        self.tokens = encode(model.tokenizer, list(self.parts["train"]["smiles"]))
        self.lengths = np.array([len(t) for t in self.tokens])
        self.labels = torch.tensor(
            self.parts["train"]["label"].to_numpy(dtype=np.float32), device=model.device
        )
        self.pending: list[tuple[dict[str, Any], torch.Tensor]] = []
        torch.manual_seed(seed)

    # ------------------------------------------------------------------ the loop

    def go(self, ctrl_c: Interruptible) -> None:
        model, plan, at = self.model, self.plan, self.state.position
        saved = time.monotonic()
        windows = self._windows(at.epoch)
        bar = tqdm(
            total=plan.epochs * len(windows),
            initial=at.step,
            unit="step",
            leave=False,
            desc=self.name,
            disable=not progress.visible(),
        )
        while at.phase < len(plan.phases):
            phase = plan.phases[at.phase]
            model.open_groups(phase.learning_rates)
            model.train()
            pooled = self._pooled()  # (N, H) where only the head trains, else None
            while at.phase_epoch < (phase.epochs or 0):
                windows = self._windows(at.epoch)
                for window in windows[at.windows :]:
                    began = time.monotonic()
                    rates = self._set_learning_rates(
                        at.phase_epoch + (at.windows + 0.5) / len(windows)
                    )
                    molecules = sum(len(rows) for rows in window)
                    total = torch.zeros((), device=model.device)
                    for rows in window:
                        with autocast(self.precision, model.device):
                            logits = self._logits(rows, pooled)  # (B,)
                        # A sum over all the window's molecules: uneven batches weigh the same.
                        loss = (
                            binary_cross_entropy_with_logits(
                                logits.float(), self.labels[rows], reduction="sum"
                            )
                            / molecules
                        )
                        self.scaler.scale(loss).backward()
                        total += loss.detach()
                    self.scaler.unscale_(self.optimizer)
                    torch.nn.utils.clip_grad_norm_(model.parameters(), self.strategy.clip)
                    self.scaler.step(self.optimizer)
                    self.scaler.update()
                    self.optimizer.zero_grad(set_to_none=True)
                    at.windows += 1
                    at.step += 1
                    at.molecules += molecules
                    self._log(total, rates)
                    at.seconds += time.monotonic() - began
                    bar.update()
                    if ctrl_c.asked:
                        self._interrupt()
                        return
                    if time.monotonic() - saved > SAVE_SECONDS:
                        self.save()
                        saved = time.monotonic()
                self._end_epoch(bar)
                if phase.patience is not None and at.waits >= phase.patience:
                    at.notes.append(
                        f"phase {at.phase} ended by patience after epoch {at.epoch - 1}: no better "
                        f"{self.strategy.monitor} in {phase.patience} validations"
                    )
                    break
                self.save()
            at.phase, at.phase_epoch, at.waits = at.phase + 1, 0, 0
            self.save()
        bar.close()

    # ------------------------------------------------------------------ its steps

    def _windows(self, epoch: int) -> list[list[np.ndarray]]:
        rng = np.random.default_rng([self.seed, epoch])
        batches = bucketed_batches(self.lengths, self.strategy.batch_size, rng)
        size = self.strategy.accumulate
        return [batches[i : i + size] for i in range(0, len(batches), size)]

    def _pooled(self) -> torch.Tensor | None:
        if any(p.requires_grad for p in self.model.encoder.parameters()):
            return None
        vectors, seconds = frozen_embeddings(self.model, list(self.parts["train"]["smiles"]))
        if self.state.position.phase_epoch == self.state.position.windows == 0:
            self.state.position.seconds += seconds  # also where a cache saved them this time
        return torch.from_numpy(vectors).to(self.model.device)

    def _logits(self, rows: np.ndarray, pooled: torch.Tensor | None) -> torch.Tensor:
        if pooled is not None:
            return self.model.classify(pooled[rows])
        ids, mask = pad([self.tokens[i] for i in rows], self.model.tokenizer.pad_token_id)
        device = self.model.device
        return self.model(ids.to(device, non_blocking=True), mask.to(device, non_blocking=True))

    def _set_learning_rates(self, progress_in_phase: float) -> dict[str, float]:
        at = self.state.position
        factor = self.plan.factor(at.phase, progress_in_phase)
        peaks = self.plan.phases[at.phase].learning_rates
        rates = {group: peaks.get(group, 0.0) * factor for group in self.plan.groups}
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["name"]]
        return rates

    def _log(self, loss: torch.Tensor, rates: dict[str, float]) -> None:
        at = self.state.position
        row = {"step": at.step, "epoch": at.epoch, "phase": at.phase, "split": "train"}
        row |= {f"learning_rate.{group}": rate for group, rate in rates.items()}
        self.pending.append((row, loss))
        if len(self.pending) >= FLUSH_EVERY:
            self._flush()

    def _flush(self) -> None:
        """Bring the losses over from the device in one go, and look at them."""
        if not self.pending:
            return
        losses = torch.stack([loss for _, loss in self.pending]).cpu().tolist()
        rows = [row for row, _ in self.pending]
        self.pending.clear()
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
        self.state.history.append(row)
        if self.tracker is not None:
            self.tracker(row)

    def _end_epoch(self, bar: tqdm) -> None:
        self._flush()
        at = self.state.position
        valid = self.parts["valid"]
        scores = validation_scores(valid, self._predict(valid))
        row = {"step": at.step, "epoch": at.epoch, "phase": at.phase, "split": "valid", **scores}
        self._append(row)
        bar.set_postfix(loss=f"{scores['loss']:.3f}", hard=f"{scores['auroc_hard']:.3f}")
        value = scores[self.strategy.monitor]
        if math.isnan(value):
            raise TrainingError(
                f"{self.strategy.monitor} decides on the best epoch, but the valid part cannot "
                "measure it: it lacks binders or these negatives. Choose another monitor."
            )
        sign = 1.0 if self.strategy.monitor in LOWER_IS_BETTER else -1.0
        if at.best is None or sign * value < sign * at.best:
            at.best, at.best_epoch, at.waits = value, at.epoch, 0
            self.state.best_weights = {
                k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()
            }
        else:
            at.waits += 1
        at.epoch, at.phase_epoch, at.windows = at.epoch + 1, at.phase_epoch + 1, 0

    def _predict(self, part: pd.DataFrame) -> np.ndarray:
        smiles = list(part["smiles"])
        if any(p.requires_grad for p in self.model.encoder.parameters()):
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

    @property
    def name(self) -> str:
        return type(self.strategy).__name__

    @property
    def finished(self) -> bool:
        return self.state.position.phase >= len(self.plan.phases)

    def save(self) -> None:
        """Save the state; a disk that does not take it stops the saving, not the training."""
        if self.folder is None:
            return
        self._flush()
        try:
            states.save(
                self.folder, self.state, self.model, self.optimizer, self.scaler, self.identity
            )
        except OSError as error:
            self.note(f"checkpoints are no longer saved: {self.folder} cannot be written ({error})")
            self.folder = None

    def resume(self, source: Path) -> bool:
        found = states.restore(source, self.model, self.optimizer, self.scaler, self.identity)
        if found is None:
            return False
        self.state, self.identity = found
        if not self.finished:
            at = self.state.position
            print(f"{self.name}: going on from step {at.step}, epoch {at.epoch}")
        return True

    def _interrupt(self) -> None:
        at = self.state.position
        self.save()
        goes_on = (
            f"; fit again with checkpoint_dir={str(self.folder)!r} to go on" if self.folder else ""
        )
        self.note(f"interrupted in epoch {at.epoch}, after step {at.step}{goes_on}")

    def note(self, sentence: str) -> None:
        """Say it now, and keep it in the Run."""
        print(f"{self.name}: {sentence}")
        self.state.position.notes.append(sentence)

    def _give_best_back(self) -> None:
        if self.state.best_weights:
            self.model.load_state_dict(self.state.best_weights)

    # ------------------------------------------------------------------ the result

    def run(self) -> Run:
        """The Run of what has been trained so far, with the best epoch's weights in the model."""
        at, model = self.state.position, self.model
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
            history=pd.DataFrame(self.state.history),
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
    fitted = list(model.fitted)
    encoder = {
        "name": model.name,
        "pooling": model.pooling,
        "origin": model.origin,
        "fitted": fitted,
    }
    return {
        "strategy": {**strategy.describe(), "epochs": epochs, "encoder": encoder},
        "task": task.fingerprint,
        "seed": seed,
    }
