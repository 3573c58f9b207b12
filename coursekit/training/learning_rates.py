"""Learning rates of a schedule: one scheduler of torch over the phases that are open."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from coursekit.training.torch_classes import PLATEAU, make_scheduler
from coursekit.training.transition import NewScheduler, newly_opened, transition_of

if TYPE_CHECKING:
    from coursekit.training.phases import Phase


class LearningRates:
    """The learning rate of each opened phase, moved once an epoch by a scheduler of torch.

    As in finetuning-scheduler, the parameters of one phase are one group of the scheduler, and a
    phase that opens later joins the scheduler that runs. The scheduler works on an optimizer of
    its own, which holds nothing but learning rates.

    Args:
        phases: of a plan, all with a transition; phase 0 is open from the start.

    Attributes:
        made_in: the phase that brought the scheduler.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.phases = phases
        self.opened = newly_opened(phases)
        self.made_in = 0
        self._epochs = 0
        self._holder = torch.optim.SGD([self._group(0)], lr=0.0)
        self._scheduler = self._make(transition_of(phases[0]).scheduler)

    @property
    def rates(self) -> list[float]:
        """The learning rate of each open phase."""
        return [float(group["lr"]) for group in self._holder.param_groups]

    def by_group(self) -> dict[str, float]:
        """The learning rate of each group of the plan that is open."""
        return {
            name: rate
            for names, rate in zip(self.opened, self.rates, strict=False)
            for name in names
        }

    def open(self, number: int) -> None:
        """Let phase ``number`` join, and begin its scheduler where it brings one."""
        groups = self._holder.param_groups
        transition = transition_of(self.phases[number])
        if transition.optimizer is not None and "lr" in transition.optimizer.init_args:
            rate = float(transition.optimizer.init_args["lr"])
            for group in groups:
                group["lr"] = group["initial_lr"] = rate
            if hasattr(self._scheduler, "base_lrs"):
                self._scheduler.base_lrs = [rate] * len(groups)
        if transition.scheduler is not None:
            for index, group in enumerate(groups):
                if transition.scheduler.init_rates is not None:
                    group["lr"] = transition.scheduler.init_rates[index]
                elif not transition.scheduler.keep_rates:
                    group["lr"] = group["initial_lr"]
                group["initial_lr"] = group["lr"]
            self._holder.add_param_group(self._group(number))
            self.made_in, self._epochs = number, 0
            self._scheduler = self._make(transition.scheduler)
            return
        self._join(self._group(number), transition.apply_lambdas)

    def _join(self, group: dict[str, Any], apply_lambdas: bool) -> None:
        """Add a group to the scheduler that runs."""
        scheduler = self._scheduler
        # What the scheduler keeps per group: the new one has its own first rate, and otherwise
        # what the group before it has.
        if hasattr(scheduler, "base_lrs"):
            scheduler.base_lrs.append(group["lr"])
        if hasattr(scheduler, "min_lrs"):
            scheduler.min_lrs.append(scheduler.min_lrs[-1])
        if hasattr(scheduler, "lr_lambdas"):
            scheduler.lr_lambdas.append(scheduler.lr_lambdas[-1])
            if apply_lambdas:
                group["lr"] *= scheduler.lr_lambdas[-1](scheduler.last_epoch)
        self._holder.add_param_group(group)

    def step(self, value: float | None) -> None:
        """End an epoch.

        Args:
            value: what validation gave; None, in a preview, leaves ReduceLROnPlateau unmoved.
        """
        new = transition_of(self.phases[self.made_in]).scheduler
        self._epochs += 1
        if new is None or self._epochs % new.frequency:
            return
        self._holder.step()  # torch warns where a scheduler steps before its optimizer
        if new.class_path != PLATEAU:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                self._scheduler.step()
        elif value is not None:
            self._scheduler.step(value)

    # ------------------------------------------------------------------ keep and take up

    def counters(self) -> dict[str, Any]:
        """Where the scheduler stands, without the learning rates, as plain data."""
        return {
            "made_in": self.made_in,
            "epochs": self._epochs,
            "scheduler": {
                key: str(value) if isinstance(value, float) and math.isinf(value) else value
                for key, value in vars(self._scheduler or _Nothing()).items()
                if value is None or isinstance(value, bool | int | float | str)
            },
        }

    def back_to(self, counters: Mapping[str, Any]) -> None:
        """Set the scheduler's counters back; the learning rates stay.

        Where another scheduler has begun since, its counters stay as well.
        """
        if counters["made_in"] != self.made_in:
            return
        self._epochs = counters["epochs"]
        for key, value in counters["scheduler"].items():
            setattr(self._scheduler, key, float(value) if value in ("inf", "-inf") else value)

    def state(self) -> dict[str, Any]:
        """All of it, as plain data."""
        groups = self._holder.param_groups
        return {
            **self.counters(),
            "rates": [float(group["lr"]) for group in groups],
            "initial": [float(group["initial_lr"]) for group in groups],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave."""
        self._holder = torch.optim.SGD(
            [self._group(number) for number in range(len(state["rates"]))], lr=0.0
        )
        self.made_in = state["made_in"]
        for group, initial in zip(self._holder.param_groups, state["initial"], strict=True):
            group["lr"] = group["initial_lr"] = initial
        # Phases that joined later do so again, for what the scheduler keeps per group.
        later = self._holder.param_groups[self.made_in + 1 :]
        del self._holder.param_groups[self.made_in + 1 :]
        self._scheduler = self._make(transition_of(self.phases[self.made_in]).scheduler)
        for group in later:
            self._join(group, apply_lambdas=False)
        self.back_to(state)
        for group, rate in zip(self._holder.param_groups, state["rates"], strict=True):
            group["lr"] = rate

    def _group(self, number: int) -> dict[str, Any]:
        rate = float(self.phases[number].learning_rates[self.opened[number][0]])
        return {"params": [torch.zeros(1, requires_grad=True)], "lr": rate, "initial_lr": rate}

    def _make(self, new: NewScheduler | None) -> Any:
        return None if new is None else make_scheduler(new, self._holder)


class _Nothing:
    """Stands for a scheduler where learning rates are constant."""
