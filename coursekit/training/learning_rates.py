"""Learning rates of a schedule: one scheduler of torch over the phases that are open."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from coursekit.training.torch_classes import PLATEAU, first_rate, make_scheduler
from coursekit.training.transition import NewScheduler, newly_opened, transition_of

if TYPE_CHECKING:
    from coursekit.training.phases import Phase

LISTS = ("base_lrs", "min_lrs", "_last_lr")  # what a scheduler keeps per group


class LearningRates:
    """The learning rate of each opened phase, moved by a scheduler of torch.

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
        self._holder = torch.optim.SGD([self._group(0)], lr=0.0)
        self._scheduler = self._make()

    @property
    def rates(self) -> list[float]:
        """The learning rate of each open phase."""
        return [float(group["lr"]) for group in self._holder.param_groups]

    @property
    def first_rates(self) -> list[float]:
        """The learning rate with which each open phase began, for a scheduler that begins anew."""
        return [float(group["initial_lr"]) for group in self._holder.param_groups]

    def by_group(self) -> dict[str, float]:
        """The learning rate of each group of the plan that is open."""
        return {
            name: rate
            for names, rate in zip(self.opened, self.rates, strict=False)
            for name in names
        }

    def open(self, number: int, first_rates: Sequence[float] | None = None) -> None:
        """Let phase ``number`` join, and begin its scheduler where it brings one.

        Args:
            number: the phase after those that are open.
            first_rates: of the phases that were open in the epoch to which the weights went back.
        """
        groups = self._holder.param_groups
        transition = transition_of(self.phases[number])
        unnoted = self._unnoted(number, first_rates) and transition.optimizer is None
        if transition.optimizer is not None:
            first_rates = [first_rate(transition.optimizer)]
        if first_rates is not None:
            for group, rate in zip(groups, self._replayed(first_rates, number), strict=True):
                group["initial_lr"] = rate
        if unnoted:
            groups[0]["initial_lr"] = groups[0]["lr"]
        self._join(number)
        new = transition.scheduler
        if new is None:
            return
        if not new.keep_rates:
            for group in groups:
                group["lr"] = group["initial_lr"]
        for group, rate in zip(groups, new.init_rates or (), strict=False):
            group["lr"] = group["initial_lr"] = rate
        self.made_in = number
        self._scheduler = self._make()

    def _unnoted(self, number: int, first_rates: Sequence[float] | None) -> bool:
        """Whether the rate that phase 0 began with was noted nowhere before phase ``number``.

        ReduceLROnPlateau, alone among schedulers, does not note it; one that follows it goes on
        from where the rate is. A new optimizer notes it, until an epoch before it comes back.
        """
        gone_back = number if first_rates is None else len(first_rates)
        first, *later = map(transition_of, self.phases[:number])
        schedulers = [one.scheduler for one in (first, *later) if one.scheduler is not None]
        return (
            first.scheduler is not None
            and all(one.class_path == PLATEAU for one in schedulers)
            and all(one.optimizer is None for one in later[: gone_back - 1])
            and not any(one.init_rates for one in schedulers)
        )

    def _replayed(self, first_rates: Sequence[float], number: int) -> list[float]:
        """What the first rates of the phases before ``number`` are, beginning with those given."""
        rates = list(first_rates)
        for phase in range(len(rates), number):
            rates.append(self._own_rate(phase))
            new = transition_of(self.phases[phase]).scheduler
            if new is not None and new.init_rates is not None:
                rates[: len(new.init_rates)] = new.init_rates
        return rates

    def _join(self, number: int) -> None:
        """Add a phase's group to the scheduler that runs."""
        scheduler, group = self._scheduler, self._group(number)
        # What the scheduler keeps per group: the new one has its own first rate, and otherwise
        # what the others have.
        if hasattr(scheduler, "base_lrs"):
            scheduler.base_lrs.append(group["lr"])
        if hasattr(scheduler, "min_lrs"):
            scheduler.min_lrs.append(scheduler.min_lrs[0])
        if hasattr(scheduler, "lr_lambdas"):
            scheduler.lr_lambdas.append(scheduler.lr_lambdas[-1])
            if transition_of(self.phases[number]).apply_lambdas:
                group["lr"] *= scheduler.lr_lambdas[-1](scheduler.last_epoch)
                group["initial_lr"] = group["lr"]
        self._holder.add_param_group(group)

    def end_batch(self, batch: int) -> None:
        """End a batch, counted from 0 in its epoch; moves a scheduler that steps by batches."""
        new = self._new
        if new is not None and new.interval == "step" and (batch + 1) % new.frequency == 0:
            self._step()

    def end_epoch(self, epoch: int, value: float | None) -> None:
        """End an epoch, counted from 0 in the run; moves a scheduler that steps by epochs.

        Args:
            epoch: its number.
            value: what validation gave; None, in a preview, leaves ReduceLROnPlateau unmoved.
        """
        new = self._new
        if new is None or new.interval != "epoch" or (epoch + 1) % new.frequency:
            return
        if new.class_path != PLATEAU:
            self._step()
        elif value is not None:
            self._step(value)

    def _step(self, *value: float) -> None:
        self._holder.step()  # torch warns where a scheduler steps before its optimizer
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._scheduler.step(*value)

    # ------------------------------------------------------------------ keep and take up

    def state(self) -> dict[str, Any]:
        """All of it, as plain data."""
        kept = vars(self._scheduler) if self._scheduler is not None else {}
        return {
            "made_in": self.made_in,
            "rates": self.rates,
            "first_rates": self.first_rates,
            "counters": {
                key: str(value) if isinstance(value, float) and math.isinf(value) else value
                for key, value in kept.items()
                if value is None or isinstance(value, bool | int | float | str)
            },
            "lists": {key: [float(v) for v in kept[key]] for key in LISTS if key in kept},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave."""
        groups = [self._group(number) for number in range(len(state["rates"]))]
        self.made_in = state["made_in"]
        # The scheduler begins with as many groups as it once did: some settings are lists of them.
        self._holder = torch.optim.SGD(groups[: self.made_in + 1], lr=0.0)
        self._scheduler = self._make()
        for group in groups[self.made_in + 1 :]:
            self._holder.add_param_group(group)
            if hasattr(self._scheduler, "lr_lambdas"):
                self._scheduler.lr_lambdas.append(self._scheduler.lr_lambdas[-1])
        for key, value in state["counters"].items():
            setattr(self._scheduler, key, float(value) if value in ("inf", "-inf") else value)
        for key, values in state["lists"].items():
            setattr(self._scheduler, key, list(values))
        for group, rate, first in zip(
            self._holder.param_groups, state["rates"], state["first_rates"], strict=True
        ):
            group["lr"], group["initial_lr"] = rate, first

    @property
    def _new(self) -> NewScheduler | None:
        return transition_of(self.phases[self.made_in]).scheduler

    def _own_rate(self, number: int) -> float:
        return float(self.phases[number].learning_rates[self.opened[number][0]])

    def _group(self, number: int) -> dict[str, Any]:
        rate = self._own_rate(number)
        return {"params": [torch.zeros(1, requires_grad=True)], "lr": rate, "initial_lr": rate}

    def _make(self) -> Any:
        return None if self._new is None else make_scheduler(self._new, self._holder)
