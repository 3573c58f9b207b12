"""Lesson 05, forgetting: measured, held by penalties, weighed against what is learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from coursekit.checks import expect
from coursekit.checks.exercise import CannotCheck, NotAttempted, Wrong
from coursekit.checks.registry import exercise, reflection
from coursekit.checks.truth import judged
from coursekit.runs import Run

TOLERANCE = 0.03  # of a loss: other processors round otherwise


def _told(name: str, run: Any) -> dict[str, float]:
    """What a run says of its forgetting, and its hard AUROC, judged here."""
    expect.kind(name, run, Run)
    if run.forgetting is None:
        raise CannotCheck(
            f"`{name}` does not say what it forgot. Runs of coursekit-mini do; with another "
            "encoder give `fit(..., heldout=heldout)`."
        )
    return {key: float(run.forgetting[key]) for key in ("loss_before", "loss_after")}


def _penalties(run: Run) -> list[str]:
    return [str(one.get("penalty")) for one in run.strategy.get("penalties") or ()]


# --- 05.1


@exercise("05.1", "What fine-tuning forgets", 3, ("before", "after", "plain"))
def _(before: Any, after: Any, plain: Any) -> str:
    told = _told("plain", plain)
    if plain.strategy.get("strategy") != "FullFinetune" or _penalties(plain):
        raise Wrong(
            f"`plain` is a run of {plain.name!r:.60}; here all weights train and nothing holds "
            "them: `ck.FullFinetune(lr=1e-3)`."
        )
    accuracy = {
        float(plain.forgetting[f"accuracy_{when}"]): (
            'that is the share of tokens guessed right; the loss is under "loss".'
        )
        for when in ("before", "after")
    }
    late = {
        told["loss_after"]: "that is the loss after training. `fit` trains the model in place: "
        "measure before you call it, or load the classifier again."
    }
    early = {
        told["loss_before"]: "that is the loss before training. Measure the model that was "
        "trained, once `fit` has returned."
    }
    otherwise = (
        "Take `ck.masked_token_loss` of the model and of `heldout`, with nothing else changed."
    )
    for name, value, right, mistake in (
        ("before", before, told["loss_before"], late),
        ("after", after, told["loss_after"], early),
    ):
        if isinstance(value, dict):
            raise Wrong(f'`{name}` is the whole measurement; keep its loss, `[...]["loss"]`.')
        try:
            expect.close(
                name, value, right, rel=TOLERANCE, mistakes=mistake | accuracy, otherwise=otherwise
            )
        except Wrong as wrong:
            raise Wrong(wrong.message, share=0.3) from None
    if told["loss_after"] <= told["loss_before"]:
        return "The masked-token loss did not rise: with so few steps nothing was forgotten yet."
    times = told["loss_after"] / told["loss_before"]
    return (
        f"The masked-token loss went from {told['loss_before']:.3f} to {told['loss_after']:.3f}, "
        f"{times:.1f} times what it was. Nobody asked the model to forget; nobody asked it not to."
    )


# --- 05.2

WEIGHTS = ((1.0, 2.0, -1.0, 0.5), (0.2, 0.2), (3.0,))
STARTS = ((0.5, 2.0, 1.0, 0.0), (0.2, 0.2), (-1.0,))
STRENGTHS = (100.0, 7.0, 0.5)


def _penalized(function: Any) -> list[Any]:
    import torch

    probes = zip(WEIGHTS, STARTS, STRENGTHS, strict=True)
    return [function(torch.tensor(w), torch.tensor(w0), strength) for w, w0, strength in probes]


@exercise(
    "05.2",
    "L2-SP by hand",
    3,
    ("penalty", "gradient"),
    {"penalty": _penalized, "gradient": _penalized},
)
def _(penalty: Any, gradient: Any) -> str:
    values = expect.outputs("penalty", penalty, len(STRENGTHS))
    pairs = [(np.array(w), np.array(w0)) for w, w0 in zip(WEIGHTS, STARTS, strict=True)]

    def penalties(of: Any) -> list[float]:
        return [of(w, w0) * s for (w, w0), s in zip(pairs, STRENGTHS, strict=True)]

    found = [expect.number(f"penalty, probe {n}", value) for n, value in enumerate(values, 1)]
    half = penalties(lambda w, w0: ((w - w0) ** 2).sum() / 2)
    if not np.allclose(found, half, rtol=1e-3):
        known = (
            (lambda w, w0: ((w - w0) ** 2).sum(), "leaves out the half", 0.3),
            (lambda w, w0: (w**2).sum() / 2, "pulls toward zero: that is weight decay. L2-SP "
             "pulls toward `start`", 0.1),
            (lambda w, w0: ((w - w0) ** 2).mean() / 2, "takes the mean over the weights; the "
             "penalty is a sum", 0.3),
            (lambda w, w0: np.abs(w - w0).sum() / 2, "adds up distances; they are squared", 0.1),
        )  # fmt: skip
        for of, what, share in known:
            if np.allclose(found, penalties(of), rtol=1e-3):
                raise Wrong(f"`penalty` {what}.", share)
        raise Wrong(
            f"`penalty` of the weights {list(WEIGHTS[0])}, which started at {list(STARTS[0])}, at "
            f"strength {STRENGTHS[0]:g} gives {found[0]:.6g}; {half[0]:g} is right."
        )
    slopes = expect.outputs("gradient", gradient, len(STRENGTHS))
    right = [s * (w - w0) for (w, w0), s in zip(pairs, STRENGTHS, strict=True)]
    for n, (slope, wanted) in enumerate(zip(slopes, right, strict=True), 1):
        single = isinstance(slope, int | float)
        own = np.array(slope) if single else expect.numbers(f"gradient, probe {n}", slope)
        if own.shape != wanted.shape:
            raise Wrong(
                f"`gradient` gives {expect.described(slope)} for {len(wanted)} weights: it has one "
                "number for each weight.",
                0.5,
            )
        if np.allclose(own, wanted, rtol=1e-3):
            continue
        if np.allclose(own, -wanted, rtol=1e-3):
            raise Wrong(
                "`gradient` has the wrong sign: it points to where the penalty grows, away from "
                "`start`; the optimizer then goes against it.",
                0.6,
            )
        raise Wrong(
            f"`gradient` of probe {n} gives {own.round(4).tolist()}; the derivative of your "
            f"penalty is {wanted.round(4).tolist()}.",
            0.5,
        )
    return "Half the squared distance from the start, and a pull that grows with the distance."


# --- 05.3

WANTED = {
    "l2sp": ("FullFinetune", ["L2SP"], "ck.FullFinetune(lr=1e-3, penalties=(ck.L2SP(...),))"),
    "ewc": ("FullFinetune", ["EWC"], "ck.FullFinetune(lr=1e-3, penalties=(ck.EWC(...),))"),
    "replay": ("FullFinetune", ["Replay"], "ck.FullFinetune(lr=1e-3, penalties=(ck.Replay(...),))"),
    "lora": ("LoRAFinetune", [], "ck.LoRAFinetune()"),
}


@exercise("05.3", "Four ways to hold it", 4, ("plain", "l2sp", "ewc", "replay", "lora"))
def _(plain: Any, l2sp: Any, ewc: Any, replay: Any, lora: Any) -> str:
    runs = {"plain": plain, "l2sp": l2sp, "ewc": ewc, "replay": replay, "lora": lora}
    told = {name: _told(name, run) for name, run in runs.items()}
    for name, (strategy, penalties, how) in WANTED.items():
        run = runs[name]
        if run.strategy.get("strategy") != strategy or _penalties(run) != penalties:
            raise Wrong(
                f"`{name}` is a run of {run.name!r:.40} with "
                f"{', '.join(_penalties(run)) or 'no penalty'}; `{how}` is wanted.",
                share=0.2,
            )
    for name, run in runs.items():
        if run.task["fingerprint"] != plain.task["fingerprint"]:
            raise Wrong(f"`{name}` and `plain` were fitted on different tasks.", share=0.3)
        if run.cost.get("epochs") != plain.cost.get("epochs"):
            raise Wrong(
                f"`{name}` ran {run.cost.get('epochs')} epochs, `plain` "
                f"{plain.cost.get('epochs')}: whoever trains less also forgets less.",
                share=0.5,
            )
        if abs(told[name]["loss_before"] / told["plain"]["loss_before"] - 1) > TOLERANCE:
            raise Wrong(
                f"`{name}` began at a masked-token loss of {told[name]['loss_before']:.3f}, "
                f"`plain` at {told['plain']['loss_before']:.3f}: it went on with a model that had "
                "been trained. Load the classifier anew for each run.",
                share=0.5,
            )
    hard = {name: judged(name, run)["auroc_hard"] for name, run in runs.items()}
    kept = min(told, key=lambda name: told[name]["loss_after"])
    best = max(hard, key=lambda name: hard[name])
    least = f"{kept} forgot least, {told[kept]['loss_after']:.3f} nats afterwards"
    highest = f"{best} has the highest hard AUROC, {hard[best]:.3f}"
    if kept != "plain":
        least += f" against {told['plain']['loss_after']:.3f} for plain"
    if best != "plain":
        highest += f" against {hard['plain']:.3f} for plain"
    return f"{least}; {highest}."


# --- 05.4

FRONTS = (
    ((0.60, 0.80), (0.10, 0.75), (0.30, 0.70), (0.05, 0.60)),
    ((0.50, 0.70), (0.20, 0.90)),
    ((0.10, 0.60), (0.10, 0.60), (0.40, 0.65), (0.40, 0.55)),
    ((0.30, 0.80), (0.20, 0.80)),
)
ON_FRONT = ([0, 1, 3], [1], [0, 1, 2], [1])


def _fronts(function: Any) -> list[Any]:
    return [
        function([forgotten for forgotten, _ in points], [auroc for _, auroc in points])
        for points in FRONTS
    ]


@exercise("05.4", "Which are worth having", 3, ("worth_having",), {"worth_having": _fronts})
def _(found: Any) -> str:
    results = expect.outputs("worth_having", found, len(FRONTS))
    answers = []
    for points, result in zip(FRONTS, results, strict=True):
        values = np.asarray(result, dtype=object).ravel()
        whole = all(
            isinstance(v, int | float) and not isinstance(v, bool) and v in range(len(points))
            for v in values
        )
        if not isinstance(result, list | np.ndarray) or not whole:
            raise Wrong(
                f"`worth_having` gives {expect.described(result)} for {len(points)} approaches; "
                f"a list of their positions, from 0 to {len(points) - 1}, is wanted."
            )
        answers.append(sorted({int(v) for v in values}))
    if answers == [list(places) for places in ON_FRONT]:
        return "What nobody beats on both counts is worth having; which of these, you must decide."
    if all(len(places) == 1 for places in answers):
        raise Wrong(
            "`worth_having` keeps a single approach. Whoever forgets less and learns less is not "
            "beaten: keep all that no other one beats on both counts.",
            share=0.2,
        )
    if answers == [list(range(len(points))) for points in FRONTS]:
        raise Wrong(
            "`worth_having` keeps every approach. Leave out each for which there is another that "
            "forgets no more, learns no less, and is better on one of the two.",
            share=0.1,
        )
    if answers[2] == [2] and answers[0] == ON_FRONT[0]:
        raise Wrong(
            "`worth_having` drops two approaches that are exactly alike: neither is better than "
            "the other, so both stay.",
            share=0.6,
        )
    if answers[3] == [0, 1] and answers[0] == ON_FRONT[0]:
        raise Wrong(
            "`worth_having` keeps an approach that is matched on one count and beaten on the "
            "other: as good on both, and better on one, is enough to beat it.",
            share=0.6,
        )
    n = next(n for n, places in enumerate(answers) if places != list(ON_FRONT[n]))
    forgotten, auroc = zip(*FRONTS[n], strict=True)
    raise Wrong(
        f"`worth_having({list(forgotten)}, {list(auroc)})` gives {answers[n]}; "
        f"{list(ON_FRONT[n])} is right. Less forgotten is better, a higher AUROC is better."
    )


# --- 05.5

MINUTES = {"frozen": 0.2, "LoRA": 4.0, "full": 6.0, "progressive": 3.0}
AUROCS = {"frozen": 0.62, "LoRA": 0.71, "full": 0.80, "progressive": 0.78}
BUDGETS = (10.0, 5.0, 4.0, 1.0, 0.1)
PICKED = ["full", "progressive", "progressive", "frozen", None]


def _picks(function: Any) -> list[Any]:
    return [str(function(dict(MINUTES), dict(AUROCS), budget)) for budget in BUDGETS]


def _advised(advice: Any) -> dict[str, Any]:
    """What can travel of a Recommendation."""
    if not hasattr(advice, "choice"):
        return {"choice": None}
    table = advice.table
    return {
        "choice": str(advice.choice),
        "fits": {str(name): bool(fits) for name, fits in table["fits"].items()},
        "unknown": [str(one) for one in advice.unknown],
    }


@exercise(
    "05.5", "Choose within a budget", 3, ("pick", "advice"), {"pick": _picks, "advice": _advised}
)
def _(found: Any, advice: Any) -> str:
    picks = expect.outputs("pick", found, len(BUDGETS))
    if all(one == "None" for one in picks):
        raise NotAttempted("`pick` returns nothing yet: write its body.")
    wanted = [str(one) for one in PICKED]
    if picks != wanted:
        for budget, own, right in zip(BUDGETS, picks, wanted, strict=True):
            if own == right:
                continue
            if right == "None":
                raise Wrong(
                    f"`pick` with a budget of {budget:g} minutes gives {own!r:.40}; nothing fits, "
                    "so None is the honest answer.",
                    share=0.6,
                )
            cost = MINUTES.get(own)
            over = cost is not None and cost > budget
            why = f"which takes {cost:g}" if over else f"{right!r} fits too, and scores higher"
            raise Wrong(
                f"`pick` with a budget of {budget:g} minutes gives {own!r:.40}: {why}.", share=0.2
            )
    if not isinstance(advice, dict) or not advice.get("choice"):
        raise Wrong(
            "`advice` is no recommendation; `ck.recommend(task, env.encoder, budget=...)` is "
            "wanted.",
            share=0.6,
        )
    return (
        f"Yours takes the highest score that fits. `ck.recommend` said {advice['choice']}, and "
        f"named {len(advice.get('unknown') or ())} things that it does not know."
    )


# --- 05.6

reflection("05.6", "Is it worth holding", 4, "worth_holding", "my_criticism")
