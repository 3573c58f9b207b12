"""Lesson 00, base camp: counts, enrichment, what zero means, similarity, baselines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from coursekit.checks import expect
from coursekit.checks.exercise import Wrong
from coursekit.checks.registry import exercise, reflection
from coursekit.checks.truth import facts_of_selection, judged, table_agrees, the_selection
from coursekit.data.schema import enrichment

# --- 00.1


@exercise(
    "00.1",
    "Read the counts",
    2,
    ("share_unseen", "median_load", "selection"),
    {"selection": facts_of_selection},
)
def _(share_unseen: Any, median_load: Any, selection: Any) -> str:
    counts = the_selection("selection", selection)
    target = counts[[f"seq_target_{i}" for i in (1, 2, 3)]]
    share = float((target.sum(axis=1) == 0).mean())
    load = float(counts["seq_load"].median())
    expect.close(
        "share_unseen",
        share_unseen,
        share,
        mistakes={
            100 * share: "that is a percentage; divide by 100.",
            share * len(counts): "that is how many; divide by the number of molecules.",
            1 - share: "that is the share that was seen.",
            float((target.iloc[:, 0] == 0).mean()): (
                "that is the first replicate alone; sum the three before you compare with 0."
            ),
        },
        otherwise="Sum the three seq_target columns of each row, then ask how often that is 0.",
    )
    try:
        expect.close(
            "median_load", median_load, load, otherwise="It is the median of the column seq_load."
        )
    except Wrong as wrong:
        raise Wrong(wrong.message, share=0.5) from None
    return (
        f"{share:.0%} of the molecules were never seen on the target, although half of all have "
        f"a load of {load:g} or more."
    )


# --- 00.2

COUNTS = ((10, 0), (0, 3), (5, 5), (40, 2), (120, 80), (1, 0))


def _enrichments(function: Any) -> list[Any]:
    return [function(k_target, k_matrix) for k_target, k_matrix in COUNTS]


@exercise("00.2", "Enrichment by hand", 3, ("my_enrichment",), {"my_enrichment": _enrichments})
def _(found: Any) -> str:
    values = expect.numbers("my_enrichment", expect.outputs("my_enrichment", found, len(COUNTS)))
    k_target, k_matrix = np.array(COUNTS).T
    right = enrichment(k_target, k_matrix)
    if np.allclose(values, right, rtol=1e-3, atol=1e-6):
        return "Your function gives what KinDEL's own column says."
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = k_target / k_matrix
    both = k_matrix > 0
    if np.allclose(values[both], plain[both], rtol=1e-3):
        raise Wrong(
            "`my_enrichment` gives the plain ratio of the counts. Take the lower bound above and "
            "the upper bound below: few reads then give little enrichment.",
            share=0.2,
        )
    some = k_target > 0
    if np.allclose(values[some], right[some], rtol=1e-3):
        raise Wrong(
            f"`my_enrichment(0, 3)` gives {values[1]:.6g}; without a read on the target the lower "
            "bound, and with it the enrichment, is 0.",
            share=0.7,
        )
    if np.allclose(values[some], (k_target / np.maximum(_bound(k_matrix), 1e-9))[some], rtol=1e-3):
        raise Wrong("`my_enrichment` divides the count itself; its lower bound belongs above.", 0.3)
    t, m = COUNTS[3]
    raise Wrong(
        f"`my_enrichment({t}, {m})` gives {values[3]:.6g}, {right[3]:.6g} is right. Look at which "
        "bound is which: `chi2.ppf(0.025, 2 * k) / 2` is the lower one of a count k, and the "
        "upper one has 0.975 and k + 1."
    )


def _bound(counts: np.ndarray) -> np.ndarray:
    from scipy.stats import chi2

    return np.asarray(chi2.ppf(0.975, 2 * (counts + 1)) / 2)


# --- 00.3

LOAD = 4  # of the molecule in the question


@exercise("00.3", "Zero is not proof", 2, ("reads_per_load", "p_silent"))
def _(reads_per_load: Any, p_silent: Any) -> str:
    rate = expect.number("reads_per_load", reads_per_load)
    if not 0 < rate < 10:
        raise Wrong(
            f"`reads_per_load` is {rate:.6g}: divide all target reads of the binders by all of "
            "their loads."
        )
    right = math.exp(-rate * LOAD)
    expect.close(
        "p_silent",
        p_silent,
        right,
        mistakes={
            1 - right: "that is the chance to be seen at least once.",
            math.exp(-rate): f"that is for a load of 1; here it is {LOAD}.",
            rate * LOAD: "that is how many reads are expected; the chance of none is exp(-that).",
        },
        otherwise="The chance of no read, where m are expected, is exp(-m).",
    )
    return (
        f"One binder in {1 / right:.0f} with a load of {LOAD} leaves no read at all, "
        "and would look like a negative."
    )


# --- 00.4

BITS = (
    ((1, 1, 0, 0, 1), (1, 0, 0, 1, 1)),
    ((1, 0, 1, 1, 0, 0, 0, 1), (1, 0, 1, 1, 0, 0, 0, 1)),
    ((1, 0, 0), (0, 1, 1)),
    ((1, 1, 1, 1), (1, 0, 0, 0)),
)


def _similarities(function: Any) -> list[Any]:
    return [function(np.array(a, np.uint8), np.array(b, np.uint8)) for a, b in BITS]


@exercise("00.4", "Tanimoto similarity", 2, ("tanimoto",), {"tanimoto": _similarities})
def _(found: Any) -> str:
    values = expect.numbers("tanimoto", expect.outputs("tanimoto", found, len(BITS)))
    pairs = [(np.array(a), np.array(b)) for a, b in BITS]
    right = np.array([(a & b).sum() / (a | b).sum() for a, b in pairs])
    if np.allclose(values, right, atol=1e-3):
        return "Shared bits over all bits that either has: that is Tanimoto's similarity."
    if np.allclose(values, [(a == b).mean() for a, b in pairs], atol=1e-3):
        raise Wrong(
            "`tanimoto` counts bits that are 0 in both as shared; absence says little, and most "
            "bits are absent. Count only those that are 1.",
            share=0.3,
        )
    if np.allclose(values, [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs], atol=1e-3):
        raise Wrong("`tanimoto` gives Dice's coefficient; divide by the bits of the union.", 0.5)
    a, b = BITS[0]
    raise Wrong(
        f"`tanimoto({list(a)}, {list(b)})` gives {values[0]:.6g}, {right[0]:.6g} is right: bits "
        "that both have, over bits that at least one has."
    )


# --- 00.5


@exercise("00.5", "The baselines nobody may skip", 3, ("logistic", "forest", "baselines"))
def _(logistic: Any, forest: Any, baselines: Any) -> str:
    runs = {"logistic": logistic, "forest": forest}
    scores = {name: judged(name, run) for name, run in runs.items()}
    for name, run in runs.items():
        if run.strategy.get("model") != name:
            raise Wrong(
                f"`{name}` holds a run of {run.name!r:.60}; "
                f'`ck.fingerprint_baseline(task, "{name}")` is wanted.'
            )
    if forest.task["fingerprint"] != logistic.task["fingerprint"]:
        raise Wrong("`logistic` and `forest` were fitted on different tasks.")
    try:
        table_agrees("baselines", baselines, scores)
    except Wrong as wrong:
        raise Wrong(wrong.message, share=0.5) from None
    best = max(scores, key=lambda name: scores[name]["auroc_hard"])
    return (
        f"Both stand. On hard negatives {best} has the higher AUROC, "
        f"{scores[best]['auroc_hard']:.3f}: the number that a transformer has to beat."
    )


# --- 00.6

reflection("00.6", "What a negative is", 3, "reflection_00")
