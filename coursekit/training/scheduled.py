"""Fine-tuning by a schedule: which parameters open when, and how a phase ends and begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml

from coursekit.errors import TrainingError
from coursekit.storage import atomic_file
from coursekit.training.phases import Phase
from coursekit.training.plan import Decay, spans
from coursekit.training.schedule_file import plain, read_schedule, without_first_lr
from coursekit.training.schedule_format import (
    Entry,
    check_optimizer,
    check_schedule,
    check_scheduler,
)
from coursekit.training.schedule_match import cut, match, warn_of_passed_over
from coursekit.training.strategy import FinetuneStrategy, whole_from
from coursekit.training.transition import NewScheduler, Transition
from coursekit.training.validation import LOWER_IS_BETTER

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

Generate = Literal["blocks", "pairs"]


@dataclass(frozen=True, kw_only=True)
class ScheduledFinetune(FinetuneStrategy):
    """Open parameters phase by phase, as a schedule says, or one generated from the model.

    The format and the rules are those of finetuning-scheduler (2.13); patterns match whole names
    here, and the best epoch's weights are given back at the end. A phase ends when validation
    has not improved ``patience`` times, or before its ``max_transition_epoch``, whichever comes
    first; the next one begins with the best epoch's weights. The best is the best of the whole
    run: a phase that does not beat it leaves nothing behind.

    Args:
        schedule: by phase ``params``, ``lr``, ``max_transition_epoch``, ``new_lr_scheduler``,
            ``new_optimizer``, as a dict, as YAML text or as the path of a file, which is read
            once; None generates one.
        generate: ``"blocks"`` opens the head, then one block a phase from the top, the embeddings
            last; ``"pairs"`` opens two parameters a phase from the output side.
        lr: learning rate of phase 0.
        base_max_lr: learning rate with which the parameters of a later phase begin, where the
            schedule gives them none; None takes ``lr``.
        patience: end a phase after so many validations without improvement; None leaves the end
            to ``max_transition_epoch``.
        min_delta: what improves the monitored number by no more than this counts as no
            improvement.
        epoch_transitions_only: let ``max_transition_epoch`` alone end phases.
        restore_best: begin each phase with the weights and the optimizer's moments of the best
            epoch so far; learning rates and their scheduler go on.
        max_depth: the last phase to open; None opens all.
        lr_scheduler: from phase 0 on, ``class_path`` and ``init_args``, or in the form of
            ``new_lr_scheduler``; None leaves learning rates constant.
        reinit_lr: the scheduler with which every phase from 1 on begins, of a generated schedule.
        reinit_optimizer: the optimizer with which every phase from 1 on begins, of a generated
            schedule; ``class_path`` and ``init_args``, or in the form of ``new_optimizer``.
        apply_lambdas_new_pgs: under LambdaLR and MultiplicativeLR, multiply the learning rate of
            newly opened parameters by the factor of the moment at once.
        decay: ``"constant"``, as the scheduler moves the learning rates.
        warmup: epochs over which the learning rates rise in each phase, on top of the scheduler.

    Example:
        >>> strategy = ScheduledFinetune({0: {"params": ["head"]}, 1: {"params": ["block.*"]}})
        >>> strategy.schedule[1]["params"]
        ['block.*']
    """

    schedule: Mapping[Any, Any] | str | Path | None = field(default=None, kw_only=False)
    generate: Generate = "blocks"
    base_max_lr: float | None = 1e-5
    patience: int | None = 3
    min_delta: float = 0.0
    epoch_transitions_only: bool = False
    restore_best: bool = True
    max_depth: int | None = None
    lr_scheduler: Mapping[str, Any] | None = None
    reinit_lr: Mapping[str, Any] | None = None
    reinit_optimizer: Mapping[str, Any] | None = None
    apply_lambdas_new_pgs: bool = False
    decay: Decay = "constant"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        optional = "None, or "
        self._expect("base_max_lr", f"{optional}a positive number", lambda v: v is None or v > 0)
        self._expect("min_delta", "0 or a positive number", lambda v: v >= 0)
        for name, least in (("patience", 1), ("max_depth", 0)):
            if getattr(self, name) is not None:
                self._expect(name, f"{optional}a whole number from {least} on", whole_from(least))
        known = get_args(Generate)
        self._expect("generate", f"one of {', '.join(known)}", known.__contains__)
        self._expect("decay", "'constant', as lr_scheduler moves the rates,", "constant".__eq__)
        for name in ("epoch_transitions_only", "restore_best", "apply_lambdas_new_pgs"):
            self._expect(name, "True or False", lambda v: isinstance(v, bool))
        for name in ("lr_scheduler", "reinit_lr", "reinit_optimizer"):
            object.__setattr__(self, name, plain(name, getattr(self, name)))
        self._first_scheduler()
        if self.schedule is None:
            self._check_reinit()
            self._check_ends([None, None])
            return
        for name, key in (("reinit_lr", "new_lr_scheduler"), ("reinit_optimizer", "new_optimizer")):
            expected = f"None beside a schedule, whose phases say it by {key},"
            self._expect(name, expected, lambda v: v is None)
        schedule = without_first_lr(read_schedule(self.schedule))
        object.__setattr__(self, "schedule", schedule)
        self._check_ends([entry.max_transition_epoch for entry in self._entries(schedule)])

    def _check_reinit(self) -> None:
        lower = self.monitor in LOWER_IS_BETTER
        if self.reinit_lr is not None:
            where = "ScheduledFinetune: reinit_lr"
            check_scheduler(where, self.reinit_lr, None, self.monitor, lower)
        if self.reinit_optimizer is not None:
            check_optimizer("ScheduledFinetune: reinit_optimizer", self.reinit_optimizer)

    def _check_ends(self, ends: Sequence[int | None]) -> None:
        """Refuse a phase that nothing would end."""
        missing = [number for number, end in enumerate(ends) if end is None]
        if not self.epoch_transitions_only:
            missing = missing if self.patience is None else []
            # The last phase ends with the run.
            missing = [number for number in missing if number < self._last(len(ends))]
        if missing:
            raise TrainingError(
                f"schedule: phase {missing[0]}: max_transition_epoch is missing, and nothing else "
                "would end the phase; give it"
                + (" (dump a generated schedule and edit it)" if self.schedule is None else "")
                + (
                    ", or leave epoch_transitions_only out"
                    if self.epoch_transitions_only
                    else ", or set patience"
                )
            )

    def phases(self, model: Classifier, epochs: int) -> list[Phase]:
        """One phase for each of the schedule, as deep as ``max_depth``."""
        entries = self._entries(self.schedule_for(model))
        matched = match([entry.params for entry in entries], model)
        groups = cut(model.groups, matched)
        ends = [entry.max_transition_epoch for entry in entries]
        # The run is as long as the phases from 1 on, where the last has an end, whatever the depth.
        least = max((end or 0 for end in ends[1:]), default=0) if ends[-1] is not None else 0
        last = self._last(len(entries))
        warn_of_passed_over(matched[: last + 1], model)
        patience = None if self.epoch_transitions_only else self.patience
        rates: dict[str, float] = {}
        phases = []
        for number, entry in enumerate(entries[: last + 1]):
            names = {name for found in matched[number].values() for name in found}
            opened = [group for group, inside in groups.items() if inside[0] in names]
            rates = rates | dict.fromkeys(opened, self._rate(number, entry))
            transition = Transition(
                until_epoch=(least or None) if number == last else ends[number],
                min_delta=self.min_delta,
                restore_best=self.restore_best,
                scheduler=entry.new_lr_scheduler if number else self._first_scheduler(),
                optimizer=entry.new_optimizer,
                apply_lambdas=self.apply_lambdas_new_pgs,
                matched=matched[number],
                left_closed=tuple(range(last + 1, len(entries))) if number == last else (),
            )
            name = f"open {spans(opened, list(groups))}"
            phases.append(Phase(dict(rates), None, patience, name, transition))
        return phases

    def parameter_groups(self, model: Classifier) -> Mapping[str, tuple[str, ...]]:
        """The model's groups; those that several phases open in parts are cut."""
        entries = self._entries(self.schedule_for(model))
        return cut(model.groups, match([entry.params for entry in entries], model))

    def schedule_for(self, model: Classifier) -> dict[int, Any]:
        """The schedule, or the one generated for this model."""
        if self.schedule is not None:
            return dict(self.schedule)  # type: ignore[arg-type]
        if self.generate == "blocks":
            parts = [[group] for group in reversed(model.groups)]
        else:
            used = {name for names in model.groups.values() for name in names}
            names = [name for name, _ in model.named_parameters() if name in used][::-1]
            parts = [names[i : i + 2] for i in range(0, len(names), 2)]
        later = {
            "lr": self.lr if self.base_max_lr is None else self.base_max_lr,
            "new_lr_scheduler": _within("lr_scheduler_init", self.reinit_lr),
            "new_optimizer": _within("optimizer_init", self.reinit_optimizer),
        }
        later = {key: value for key, value in later.items() if value is not None}
        return {
            number: {"params": params, **(later if number else {})}
            for number, params in enumerate(parts)
        }

    def dump(self, model: Classifier, path: str | Path | None = None) -> str:
        """The schedule for this model as YAML, to edit and to give as ``schedule``.

        Args:
            model: for which a schedule is generated, where none was given.
            path: of the file to write; None writes none.

        Returns:
            The text. ``reinit_lr`` and ``reinit_optimizer`` are in it, so leave them out beside it.
        """
        text = yaml.safe_dump(plain("dump", self.schedule_for(model)), sort_keys=False)
        if path is not None:
            with atomic_file(Path(path)) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return text

    def describe(self) -> dict[str, Any]:
        """Plain data from which ``rebuild`` makes the same strategy."""
        found = super().describe()
        if self.schedule is not None:  # with text as keys, as in every other record
            found["schedule"] = {str(n): phase for n, phase in found["schedule"].items()}
        return found

    def _last(self, phases: int) -> int:
        """Number of the last phase that opens."""
        return phases - 1 if self.max_depth is None else min(self.max_depth, phases - 1)

    def _rate(self, number: int, entry: Entry) -> float:
        if number == 0:
            return self.lr
        base = self.lr if self.base_max_lr is None else self.base_max_lr
        return base if entry.lr is None else entry.lr

    def _entries(self, schedule: Mapping[Any, Any]) -> list[Entry]:
        return check_schedule(dict(schedule), self.monitor, self.monitor in LOWER_IS_BETTER)

    def _first_scheduler(self) -> NewScheduler | None:
        if self.lr_scheduler is None:
            return None
        lower = self.monitor in LOWER_IS_BETTER
        return check_scheduler(
            "ScheduledFinetune: lr_scheduler", self.lr_scheduler, 0, self.monitor, lower
        )


def _within(key: str, given: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What a schedule has under ``new_lr_scheduler``, also where only a class was given."""
    return {key: given} if given is not None and "class_path" in given else given
