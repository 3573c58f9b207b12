"""What every strategy must keep to, tried on small models; those of the kit pass it too.

A strategy of somebody's own is one class with one method, and little can be wrong with it: phases
that do not fill the epochs, a group that a shorter model does not have, a plan that comes out
differently the second time. :func:`try_strategy` looks at plans for models of three, six and twelve
blocks, then trains the smallest and looks at what moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from coursekit import bars
from coursekit.errors import CourseKitError, TrainingError
from coursekit.runs import Run
from coursekit.training.recorded import really_trains
from coursekit.training.strategy import FinetuneStrategy, rebuild
from coursekit.training.trial_parts import tiny_model, tiny_task

if TYPE_CHECKING:
    import torch

    from coursekit.data.binding_task import BindingTask
    from coursekit.models.classifier import Classifier

BLOCKS = (3, 6, 12)
EPOCHS = (2, 3, 5, 30)
TRAINED = 4
"""Epochs for which the model of three blocks is trained."""


@dataclass(frozen=True)
class Finding:
    """One promise of a strategy, and whether it was kept.

    Args:
        promise: a few words.
        held: whether it was.
        found: what was found in place of it; "" where it held.
    """

    promise: str
    held: bool
    found: str = ""


@dataclass(frozen=True)
class StrategyTrial:
    """What came out of trying a strategy.

    Args:
        name: of its class.
        findings: one for each promise that could be looked at.
        plans: by ``(blocks, epochs)``, its phases: epochs, and learning rates by group.
    """

    name: str
    findings: tuple[Finding, ...]
    plans: Mapping[tuple[int, int], list[dict[str, Any]]]

    @property
    def passed(self) -> bool:
        """Whether every promise held."""
        return all(finding.held for finding in self.findings)

    def facts(self) -> dict[str, Any]:
        """All of it as plain data, for a check that judges in another process."""
        return {
            "name": self.name,
            "findings": [[f.promise, f.held, f.found] for f in self.findings],
            "plans": [
                {"blocks": blocks, "epochs": epochs, "phases": phases}
                for (blocks, epochs), phases in self.plans.items()
            ],
        }

    def _rows(self) -> list[tuple[str, str, str]]:
        return [("yes" if f.held else "no", f.promise, f.found) for f in self.findings]

    def _caption(self) -> str:
        held = sum(finding.held for finding in self.findings)
        return f"{self.name}: {held} of {len(self.findings)} promises kept"

    def __str__(self) -> str:
        lines = [
            f"{'✓' if held == 'yes' else '✗'} {held:<3} {promise}{f': {found}' if found else ''}"
            for held, promise, found in self._rows()
        ]
        return "\n".join([self._caption(), *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        body = "".join(
            f'<tr><td>{held}</td><th scope="row" style="text-align: left">{escape(promise)}</th>'
            f'<td style="text-align: left">{escape(found)}</td></tr>'
            for held, promise, found in self._rows()
        )
        return (
            f"<table><caption>{escape(self._caption())}</caption><thead><tr>"
            '<th scope="col">kept</th><th scope="col" style="text-align: left">promise</th>'
            '<th scope="col" style="text-align: left">found</th>'
            f"</tr></thead><tbody>{body}</tbody></table>"
        )


def try_strategy(strategy: FinetuneStrategy | type[FinetuneStrategy]) -> StrategyTrial:
    """Try a strategy on small models: what it plans, and what its training moves.

    Args:
        strategy: the strategy, or its class, which is then made with its default settings.

    Returns:
        What held and what did not; it shows itself as a table. A strategy that fails half-way
        fails the promise at which it did.

    Raises:
        TrainingError: it is no strategy, or cannot be made.
    """
    if isinstance(strategy, type) and issubclass(strategy, FinetuneStrategy):
        try:
            strategy = strategy()
        except TypeError as error:
            raise TrainingError(f"try_strategy: it could not be made: {error}") from error
    if not isinstance(strategy, FinetuneStrategy):
        raise TrainingError(
            f"try_strategy: {type(strategy).__name__} is no strategy; a class that inherits from "
            "ck.FinetuneStrategy is expected, or an object of it"
        )
    name = type(strategy).__name__
    findings = [_one_method(strategy)]
    models = {blocks: tiny_model(blocks) for blocks in BLOCKS}
    planned, plans = _plans(strategy, models)
    findings += planned
    if all(finding.held for finding in findings):
        findings += fit_findings(strategy, models[BLOCKS[0]], tiny_task(), TRAINED)
    return StrategyTrial(name, tuple(findings), plans)


def _one_method(strategy: FinetuneStrategy) -> Finding:
    own, given = type(strategy), FinetuneStrategy
    promise = "says in phases() who trains when, and leaves fit() alone"
    if own.phases is given.phases:
        return Finding(promise, False, "it has no method phases(self, model, epochs)")
    changed = [n for n in ("fit", "plan") if getattr(own, n) is not getattr(given, n)]
    return Finding(promise, not changed, f"it has its own {changed[0]}()" if changed else "")


def _plans(
    strategy: FinetuneStrategy, models: Mapping[int, Classifier]
) -> tuple[list[Finding], dict[tuple[int, int], list[dict[str, Any]]]]:
    """Plans for each model and number of epochs, and the promises about them."""
    plans: dict[tuple[int, int], list[dict[str, Any]]] = {}
    refused = unlike = short = ""
    for blocks, model in models.items():
        for epochs in EPOCHS:
            where = f"{blocks} blocks, {epochs} epoch{'s' if epochs > 1 else ''}"
            try:
                plan, again = (strategy.plan(model, epochs) for _ in range(2))
            except CourseKitError as error:
                refused = refused or f"{where}: {error}"
                continue
            except Exception as error:  # the learner's own lines
                refused = refused or f"{where}: {type(error).__name__}: {error}"
                continue
            plans[blocks, epochs] = [
                {"epochs": phase.epochs, "learning_rates": dict(phase.learning_rates)}
                for phase in plan.phases
            ]
            if plan.phases != again.phases:
                unlike = unlike or f"{where}: other phases when asked again"
            if plan.epochs != epochs:
                short = short or f"{where}: the phases take {plan.epochs}"
    return [
        Finding("has a plan for models of 3, 6 and 12 blocks", not refused, refused),
        Finding("plans the same when it is asked again", not unlike, unlike),
        Finding("takes exactly the epochs that it is given", not short, short),
    ], plans


# ---------------------------------------------------------------- what training does


def fit_findings(
    strategy: FinetuneStrategy, model: Classifier, task: BindingTask, epochs: int
) -> list[Finding]:
    """Train a model with a strategy, and look at everything that a strategy promises of it.

    Args:
        strategy: what is tried.
        model: trained in place.
        task: small, for it is trained to the end.
        epochs: so many that each phase comes to its turn.
    """
    try:
        return list(_fit_findings(strategy, model, task, epochs))
    except Exception as error:
        return [Finding("trains to its end", False, f"{type(error).__name__}: {error}")]


def _fit_findings(
    strategy: FinetuneStrategy, model: Classifier, task: BindingTask, epochs: int
) -> Iterator[Finding]:
    before = _weights(model)
    plan = strategy.plan(model, epochs)
    touched = _moved(model, before, _weights(model))
    yield Finding(
        "leaves the model alone while it plans",
        not touched,
        f"{', '.join(sorted(touched))} changed" if touched else "",
    )
    strategy.prepare(model)  # as fit does first; a second time it changes nothing
    ends: list[tuple[dict[str, Any], dict[str, torch.Tensor]]] = []

    def watch(row: dict[str, Any]) -> None:
        if row["split"] == "valid":
            ends.append((row, _weights(model)))

    before = _weights(model)
    with _modes(model) as modes, bars.silence(), really_trains():
        run = strategy.fit(model, task, epochs=epochs, seed=1, tracker=watch)
    counted = len(ends) == plan.epochs == epochs
    yield Finding(
        "trains for the epochs of its plan", counted, "" if counted else f"{len(ends)} of {epochs}"
    )
    wrong = ""
    for row, after in ends:
        opened = set(plan.phases[row["phase"]].learning_rates)
        moved = _moved(model, before, after)
        before = after
        if moved != opened and not wrong:
            extra, still = sorted(moved - opened), sorted(opened - moved)
            said = [f"{', '.join(extra)} moved, though frozen"] if extra else []
            said += [f"{', '.join(still)} did not move"] if still else []
            wrong = f"epoch {row['epoch']}: {'; '.join(said)}"
    yield Finding("moves what it opened, and keeps every bit of the rest", not wrong, wrong)
    lively = (True, False) in modes
    quiet = (True, True) in modes and not lively
    yield Finding(
        "keeps what is frozen in eval mode",
        quiet,
        "" if quiet else "a frozen part was training" if lively else "nothing trained",
    )
    yield _predictions(run, task)
    again = Run.from_record(json.loads(json.dumps(run.record())))
    same = bool(again.scores(n_boot=0).table.equals(run.scores(n_boot=0).table))
    yield Finding("leaves a record that reads back", same, "" if same else "with other scores")
    yield _rebuilt(strategy, run)
    usable = not model.training and bool(np.isfinite(model.predict(["CCN", "CCO"])).all())
    yield Finding("leaves a model that predicts", usable, "" if usable else "it does not")


def _predictions(run: Run, task: BindingTask) -> Finding:
    promise = "predicts each molecule of valid and test once, as a probability"
    expected = {(m, p) for p in ("valid", "test") for m in task.part(p)["molecule_id"]}
    table = run.predictions
    found = set(zip(table["molecule_id"], table["part"], strict=True))
    if found != expected or len(table) != len(expected):
        return Finding(promise, False, f"{len(table)} predictions for {len(expected)} molecules")
    good = bool(np.isfinite(table["score"]).all() and table["score"].between(0, 1).all())
    return Finding(promise, good, "" if good else "scores outside of 0 to 1")


def _rebuilt(strategy: FinetuneStrategy, run: Run) -> Finding:
    promise = "can be made again from its description"
    try:
        same = rebuild(strategy.describe()) == strategy == rebuild(dict(run.strategy))
    except CourseKitError as error:
        return Finding(promise, False, str(error))
    said = "the other one differs: are its settings fields of a dataclass?"
    return Finding(promise, same, "" if same else said)


def _weights(model: Classifier) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def _moved(
    model: Classifier, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]
) -> set[str]:
    """Names of the groups in which some bit differs."""
    import torch

    return {
        group
        for group, names in model.groups.items()
        if any(not torch.equal(before[n], after[n]) for n in names)
    }


@contextmanager
def _modes(model: Classifier) -> Iterator[set[tuple[bool, bool]]]:
    """In which modes modules run that have parameters: (training, some of them trains)."""
    seen: set[tuple[bool, bool]] = set()

    def look(module: torch.nn.Module, *_: object) -> None:
        trains = any(p.requires_grad for p in module.parameters(recurse=False))
        seen.add((module.training, trains))

    holders = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    hooks = [module.register_forward_hook(look) for module in holders]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
