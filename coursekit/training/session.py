"""The parts of one run, put together once, and what the loop asks of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch

from coursekit.data.batches import encode, passes
from coursekit.errors import TrainingError
from coursekit.models.packed import first_position
from coursekit.models.precision import choose_precision
from coursekit.runs import INTERRUPTED
from coursekit.training import stage
from coursekit.training import state as states
from coursekit.training.adapters import unmerge_adapters
from coursekit.training.contrast import Contrast
from coursekit.training.ema import MovingAverage, apply_ema
from coursekit.training.identity import identity_of
from coursekit.training.journal import Journal
from coursekit.training.learning_rates import LearningRates
from coursekit.training.movement import Movement
from coursekit.training.objective import Objective
from coursekit.training.optimizer import make_optimizer
from coursekit.training.passes import passes_of_a_step, pool_rows, steps_of_an_epoch
from coursekit.training.prefix import NOTHING, Below, Prefix
from coursekit.training.processes import Processes
from coursekit.training.retention import Retention
from coursekit.training.tracking import TrackerChoice, Tracking
from coursekit.training.transition import transition_of
from coursekit.training.validation import LOWER_IS_BETTER, check_parts, validation_scores

if TYPE_CHECKING:
    import pandas as pd

    from coursekit.data.task import BindingTask
    from coursekit.models.classifier import Classifier
    from coursekit.training.phases import Phase
    from coursekit.training.strategy import FinetuneStrategy

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
        tracker: see ``fit``.
        processes: those that train together, where there are several.
        heldout: pretraining molecules to measure forgetting on.

    Attributes:
        at: the position; the loop reads it and the session moves it.
        below: what is known of the training molecules without running what is frozen.
        groups: parameter names by group, as the strategy cuts them.
        journal: the history, row by row.
        prefix: what is frozen, computed once.
        rates: the learning rates that a schedule has come to; None where the plan gives them.
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
        tracker: TrackerChoice,
        processes: Processes | None = None,
        heldout: Sequence[str] | None = None,
    ) -> None:
        self.strategy, self.model, self.task = strategy, model, task
        self.plan = strategy.plan(model, epochs)
        self.parts = {p: task.part(p) for p in ("train", "valid", "test")}
        check_parts(self.parts, strategy.monitor)
        self.identity = identity_of(strategy, self.plan, model, task, epochs, seed)
        self.processes = processes or Processes()
        self.seed, self.folder = seed, folder
        self.tracking = Tracking(tracker if self.processes.first else None, self.note)
        self.precision = choose_precision(strategy.precision, model.device)
        if model.adapted is not None:
            unmerge_adapters(model)  # a layer that is merged passes its adapter by
        strategy.prepare(model)
        self.processes.begin(model, self.identity)
        self.groups = strategy.parameter_groups(model)
        self.rates = LearningRates(self.plan.phases) if self.plan.scheduled else None
        self.retention = Retention(self, heldout)
        self.movement = Movement(model, self.groups, self.plan)
        self.optimizer = self.optimizer_of(0)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=self.precision == "fp16")
        self.at = states.Position()
        self.journal = Journal(self.tracking, self.give_up)
        self.average = MovingAverage(model, strategy.ema)
        self.best_weights: dict[str, torch.Tensor] = {}
        self.best_moments: dict[str, torch.Tensor] = {}
        self.best_facts: dict[str, Any] = {}
        self.tokens = encode(model.tokenizer, list(self.parts["train"]["smiles"]))
        self.lengths = np.array([len(t) for t in self.tokens])
        labels = self.parts["train"]["label"].to_numpy(dtype=np.float32)
        self.labels = torch.from_numpy(labels).to(model.device)
        self.objective = Objective.of(strategy.class_weight, strategy.label_smoothing, labels)
        self.prefix = Prefix(
            model, self.plan, self.groups, strategy.cache, self.precision, folder, self.note
        )
        self.below: Below = NOTHING
        self.contrast: Contrast | None = None
        self._saved = time.monotonic()
        torch.manual_seed(self.processes.seed(seed))

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

    @cached_property
    def first_position(self) -> int | None:
        """Of a molecule's tokens, where passes are packed; None where they are padded."""
        return first_position(self.model)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch, the last perhaps of fewer molecules."""
        return -(-len(self.lengths) // (self.strategy.batch_size * self.strategy.accumulate))

    @property
    def packs(self) -> bool:
        """Whether passes of this phase are packed: they go through the encoder, and it can."""
        return self.below.pooled is None and self.first_position is not None

    # ------------------------------------------------------------------ phases and epochs

    def open_phase(self) -> None:
        """Let this phase's groups train and freeze the others, which are computed once."""
        self.open_groups()
        self.average.follow()
        self.model.train()
        learned = self.phase.objective
        self.contrast = None if learned is None else Contrast(self, learned)
        self.prefix.open(self.at.phase)
        self.below = self.prefix.below(list(self.parts["train"]["smiles"]))
        if self.at.phase_epoch == self.at.windows == 0:
            self.at.seconds += self.below.seconds  # also where a cache saved them this time

    def open_groups(self) -> None:
        """Set which parameters train, by the phase; in the end by the last one that trained."""
        phase = self.plan.phases[self.journal.rows[-1]["phase"] if self.finished else self.at.phase]
        self.model.open_parameters(p for group in phase.learning_rates for p in self.groups[group])

    def optimizer_of(self, phase: int) -> torch.optim.Optimizer:
        """The optimizer that a phase trains with, new and without moments."""
        new = self.plan.optimizer_from(phase)
        change = None if new is None else transition_of(self.plan.phases[new]).optimizer
        return make_optimizer(
            self.model, self.strategy.weight_decay, self.groups, change, self.retention.held
        )

    def phase_is_over(self) -> bool:
        """Whether the phase has had its epochs, or has waited long enough for a better score."""
        phase, at = self.phase, self.at
        if self.rates is not None:
            return stage.is_over(self)
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
        if self.rates is not None:
            stage.begin(self, self.rates)
        self.save()

    def end_epoch(self) -> dict[str, float]:
        """Validate, and remember the weights if they are the best so far.

        Returns:
            The validation scores.
        """
        at, began = self.at, time.monotonic()
        self.journal.flush()
        at.seconds += time.monotonic() - began  # a GPU may still be busy with the last steps
        row: dict[str, Any] = {"step": at.step, "epoch": at.epoch, "phase": at.phase}
        row |= {"split": "valid", **self.movement.by_group(self.average.values)}
        if self.contrast is not None:  # nothing that could be the best classifier
            scores = self.processes.once(self.contrast.validation_scores)
            return self._next_epoch(row, scores)
        with apply_ema(self.model, self.average.values):
            predicted = self.processes.spread(self.parts["valid"], self.predict)
        if not np.isfinite(predicted).all():
            self.give_up("a prediction for the valid part is not a number", row)
        scores = self.processes.once(lambda: validation_scores(self.parts["valid"], predicted))
        value = scores[self.strategy.monitor]
        sign = 1.0 if self.strategy.monitor in LOWER_IS_BETTER else -1.0
        improved = at.best is None or sign * value < sign * at.best
        if improved:
            at.best, at.best_epoch = value, at.epoch
            weights = self.model.state_dict() | self.average.values
            self.best_weights = {k: v.detach().cpu().clone() for k, v in weights.items()}
        if self.rates is not None:
            stage.end_epoch(self, self.rates, value)
            improved = stage.is_better(self, sign * value)
        at.waits = 0 if improved else at.waits + 1
        return self._next_epoch(row, scores)

    def _next_epoch(self, row: dict[str, Any], scores: dict[str, float]) -> dict[str, float]:
        at = self.at
        self.journal.append({**row, **scores})
        at.epoch, at.phase_epoch, at.windows = at.epoch + 1, at.phase_epoch + 1, 0
        self.save()
        return scores

    # ------------------------------------------------------------------ the parts of a step

    def windows(self, epoch: int) -> list[list[np.ndarray]]:
        """Positions of molecules for each optimizer step of an epoch, in forward passes."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.contrast is not None:
            batches, some = self.contrast.batches(rng), self.strategy.accumulate
            return [batches[i : i + some] for i in range(0, len(batches), some)]
        return [self.passes(rows) for rows in steps_of_an_epoch(self.strategy, self.lengths, rng)]

    def passes(self, rows: np.ndarray) -> list[np.ndarray]:
        """Forward passes for the molecules of a step, those of like length together."""
        if self.below.pooled is not None:  # nothing to pad then, and little to compute
            return passes(rows, self.lengths, self.strategy.batch_size)
        return passes_of_a_step(self.strategy, rows, self.lengths, self.model.device, self.packs)

    def logits(self, rows: np.ndarray) -> torch.Tensor:
        """Logits (B,) of these training molecules."""
        if self.below.pooled is not None:
            vectors = torch.from_numpy(self.below.pooled[rows]).to(self.model.device)
        else:
            vectors = self.pool(self.tokens, rows, self.below)
        return self.model.classify(vectors)

    def pool(
        self, tokens: Sequence[np.ndarray], rows: np.ndarray, below: Below = NOTHING
    ) -> torch.Tensor:
        """Pooled vectors (B, H) of molecules in one pass, see ``pool_rows``."""
        return pool_rows(self.model, tokens, rows, below, self.first_position)

    def set_learning_rates(self, through_epoch: float) -> dict[str, float]:
        """Set each group's learning rate for the moment ``through_epoch`` (0 to 1)."""
        factor = self.plan.factor(self.at.phase, self.at.phase_epoch + through_epoch)
        peaks = self.phase.learning_rates if self.rates is None else self.rates.by_group()
        rates = {group: peaks.get(group, 0.0) * factor for group in self.plan.groups}
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["name"]]
        return rates

    def count(
        self, losses: dict[str, torch.Tensor], rates: dict[str, float], molecules: int, began: float
    ) -> None:
        """Note that one optimizer step is done, which began at ``began`` (``time.monotonic``).

        Args:
            losses: ``loss``, and others by the name of their column.
            rates: learning rate by group.
            molecules: of the task in this step.
            began: when.
        """
        at = self.at
        if self.rates is not None:
            self.rates.end_batch(at.windows)
        at.windows += 1
        at.step += 1
        at.molecules += molecules
        row = {"step": at.step, "epoch": at.epoch, "phase": at.phase, "split": "train"}
        row |= {f"learning_rate.{group}": rate for group, rate in rates.items()}
        self.journal.add(row, losses, began)
        at.seconds += time.monotonic() - began

    def give_up(self, found: str, row: dict[str, Any]) -> NoReturn:
        """Put the best weights back and say what stopped being a number, and where."""
        self.give_best_back()
        weights = (
            f"the model has the weights of epoch {self.at.best_epoch} back"
            if self.best_weights
            else "the model's weights are spoiled: load it anew"
        )
        raise TrainingError(
            f"{found} at step {row['step']} (epoch {row['epoch']}, phase {row['phase']}); "
            f"{weights}. Lower lr (now {self.strategy.lr:g}), lengthen the warm-up, or use "
            "precision='fp32'."
        )

    def predict(self, part: pd.DataFrame) -> np.ndarray:
        """Probability of "binder" (N,) for the molecules of a part."""
        return self.model.probabilities(self.prefix.vectors(list(part["smiles"])))

    # ------------------------------------------------------------------ stop and go on

    def save_if_due(self) -> None:
        """Save the state where the last one is more than a minute old."""
        if self.processes.any(time.monotonic() - self._saved > SAVE_SECONDS):
            self.save()

    def save(self) -> None:
        """Save the state; a disk that does not take it stops the saving, not the training.

        Raises:
            TrainingError: if a loss or a weight is not a number: the state before stays the newest.
        """
        self._saved = time.monotonic()
        if self.folder is None:
            return
        self.journal.flush()
        spoiled = states.spoiled(self.model, self.optimizer)
        if spoiled is not None:
            self.give_up(f"{spoiled} has a value that is not finite", asdict(self.at))
        try:
            states.save(self.folder, self)
        except OSError as error:
            self.note("checkpoints are no longer saved", f"{self.folder}: {error}")
            self.folder = None

    def resume(self, source: Path | None) -> bool:
        """Take up the newest whole state of the session's own folder, or else of ``source``.

        Returns:
            False where the own folder holds none and there is no ``source``.

        Raises:
            TrainingError: if the state belongs to another run, or ``source`` holds none.
        """
        if self.folder is not None and states.restore(self.folder, self):
            source = self.folder
        elif source is None or source == self.folder:
            own = self.folder
            if own is not None and self.processes.once(lambda: states.put_aside(own)):
                self.note("no whole state was left: training started anew")
            return False
        elif not states.restore(source, self):
            raise TrainingError(
                f"resume_from: {source} holds no state to go on from; give the checkpoint_dir of "
                "the run that stopped, or leave resume_from out to start anew"
            )
        done = "is finished; its result is given back" if self.finished else "goes on"
        self._say(f"{done}, from {source}, step {self.at.step}, epoch {self.at.epoch}")
        return True

    def interrupt(self) -> None:
        """Keep what there is and say how to go on."""
        self.journal.flush()
        self.save()
        goes_on = "; fit again with the same checkpoint_dir to go on" if self.folder else ""
        self.note(f"{INTERRUPTED} in epoch {self.at.epoch}, after step {self.at.step}{goes_on}")

    def note(self, sentence: str, detail: str = "") -> None:
        """Say it now, and keep the sentence in the Run.

        Args:
            sentence: for everybody who reads the record.
            detail: only said: messages and paths may hold a user's name.
        """
        self._say(sentence + (f" ({detail})" if detail else ""))
        self.at.notes.append(sentence)

    def _say(self, sentence: str) -> None:
        if self.processes.first:
            print(f"{self.name}: {sentence}")

    def give_best_back(self) -> None:
        """Put the best epoch's weights into the model; before its first end, the average so far."""
        self.average.settle()
        if self.best_weights:
            self.model.load_state_dict(self.best_weights)
