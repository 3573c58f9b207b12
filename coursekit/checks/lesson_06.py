"""Lesson 06, contrastive learning: neighbors, the loss by hand and in code, one more row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from coursekit.checks import expect
from coursekit.checks.exercise import Wrong
from coursekit.checks.registry import exercise, reflection
from coursekit.checks.truth import judged, table_agrees, the_task
from coursekit.evaluation import paired_difference
from coursekit.evaluation.embedding_figures import neighbor_purity
from coursekit.runs import Run

# --- 06.1


def _crowd(n: int, binders: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of all lengths, so that a cosine is not a product, and which are binders."""
    rng = np.random.default_rng(seed)
    binder = np.arange(n) < binders
    vectors = rng.normal(size=(n, 3)) + 0.8 * binder[:, None]
    return vectors * rng.uniform(0.2, 5.0, size=(n, 1)), binder


CROWDS = (((12, 5, 3), 2), ((20, 8, 4), 3), ((9, 4, 5), 4))  # (n, binders, seed), k


def _purities(function: Any) -> list[Any]:
    return [function(*_crowd(*made), k) for made, k in CROWDS]


@exercise("06.1", "Who are a binder's neighbors?", 3, ("purity",), {"purity": _purities})
def _(found: Any) -> str:
    values = expect.numbers("purity", expect.outputs("purity", found, len(CROWDS)))
    if values.shape != (len(CROWDS),):
        raise Wrong(f"`purity` gives shape {values.shape[1:]}; one number is wanted: a mean.")
    right, itself, all_ = [], [], []
    product, distance = [], []
    for made, k in CROWDS:
        vectors, binder = _crowd(*made)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        right.append(neighbor_purity(vectors, binder, k))
        itself.append(_share(unit @ unit.T, binder, k, itself=True))
        all_.append(_share(unit @ unit.T, binder, k, only_binders=False))
        product.append(_share(vectors @ vectors.T, binder, k))
        distance.append(_share(-np.square(vectors[:, None] - vectors[None]).sum(-1), binder, k))
    if np.allclose(values, right, atol=1e-6):
        return "The share of binders among a binder's neighbors; chance gives the prevalence."
    mistakes = (
        (itself, "counts each binder among its own neighbors; nothing is nearer than itself.", 0.5),
        (all_, "averages over all molecules; ask only what binders have around them.", 0.5),
        (product, "takes the product of vectors of unequal length; divide by their lengths.", 0.5),
        (distance, "ranks by distance; near is what has a large cosine.", 0.5),
        (list(1 - np.array(right)), "gives the share that are *no* binders.", 0.5),
    )
    for wrong, why, share in mistakes:
        if np.allclose(values, wrong, atol=1e-6):
            raise Wrong(f"`purity` {why}", share)
    raise Wrong(
        f"`purity` gives {values[0]:.4f} on the first of {len(CROWDS)} tries, {right[0]:.4f} is "
        "right. Go through it for one binder: its cosines, the k largest, the share of binders."
    )


def _share(
    near: np.ndarray,
    binder: np.ndarray,
    k: int,
    itself: bool = False,
    only_binders: bool = True,
) -> float:
    """Purity by any measure of nearness, and with the mistakes that are made."""
    near = near.copy()
    if not itself:
        np.fill_diagonal(near, -np.inf)
    hits = binder[np.argsort(-near, axis=1)[:, :k]]
    if not only_binders:
        return float((hits == binder[:, None]).mean())
    return float(hits[binder].mean())


# --- 06.2

TINY = np.array([[1.0, 0.0], [0.8, 0.6], [0.96, -0.28], [-0.6, 0.8]])
TINY_BINDER = np.array([True, True, False, False])
TINY_TEMPERATURE = 0.2


def _rows(temperature: float = TINY_TEMPERATURE) -> np.ndarray:
    """exp(similarity / temperature), without the anchor itself."""
    found = np.exp(TINY @ TINY.T / temperature)
    np.fill_diagonal(found, 0.0)
    return np.asarray(found)


@exercise("06.2", "The loss by hand", 3, ("share_b", "share_h", "loss"))
def _(share_b: Any, share_h: Any, loss: Any) -> str:
    pull = _rows()
    total = pull[0].sum()
    plain = _rows(1.0)
    with_itself = total + np.exp(1 / TINY_TEMPERATURE)
    inverse = _rows(1 / TINY_TEMPERATURE)
    expect.close(
        "share_b",
        share_b,
        pull[0, 1] / total,
        mistakes={
            pull[0, 1] / with_itself: "the anchor itself is in your sum; leave it out.",
            pull[0, 1] / pull[0, 2:].sum(): "only negatives are in your sum; all others belong "
            "there, binders too.",
            plain[0, 1] / plain[0].sum(): "divide the similarities by the temperature first.",
            inverse[0, 1] / inverse[0].sum(): "divide by the temperature; do not multiply.",
            pull[0, 2] / total: "that is the hard negative's.",
        },
        otherwise="exp(0.8 / 0.2), over the sum of that for b, h and e.",
    )
    try:
        expect.close("share_h", share_h, pull[0, 2] / total, otherwise="The same, with 0.96.")
        each = -np.log([pull[0, 1] / total, pull[1, 0] / pull[1].sum()])
        expect.close(
            "loss",
            loss,
            float(each.mean()),
            mistakes={
                float(each[0]): "that is for anchor a alone; b is an anchor too.",
                float(each.sum()): "that is the sum; take the mean over the two anchors.",
                float(-each.mean()): "the loss is minus the logarithm.",
                float(each.mean() / np.log(10)): "take the natural logarithm.",
            },
            otherwise="Minus the log of b's share with anchor a, and of a's with anchor b; their "
            "mean.",
        )
    except Wrong as wrong:
        raise Wrong(wrong.message, share=0.4) from None
    ratio = pull[0, 2] / pull[0, 3]
    return f"The hard negative has {ratio:,.0f} times the share of the easy one, and the push too."


# --- 06.3


def _batch(n: int, binders: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 4))
    mixed = rng.permutation(n) < binders
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), mixed


BATCHES = (((6, 2, 1), 0.5), ((9, 4, 2), 0.1), ((12, 5, 3), 0.3))


def _contrasts(function: Any) -> list[Any]:
    import torch

    found = []
    for made, temperature in BATCHES:
        vectors, binder = _batch(*made)
        found.append(
            function(torch.tensor(vectors, dtype=torch.float32), torch.tensor(binder), temperature)
        )
    return found


@exercise("06.3", "The loss in PyTorch", 3, ("my_contrast",), {"my_contrast": _contrasts})
def _(found: Any) -> str:
    results = expect.outputs("my_contrast", found, len(BATCHES))
    if any(isinstance(x, float) and not np.isfinite(x) for x in results):
        raise Wrong(
            "`my_contrast` gives a value that is no number. Minus infinity times 0 is none: mask "
            "inside of the logsumexp only.",
            share=0.3,
        )
    values = expect.numbers("my_contrast", results)
    if values.shape != (len(BATCHES),):
        raise Wrong(f"`my_contrast` gives shape {values.shape[1:]}; one number is wanted.", 0.2)
    right = np.array([_contrast(*_batch(*made), t) for made, t in BATCHES])
    if np.allclose(values, right, rtol=1e-3):
        return "The same as the kit's own loss, which you will train with now."
    counts = np.array([made[1] for made, _ in BATCHES])
    mistakes: tuple[tuple[dict[str, bool], str, float], ...] = (
        ({"itself": True}, "has the anchor itself in the sum below the fraction line.", 0.5),
        ({"negatives_only": True}, "sums over negatives alone; other binders count too.", 0.5),
        ({"everybody": True}, "pulls negatives together as well; only binders are anchors.", 0.5),
        ({"log_outside": True}, "averages before it takes the logarithm; take the log of each "
         "pair's share, then average.", 0.5),
        ({"multiplied": True}, "multiplies by the temperature; divide.", 0.5),
    )  # fmt: skip
    for slip, why, share in mistakes:
        if np.allclose(values, _slipped(**slip), rtol=1e-3):
            raise Wrong(f"`my_contrast` {why}", share)
    if np.allclose(values, right * counts, rtol=1e-3):
        raise Wrong("`my_contrast` sums over anchors; take the mean.", share=0.7)
    if np.allclose(values, -right, rtol=1e-3):
        raise Wrong("`my_contrast` has the wrong sign: a loss is to fall.", share=0.7)
    raise Wrong(
        f"`my_contrast` gives {values[0]:.4f} on the first of {len(BATCHES)} tries, "
        f"{right[0]:.4f} is right. Try it on the tiny batch of 06.2, term by term."
    )


def _slipped(multiplied: bool = False, **slip: bool) -> np.ndarray:
    losses = []
    for made, temperature in BATCHES:
        vectors, binder = _batch(*made)
        used = 1 / temperature if multiplied else temperature
        losses.append(_contrast(vectors, binder, used, **slip))
    return np.array(losses)


def _contrast(
    vectors: np.ndarray,
    binder: np.ndarray,
    temperature: float,
    itself: bool = False,
    negatives_only: bool = False,
    everybody: bool = False,
    log_outside: bool = False,
) -> float:
    """Equation 2 of Khosla et al. with binders as anchors, one anchor after the other.

    Plain on purpose, and with the mistakes that are made; a test holds it to the kit's own.
    """
    pull = np.exp(vectors @ vectors.T / temperature)
    losses = []
    for i in range(len(vectors)):
        if not (binder[i] or everybody):
            continue
        below = np.ones(len(vectors), bool)
        below[i] = itself
        if negatives_only:
            below &= binder != binder[i]
        same = binder == binder[i]
        same[i] = False
        shares = pull[i, same] / pull[i, below].sum()
        losses.append(-np.log(shares.mean()) if log_outside else -np.log(shares).mean())
    return float(np.mean(losses))


# --- 06.4


def _contrastive(name: str, run: Any) -> Run:
    found: Run = expect.kind(name, run, Run)
    if found.strategy.get("strategy") != "ContrastiveFinetune":
        raise Wrong(
            f"`{name}` is a run of {str(found.strategy.get('strategy'))!r:.40}; "
            "`ck.ContrastiveFinetune(...)` is wanted."
        )
    return found


@exercise("06.4", "Train by contrast", 3, ("contrastive", "loss_first", "loss_last"))
def _(contrastive: Any, loss_first: Any, loss_last: Any) -> str:
    run = _contrastive("contrastive", contrastive)
    scores = judged("contrastive", run)
    if "contrastive_loss" not in run.history:
        raise Wrong("`contrastive` has no contrastive loss in its history; fit it again.")
    rows = run.history.dropna(subset=["contrastive_loss"])
    valid = rows.loc[rows["split"] == "valid", "contrastive_loss"].to_numpy(float)
    train = rows.loc[rows["split"] == "train", "contrastive_loss"].to_numpy(float)
    if len(valid) < 2:
        raise Wrong("`contrastive` has one contrastive epoch; two or more show whether it learns.")
    for name, value, right, other, step in (
        ("loss_first", loss_first, valid[0], valid[-1], train[0]),
        ("loss_last", loss_last, valid[-1], valid[0], train[-1]),
    ):
        try:
            expect.close(
                name,
                value,
                float(right),
                rel=1e-3,
                mistakes={
                    float(other): "first and last have changed places.",
                    float(step): "that is a training step's; take rows with split 'valid'.",
                },
                otherwise="Take the rows with split 'valid' that have a contrastive_loss.",
            )
        except Wrong as wrong:
            raise Wrong(wrong.message, share=0.5) from None
    falls = "falls" if valid[-1] < valid[0] else "does not fall"
    return (
        f"On molecules held out, the contrastive loss {falls}: {valid[0]:.2f} to {valid[-1]:.2f}. "
        f"With the head on top, hard AUROC is {scores['auroc_hard']:.3f}."
    )


# --- 06.5

VERDICTS = ("yes", "no", "cannot tell")


def _labeled(name: str, run: Run) -> Run:
    """The run's test predictions under labels that are known here."""
    known = the_task(name, dict(run.task)).part("test")[["molecule_id", "negative_set", "label"]]
    scores = run.predictions.loc[run.predictions["part"] == "test", ["molecule_id", "score"]]
    return replace(run, name=name, predictions=known.merge(scores).assign(part="test"))


@exercise(
    "06.5",
    "One more row",
    4,
    ("frozen", "full", "contrastive", "forest", "table", "beats"),
)
def _(frozen: Any, full: Any, contrastive: Any, forest: Any, table: Any, beats: Any) -> str:
    runs = {"frozen": frozen, "full": full, "contrastive": contrastive, "forest": forest}
    scores = {name: judged(name, run) for name, run in runs.items()}
    _contrastive("contrastive", contrastive)
    for name, wanted in (("frozen", "HeadOnlyFinetune"), ("full", "FullFinetune")):
        if runs[name].strategy.get("strategy") != wanted:
            raise Wrong(f"`{name}` is to be a run of `ck.{wanted}`.")
    if forest.strategy.get("model") != "forest":
        raise Wrong('`forest` is another run; `ck.fingerprint_baseline(task, "forest")` is wanted.')
    if len({run.task["fingerprint"] for run in runs.values()}) > 1:
        raise Wrong("These runs are of different tasks; fit them on the same one.")
    try:
        table_agrees("table", table, scores)
    except Wrong as wrong:
        raise Wrong(wrong.message, share=0.4) from None
    if beats not in VERDICTS:
        raise Wrong(
            f"`beats` is {expect.described(beats)}; one of {', '.join(map(repr, VERDICTS))} is "
            "asked for.",
            share=0.6,
        )
    gain = paired_difference(_labeled("contrastive", contrastive), _labeled("full", full))
    verdict = "cannot tell" if not gain.clear else "yes" if gain.value > 0 else "no"
    interval = f"{gain.value:+.3f}, with [{gain.low:+.3f}, {gain.high:+.3f}] as its 95% interval"
    if beats != verdict:
        raise Wrong(
            f"`beats` is {beats!r}, but the difference in hard AUROC is {interval}: look whether "
            "zero is inside.",
            share=0.6,
        )
    ahead = max(scores, key=lambda name: scores[name]["auroc_hard"])
    return (
        f"Contrastive minus full: {interval}. Highest on hard negatives is `{ahead}`, "
        f"{scores[ahead]['auroc_hard']:.3f}."
    )


# --- 06.6

reflection("06.6", "Why did it end so?", 3, "reflection_06")
