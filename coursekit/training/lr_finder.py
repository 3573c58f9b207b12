"""A learning-rate finder: train for a few steps at ever higher rates, and watch the loss.

Source: Smith 2017, "Cyclical learning rates for training neural networks", WACV, arXiv 1506.01186,
section 3.3; exponential steps and a smoothed loss as in fastai's ``lr_find``. That one stops at
four times the lowest loss; a classifier of two classes that falls apart need not get there, so this
one stops where the loss is clearly above what it was before anything was learned.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from coursekit import bars
from coursekit.errors import TrainingError
from coursekit.models.memory import free_memory
from coursekit.training.recompute import gradient_checkpointing
from coursekit.training.session import Session
from coursekit.training.step import step

if TYPE_CHECKING:
    from coursekit.data.task import BindingTask
    from coursekit.evaluation.picture import Picture
    from coursekit.models.classifier import Classifier
    from coursekit.training.strategy import FinetuneStrategy

MEMORY = 0.9  # share of the smoothed loss that stays from step to step
DIVERGED = 1.3  # times the highest smoothed loss of the first steps
LONG = 10_000  # epochs enough for a strategy to show all of its phases


@dataclass(frozen=True)
class LearningRateSweep:
    """What a learning-rate finder saw.

    Args:
        table: a row a step: ``sweep``, ``learning_rate``, ``loss`` (the training objective before
            the step), ``smoothed``.
        suggestions: one a sweep, where the smoothed loss falls fastest; NaN where it never falls
            by more than chance.
        strategy: name of the strategy that trained.
    """

    table: pd.DataFrame
    suggestions: tuple[float, ...]
    strategy: str

    @property
    def suggestion(self) -> float | None:
        """The sweeps' suggestions, averaged on the log scale; None unless most sweeps have one."""
        found = [rate for rate in self.suggestions if math.isfinite(rate)]
        if len(found) <= len(self.suggestions) / 2:
            return None
        return math.exp(sum(map(math.log, found)) / len(found))

    @property
    def span(self) -> tuple[float, float] | None:
        """The lowest and the highest suggestion of a sweep; None where there is no suggestion."""
        if self.suggestion is None:
            return None
        found = [rate for rate in self.suggestions if math.isfinite(rate)]
        return min(found), max(found)

    def plot(self) -> Picture:
        """Loss over learning rate, sweep by sweep, as a picture with a description."""
        from coursekit.evaluation.figures import learning_rate_sweep

        return learning_rate_sweep(self.table, self.suggestion, self.span)

    def __str__(self) -> str:
        sweeps = len(self.suggestions)
        if self.span is None:
            return (
                f"{self.strategy}: in most of {sweeps} sweeps the loss never fell by more than "
                "the batches differ by chance, so nothing is suggested; take more steps, or "
                "larger batches"
            )
        low, high = self.span
        text = (
            f"{self.strategy}: the loss falls fastest at lr={self.suggestion:.1e} "
            f"(from {low:.1e} to {high:.1e} in {sweeps} sweep{'s' if sweeps > 1 else ''})"
        )
        if high > 10 * low:
            text += "; the sweeps disagree by more than a factor of 10: take it as a rough hint"
        return f"{text}. It is a start: compare it with a third and with three times of it."

    def _repr_html_(self) -> str:
        return f"{self.plot()._repr_html_()}<p>{escape(str(self))}</p>"


def find_learning_rate(
    strategy: FinetuneStrategy,
    model: Classifier,
    task: BindingTask,
    lowest: float = 1e-5,
    highest: float = 1.0,
    steps: int = 80,
    sweeps: int = 3,
    seed: int = 0,
) -> LearningRateSweep:
    """Sweep a strategy's learning rate from ``lowest`` to ``highest``, on copies of the model.

    The phase that trains most parameters is swept, with its rates in their proportions; the rate
    that is named is the highest of them, which the kit's own strategies call ``lr``. Each
    sweep begins with the model's weights and sees the molecules in another order; it ends early
    where the smoothed loss is four times its lowest. Batches differ by chance, and so do sweeps:
    the span of their suggestions says how far the number is to be trusted.

    Args:
        strategy: its batch size, weight decay, clipping and the like are used; its ``lr`` is what
            is looked for.
        model: stays as it is, weights and random numbers too.
        task: its ``train`` part is trained on.
        lowest: learning rate of the first step.
        highest: learning rate of the last one.
        steps: of each sweep.
        sweeps: how many.
        seed: of the order of molecules and of dropout.

    Returns:
        Losses by learning rate, and the rate suggested by each sweep; it shows and draws itself.

    Raises:
        TrainingError: if the range, a number of steps or the task leaves nothing to do.
    """
    if not 0 < lowest < highest < math.inf:
        raise TrainingError(
            f"find_learning_rate: lowest is {lowest!r} and highest {highest!r}; two positive "
            "numbers, the lower first, are expected"
        )
    if steps < 20 or sweeps < 1:
        raise TrainingError(
            f"find_learning_rate: {steps} steps in {sweeps} sweeps; at least 20 steps and one "
            "sweep are needed to see a fall"
        )
    rates = np.geomspace(lowest, highest, steps)
    bar = bars.bar(total=steps * sweeps, unit="step", desc=f"{type(strategy).__name__}: lr")
    tables = []
    gpu = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpu):
        for sweep in range(sweeps):
            losses: list[float] = []
            smoothed: list[float] = []
            for loss in _losses(strategy, model, task, rates, seed + sweep):
                bar.update()
                if not math.isfinite(loss):
                    break
                losses.append(loss)
                smoothed.append(_smooth(losses))
                if smoothed[-1] > DIVERGED * max(smoothed[: _early(steps)]):
                    break
            columns = {"learning_rate": rates[: len(losses)], "loss": losses, "smoothed": smoothed}
            tables.append(pd.DataFrame({"sweep": sweep, **columns}))
    bar.close()
    free_memory(model.device)
    suggestions = tuple(steepest(t["learning_rate"], t["loss"], t["smoothed"]) for t in tables)
    return LearningRateSweep(
        pd.concat(tables, ignore_index=True), suggestions, type(strategy).__name__
    )


def steepest(rates: pd.Series, losses: pd.Series, smoothed: pd.Series) -> float:
    """The learning rate at which the smoothed loss falls fastest per decade, before its minimum.

    Args:
        rates: rising, shape (N,).
        losses: as they came; the first tenth, where nothing is learned yet, tells how far batches
            differ by chance.
        smoothed: the same, smoothed.

    Returns:
        NaN where the smoothed loss falls by less than three of its standard deviations.
    """
    early = _early(len(losses))
    values = smoothed.to_numpy()[early:]
    if len(values) < 3:
        return math.nan
    chance = float(losses[:early].std()) * math.sqrt((1 - MEMORY) / (1 + MEMORY))
    bottom = int(values.argmin())
    if bottom == 0 or values[0] - values[bottom] < 3 * chance:
        return math.nan
    decades = np.log10(rates.to_numpy()[early:])
    slopes = np.gradient(values, decades)
    return float(rates.iloc[early + int(slopes[: bottom + 1].argmin())])


def _early(steps: int) -> int:
    """How many of the first steps learn next to nothing."""
    return max(5, steps // 10)


def _smooth(losses: list[float]) -> float:
    """Moving average of losses at the last of them, without the bias towards the first."""
    weights = MEMORY ** np.arange(len(losses))[::-1]
    return float(np.average(losses, weights=weights))


def _losses(
    strategy: FinetuneStrategy,
    model: Classifier,
    task: BindingTask,
    rates: np.ndarray,
    seed: int,
) -> Iterator[float]:
    """The objective before each step of one sweep, on a copy of the model."""
    model = copy.deepcopy(model, {id(model.tokenizer): model.tokenizer})
    with gradient_checkpointing(model, strategy.gradient_checkpointing):
        session = Session(strategy, model, task, LONG, seed, None, None)
        plan = session.plan
        trained = [sum(plan.parameters[g] for g in p.learning_rates) for p in plan.phases]
        session.at.phase = trained.index(max(trained))
        session.optimizer = session.optimizer_of(session.at.phase)
        session.retention.hold()
        session.prefix.only_pooled()
        session.open_phase()
        peaks = session.phase.learning_rates
        windows = itertools.chain.from_iterable(map(session.windows, itertools.count()))
        for rate, window in zip(rates, windows, strict=False):
            for group in session.optimizer.param_groups:
                group["lr"] = float(rate) * peaks.get(group["name"], 0.0) / max(peaks.values())
            session.at.step += 1
            yield float(next(iter(step(session, window).values())))  # the phase's own loss
