"""``recommend``: which strategy, from data size, closeness to the pretraining and budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from coursekit.data.binding_task import BindingTask
from coursekit.errors import TrainingError
from coursekit.training.closeness import Closeness, measure_closeness
from coursekit.training.cost import ExpectedCost, expected_cost
from coursekit.training.measured import (
    FOREST,
    STEPS,
    ByStrategy,
    Measured,
    candidates,
    measured,
)

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier
    from coursekit.training.strategy import FinetuneStrategy

COLUMNS = ("epochs", "minutes", "memory, MB", "fits", "hard AUROC", "lowest", "highest")


@dataclass(frozen=True, repr=False)
class Recommendation:
    """What to try first, and on what that rests.

    Args:
        choice: name of the candidate.
        strategy: what to fit.
        epochs: to fit it for.
        reasons: sentences, the weightiest first.
        table: one row a candidate: epochs, expected minutes and memory on this device, whether
            both fit, and its measured hard AUROC at the nearest size (mean, lowest and highest
            over seeds). The forest on fingerprints has scores only.
        closeness: what the encoder guesses of the task's molecules.
        unknown: sentences on what no measurement here answers.
        device: that the cost is expected on.
    """

    choice: str
    strategy: FinetuneStrategy
    epochs: int
    reasons: tuple[str, ...]
    table: pd.DataFrame
    closeness: Closeness
    unknown: tuple[str, ...]
    device: str

    @property
    def headline(self) -> str:
        """The choice in one sentence."""
        row: Any = self.table.loc[self.choice]
        settings = self.strategy.describe()
        return (
            f"Try {self.choice} first: {settings['strategy']} at a learning rate of "
            f"{settings['lr']:g} for {self.epochs} epochs, {_minutes(row['minutes'])} on this "
            f"{self.device}, {row['memory, MB']:,.0f} MB more memory."
        )

    def _shown(self) -> pd.DataFrame:
        shown = self.table.copy().astype(object)
        shown["minutes"] = [_number(x, ".2f") for x in self.table["minutes"]]
        shown["memory, MB"] = [_number(x, ",.0f") for x in self.table["memory, MB"]]
        shown["epochs"] = [_number(x, ".0f") for x in self.table["epochs"]]
        for column in ("hard AUROC", "lowest", "highest"):
            shown[column] = [_number(x, ".3f") for x in self.table[column]]
        shown["fits"] = [
            "" if pd.isna(minutes) else ("yes" if fits else "no")
            for fits, minutes in zip(self.table["fits"], self.table["minutes"], strict=True)
        ]
        return shown

    def __str__(self) -> str:
        parts = [self.headline, "", "Why"]
        parts += [f"- {reason}" for reason in self.reasons]
        parts += ["", "Candidates", self._shown().to_string(), "", "What this does not know"]
        parts += [f"- {sentence}" for sentence in self.unknown]
        return "\n".join(parts)

    def __repr__(self) -> str:
        return f"<Recommendation: {self.headline}>"

    def _repr_html_(self) -> str:
        def listed(sentences: Sequence[str]) -> str:
            return "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in sentences) + "</ul>"

        return (
            f"<p><strong>{escape(self.headline)}</strong></p><p>Why</p>{listed(self.reasons)}"
            f"{self._shown().to_html()}<p>What this does not know</p>{listed(self.unknown)}"
        )


def recommend(
    task: BindingTask,
    encoder: str | Classifier,
    budget: float,
    memory: float | None = None,
    heldout: Sequence[str] | None = None,
    seed: int = 0,
) -> Recommendation:
    """Which strategy to try first, why, and what is not known.

    Of the candidates that fit the budget it takes the one with the highest hard AUROC where it was
    measured, at the nearest number of training molecules; where another was not below it on every
    seed, the two cannot be told apart, and the quicker one is taken. No rule stands behind it
    but these measurements, and each that is missing is said.

    Args:
        task: its training part gives the size and the molecules.
        encoder: name for ``load_classifier`` (with mean pooling), or a model as it was loaded.
        budget: minutes for the whole run, on this device.
        memory: MB that training may add, or None for any.
        heldout: molecules held out of the encoder's pretraining, to compare with; those of
            the bundled encoder are known.
        seed: of the molecules that are measured on.

    Returns:
        The strategy and its epochs, with the reasons, the costs here and what is not known.

    Raises:
        TrainingError: no training molecules, or a budget that is no positive number.
        EncoderError: no such encoder.
    """
    for name, value in (("budget", budget), ("memory", memory)):
        if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
            unit = "minutes" if name == "budget" else "MB"
            raise TrainingError(f"recommend: {name} is {value!r}; a positive number of {unit}")
    if task.train.empty:
        raise TrainingError("recommend: the task has no training molecules")
    found = measured()
    if isinstance(encoder, str):
        from coursekit.models.hub import load_classifier

        model = load_classifier(encoder, pooling="mean", seed=seed)
    else:
        model = encoder
    options = candidates(len(task.train))
    costs = {
        name: expected_cost(strategy, model, task, epochs, seed)
        for name, (strategy, epochs) in options.items()
    }
    closeness = measure_closeness(model, task, heldout, seed)
    lost = closeness.untrained and bool(found.untrained)
    by_size = found.untrained if lost else found.pretrained
    size = nearest(len(task.train), by_size)
    epochs = {name: number for name, (_, number) in options.items()}
    table = put_together(costs, epochs, by_size[size], budget, memory)
    choice, reasons = choose(table, by_size[size])
    about = " with an encoder of random weights" if lost else ""
    reasons[:0] = [
        f"The task has {len(task.train):,} training molecules; the scores are those measured at "
        f"{size}{about}, {STEPS} steps of 32 molecules each."
    ]
    reasons.insert(1, str(closeness))
    strategy, number = options[choice]
    return Recommendation(
        choice,
        strategy,
        number,
        tuple(reasons),
        table,
        closeness,
        tuple(unknowns(task, model, closeness, found, by_size)),
        next(iter(costs.values())).device,
    )


def nearest(molecules: int, sizes: Mapping[int, object]) -> int:
    """The measured size that is the fewest doublings away."""
    return min(sizes, key=lambda size: abs(math.log(size / molecules)))


def put_together(
    costs: Mapping[str, ExpectedCost],
    epochs: Mapping[str, int],
    scores: ByStrategy,
    budget: float,
    memory: float | None,
) -> pd.DataFrame:
    """The table of candidates, the forest last; arguments as in ``recommend``."""
    rows = {}
    for name, values in scores.items():
        known = name in costs
        minutes = costs[name].total / 60 if known else math.nan
        megabytes = costs[name].memory if known else math.nan
        rows[name] = {
            "epochs": epochs[name] if known else math.nan,
            "minutes": minutes,
            "memory, MB": megabytes,
            "fits": known and minutes <= budget and (memory is None or megabytes <= memory),
            "hard AUROC": sum(values) / len(values),
            "lowest": min(values),
            "highest": max(values),
        }
    order = [name for name in rows if name != FOREST] + [FOREST] * (FOREST in rows)
    return pd.DataFrame.from_dict(rows, orient="index").loc[order, list(COLUMNS)]


def choose(table: pd.DataFrame, scores: ByStrategy) -> tuple[str, list[str]]:
    """The candidate to try first, and why.

    Args:
        table: from ``put_together``.
        scores: hard AUROC by candidate, one a seed, all in the same order of seeds.
    """
    trained = table.drop(index=FOREST, errors="ignore")
    rows: dict[str, Any] = {str(name): row for name, row in trained.to_dict("index").items()}
    fitting = [name for name, row in rows.items() if row["fits"]]
    if not fitting:
        quickest = min(rows, key=lambda name: rows[name]["minutes"])
        return quickest, [
            f"Nothing fits the budget. {quickest} is the quickest, with "
            f"{_minutes(rows[quickest]['minutes'])}; the next step is more time, a smaller encoder "
            "or fewer molecules."
        ]
    best = max(fitting, key=lambda name: rows[name]["hard AUROC"])
    level = [
        name
        for name in fitting
        if any(own >= top for own, top in zip(scores[name], scores[best], strict=True))
    ]
    choice = min(level, key=lambda name: rows[name]["minutes"])
    among = "all" if len(fitting) == len(rows) else "those that fit the budget"
    reasons = [f"Of {among}, {best} has the highest measured hard AUROC, {_scores(scores[best])}."]
    if choice != best:
        reasons.append(
            f"{choice}, with {_scores(scores[choice])}, was not below it on every seed, so the "
            f"two cannot be told apart, and it takes {_minutes(rows[choice]['minutes'])} in "
            f"place of {_minutes(rows[best]['minutes'])}."
        )
    left_out = [f"{n} ({_minutes(r['minutes'])})" for n, r in rows.items() if n not in fitting]
    if left_out:
        reasons.append(f"Over the budget: {', '.join(left_out)}.")
    if FOREST in scores:
        reasons.append(_beside_the_forest(choice, scores))
    return choice, reasons


def _beside_the_forest(choice: str, scores: ByStrategy) -> str:
    forest = f"A random forest on fingerprints had {_scores(scores[FOREST])} there"
    wins = sum(own > other for own, other in zip(scores[choice], scores[FOREST], strict=True))
    seeds = len(scores[choice])
    if wins == seeds:
        return f"{forest}, less than {choice} on every seed. Fit it all the same: it takes seconds."
    if wins == 0:
        return (
            f"{forest}, at least as much as {choice} on every seed, and takes seconds: fit it "
            "first, and ask what the encoder is for."
        )
    return f"{forest}, less than {choice} on {wins} of {seeds} seeds. It takes seconds: fit it too."


def unknowns(
    task: BindingTask,
    model: Classifier,
    closeness: Closeness,
    found: Measured,
    by_size: Mapping[int, ByStrategy],
) -> list[str]:
    """What the measurements do not answer for this task and encoder; never empty."""
    sizes, molecules = sorted(by_size), len(task.train)
    sentences = []
    if not sizes[0] <= molecules <= sizes[-1]:
        side = "fewer" if molecules < sizes[0] else "more"
        measured_at = ", ".join(f"{size}" for size in sizes)
        sentences.append(
            f"{molecules:,} training molecules are {side} than were ever measured ({measured_at}): "
            "the order may be another one there."
        )
    if min(len(values) for rows in by_size.values() for values in rows.values()) == 1:
        sentences.append("Some scores come from one seed: how far another lies is not known.")
    if model.name != found.encoder:
        sentences.append(
            f"Scores and learning rates are those of {found.encoder}. How {model.name} does was "
            "not measured; look for its learning rate with ck.find_learning_rate."
        )
    elif model.pooling != found.pooling:
        sentences.append(
            f"Scores were measured with {found.pooling} pooling; this model's is {model.pooling}."
        )
    if closeness.untrained and not found.untrained:
        sentences.append("What strategies score without pretraining was not measured.")
    if closeness.here is None or (closeness.heldout is None and not closeness.untrained):
        sentences.append("How far these molecules are from the pretraining is not known.")
    elif not closeness.untrained and closeness.here.above(found.masked_loss):
        sentences.append(
            f"The scores were measured where the masked-token loss is {found.masked_loss:.3f}; "
            f"it is {closeness.here} here. What frozen blocks are worth this far from the "
            "pretraining was not measured."
        )
    if task.name != found.task:
        sentences.append(
            f"The scores come from the bundled {found.task}, which is simulated, and from no other "
            f"task: whether the order holds on {task.name} only a comparison there can say."
        )
    else:
        sentences.append(
            "The scores come from simulated counts, and on one library: they say nothing about "
            "MAPK14 itself."
        )
    sentences.append(
        "Other numbers of steps, other learning rates and penalties against forgetting are not "
        "among the candidates. Nor are schedules and contrastive learning."
    )
    return sentences


def _scores(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.3f} on the one seed measured"
    return f"{mean:.3f} ({min(values):.3f} to {max(values):.3f} on {len(values)} seeds)"


def _minutes(minutes: float) -> str:
    return f"about {minutes * 60:.0f} s" if minutes < 2 else f"about {minutes:.1f} min"


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)
