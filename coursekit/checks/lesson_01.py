"""Lesson 01, frozen embeddings: tokens, pooling, a head by scikit-learn, scores, prevalence."""

from __future__ import annotations

from typing import Any

import numpy as np

from coursekit.checks import expect
from coursekit.checks.exercise import NotAttempted, Wrong
from coursekit.checks.registry import exercise, reflection
from coursekit.checks.truth import facts_of_task, judged, scored, table_agrees, the_task

# --- 01.1

SPLIT_ME = ("CCO", "ClCCBr", "c1cc[nH]c1", "C[C@@H](N)C(=O)O", "BrC1CC1Cl", "[Na+].[Cl-]")
SPLIT = (
    ["C", "C", "O"],
    ["Cl", "C", "C", "Br"],
    ["c", "1", "c", "c", "[nH]", "c", "1"],
    ["C", "[C@@H]", "(", "N", ")", "C", "(", "=", "O", ")", "O"],
    ["Br", "C", "1", "C", "C", "1", "Cl"],
    ["[Na+]", ".", "[Cl-]"],
)


def _splits(function: Any) -> list[Any]:
    return [function(smiles) for smiles in SPLIT_ME]


@exercise("01.1", "Cut a SMILES into tokens", 2, ("split_smiles",), {"split_smiles": _splits})
def _(found: Any) -> str:
    results = expect.outputs("split_smiles", found, len(SPLIT_ME))
    for smiles, parts, right in zip(SPLIT_ME, results, SPLIT, strict=True):
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise Wrong(
                f'`split_smiles("{smiles}")` gives {expect.described(parts)}; '
                "a list of texts is wanted."
            )
        if parts == right:
            continue
        if "".join(parts) != smiles:
            raise Wrong(
                f'`split_smiles("{smiles}")` gives {parts}, which loses something: joined, the '
                "tokens must give the SMILES back."
            )
        share = sum(a == b for a, b in zip(results, SPLIT, strict=True)) / (2 * len(SPLIT))
        if "[" in smiles and not any(part.startswith("[") and part[-1] == "]" for part in parts):
            raise Wrong(
                f'`split_smiles("{smiles}")` cuts into a bracket: {parts}. What stands in square '
                "brackets is one atom, and so one token.",
                share,
            )
        raise Wrong(
            f'`split_smiles("{smiles}")` gives {parts}. Atoms with a two-letter symbol, Cl and Br, '
            "are one token; let your pattern try them before single letters.",
            share,
        )
    return "Every token is one atom, bond, ring or branch, and joined they give the SMILES back."


# --- 01.2

HIDDEN = np.arange(24, dtype=np.float32).reshape(2, 4, 3) ** 1.5  # (B, T, H)
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])  # (B, T)


def _pooled(function: Any) -> Any:
    import torch

    return function(torch.tensor(HIDDEN), torch.tensor(MASK))


@exercise("01.2", "Mean pooling", 2, ("mean_pool",), {"mean_pool": _pooled})
def _(found: Any) -> str:
    if found is None or found is ...:
        raise NotAttempted("`mean_pool` returns nothing yet: write its body.")
    values = expect.numbers("mean_pool", found)
    if values.shape != (2, 3):
        raise Wrong(
            f"`mean_pool` gives shape {values.shape} for hidden states of (2, 4, 3): molecules, "
            "tokens, width. One vector for each molecule is (2, 3): average over the tokens, "
            "which are dimension 1."
        )
    real = MASK[:, :, None]
    if np.allclose(values, (HIDDEN * real).sum(1) / real.sum(1), rtol=1e-4):
        return "The mean over real tokens, and padding leaves it alone."
    if np.allclose(values, HIDDEN.mean(1), rtol=1e-4):
        raise Wrong(
            "`mean_pool` averages over padding too: the same molecule would get another vector in "
            "another batch. Multiply by the mask first.",
            share=0.3,
        )
    if np.allclose(values, (HIDDEN * real).mean(1), rtol=1e-4):
        raise Wrong(
            "`mean_pool` sums real tokens only, but divides by the length with padding; divide by "
            "how many tokens are real: `mask.sum(...)`.",
            share=0.5,
        )
    if np.allclose(values, (HIDDEN * real).sum(1), rtol=1e-4):
        raise Wrong("`mean_pool` gives the sum; divide by how many tokens are real.", share=0.5)
    if np.allclose(values, HIDDEN[:, 0], rtol=1e-4):
        raise Wrong("`mean_pool` gives the first token's vector: that is [CLS] pooling.", share=0.2)
    raise Wrong("`mean_pool` gives something else than the mean over the tokens with mask 1.")


# --- 01.3


@exercise("01.3", "A head by scikit-learn", 3, ("frozen_scores", "task"), {"task": facts_of_task})
def _(frozen_scores: Any, task: Any) -> str:
    known = the_task("task", task)
    n = len(known.test)
    if isinstance(frozen_scores, np.ndarray) and frozen_scores.shape == (n, 2):
        raise Wrong(
            "`frozen_scores` has two columns, one for each class; keep the binders': `[:, 1]`.",
            share=0.5,
        )
    values = expect.numbers("frozen_scores", frozen_scores, (n,))
    if len(np.unique(values)) <= 2:
        raise Wrong(
            "`frozen_scores` holds only two different values: those are decisions. Ranking needs "
            "probabilities, from `predict_proba`.",
            share=0.3,
        )
    scores = scored(values, known)
    easy = scores["auroc_easy"]
    if easy < 0.35:
        raise Wrong(
            f"`frozen_scores` ranks binders last (easy AUROC {easy:.3f}): is it the probability of "
            "class 0?",
            share=0.5,
        )
    if easy < 0.6:
        raise Wrong(
            f"`frozen_scores` has an easy AUROC of {easy:.3f}, hardly more than guessing. Are the "
            "vectors in the order of their labels, and those of the test part scored?"
        )
    if min(scores.values()) > 0.999:
        raise Wrong("`frozen_scores` is perfect on every negative: did the labels get in?")
    return (
        f"Easy AUROC {easy:.3f}, hard AUROC {scores['auroc_hard']:.3f}, with an encoder that "
        "never saw a label."
    )


# --- 01.4


@exercise("01.4", "The first row of the table", 3, ("frozen", "forest", "table"))
def _(frozen: Any, forest: Any, table: Any) -> str:
    scores = {"frozen": judged("frozen", frozen), "forest": judged("forest", forest)}
    expect.head_only("frozen", frozen)
    if forest.strategy.get("model") != "forest":
        raise Wrong('`forest` is another run; `ck.fingerprint_baseline(task, "forest")` is wanted.')
    try:
        table_agrees("table", table, scores)
    except Wrong as wrong:
        raise Wrong(wrong.message, share=0.5) from None
    gap = scores["forest"]["auroc_hard"] - scores["frozen"]["auroc_hard"]
    who = "the forest is ahead" if gap > 0 else "the frozen encoder is ahead"
    return f"The table holds what the runs predicted; on hard negatives {who} by {abs(gap):.3f}."


# --- 01.5

RATES = ((0.8, 0.1, 0.5), (0.8, 0.1, 0.01), (0.3, 0.001, 0.01), (1.0, 1.0, 0.2))


def _precisions(function: Any) -> list[Any]:
    return [function(tpr, fpr, prevalence) for tpr, fpr, prevalence in RATES]


@exercise("01.5", "Precision and prevalence", 2, ("precision_at",), {"precision_at": _precisions})
def _(found: Any) -> str:
    values = expect.numbers("precision_at", expect.outputs("precision_at", found, len(RATES)))
    tpr, fpr, prevalence = np.array(RATES).T
    right = tpr * prevalence / (tpr * prevalence + fpr * (1 - prevalence))
    if values.shape == right.shape and np.allclose(values, right, rtol=1e-3):
        return (
            f"The same model, at the same threshold, is right {right[0]:.0%} of the time where "
            f"half are binders, and {right[1]:.0%} where one in a hundred is."
        )
    if values.shape == right.shape and np.allclose(values, tpr / (tpr + fpr), rtol=1e-3):
        raise Wrong(
            "`precision_at` leaves prevalence out: weigh the rate of true positives with it, and "
            "the rate of false ones with 1 - prevalence.",
            share=0.3,
        )
    raise Wrong(
        f"`precision_at{RATES[1]}` gives {expect.described(values.ravel()[1].item())}, "
        f"{right[1]:.4f} is right: true positives over all positives."
    )


# --- 01.6

reflection("01.6", "What a frozen model cannot see", 3, "reflection_01")
