"""L2-SP, EWC and replay: by hand, under every strategy, and what they are refused for."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import EPOCHS, PENALTIES, PRETRAINING, STRATEGIES
from torch.optim.optimizer import register_optimizer_step_pre_hook

from coursekit.data.batches import pad
from coursekit.errors import EncoderError, TrainingError
from coursekit.models.masked_head import masked_model
from coursekit.models.masking import mask_tokens
from coursekit.training import (
    EWC,
    L2SP,
    FullFinetune,
    HeadOnlyFinetune,
    LoRAFinetune,
    ProgressiveUnfreeze,
    Replay,
    ScheduledFinetune,
    rebuild,
)
from coursekit.training.anchors import Anchors
from coursekit.training.optimizer import make_optimizer
from coursekit.training.processes import Processes
from coursekit.training.replay import Replayer
from coursekit.training.session import Session

# One step on all thirty molecules, nothing clipped, no warm-up: an arithmetic that fits on paper.
ONE_STEP = {"batch_size": 30, "clip": 1e9, "decay": "constant", "warmup": 0.0, "lr": 1e-3}


def encoder_names(model):
    return [n for group, names in model.groups.items() if group != "head" for n in names]


# ---------------------------------------------------------------- L2-SP and EWC by hand


def test_the_gradient_of_l2sp_is_strength_times_distance(make_model):
    model = make_model()
    names = encoder_names(model)
    anchors = Anchors(model, names, [L2SP(0.3)])
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).add_(torch.randn_like(model.get_parameter(name)))
    value = anchors.value(model)
    distances = [(model.get_parameter(n) - anchors.start[n]).square().sum() for n in names]
    torch.testing.assert_close(value, 0.15 * sum(distances))
    gradients = torch.autograd.grad(value, [model.get_parameter(n) for n in names])
    before = {n: model.get_parameter(n).detach().clone() for n in names}
    anchors.pull(model, dict.fromkeys(names, 0.01))
    for name, gradient in zip(names, gradients, strict=True):
        torch.testing.assert_close(gradient, 0.3 * (before[name] - anchors.start[name]))
        # The pull is a step down this gradient, with the learning rate and nothing else.
        torch.testing.assert_close(model.get_parameter(name), before[name] - 0.01 * gradient)


def test_ewc_weighs_each_entry_by_its_fisher_over_the_mean(make_model):
    model = make_model()
    names = encoder_names(model)[:3]
    fisher = {n: torch.rand_like(model.get_parameter(n)) for n in names}
    mean = torch.cat([f.flatten() for f in fisher.values()]).mean()
    anchors = Anchors(model, names, [EWC(0.2, PRETRAINING), L2SP(0.1)], fisher)
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).add_(1.0)
    gradients = torch.autograd.grad(anchors.value(model), [model.get_parameter(n) for n in names])
    before = {n: model.get_parameter(n).detach().clone() for n in names}
    shown = anchors.pull(model, dict.fromkeys(names, 0.01))
    for name, gradient in zip(names, gradients, strict=True):
        torch.testing.assert_close(gradient, 0.2 * fisher[name] / mean + 0.1)  # distance is one
        torch.testing.assert_close(model.get_parameter(name), before[name] - 0.01 * gradient)
    entries = sum(f.numel() for f in fisher.values())
    torch.testing.assert_close(shown, torch.tensor(0.5 * (0.2 + 0.1) * entries))


def test_a_pull_never_goes_beyond_the_anchor(make_model):
    model = make_model()
    names = encoder_names(model)
    anchors = Anchors(model, names, [L2SP(1e6)])
    with torch.no_grad():
        model.get_parameter(names[0]).add_(1.0)
    anchors.pull(model, dict.fromkeys(names, 1.0))
    torch.testing.assert_close(model.get_parameter(names[0]).detach(), anchors.start[names[0]])


def adamw_by_hand(weights, gradients, lr, decay, penalty, start):
    """Loshchilov and Hutter's AdamW in float64, and the pull after each step."""
    w, m, v = weights.double().clone(), 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        g = gradient.double()
        w = w - lr * decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - lr * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        w = w - lr * penalty * (w - start.double())
    return w


def test_no_double_decay_in_three_steps_of_adamw_by_hand(make_model):
    model = make_model()
    names = encoder_names(model)
    held, free = names[0], "head.1.weight"
    optimizer = make_optimizer(model, 0.5, held=frozenset(names))
    anchors = Anchors(model, names, [L2SP(0.7)])
    for group in optimizer.param_groups:
        group["lr"] = 0.05
    gradients: dict[str, list[torch.Tensor]] = {held: [], free: []}
    for _ in range(3):
        for name, found in gradients.items():
            found.append(torch.randn_like(model.get_parameter(name)))
            model.get_parameter(name).grad = found[-1].clone()
        optimizer.step()
        anchors.pull(model, dict.fromkeys(names, 0.05))
    first = make_model()  # the same weights, untouched
    for name, decay, penalty in ((held, 0.0, 0.7), (free, 0.5, 0.0)):
        start = first.get_parameter(name).detach()
        expected = adamw_by_hand(start, gradients[name], 0.05, decay, penalty, start)
        torch.testing.assert_close(model.get_parameter(name).detach().double(), expected)


def test_one_step_of_fit_by_hand(task, make_model, weights):
    model = make_model(dropout=False)
    before, gradients = weights(model), {}

    def note(*_):
        gradients.update(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )

    strategy = FullFinetune(
        **ONE_STEP, layer_lr_decay=1.0, weight_decay=0.5, penalties=(L2SP(20.0),)
    )
    hook = register_optimizer_step_pre_hook(note)
    run = strategy.fit(model, task, epochs=1)
    hook.remove()
    assert run.cost["steps"] == 1
    for name, start in before.items():
        if name not in gradients:
            continue
        decay = 0.5 if name == "head.1.weight" else 0.0
        penalty = 20.0 if name.startswith("encoder.") else 0.0
        expected = adamw_by_hand(start, [gradients[name]], 1e-3, decay, penalty, start)
        found = model.get_parameter(name).detach().double()
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-6)
    stepped = [
        adamw_by_hand(start, [gradients[n]], 1e-3, 0.0, 0.0, start) - start.double()
        for n, start in before.items()
        if n in gradients and n.startswith("encoder.")
    ]
    penalty = 10.0 * sum(float(distance.square().sum()) for distance in stepped)
    assert run.history["penalty"].dropna().tolist() == pytest.approx([penalty], rel=1e-4)


def test_half_a_fisher_keeps_every_weight_that_matters(make_model):
    model = make_model()
    (name,) = names = encoder_names(model)[:1]
    parameter = model.get_parameter(name)
    fisher = {name: torch.logspace(-30, 3, parameter.numel()).reshape(parameter.shape)}
    fisher[name].view(-1)[0] = 0.0
    whole = Anchors(model, names, [EWC(1.0, PRETRAINING)], fisher).fisher[name]
    half = Anchors(model, names, [EWC(1.0, PRETRAINING, half=True)], fisher).fisher[name]
    assert half.dtype == torch.float16
    assert torch.isfinite(half).all()
    assert torch.equal(half > 0, whole > 0)
    big = whole > 1e-3
    torch.testing.assert_close(half[big].float(), whole[big], rtol=1e-3, atol=0.0)
    assert float(whole.double().mean()) == pytest.approx(1.0, rel=1e-4)


# ---------------------------------------------------------------- anchors through a run


@pytest.mark.parametrize(
    "penalties", [(L2SP(30.0),), (EWC(30.0, PRETRAINING),)], ids=["l2sp", "ewc"]
)
def test_what_is_held_ends_nearer_and_anchors_never_move(
    penalties, task, make_model, weights, monkeypatch
):
    models, kept = {}, []
    begun = Session.open_phase
    monkeypatch.setattr(  # to get at the session that fit makes
        Session, "open_phase", lambda self: (kept.append(self.retention), begun(self))[1]
    )
    before = weights(make_model())
    for name, chosen in {"free": (), "held": penalties}.items():
        models[name] = make_model()
        strategy = ProgressiveUnfreeze(batch_size=8, lr=3e-3, penalties=chosen)
        strategy.fit(models[name], task, epochs=5, seed=1)
    anchors = kept[-1].anchors
    # By its own measure, which for EWC is not the plain distance.
    assert 0 < anchors.value(models["held"]) < 0.7 * anchors.value(models["free"])
    assert set(anchors.start) == set(encoder_names(models["held"]))
    assert all(torch.equal(value, before[n]) for n, value in anchors.start.items())


def test_anchors_stay_where_the_best_weights_come_back(task, make_model, weights, monkeypatch):
    """The average too is of the weights, not of where they are held."""
    kept, begun = [], Session.open_phase
    monkeypatch.setattr(
        Session, "open_phase", lambda self: (kept.append(self.retention), begun(self))[1]
    )
    model = make_model()
    before = weights(model)
    strategy = ScheduledFinetune(
        {0: {"params": ["block.2", "head"]}, 1: {"params": ["block.1"]}},
        batch_size=8, lr=0.05, patience=1, ema=0.5, penalties=PENALTIES,
    )  # fmt: skip
    run = strategy.fit(model, task, epochs=8, seed=3)
    assert sum("began with the weights of epoch" in note for note in run.notes) == 1
    (retention,) = set(kept)
    held = retention.anchors.start
    assert set(held) == set(model.groups["block.1"] + model.groups["block.2"])
    assert all(torch.equal(value, before[name]) for name, value in held.items())
    assert any(not torch.equal(value, model.get_parameter(n)) for n, value in held.items())


def test_only_what_trains_in_some_phase_is_kept(task, make_model):
    model = make_model()
    strategy = ProgressiveUnfreeze(max_unfrozen=1, penalties=(L2SP(1.0),))
    session = Session(strategy, model, task, 3, 0, None, None)
    session.retention.begin()
    assert set(session.retention.anchors.start) == set(model.groups["block.2"])


# ---------------------------------------------------------------- replay


def replayer(model, rate=0.5, seed=3):
    return Replayer(Replay(rate, molecules=PRETRAINING), model, PRETRAINING, seed)


def test_what_is_replayed_depends_on_seed_and_step_alone(make_model):
    first, second = replayer(make_model()), replayer(make_model(seed=5))
    assert [first.rows(s, 8).tolist() for s in range(6)] == [
        second.rows(s, 8).tolist() for s in range(6)
    ]
    assert len({tuple(first.rows(s, 8)) for s in range(6)}) > 3
    assert not np.array_equal(first.rows(0, 8), replayer(make_model(), seed=4).rows(0, 8))
    assert [len(first.rows(0, n)) for n in (1, 2, 8, 9)] == [1, 1, 4, 4]
    assert len(replayer(make_model(), rate=3.0).rows(0, 8)) == 24  # more than there are


def test_the_gradient_is_the_sum_of_both(task, make_model):
    """One step with replay: the gradient without it, and that of the masked-token loss by hand."""
    found = []

    def note(*_):
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    for penalties in ((), (Replay(0.1, weight=0.25, molecules=PRETRAINING),)):
        model = make_model(dropout=False)
        hook = register_optimizer_step_pre_hook(note)
        run = FullFinetune(**ONE_STEP, penalties=penalties).fit(model, task, epochs=1, seed=3)
        hook.remove()
    model = make_model(dropout=False)
    again = replayer(model, rate=0.1)
    tokens = [again.tokens[row] for row in again.rows(0, 30)]
    assert len(tokens) == 3
    ids, mask = pad(tokens, 0)
    own = int(np.random.default_rng([3, 6_007, 0, 1]).integers(2**62))
    special = torch.isin(ids, torch.tensor(model.tokenizer.all_special_ids))
    corrupted, labels = mask_tokens(ids, special, 0.3, 3, len(model.tokenizer), own)
    loss = masked_model(model)(input_ids=corrupted, attention_mask=mask, labels=labels).loss
    loss.backward()
    assert run.history["masked_loss"].dropna().tolist() == pytest.approx([loss.item()], rel=1e-6)
    for name, parameter in model.named_parameters():
        if name in found[0]:
            by_hand = 0.0 if parameter.grad is None else 0.25 * parameter.grad
            torch.testing.assert_close(
                found[1][name], found[0][name] + by_hand, atol=1e-7, rtol=1e-5
            )


def test_a_replayed_step_in_pieces_is_the_step_in_one(make_model):
    model = make_model(dropout=False)
    whole = masked_model(model)
    losses = [
        [
            b.share_of_loss(whole(b.ids, b.mask).logits).item()
            for b in replayer(model).batches(2, 8, Processes(), n)
        ]
        for n in (None, 3, 1)
    ]
    shares = [
        b.share_of_loss(whole(b.ids, b.mask).logits).item()
        for rank in range(3)  # three processes, each with its part
        for b in replayer(model).batches(2, 8, Processes(rank, 3))
    ]
    losses.append(shares)
    assert [len(found) for found in losses] == [1, 2, 4, 3]
    assert [sum(found) for found in losses] == pytest.approx([losses[0][0]] * 4, rel=1e-5)


def test_a_frozen_encoder_is_not_replayed_to(task, make_model):
    run = STRATEGIES["held"].fit(make_model(), task, epochs=EPOCHS, seed=1)
    train = run.history[run.history["split"] == "train"]
    assert train.loc[train["phase"] == 0, "masked_loss"].isna().all()
    later = train[train["phase"] > 0]
    assert (later["masked_loss"] > 0).all()
    assert (later["penalty"] >= 0).all()
    assert later["penalty"].max() > 0
    again = type(run).from_record(run.record())
    pd.testing.assert_series_equal(
        again.history["penalty"], run.history["penalty"], rtol=1e-6, check_index=False
    )


def test_replay_through_adapters(task, make_model, weights, moved):
    model = make_model()
    strategy = LoRAFinetune(
        rank=2, lr=1e-2, batch_size=8, penalties=(Replay(1.0, molecules=PRETRAINING),)
    )
    strategy.prepare(model)
    before = weights(model)
    run = strategy.fit(model, task, epochs=2)
    assert moved(model, before, weights(model)) == {"adapters", "head"}
    masked = run.history["masked_loss"].dropna()
    assert len(masked) == run.cost["steps"]


# ---------------------------------------------------------------- under every strategy

HELD = [name for name in STRATEGIES if name not in ("head", "held")]


@pytest.mark.parametrize("name", HELD)
def test_every_strategy_that_trains_the_encoder_can_be_held(name, task, make_model):
    """By all three at once; with adapters only replay, for the encoder's own weights stay."""
    penalties = (L2SP(100.0), EWC(10.0, PRETRAINING), Replay(0.5, 0.1, PRETRAINING))
    if name == "adapters":
        penalties = penalties[2:]
    free, held = (
        replace(STRATEGIES[name], penalties=chosen).fit(make_model(), task, epochs=EPOCHS, seed=1)
        for chosen in ((), penalties)
    )
    train = held.history[held.history["split"] == "train"]
    assert train["masked_loss"].max() > 0
    if name == "adapters":
        assert "penalty" not in train
        return
    assert train["penalty"].max() > 0
    last = [run.history[run.history["split"] == "valid"].iloc[-1] for run in (free, held)]
    far, near = (row.filter(like="moved.block.").max() for row in last)
    assert 0 < near < 0.95 * far  # some blocks had but four steps to go anywhere


# ---------------------------------------------------------------- described, refused


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_penalties_come_back_from_a_description(strategy):
    penalties = (L2SP(0.01), EWC(2.0, ["CCO", "CCN"], half=True), Replay(0.1, 2.0, 50, 0.15))
    held = replace(strategy, penalties=penalties)
    description = json.loads(json.dumps(held.describe()))
    assert rebuild(description) == held
    assert rebuild(description).penalties[1].molecules == ("CCO", "CCN")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: L2SP(0), "L2SP: strength is 0; a positive number"),
        (lambda: L2SP(True), "L2SP: strength is True"),
        (lambda: EWC(float("inf")), "EWC: strength is inf"),
        (lambda: EWC(1.0, 0), "EWC: molecules is '0'; a list of SMILES, or a positive"),
        (lambda: Replay(0.0), "Replay: rate is 0.0"),
        (lambda: Replay(weight=-1), "Replay: weight is -1"),
        (lambda: Replay(mask_share=1.0), "Replay: mask_share is 1.0; a share between 0 and 1"),
        (lambda: Replay(molecules="CCO"), "Replay: molecules is 'CCO'; a list of SMILES"),
        (lambda: Replay(molecules=[]), r"Replay: molecules is '\[\]'"),
        (lambda: Replay(molecules=["C", 3]), "Replay: molecules is"),
        (lambda: Replay(molecules=["C"] * 5_001), "5,001 molecules; at most 5,000 travel"),
        (lambda: FullFinetune(penalties=L2SP()), r"FullFinetune: penalties is .*; a tuple of L2SP"),
        (lambda: FullFinetune(penalties=(0.1,)), "a tuple of L2SP, EWC, Replay is expected"),
        (lambda: FullFinetune(penalties=(L2SP(1), L2SP(2))), "has L2SP twice"),
        (
            lambda: rebuild({"strategy": "FullFinetune", "penalties": [{"penalty": "L1"}]}),
            r"there is no penalty 'L1'; known are \['EWC', 'L2SP', 'Replay'\]",
        ),
        (
            lambda: rebuild(
                {"strategy": "FullFinetune", "penalties": [{"penalty": "L2SP", "beta": 1}]}
            ),
            r"L2SP has no argument \['beta'\]",
        ),
    ],
)
def test_a_bad_penalty_is_named(make, words):
    with pytest.raises(TrainingError, match=words):
        make()


@pytest.mark.parametrize("penalty", [L2SP(), EWC(1.0, PRETRAINING)], ids=["l2sp", "ewc"])
@pytest.mark.parametrize("strategy", [HeadOnlyFinetune(), LoRAFinetune()], ids=["head", "lora"])
def test_where_none_of_the_encoders_own_weights_train(strategy, penalty, task, make_model):
    model = make_model()
    with pytest.raises(TrainingError, match=r"holds the encoder's own weights .* none trains"):
        replace(strategy, penalties=(penalty,)).fit(model, task, epochs=1)


def test_replay_to_an_encoder_that_never_trains(task, make_model):
    strategy = HeadOnlyFinetune(penalties=(Replay(molecules=PRETRAINING),))
    with pytest.raises(TrainingError, match="replay trains the encoder, and the encoder stays"):
        strategy.fit(make_model(), task, epochs=1)


@pytest.mark.parametrize("penalty", [EWC(), Replay()], ids=["ewc", "replay"])
def test_a_foreign_encoders_molecules_must_be_given(penalty, task, make_model, weights):
    model = make_model()
    before = weights(model)
    with pytest.raises(TrainingError, match=r"does not have the molecules that bert .*give some"):
        FullFinetune(penalties=(penalty,)).fit(model, task, epochs=1)
    assert all(torch.equal(before[n], p) for n, p in weights(model).items())


@pytest.mark.parametrize("penalty", [EWC(1.0, PRETRAINING), Replay(molecules=PRETRAINING)])
def test_an_encoder_without_a_masked_token_head(penalty, task, make_model):
    model = make_model()
    model.source = None
    with pytest.raises(EncoderError, match="bert has no masked-token head"):
        FullFinetune(penalties=(penalty,)).fit(model, task, epochs=1)
    FullFinetune(penalties=(L2SP(),), batch_size=30).fit(model, task, epochs=1)  # needs none
