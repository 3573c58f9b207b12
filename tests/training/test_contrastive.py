"""Contrastive training: the loss against a loop, batches with binders, and what it does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import STRATEGIES, tiny_task

from coursekit.errors import TrainingError
from coursekit.lessons.live import LiveView
from coursekit.runs import Run
from coursekit.training import ContrastiveFinetune, FinetuneStrategy, Phase
from coursekit.training.contrast import Contrastive, stratified_batches, supervised_contrast
from coursekit.training.contrastive import add_projection

TINY = STRATEGIES["contrastive"]


def directions(n: int, width: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(n, width, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=1)


# ---------------------------------------------------------------- the loss


def naive(vectors, binder, temperature):
    """Equation 2 of Khosla et al., anchors that are binders, one term after the other."""
    anchors = [i for i, b in enumerate(binder) if b]
    losses = []
    for i in anchors:
        others = [a for a in range(len(vectors)) if a != i]
        below = sum(math.exp(float(vectors[i] @ vectors[a]) / temperature) for a in others)
        positives = [p for p in anchors if p != i]
        terms = [
            -math.log(math.exp(float(vectors[i] @ vectors[p]) / temperature) / below)
            for p in positives
        ]
        losses.append(sum(terms) / len(positives))
    return sum(losses) / len(losses)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.sampled_from([0.07, 0.1, 0.5, 2.0]))
def test_the_loss_is_that_of_the_loop(binders, negatives, temperature):
    vectors = directions(binders + negatives, seed=binders)
    binder = torch.tensor([True] * binders + [False] * negatives)
    shuffled = torch.randperm(len(binder))
    found = supervised_contrast(vectors[shuffled], binder[shuffled], temperature)
    assert float(found) == pytest.approx(naive(vectors, binder.tolist(), temperature), rel=1e-9)


def test_in_closed_form():
    """Binders all at one place, n others opposite: -log(1 / (k - 1 + n exp(-2 / t)))."""
    k, n, temperature = 3, 4, 0.5
    vectors = torch.zeros(k + n, 2, dtype=torch.float64)
    vectors[:k, 0], vectors[k:, 0] = 1.0, -1.0
    binder = torch.arange(k + n) < k
    expected = math.log(k - 1 + n * math.exp(-2 / temperature))
    assert float(supervised_contrast(vectors, binder, temperature)) == pytest.approx(expected)


def test_its_gradient_by_finite_differences():
    vectors = directions(7).requires_grad_()
    binder = torch.tensor([1, 1, 0, 1, 0, 0, 0], dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda v: supervised_contrast(v, binder, 0.3), (vectors,))


def test_the_nearest_negative_is_pushed_hardest():
    """A hard negative beside the binders gets more of the gradient than an easy one far away."""
    vectors = torch.tensor([[1.0, 0.0], [0.96, 0.28], [0.8, 0.6], [-1.0, 0.0]]).requires_grad_()
    binder = torch.tensor([True, True, False, False])
    supervised_contrast(vectors, binder, 0.1).backward()
    near, far = vectors.grad[2].norm(), vectors.grad[3].norm()
    assert near > 100 * far
    assert vectors.grad[2] @ vectors.detach()[0] > 0  # a step down leads away from the binder


@pytest.mark.parametrize("binders", [0, 1])
def test_fewer_than_two_binders_pull_nothing(binders):
    vectors = directions(5).requires_grad_()
    loss = supervised_contrast(vectors, torch.arange(5) < binders, 0.1)
    loss.backward()
    assert loss.item() == 0.0
    assert not vectors.grad.any()


# ---------------------------------------------------------------- batches


@settings(max_examples=50, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(0, 80),
    st.integers(0, 80),
    st.integers(2, 32),
    st.integers(0, 9),
)
def test_every_batch_has_enough_binders_and_every_molecule_a_batch(
    binders, easy, hard, size, least
):
    kinds = np.array([""] * binders + ["easy"] * easy + ["hard"] * hard)
    rng = np.random.default_rng(0)
    batches = stratified_batches(rng.permutation(kinds), size, least, rng)
    kinds = np.random.default_rng(0).permutation(kinds)
    assert len(batches) == -(-len(kinds) // size)
    assert set(np.concatenate(batches)) == set(range(len(kinds)))
    negatives = [i for batch in batches for i in batch if kinds[i] != ""]
    assert len(negatives) == len(set(negatives)) == easy + hard
    for batch in batches:
        assert len(set(batch)) == len(batch)
        assert (kinds[batch] == "").sum() >= min(least, binders)
    for kind in set(kinds) - {""}:  # each batch has its share of each kind
        counts = [int((kinds[batch] == kind).sum()) for batch in batches]
        assert max(counts) - min(counts) <= 1


# ---------------------------------------------------------------- a run


def cosines(model, task) -> dict[str, float]:
    """Mean similarity of binders to each other and to either set of negatives, pooled vectors."""
    part = task.train
    vectors = model.embed(list(part["smiles"]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kinds = part["negative_set"].to_numpy()
    binders = vectors[kinds == ""]
    among = (binders @ binders.T)[~np.eye(len(binders), dtype=bool)].mean()
    return {"": among} | {k: (binders @ vectors[kinds == k].T).mean() for k in ("easy", "hard")}


def test_hard_negatives_are_pushed_away(task, make_model):
    model = make_model(dropout=False, pooling="mean")
    before = cosines(model, task)
    strategy = replace(TINY, lr=3e-3, contrastive_epochs=12, warmup=0.0)
    run = strategy.fit(model, task, epochs=14)
    after = cosines(model, task)
    for kind in ("hard", "easy"):
        assert after[""] - after[kind] > before[""] - before[kind] + 0.1
    losses = run.history.query("split == 'valid'")["contrastive_loss"].dropna()
    assert len(losses) == 12
    assert losses.iloc[-1] < losses.iloc[0] - 0.1


def test_what_the_history_says(task, make_model):
    run = TINY.fit(make_model(), task, epochs=5)
    first = run.history[run.history["phase"] == 0]
    second = run.history[run.history["phase"] == 1]
    assert set(first["epoch"]) == {0, 1}
    assert first["contrastive_loss"].notna().all()
    assert first["loss"].isna().all()
    assert second["contrastive_loss"].isna().all()
    assert second["loss"].notna().all()
    assert run.notes[-1].startswith("weights of epoch ")
    assert int(run.notes[-1].split()[3].strip(",")) >= 2  # never one of the contrastive stage
    assert Run.from_record(run.record()).history.shape == run.history.shape
    assert "contrastive" not in str(run.plot().alt)
    (phase, other) = run.strategy["phases"]
    assert phase["objective"] == {"temperature": 0.2, "binders": 2}
    assert "objective" not in other


def test_the_live_view_shows_the_epochs_that_have_a_classifier(task, make_model):
    rows: list[dict] = []
    TINY.fit(make_model(), task, epochs=4, tracker=rows.append)
    page = LiveView("tiny", 4, 4, ["contrastive", "head only"], rows).html("", final=True)
    assert "over 2 epochs validation AUROC" in page
    assert page.count('<th scope="row">') == 4
    assert "nan" not in page


@pytest.mark.parametrize("then", ["head", "full"])
def test_the_second_stage(then, task, make_model, weights, moved):
    model, at_start = make_model(), []
    strategy = replace(TINY, then=then)

    def watch(row):
        if row["split"] == "valid":
            at_start.append(weights(model))

    strategy.fit(model, task, epochs=2, tracker=watch)
    changed = moved(model, at_start[0], at_start[1])
    inside = {group for group in model.groups if group != "projection"}
    assert changed == ({"head"} if then == "head" else inside)


def test_the_classifier_predicts_without_the_projection(task, make_model):
    model = make_model()
    before = model.predict(["CCO", "CCN"])
    add_projection(model, 16)
    np.testing.assert_array_equal(model.predict(["CCO", "CCN"]), before)
    groups = list(model.groups)
    assert groups[-2:] == ["projection", "head"]
    add_projection(model, 16)
    assert list(model.groups) == groups
    with pytest.raises(TrainingError, match="has a projection of width 16 already"):
        add_projection(model, 8)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"temperature": 0}, "temperature is 0; a positive number"),
        ({"binders": 1}, "binders is 1; a whole number from 2 on"),
        ({"projection": 0}, "projection is 0; a whole number from 1 on"),
        ({"then": "LoRA"}, "then is 'LoRA'; 'head' or 'full'"),
        ({"contrastive_epochs": 0}, "contrastive_epochs is 0; None, or a whole"),
        ({"head_lr": -1}, "head_lr is -1"),
    ],
)
def test_a_bad_setting_is_named(arguments, words):
    with pytest.raises(TrainingError, match=words):
        ContrastiveFinetune(**arguments)


def test_epochs_for_the_head_must_be_left(make_model):
    with pytest.raises(TrainingError, match="3 of 3 epochs are contrastive and none is left"):
        ContrastiveFinetune(contrastive_epochs=3).plan(make_model(), 3)
    plan = ContrastiveFinetune().plan(make_model(), 7)
    assert [phase.epochs for phase in plan.phases] == [3, 4]
    assert "projection" in str(plan)


def test_one_binder_is_too_few(make_model):
    task = tiny_task({"train": 3, "valid": 6, "test": 6})
    with pytest.raises(TrainingError, match="train part has 1 binders; contrastive training pulls"):
        TINY.fit(make_model(), task, epochs=2)


def test_a_contrastive_phase_without_a_projection(task, make_model):
    class Forgotten(FinetuneStrategy):
        def phases(self, model, epochs):
            return [Phase({"head": 1e-3}, epochs, objective=Contrastive())]

    with pytest.raises(TrainingError, match=r"no projection; call .*add_projection in prepare"):
        Forgotten().fit(make_model(), task, epochs=1)
