"""Hidden checks of lesson 01; how such a file is read stands in 00.py."""

import re

import numpy as np

from coursekit.checks import CannotCheck, Wrong, expect
from coursekit.checks.truth import scored, the_task
from coursekit.grading.held_against import BEYOND_FROZEN, baseline_again, stays_frozen

SMILES = (
    "BrCCN",
    "O=C(Cl)c1ccccc1",
    "C[N+](C)(C)CC",
    "Cc1ccc(Br)cc1",
    "[O-]C(=O)CCl",
    "N#Cc1c[nH]nc1",
)
TOKEN = re.compile(r"\[[^\]]+\]|Br|Cl|.")


def fresh_01_1(rng):
    return {"split_smiles": [(str(one),) for one in rng.permutation(SMILES)[:4]]}


def check_01_1(split_smiles, fresh):
    """Molecules that the public check does not have."""
    for (smiles,), found in fresh["split_smiles"]:
        if found != TOKEN.findall(smiles):
            raise Wrong(f"`split_smiles({smiles!r})` gives other tokens.", share=0.2)


def fresh_01_2(rng):
    import torch

    hidden = rng.normal(size=(3, 5, 4)).astype(np.float32)
    mask = (np.arange(5) < rng.integers(1, 6, (3, 1))).astype(int)
    return {"mean_pool": [(torch.tensor(hidden), torch.tensor(mask))]}


def check_01_2(mean_pool, fresh):
    """Another shape, other lengths."""
    for (hidden, mask), found in fresh["mean_pool"]:
        real = mask.numpy()[:, :, None]
        right = (hidden.numpy() * real).sum(1) / real.sum(1)
        if not np.allclose(expect.numbers("mean_pool", found, right.shape), right, atol=1e-4):
            raise Wrong("`mean_pool` is right for the example only.", share=0.2)


def check_01_3(frozen_scores, task):
    """A head that is too good has seen more than vectors."""
    known = the_task("task", task)
    hard = scored(np.asarray(frozen_scores, dtype=float), known)["auroc_hard"]
    if hard > BEYOND_FROZEN:
        raise CannotCheck(f"frozen vectors with a hard AUROC of {hard:.3f}; how was it made?")


def check_01_4(frozen, forest, table):
    """Nothing but the head trained, and the forest is the forest."""
    stays_frozen("frozen", frozen)
    baseline_again("forest", forest, "forest")


def fresh_01_5(rng):
    return {"precision_at": rng.uniform(0.01, 0.99, (5, 3)).round(4).tolist()}


def check_01_5(precision_at, fresh):
    """Other rates."""
    for (tpr, fpr, prevalence), found in fresh["precision_at"]:
        right = tpr * prevalence / (tpr * prevalence + fpr * (1 - prevalence))
        if not abs(expect.number("precision_at", found) - right) < 1e-3 * right:
            raise Wrong("`precision_at` is right for the examples only.", share=0.2)
