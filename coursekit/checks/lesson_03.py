"""Lesson 03, progressive unfreezing: rates by hand, an own strategy, equal time, several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np

from coursekit.checks import expect
from coursekit.checks.exercise import Wrong
from coursekit.checks.registry import exercise, reflection
from coursekit.checks.truth import judged, table_agrees
from coursekit.evaluation.metrics import METRICS
from coursekit.runs import Run
from coursekit.runs.bundled import bundled_run
from coursekit.training import try_strategy
from coursekit.training.strategy import FinetuneStrategy
from coursekit.training.trial import BLOCKS, EPOCHS
from coursekit.training.trial_parts import tiny_model

# --- 03.1

TOP, SHARE, DEEP = 2e-5, 0.9, 12


@exercise("03.1", "Learning rates by hand", 3, ("block_rates", "embeddings_rate"))
def _(block_rates: Any, embeddings_rate: Any) -> str:
    found = expect.numbers("block_rates", block_rates)
    if found.shape != (DEEP,):
        raise Wrong(
            f"`block_rates` has {found.size} numbers; one for each of {DEEP} blocks is wanted, "
            "block 0 first."
        )
    right = TOP * SHARE ** np.arange(DEEP - 1, -1, -1)  # block 0 first
    steps = np.arange(DEEP)
    mistakes = (
        (right[::-1], "stands upside down: block 0 is the lowest, and comes first.", 0.5),
        (right * SHARE, "begins one step too low: the top block has the head's rate.", 0.5),
        (TOP * (1 - 0.1 * steps[::-1]), "takes the same amount off each time; each block has 0.9 "
         "*times* the rate of the one above it.", 0.2),
        (TOP / SHARE ** steps[::-1], "rises downward; lower blocks are the slower ones.", 0.2),
        (TOP / 2.6 ** steps[::-1], "divides by ULMFiT's 2.6; the share here is 0.9.", 0.5),
    )  # fmt: skip
    if not np.allclose(found, right, rtol=0.01, atol=0):
        for wrong, what, share in mistakes:
            if np.allclose(found, wrong, rtol=0.01, atol=0):
                raise Wrong(f"`block_rates` {what}", share)
        at = int(np.argmax(~np.isclose(found, right, rtol=0.01, atol=0)))
        raise Wrong(
            f"`block_rates` has {found[at]:.3g} for block {at}; count its steps below the top "
            f"block: 2e-5 times 0.9 for each of {DEEP - 1 - at}."
        )
    low = right[0] * SHARE
    try:
        expect.close(
            "embeddings_rate",
            embeddings_rate,
            low,
            mistakes={right[0]: "that is block 0; the embeddings lie one step below it."},
            otherwise="The embeddings come below block 0.",
        )
    except Wrong as wrong:
        raise Wrong(wrong.message, share=0.7) from None
    return (
        f"Block 0 gets {right[0]:.2g}, {right[0] / TOP:.0%} of the top block's rate; with ULMFiT's "
        f"1/2.6 it would be {2.6**-11:.4%}."
    )


# --- 03.2


def _tried(strategy: Any) -> dict[str, Any] | None:
    """What the kit's suite finds of a learner's strategy; None where its body is not written."""
    made = strategy() if isinstance(strategy, type) else strategy
    with suppress(Exception):  # the suite says what is wrong
        if made.phases(tiny_model(min(BLOCKS)), min(EPOCHS)) is None:
            return None
    return {**try_strategy(strategy).facts(), "own": _is_own(strategy)}


def _is_own(strategy: Any) -> bool:
    cls = strategy if isinstance(strategy, type) else type(strategy)
    return FinetuneStrategy in cls.__bases__ and not cls.__module__.startswith("coursekit.")


@exercise("03.2", "A strategy of your own", 6, ("MyUnfreeze",), {"MyUnfreeze": _tried})
def _(found: Any) -> str:
    facts = expect.kind("MyUnfreeze", found, dict)
    findings = facts.get("findings")
    if not isinstance(findings, list) or not findings:
        raise Wrong("`MyUnfreeze` could not be tried; is it a class?")
    if facts.get("own") is not True:
        raise Wrong(
            "`MyUnfreeze` is one of the kit's own, or built upon one; let it inherit from "
            "`ck.FinetuneStrategy` itself."
        )
    broken = [one for one in findings if one[1] is not True]
    if broken:
        raise Wrong(
            f"`MyUnfreeze` does not keep a promise: it {broken[0][0]}. Found: {broken[0][2]}",
            share=0.4 * (len(findings) - len(broken)) / len(findings),
        )
    plans = facts.get("plans")
    if not isinstance(plans, list) or len(plans) != len(BLOCKS) * len(EPOCHS):
        raise Wrong("`MyUnfreeze` could not be planned for every model.")
    for plan in plans:
        _judge_openings(plan["blocks"], plan["epochs"], plan["phases"])
    most = max(len(plan["phases"]) for plan in plans if plan["blocks"] == DEEP)
    return f"All {len(findings)} promises kept; a model of 12 blocks opens in {most} phases."


def _judge_openings(blocks: int, epochs: int, phases: list[dict[str, Any]]) -> None:
    """Whether a plan opens from the top, without gaps, and no lower block faster."""
    where = f"on a model of {blocks} blocks, {epochs} epochs"
    names = ["embeddings", *(f"block.{i}" for i in range(blocks)), "head"]
    if sum(phase["epochs"] for phase in phases) != epochs:
        raise Wrong(f"The phases of `MyUnfreeze` do not take {epochs} epochs {where}.", 0.4)
    before: set[str] = set()
    for number, phase in enumerate(phases):
        rates: Mapping[str, float] = phase["learning_rates"]
        opened = set(rates)
        if number == 0 and {"embeddings", "block.0"} & opened:
            raise Wrong(
                "The first phase of `MyUnfreeze` opens the lowest block at once; begin with the "
                f"head, {where}.",
                share=0.5,
            )
        if not before <= opened:
            gone = ", ".join(sorted(before - opened))
            raise Wrong(
                f"Phase {number} of `MyUnfreeze` freezes {gone} again ({where}); what is open "
                "stays open.",
                share=0.5,
            )
        if opened != set(names[len(names) - len(opened) :]):
            raise Wrong(
                f"Phase {number} of `MyUnfreeze` opens {', '.join(sorted(opened))}, which leaves a "
                f"gap ({where}); open from the top down.",
                share=0.5,
            )
        ordered = [rates[name] for name in names if name in rates]
        if any(low > high * 1.001 for low, high in pairwise(ordered)):
            raise Wrong(
                f"In phase {number} of `MyUnfreeze` a lower block learns faster than one above it "
                f"({where}).",
                share=0.7,
            )
        before = opened
    if epochs == max(EPOCHS) and len(phases) < 2:
        raise Wrong(f"`MyUnfreeze` has one phase {where}; nothing opens.", share=0.5)


# --- 03.3


def _epochs_within(budget: float, blocks: int, cached: bool = True) -> int:
    """Epochs of opening a block each epoch that cost no more than so many full ones."""
    spent, epochs = 0.0, 0
    while True:
        opened = min(epochs, blocks)
        cost = opened / blocks if cached else (blocks + 2 * opened) / (3 * blocks)
        if spent + cost > budget + 1e-9:
            return epochs
        spent, epochs = spent + cost, epochs + 1


@exercise(
    "03.3",
    "Equal time",
    3,
    ("progressive_epochs", "full_epochs", "model"),
    {"model": lambda model: {"blocks": len(model.blocks)}},
)
def _(progressive_epochs: Any, full_epochs: Any, model: Any) -> str:
    found = expect.number("progressive_epochs", progressive_epochs)
    full = int(expect.number("full_epochs", full_epochs))
    blocks = expect.kind("model", model, dict).get("blocks")
    if not isinstance(blocks, int) or not (1 <= blocks <= 200 and 1 <= full <= 200):
        raise Wrong("`model` is no classifier, or `full_epochs` no number of epochs.")
    right = _epochs_within(full, blocks)
    if found == right:
        cost = sum(min(i, blocks) for i in range(right)) / blocks
        return f"{right} epochs of opening block by block cost as much as {cost:.1f} full ones."
    if found == full:
        raise Wrong(
            "`progressive_epochs` is the number of full epochs: equal epochs are not equal time, "
            "for early ones cost less.",
            share=0.2,
        )
    if found == _epochs_within(full, blocks, cached=False):
        raise Wrong(
            f"`progressive_epochs` is {found:g}, as if frozen blocks ran in every epoch; they are "
            "computed once and cached.",
            share=0.5,
        )
    if found == right + 1:
        raise Wrong(f"`progressive_epochs` is {found:g}: the last of them no longer fits.", 0.5)
    raise Wrong(
        f"`progressive_epochs` is {found:g}. Add up the costs of epochs 0, 1, 2, … until the next "
        f"one would exceed {full}: open blocks divided by {blocks}, from 0 on, and never above 1."
    )


# --- 03.4


def _work(run: Run, blocks: int) -> float:
    """What a run's phases cost, in epochs of full fine-tuning, with frozen blocks cached."""
    return sum(
        phase["epochs"] * sum(g.startswith("block.") for g in phase["learning_rates"]) / blocks
        for phase in run.strategy["phases"]
    )


@exercise("03.4", "Equal time, one table", 5, ("frozen", "full", "progressive", "mine", "table"))
def _(frozen: Any, full: Any, progressive: Any, mine: Any, table: Any) -> str:
    runs = {"frozen": frozen, "full": full, "progressive": progressive, "mine": mine}
    scores = {name: judged(name, run) for name, run in runs.items()}
    kinds = {"frozen": "HeadOnlyFinetune", "full": "FullFinetune"}
    kinds["progressive"] = "ProgressiveUnfreeze"
    for name, wanted in kinds.items():
        kind = str(runs[name].strategy.get("strategy"))
        if kind != wanted:
            raise Wrong(f"`{name}` is a run of {kind:.40}; `ck.{wanted}` is wanted.", share=0.2)
    if mine.strategy.get("strategy") in {*kinds.values(), "PartialFinetune", "LoRAFinetune"}:
        raise Wrong("`mine` is a run of the kit's; fit your own `MyUnfreeze()`.", share=0.4)
    if len({run.task["fingerprint"] for run in runs.values()}) > 1:
        raise Wrong("The runs were fitted on different tasks.", share=0.2)
    used = [name for name, run in runs.items() if run.strategy["encoder"]["fitted"]]
    if used:
        raise Wrong(
            f"`{used[0]}` went on from a model that had been trained; load a fresh one for each.",
            share=0.4,
        )
    blocks = sum(g.startswith("block.") for g in full.strategy["phases"][0]["learning_rates"])
    budget, spent = _work(full, blocks), _work(progressive, blocks)
    if not budget - 1 < spent <= budget + 1e-9:
        raise Wrong(
            f"`progressive` costs as much as {spent:.1f} epochs of full fine-tuning, `full` has "
            f"{budget:.0f}: that is not equal time. Take `progressive_epochs` and `full_epochs`.",
            share=0.5,
        )
    try:
        table_agrees("table", table, scores)
    except Wrong as wrong:
        raise Wrong(wrong.message, share=0.5) from None
    gap = scores["progressive"]["auroc_hard"] - scores["full"]["auroc_hard"]
    return f"At equal time, progressive minus full is {gap:+.3f} in hard AUROC, from one seed."


# --- 03.5

SEEDS = (0, 1, 2)
STUDENT = 4.303  # 97.5% quantile of Student's t with two degrees of freedom


def _gains(first: str, second: str, metric: str = "auroc_hard", part: str = "test") -> np.ndarray:
    values = [
        [getattr(bundled_run(name, s).scores(part, n_boot=0), metric).value for s in SEEDS]
        for name in (first, second)
    ]
    return np.array(values[0]) - np.array(values[1])


@exercise("03.5", "More than one seed", 3, ("gains",))
def _(gains: Any) -> str:
    found = expect.numbers("gains", gains)
    if found.shape != (len(SEEDS),):
        raise Wrong(f"`gains` has {found.size} numbers; one for each of seeds 0, 1, 2 is wanted.")
    right = _gains("progressive", "fine-tuned")
    mistakes = {
        "has the sign turned: it is progressive minus fine-tuned.": -right,
        "is against frozen; against fine-tuned is asked for.": _gains("progressive", "frozen"),
        "is of the validation part; take the test part.": _gains(
            "progressive", "fine-tuned", part="valid"
        ),
        **{
            f"is of the {title}; hard AUROC is asked for.": _gains(
                "progressive", "fine-tuned", metric
            )
            for metric, title in METRICS.items()
            if metric != "auroc_hard"
        },
    }
    if not np.allclose(found, right, atol=0.002):
        for what, wrong in mistakes.items():
            if np.allclose(found, wrong, atol=0.002):
                raise Wrong(f"`gains` {what}", share=0.5)
        raise Wrong(
            f"`gains` has {found[0]:+.3f} for seed 0, {right[0]:+.3f} is right: hard AUROC of "
            "`progressive` minus that of `fine-tuned`, on the test part."
        )
    half = STUDENT * right.std(ddof=1) / len(SEEDS) ** 0.5
    verdict = "zero lies inside" if abs(right.mean()) < half else "zero lies outside"
    return (
        f"Mean {right.mean():+.3f}; three seeds say it to within {half:.3f} (95%, Student's t with "
        f"two degrees of freedom), so {verdict}."
    )


# --- 03.6

reflection("03.6", "When to unfreeze step by step", 4, "reflection_03", least_words=40)
