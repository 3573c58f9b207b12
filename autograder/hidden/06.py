"""Hidden checks of lesson 06; how such a file is read stands in 00.py."""

import numpy as np

from coursekit.checks import Wrong, expect
from coursekit.evaluation.embedding_figures import neighbor_purity
from coursekit.grading.held_against import baseline_again, begins_fresh, different, stays_frozen


def fresh_06_1(rng):
    calls = []
    for n, k in ((10, 2), (15, 3), (24, 5)):
        binder = rng.permutation(n) < n // 3 + 1
        calls.append((rng.normal(size=(n, 3)) * rng.uniform(0.2, 5, (n, 1)), binder, k))
    return {"purity": calls}


def check_06_1(purity, fresh):
    """Other crowds, with binders anywhere among them."""
    for call, found in fresh["purity"]:
        if not abs(expect.number("purity", found) - neighbor_purity(*call)) < 1e-6:
            raise Wrong("`purity` is right for the examples only.", share=0.2)


def _contrast(vectors, binder, temperature):
    """Equation 2 of Khosla et al. with binders as anchors."""
    pull = np.exp(vectors @ vectors.T / temperature)
    np.fill_diagonal(pull, 0)
    shares = pull / pull.sum(axis=1, keepdims=True)
    pairs = np.flatnonzero(binder)
    return -np.mean([np.log(shares[i, j]) for i in pairs for j in pairs if i != j])


def fresh_06_3(rng):
    import torch

    calls = []
    for n in (5, 8, 14):
        vectors = rng.normal(size=(n, 4))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        binder = torch.tensor(rng.permutation(n) < n // 2)
        calls.append(
            (torch.tensor(vectors, dtype=torch.float32), binder, float(rng.uniform(0.2, 1)))
        )
    return {"my_contrast": calls}


def check_06_3(my_contrast, fresh):
    """Other batches and temperatures."""
    for (vectors, binder, temperature), found in fresh["my_contrast"]:
        right = _contrast(vectors.numpy().astype(float), binder.numpy(), temperature)
        if not np.isclose(expect.number("my_contrast", found), right, rtol=1e-3):
            raise Wrong("`my_contrast` is right for the examples only.", share=0.2)


def check_06_4(contrastive, loss_first, loss_last):
    """The model began with pretrained weights."""
    begins_fresh("contrastive", contrastive)


def check_06_5(frozen, full, contrastive, forest, table, beats):
    """Four runs, each of which did what its name says."""
    stays_frozen("frozen", frozen)
    different(frozen=frozen, full=full, contrastive=contrastive, forest=forest)
    for name, run in (("full", full), ("contrastive", contrastive)):
        begins_fresh(name, run)
    baseline_again("forest", forest, "forest")
