"""Hidden checks of lesson 05; how such a file is read stands in 00.py."""

from functools import lru_cache
from hashlib import sha256

import numpy as np

import coursekit as ck
from coursekit.checks import CannotCheck, Wrong, expect
from coursekit.grading.held_against import begins_fresh, different
from coursekit.models.pretraining_molecules import heldout_molecules


@lru_cache(maxsize=1)
def _before():
    """Masked-token loss of the bundled encoder as it was published."""
    model = ck.load_classifier("coursekit-mini", pooling="mean")
    return float(ck.masked_token_loss(model, heldout_molecules(200))["loss"])


def _began_where_pretraining_ended(name, run):
    told = run.forgetting
    molecules = sha256("\n".join(heldout_molecules(200)).encode()).hexdigest()
    encoder = run.strategy.get("encoder") or {}
    if told["fingerprint"] != molecules or encoder.get("name") != "coursekit-mini":
        return  # other molecules or another encoder, of which nothing is known here
    if abs(told["loss_before"] / _before() - 1) > 0.03:
        raise CannotCheck(
            f"`{name}` says {told['loss_before']:.3f} before training, the bundled encoder has "
            f"{_before():.3f}"
        )


def check_05_1(before, after, plain):
    """The encoder was the pretrained one, measured here again."""
    begins_fresh("plain", plain)
    _began_where_pretraining_ended("plain", plain)


def fresh_05_2(rng):
    import torch

    calls = []
    for n in (3, 7, 11):
        w, start = (torch.tensor(rng.normal(size=n), dtype=torch.float32) for _ in range(2))
        calls.append((w, start, float(rng.uniform(0.5, 50))))
    return {"penalty": calls, "gradient": calls}


def check_05_2(penalty, gradient, fresh):
    """Other weights and strengths."""
    for name in ("penalty", "gradient"):
        for (w, start, strength), found in fresh[name]:
            way = w.numpy() - start.numpy()
            right = strength * way if name == "gradient" else strength / 2 * (way**2).sum()
            own = np.asarray(found, dtype=float) if np.ndim(found) else expect.number(name, found)
            if np.shape(own) != np.shape(right) or not np.allclose(own, right, rtol=1e-3):
                raise Wrong(f"`{name}` is right for the examples only.", share=0.2)


def check_05_3(plain, l2sp, ewc, replay, lora):
    """Five runs, each held by more than nothing."""
    for name, run in (("l2sp", l2sp), ("ewc", ewc), ("replay", replay)):
        (held,) = run.strategy["penalties"]
        if not max(held.get("strength", 0), held.get("weight", 0)) > 0:
            raise Wrong(f"`{name}` is held with a strength of 0.", share=0.5)
    runs = {"plain": plain, "l2sp": l2sp, "ewc": ewc, "replay": replay, "lora": lora}
    different(**runs)
    for name, run in runs.items():
        begins_fresh(name, run)
        _began_where_pretraining_ended(name, run)


def fresh_05_4(rng):
    calls = []
    for n in (3, 5, 8):
        forgotten, auroc = rng.uniform(0, 1, n).round(3), rng.uniform(0.5, 0.9, n).round(3)
        forgotten[-1], auroc[-1] = forgotten[0], auroc[0]  # two that are exactly alike
        calls.append((forgotten.tolist(), auroc.tolist()))
    return {"worth_having": calls}


def check_05_4(worth_having, fresh):
    """Other fronts, each with two approaches that are alike."""
    for (forgotten, auroc), found in fresh["worth_having"]:
        points = list(zip(forgotten, auroc, strict=True))
        right = [
            i
            for i, (lost, score) in enumerate(points)
            if not any(a <= lost and b >= score and (a, b) != (lost, score) for a, b in points)
        ]
        if sorted({int(i) for i in expect.numbers("worth_having", found).ravel()}) != right:
            raise Wrong("`worth_having` is right for the examples only.", share=0.2)


def fresh_05_5(rng):
    names = [str(one) for one in rng.permutation(["frozen", "LoRA", "full", "partial", "mine"])]
    minutes = dict(zip(names, rng.uniform(1, 9, 5).round(2).tolist(), strict=True))
    scores = dict(zip(names, rng.uniform(0.5, 0.9, 5).round(4).tolist(), strict=True))
    return {"pick": [(minutes, scores, budget) for budget in (0.5, 3.005, 6.005, 20.0)]}


def check_05_5(pick, advice, fresh):
    """Other approaches, times and budgets; and an advice that fits."""
    for (minutes, scores, budget), found in fresh["pick"]:
        fits = [name for name in minutes if minutes[name] <= budget]
        if found != (max(fits, key=scores.get) if fits else None):
            raise Wrong("`pick` is right for the examples only.", share=0.2)
    fits = advice.get("fits") or {}
    if advice.get("choice") in fits and any(fits.values()) and not fits[advice["choice"]]:
        raise CannotCheck("`advice` chooses what does not fit")
