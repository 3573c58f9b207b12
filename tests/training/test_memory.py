"""Memory that runs out: half as many molecules at once, the same step, and it is said."""

from __future__ import annotations

import gc
import signal
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import EPOCHS, STRATEGIES

from coursekit.errors import TrainingError
from coursekit.models.memory import is_out_of_memory
from coursekit.training import ContrastiveFinetune, FullFinetune
from coursekit.training.contrast import Contrast
from coursekit.training.retention import Retention
from coursekit.training.session import Session
from coursekit.training.step import gradients

try:
    torch.empty(10**15)
except RuntimeError as real:
    CPU_ERROR = str(real)  # as this version of torch words it

ERRORS = {
    "gpu": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": lambda: RuntimeError(CPU_ERROR),
    "numpy": MemoryError,
}


@pytest.fixture
def holds(monkeypatch):
    """A memory that holds so many molecules at once, and a list of the sizes that were tried."""

    def limit(most: int, kind: str = "gpu", from_step: int = 0, in_backward: bool = False):
        tried: list[int] = []

        def shorten(owner, method):
            whole = getattr(owner, method)

            def short(self, rows):
                tried.append(len(rows))
                found = whole(self, rows)
                at = self.at if owner is Session else self.session.at
                if len(rows) > most and at.step >= from_step and found.requires_grad:
                    if not in_backward:
                        raise ERRORS[kind]()
                    found.register_hook(lambda _: (_ for _ in ()).throw(ERRORS[kind]()))
                return found

            monkeypatch.setattr(owner, method, short)

        shorten(Session, "logits")
        shorten(Contrast, "vectors")
        return tried

    return limit


def plain(strategy):
    """The strategy without dropout of its own."""
    return replace(strategy, dropout=0.0) if hasattr(strategy, "dropout") else strategy


@pytest.fixture
def model_without_dropout(make_model):
    def make():
        model = make_model(dropout=False)
        model.head[0].p = 0.0
        return model

    return make


@pytest.mark.parametrize(
    ("strategy", "in_backward"),
    [
        *((strategy, False) for strategy in STRATEGIES.values()),
        (STRATEGIES["full"], True),
        (STRATEGIES["contrastive"], True),
    ],
    ids=[*STRATEGIES, "full, in the backward pass", "contrastive, in the backward pass"],
)
def test_the_result_is_that_of_enough_memory(
    strategy, in_backward, task, model_without_dropout, weights, holds, capsys
):
    """Without dropout: same losses, same weights, same scores, to floating-point tolerance."""
    strategy = replace(plain(strategy), accumulate=2)
    one, other = model_without_dropout(), model_without_dropout()
    whole = strategy.fit(one, task, epochs=EPOCHS)
    tried = holds(3, in_backward=in_backward)
    run = strategy.fit(other, task, epochs=EPOCHS)
    found = tried.index(2)
    # Contrastive batches are of 7 and 8; what has no graph for now is taken to fit.
    assert tried[:found] == ([7, 4, 3, 4] if isinstance(strategy, ContrastiveFinetune) else [8, 4])
    assert max(tried[found:]) == 2  # found once, kept for the rest of the run
    assert whole.cost["steps"] == run.cost["steps"]
    columns = ["loss", "auroc_easy", "auroc_hard"]
    np.testing.assert_allclose(run.history[columns], whole.history[columns], atol=2e-5)
    np.testing.assert_allclose(run.predictions["score"], whole.predictions["score"], atol=2e-5)
    # Adam makes steps of the learning rate out of gradients that are little but rounding.
    most = 2e-3 if isinstance(strategy, ContrastiveFinetune) else 1e-4
    for (name, a), b in zip(weights(one).items(), weights(other).values(), strict=True):
        assert torch.allclose(a, b, atol=most, rtol=0), name
    a, b = (torch.cat([w.flatten() for w in weights(m).values()]) for m in (one, other))
    assert torch.dist(a, b) < 5e-4 * a.norm()
    assert [note for note in run.notes if "out of memory" in note] == [
        f"out of memory in step 1: from there on at most {fits} molecules go through the model at "
        "once; a step still learns from as many as before"
        for fits in (4, 2)
    ]
    assert "Tried to allocate" in capsys.readouterr().out
    assert "Tried to allocate" not in str(run.record())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_contrastive_gradients_in_pieces_are_those_of_the_whole_batch(precision, task, make_model):
    """With dropout: what a piece draws without a graph it draws again with one."""
    strategy = replace(STRATEGIES["contrastive"], precision=precision)
    found = Session(strategy, make_model(pooling="mean"), task, EPOCHS, 0, None, None)
    found.open_phase()
    (rows,) = found.windows(0)[0]
    trained = [p for p in found.model.parameters() if p.requires_grad]
    vectors = found.contrast.vectors

    def learned() -> list[torch.Tensor]:
        torch.manual_seed(0)
        found.optimizer.zero_grad()
        gradients(found, [rows], len(rows))
        return [p.grad.clone() for p in trained if p.grad is not None]

    found.at.fits = 3
    in_pieces = learned()
    # As one batch and one graph, but with what the pieces have drawn.
    found.at.fits = None
    found.contrast.vectors = lambda rows: torch.cat(
        [vectors(rows[i : i + 3]) for i in range(0, len(rows), 3)]
    )
    at_once = learned()
    assert len(in_pieces) == len(at_once) > 30
    for a, b in zip(in_pieces, at_once, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


@pytest.mark.parametrize(
    ("strategy", "kind"),
    [*((s, "gpu") for s in STRATEGIES.values()), *((STRATEGIES["full"], k) for k in ERRORS)],
)
def test_with_dropout_it_is_the_run_with_smaller_passes(
    strategy, kind, task, make_model, assert_same_bits, holds, monkeypatch
):
    """The failed pass has drawn random numbers; the step begins again with those before it."""
    with monkeypatch.context() as patch:
        # By hand: whole batches up to step 5, passes of two from there on.
        logits, windows, rates = Session.logits, Session.windows, Session.set_learning_rates

        def cut(self, epoch):
            if self.contrast is not None:  # its batches stay whole, and are told what fits
                return windows(self, epoch)
            first = epoch * len(windows(self, epoch))
            return [
                [r[i : i + 2] for r in w for i in range(0, len(r), 2)] if first + n >= 5 else w
                for n, w in enumerate(windows(self, epoch))
            ]

        def cut_too(self, step, *given):
            return replay(self, step, *given[:-1], 2 if step >= 5 else None)

        def tell(self, through_epoch):
            self.at.fits = 2 if self.contrast is not None and self.at.step >= 5 else None
            return rates(self, through_epoch)

        replay = Retention.replay
        patch.setattr(Session, "set_learning_rates", tell)
        patch.setattr(Session, "windows", cut)
        patch.setattr(Retention, "replay", cut_too)
        by_hand = strategy.fit(make_model(), task, epochs=EPOCHS)
        assert Session.logits is logits
    tried = holds(3, kind, from_step=5)
    run = strategy.fit(make_model(), task, epochs=EPOCHS)
    assert tried.count(8) > 3
    assert_same_bits(run, by_hand)


def test_what_was_found_is_kept_over_a_stop(task, make_model, assert_same_bits, holds, tmp_path):
    strategy = STRATEGIES["progressive"]
    tried = holds(3, from_step=2)
    whole = strategy.fit(make_model(), task, epochs=EPOCHS)
    del tried[:]
    model = make_model()
    hook = model.head.register_forward_pre_hook(
        lambda head, _: (
            signal.raise_signal(signal.SIGINT) if head.training and tried.count(2) == 5 else None
        )
    )
    stopped = strategy.fit(model, task, epochs=EPOCHS, checkpoint_dir=tmp_path)
    hook.remove()
    assert stopped.interrupted
    del tried[:]
    run = strategy.fit(make_model(), task, epochs=EPOCHS, checkpoint_dir=tmp_path)
    assert max(tried) == 2
    assert_same_bits(run, whole)
    assert run.notes == whole.notes


def test_not_even_one(task, make_model, holds, weights):
    model = make_model()
    before = weights(model)
    holds(0)
    words = r"memory of cpu does not hold .* one molecule \(.* (\d+) tokens\): CUDA out of memory.*"
    with pytest.raises(TrainingError, match=words + "gradient_checkpointing=True"):
        FullFinetune(batch_size=8).fit(model, task, epochs=1)
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())
    assert all(p.grad is None for p in model.parameters())


def test_another_error_is_not_taken_for_it(task, make_model, monkeypatch):
    def broken(self, rows):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Session, "logits", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        FullFinetune().fit(make_model(), task, epochs=1)
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
    assert not is_out_of_memory(ValueError(CPU_ERROR))


def test_the_failed_pass_is_let_go_before_the_next_one(task, make_model, monkeypatch):
    """What made the memory run out must not lie there while half of it is tried."""
    session = Session(FullFinetune(batch_size=30), make_model(), task, 1, 0, None, None)
    session.open_phase()
    kept: list[weakref.ref] = []
    alive: list[int] = []
    logits = Session.logits

    class Box:
        """What a graph keeps for its backward pass."""

        def __init__(self, tensor):
            self.tensor = tensor.detach()  # or a graph that keeps its own output never ends
            kept.append(weakref.ref(self))

    def short(self, rows):
        alive.append(sum(box() is not None for box in kept))
        found = logits(self, rows)
        if len(rows) > 10:
            raise ERRORS["gpu"]()
        return found

    monkeypatch.setattr(Session, "logits", short)
    gc.disable()
    try:
        with torch.autograd.graph.saved_tensors_hooks(Box, lambda box: box.tensor):
            window = session.windows(0)[0]
            gradients(session, window, len(window[0]))
    finally:
        gc.enable()
    assert len(kept) > 100
    assert len(alive) > 4
    assert not any(alive)


@pytest.mark.parametrize("kind", ERRORS)
def test_predicting_goes_on_in_halves(kind, task, make_model):
    model, tried = make_model(), []
    smiles = list(task.train["smiles"])
    expected = model.predict(smiles)

    def short(_, args, kwargs):
        tried.append(len(kwargs["input_ids"]))
        if tried[-1] > 9:
            raise ERRORS[kind]()

    model.train()
    hook = model.encoder.register_forward_pre_hook(short, with_kwargs=True)
    assert model.predict(smiles, batch_size=30) == pytest.approx(expected, abs=1e-6)
    assert tried == [30, 15, 7, 7, 7, 7, 2]
    assert model.training
    assert not torch.is_inference_mode_enabled()
    hook.remove()
    model.encoder.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(ERRORS[kind]()))
    with pytest.raises(type(ERRORS[kind]())):
        model.predict(smiles)
