"""Strategy explorer: what a strategy would train, how fast and at what cost, before it trains."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pandas as pd

from coursekit.errors import TrainingError
from coursekit.lessons.widgets.explorer import (
    Explorer,
    Waiting,
    button,
    choice,
    few_values,
    row,
    table_html,
    unfinished,
    whole_number,
)
from coursekit.training import (
    FullFinetune,
    HeadOnlyFinetune,
    LoRAFinetune,
    PartialFinetune,
    ProgressiveUnfreeze,
    expected_cost,
)

if TYPE_CHECKING:
    from coursekit.data import BindingTask
    from coursekit.models import Classifier
    from coursekit.training import FinetuneStrategy, Plan
    from coursekit.training.cost import ExpectedCost

OFFERED: dict[type[FinetuneStrategy], str] = {
    HeadOnlyFinetune: "frozen: only the head",
    PartialFinetune: "partial: head and last blocks",
    FullFinetune: "full: everything, lower blocks slower",
    ProgressiveUnfreeze: "progressive: from the top down",
    LoRAFinetune: "LoRA: small adapters",
}
MOST_EPOCHS = 30
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
FREE = frozenset({"lr", "layer_lr_decay", "block_lr_scale", "alpha"})  # they cost nothing


class StrategyExplorer(Explorer):
    """Shows the plan of a strategy and what it would cost, for any setting of its knobs.

    Args:
        model: stays as it is.
        task: its size and its molecules decide about the cost.
        strategy: to begin with; one of those that are offered.
        epochs: to begin with.

    Raises:
        TrainingError: the strategy is none of those that are offered.
    """

    def __init__(
        self, model: Classifier, task: BindingTask, strategy: FinetuneStrategy, epochs: int
    ) -> None:
        super().__init__()
        from ipywidgets import VBox

        self.model, self.task = model, task
        # peft is an extra; what cannot be trained here is not offered.
        kinds = [k for k in OFFERED if k is not LoRAFinetune or find_spec("peft")]
        self._bases: dict[type, FinetuneStrategy] = {kind: kind() for kind in kinds}
        self._knobs: dict[type, dict[str, Any]] = {}
        self._costs: dict[str, ExpectedCost] = {}
        self._kind = choice("Strategy", [(OFFERED[k], k) for k in kinds], kinds[0])
        self._epochs = whole_number("Epochs", 1, MOST_EPOCHS, min(epochs, MOST_EPOCHS))
        self._place = VBox()
        self._kind.observe(self._other_kind, "value")
        self._follow(self._epochs)
        self._measure = button("Measure time and memory", self.measure)
        self._measure.layout.width = "16em"
        self.controls.children = [row(self._kind, self._epochs), self._place, row(self._measure)]
        self.strategy = strategy

    @property
    def strategy(self) -> FinetuneStrategy:
        """The strategy as the controls have it, ready to ``fit``; may be set."""
        kind = self._kind.value
        settings = {name: knob.value for name, knob in self._knobs[kind].items()}
        return replace(self._bases[kind], **settings)

    @strategy.setter
    def strategy(self, strategy: FinetuneStrategy) -> None:
        kind = type(strategy)
        if kind not in self._bases:
            names = ", ".join(one.__name__ for one in self._bases)
            raise TrainingError(
                f"strategy_explorer: {kind.__name__} is not offered here; there are {names}. "
                "strategy.plan(model) shows the plan of any."
            )
        self._bases[kind] = strategy
        self._knobs.pop(kind, None)
        if self._kind.value is kind:
            self._other_kind()
        else:
            self._kind.value = kind

    @property
    def epochs(self) -> int:
        """Epochs of the whole run; may be set."""
        return int(self._epochs.value)

    @epochs.setter
    def epochs(self, epochs: int) -> None:
        self._epochs.value = epochs

    @property
    def value(self) -> FinetuneStrategy:
        """The strategy."""
        return self.strategy

    @property
    def plan(self) -> Plan:
        """Phases, groups and learning rates of the strategy on this model."""
        return self.strategy.plan(self.model, self.epochs)

    @property
    def cost(self) -> ExpectedCost:
        """Seconds and memory, from a few real steps; each setting is measured once."""
        key = self._key()
        if key not in self._costs:
            self._costs[key] = expected_cost(self.strategy, self.model, self.task, self.epochs)
        return self._costs[key]

    def measure(self) -> None:
        """Measure what the strategy would cost, and show it."""
        self._measure.disabled = True
        try:
            _ = self.cost
        finally:
            self._measure.disabled = False
            self._changed()

    def words(self) -> str:
        """The strategy as it would be typed, what share of the model it trains, what it costs."""
        plan = self.plan
        trained = {group for phase in plan.phases for group in phase.learning_rates}
        total = sum(plan.parameters.values())
        count = sum(plan.parameters[group] for group in trained)
        cost = self._costs.get(self._key())
        phases = f"{len(plan.phases)} phase{'s' if len(plan.phases) > 1 else ''}"
        epochs = f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        return (
            f"{_typed(self.strategy)} for {epochs}, in {phases}: {count:,} of {total:,} parameters "
            f"train ({100 * count / total:.1f}%). Expected: "
            + (f"{cost}." if cost else "not measured yet (Measure time and memory).")
        )

    def html(self) -> str:
        """Words, freeze map, and a table of the groups."""
        plan = self.plan
        return f"<p>{escape(self.words())}</p>{plan.plot()._repr_html_()}" + table_html(
            _groups(plan), "Groups from the head down", "group"
        )

    def __str__(self) -> str:
        _ = self.cost
        return self.words()

    def _ipython_display_(self) -> None:
        super()._ipython_display_()
        if self._handles:  # where nobody presses the button, its cost is there all the same
            self.measure()

    def _other_kind(self, change: Any = None) -> None:
        kind = self._kind.value
        if kind not in self._knobs:
            self._knobs[kind] = self._made_knobs(self._bases[kind])
            self._follow(*self._knobs[kind].values())
        self._place.children = [row(*self._knobs[kind].values())]
        self._changed()

    def _made_knobs(self, strategy: FinetuneStrategy) -> dict[str, Any]:
        """A control for each knob that this strategy has."""
        blocks = sum(group.startswith("block.") for group in self.model.groups)
        counts = range(1, blocks + 1)
        some = {
            "lr": ("Learning rate", RATES, "{:g}".format),
            "batch_size": ("Batch size", (8, 16, 32, 64, 128), str),
            "blocks": ("Blocks that train", tuple(counts), str),
            "layer_lr_decay": ("Rate from block to block, down", SHARES, "times {:g}".format),
            "unfreeze_every": ("Epochs between openings", (1, 2, 3, 4), str),
            "block_lr_scale": ("Rate from block to block, down", SHARES, "times {:g}".format),
            "rank": ("Rank", (1, 2, 4, 8, 16, 32), str),
            "alpha": ("Alpha", (4.0, 8.0, 16.0, 32.0), "{:g}".format),
        }
        limits = {
            "max_unfrozen": ("Open at most", "all, embeddings last", range(blocks + 1)),
            "blocks": ("Blocks with adapters", "all", counts),
        }
        made = {}
        for name in [field.name for field in fields(strategy)]:
            value = getattr(strategy, name)
            if name in limits and (name not in some or type(strategy) is LoRAFinetune):
                label, all_, numbers = limits[name]
                options = [(all_, None), *((f"the top {n}", n) for n in numbers)]
                made[name] = choice(label, options, value)
            elif name in some:
                label, values, names = some[name]
                made[name] = few_values(label, values, value, names)
        return made

    def _key(self) -> str:
        """What the cost depends on."""
        described = self.strategy.describe()
        return json.dumps(
            {k: v for k, v in described.items() if k not in FREE} | {"epochs": self.epochs},
            default=str,
        )


def strategy_explorer(
    model: Classifier,
    task: BindingTask,
    strategy: FinetuneStrategy | None = None,
    epochs: int = 5,
) -> StrategyExplorer | Waiting:
    """Pick a strategy and turn its knobs: what would train, how fast, and at what cost?

    Shows the freeze map, the learning rate of every block, the share of the model that trains,
    and seconds and memory as :func:`coursekit.expected_cost` measures them. Nothing is trained.

    Args:
        model: from ``load_classifier``; stays as it is.
        task: what would be learned.
        strategy: to begin with; ``ProgressiveUnfreeze()`` if not given.
        epochs: to begin with, 1 to 30.

    Returns:
        The explorer; as the last line of a cell it shows itself. ``explorer.strategy`` and
        ``explorer.epochs`` say, and set, what is chosen:
        ``explorer.strategy.fit(model, task, epochs=explorer.epochs)`` trains it;
        ``explorer.plan`` and ``explorer.cost`` have the numbers.

    Raises:
        TrainingError: the strategy is none of those that are offered.
    """
    if unfinished(model, task, strategy, epochs):
        return Waiting("strategy_explorer")
    return StrategyExplorer(model, task, strategy or ProgressiveUnfreeze(), epochs)


def _typed(strategy: FinetuneStrategy) -> str:
    """The strategy as one would type it: settings that are not the default."""
    changed = [
        f"{field.name}={value!r}"
        for field in fields(strategy)
        if (value := getattr(strategy, field.name)) != field.default
    ]
    return f"ck.{type(strategy).__name__}({', '.join(changed)})"


def _groups(plan: Plan) -> pd.DataFrame:
    """Parameters, first epoch and highest learning rate of each group, from the top down."""
    rates = plan.per_epoch()
    rows = {}
    for group in plan.groups[::-1]:
        own = rates[(rates["group"] == group) & (rates["learning_rate"] > 0)]
        rows[group] = {
            "parameters": f"{plan.parameters[group]:,}",
            "trains from epoch": f"{own['epoch'].min()}" if len(own) else "never",
            "highest learning rate": f"{own['learning_rate'].max():.1e}" if len(own) else "frozen",
        }
    return pd.DataFrame.from_dict(rows, orient="index")
