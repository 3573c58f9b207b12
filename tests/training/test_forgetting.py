"""Forgetting: measured on held-out pretraining molecules, and what replay does against it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from tiny import PRETRAINING, tiny_task

from coursekit.data import load_task
from coursekit.data.binding_task import BindingTask
from coursekit.errors import EncoderError
from coursekit.models import load_classifier
from coursekit.models.masked_head import masked_model, masked_token_loss, scores_under
from coursekit.models.pretraining_molecules import heldout_molecules
from coursekit.runs import Run
from coursekit.training import FullFinetune, HeadOnlyFinetune, Replay

FULL = FullFinetune(batch_size=8, lr=3e-3)


def test_what_the_run_says_is_what_a_measurement_finds(task, make_model):
    model = make_model()
    before = masked_token_loss(model, PRETRAINING)
    run = FULL.fit(model, task, epochs=2, heldout=PRETRAINING)
    after = masked_token_loss(model, PRETRAINING)
    assert after != before
    assert run.forgetting == {
        "molecules": 5,
        "masked_tokens": before["masked_tokens"],
        "fingerprint": hashlib.sha256("\n".join(PRETRAINING).encode()).hexdigest(),
        "loss_before": pytest.approx(before["loss"], abs=1e-6),
        "loss_after": pytest.approx(after["loss"], abs=1e-6),
        "accuracy_before": pytest.approx(before["accuracy"], abs=1e-6),
        "accuracy_after": pytest.approx(after["accuracy"], abs=1e-6),
    }
    assert Run.from_record(run.record()).forgetting == run.forgetting
    sentence = f"masked-token loss {before['loss']:.3f} before, {after['loss']:.3f} after, on 5 "
    assert sentence in str(run)
    assert sentence in run._repr_html_()


def test_measuring_changes_nothing_else(task, make_model, assert_same_bits):
    plain = FULL.fit(make_model(), task, epochs=2, seed=1)
    assert plain.forgetting is None
    assert_same_bits(FULL.fit(make_model(), task, epochs=2, seed=1, heldout=PRETRAINING), plain)


def test_no_molecules_measure_nothing():
    model = load_classifier("coursekit-mini")
    assert HeadOnlyFinetune().fit(model, tiny_task(), epochs=1, heldout=()).forgetting is None


def test_a_resumed_run_says_the_same(task, make_model, tmp_path):
    whole = FULL.fit(make_model(), task, epochs=2, heldout=PRETRAINING, checkpoint_dir=tmp_path)
    model = make_model(seed=8)  # other weights: measured anew, "before" would be another number
    model.origin = make_model().origin
    again = FULL.fit(model, task, epochs=2, heldout=PRETRAINING, checkpoint_dir=tmp_path)
    assert again.forgetting == whole.forgetting


def test_an_encoder_without_its_masked_token_head_is_not_measured(task, make_model):
    model = make_model()
    model.source = None
    assert FULL.fit(model, task, epochs=1).forgetting is None
    assert FULL.fit(model, task, epochs=1, heldout=()).forgetting is None
    with pytest.raises(EncoderError, match="bert has no masked-token head"):
        FULL.fit(model, task, epochs=1, heldout=PRETRAINING)


def test_a_frozen_encoder_forgets_nothing():
    model = load_classifier("coursekit-mini")
    run = HeadOnlyFinetune().fit(model, tiny_task(), epochs=1)
    assert run.forgetting["molecules"] == 200
    assert run.forgetting["loss_after"] == run.forgetting["loss_before"]
    assert 0.05 < run.forgetting["loss_before"] < 0.1


@pytest.mark.slow
def test_replay_lowers_forgetting_on_the_bundled_encoder():
    """Same seed, same order, with and without: and per molecule, so that no few decide it."""
    task = load_task("sample")
    parts = {p: task.part(p).sample(n, random_state=0).reset_index(drop=True) for p, n in SIZES}
    small = BindingTask("small", settings=dict(task.settings), **parts)
    losses, runs = {}, {}
    molecules = heldout_molecules(60)
    for name, penalties in {"plain": (), "replayed": (Replay(0.5),)}.items():
        model = load_classifier("coursekit-mini", pooling="mean")
        strategy = FullFinetune(lr=1e-3, batch_size=16, warmup=0.2, penalties=penalties)
        runs[name] = strategy.fit(model, small, epochs=2, seed=0, heldout=molecules)
        whole = masked_model(model)
        losses[name] = np.array([scores_under(whole, model, [m])["loss"] for m in molecules])
    before = runs["plain"].forgetting["loss_before"]
    assert runs["replayed"].forgetting["loss_before"] == before
    plain, replayed = (runs[name].forgetting["loss_after"] for name in ("plain", "replayed"))
    assert plain > replayed > before
    assert plain - before > 2 * (replayed - before)
    gain = losses["plain"] - losses["replayed"]
    assert gain.mean() > 3 * gain.std(ddof=1) / len(gain) ** 0.5


SIZES = (("train", 96), ("valid", 24), ("test", 24))


def test_random_numbers_of_the_run_are_untouched_by_what_is_measured(task, make_model):
    drawn = []
    for heldout in (None, PRETRAINING):
        HeadOnlyFinetune().fit(make_model(), task, epochs=1, heldout=heldout)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
