"""Hidden checks of lesson 00. The grader is given this file; nothing in coursekit imports it.

``check_00_2`` takes what the public check of 00.2 takes. ``Wrong`` takes points, ``CannotCheck``
asks for a person. ``fresh_00_2`` draws inputs for functions, anew for each submission; their check
gets ``fresh`` as well, by variable, pairs of arguments and result.
"""

from functools import lru_cache

import numpy as np

from coursekit.checks import Wrong, expect
from coursekit.data import load_selection
from coursekit.data.schema import enrichment
from coursekit.grading.held_against import baseline_again


@lru_cache(maxsize=1)
def _reads_per_load():
    """Of the bundled selection; a course on another one names it here."""
    table = load_selection("sample")
    binders = table[table["target_enrichment"] >= 1]
    reads = binders[["seq_target_1", "seq_target_2", "seq_target_3"]].to_numpy().sum()
    return float(reads / binders["seq_load"].sum())


def fresh_00_2(rng):
    return {"my_enrichment": [(int(t), int(m)) for t, m in rng.integers(1, 400, (5, 2))]}


def check_00_2(my_enrichment, fresh):
    """The formula, and not the six numbers that the public check asks for."""
    for (target, matrix), found in fresh["my_enrichment"]:
        right = float(enrichment(np.array([target]), np.array([matrix]))[0])
        if not abs(expect.number("my_enrichment", found) - right) < 2e-3 * right:
            raise Wrong(f"`my_enrichment({target}, {matrix})` is another number.", share=0.2)


def check_00_3(reads_per_load, p_silent):
    """The public check follows the student's own rate; here is the rate itself."""
    expect.close("reads_per_load", reads_per_load, _reads_per_load(), rel=0.02)


def fresh_00_4(rng):
    bits = rng.integers(0, 2, (5, 2, 24)).astype(np.uint8)
    return {"tanimoto": [(a, b) for a, b in bits]}


def check_00_4(tanimoto, fresh):
    """Shared bits over all bits, for fingerprints of another length."""
    for (a, b), found in fresh["tanimoto"]:
        if not abs(expect.number("tanimoto", found) - (a & b).sum() / (a | b).sum()) < 1e-3:
            raise Wrong("`tanimoto` is right for the examples only.", share=0.2)


def check_00_5(logistic, forest, baselines):
    """Both runs are what the baselines give."""
    baseline_again("logistic", logistic, "logistic")
    baseline_again("forest", forest, "forest")
