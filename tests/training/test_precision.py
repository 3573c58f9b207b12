from __future__ import annotations

from dataclasses import replace
from itertools import count, pairwise

import pytest
import torch
from stopping import stopping_after
from tiny import EPOCHS, STRATEGIES
from torch import nn

from coursekit.errors import TrainingError
from coursekit.models.precision import DTYPES, autocast, choose_precision, has_bf16
from coursekit.training import FinetuneStrategy, Phase
from coursekit.training.session import Session

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def card(monkeypatch):
    """What ``torch.cuda`` says of a card with or without bf16 of its own."""

    def pretend(hardware: bool) -> None:
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: hardware or including_emulation,
        )

    return pretend


def test_auto_takes_what_the_hardware_has(card):
    card(hardware=True)
    assert choose_precision("auto", GPU) == "bf16"
    card(hardware=False)  # a T4: it says yes to bf16, and emulates it
    assert torch.cuda.is_bf16_supported()
    assert not has_bf16(GPU)
    assert choose_precision("auto", GPU) == "fp16"
    assert choose_precision("bf16", GPU) == "bf16"  # who asks for it, gets it
    assert choose_precision("auto", CPU) == "fp32"
    assert not has_bf16(CPU)


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_a_wish_is_a_wish(wanted):
    assert choose_precision(wanted, CPU) == wanted


def test_what_cannot_be(task, make_model):
    with pytest.raises(TrainingError, match="'fp16' trains on a GPU only; take 'fp32' or 'bf16'"):
        replace(STRATEGIES["full"], precision="fp16").fit(make_model(), task, epochs=1)
    with pytest.raises(TrainingError, match="precision is 'fp8'; 'auto', 'fp32'"):
        choose_precision("fp8", CPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_autocast(precision):
    a = torch.ones(2, 2)
    with autocast(precision, CPU):
        assert (a @ a).dtype == DTYPES[precision]


@pytest.mark.parametrize(
    ("name", "cache"), [*((name, "auto") for name in STRATEGIES), ("progressive", "off")]
)
def test_validation_is_in_half_precision_too(name, cache, task, make_model, monkeypatch):
    used: list[torch.dtype] = []
    model = make_model()
    layer = next(m for m in model.blocks[-1].modules() if isinstance(m, nn.Linear))
    end_epoch = Session.end_epoch

    def watched(self):
        hook = layer.register_forward_hook(lambda _, __, out: used.append(out.dtype))
        try:
            return end_epoch(self)
        finally:
            hook.remove()

    monkeypatch.setattr(Session, "end_epoch", watched)
    strategy = replace(STRATEGIES[name], precision="bf16", cache=cache)
    strategy.fit(model, task, epochs=EPOCHS)
    assert set(used) == {torch.bfloat16}


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_bf16_on_a_cpu_is_close_to_fp32(strategy, task, make_model, scores_of):
    used: set[torch.dtype] = set()

    def fit(precision):
        model = make_model(dropout=False)
        model.head[1].register_forward_hook(
            lambda m, _, out: used.add(out.dtype) if m.training else None
        )
        run = replace(strategy, precision=precision).fit(model, task, epochs=EPOCHS)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        return run, model

    (full, _), (half, model) = fit("fp32"), fit("bf16")
    assert used == {torch.float32, torch.bfloat16}
    assert half.environment["precision"] == "bf16"
    assert full.environment["precision"] == "fp32"
    losses = [run.history.query("split == 'train'")["loss"].to_numpy() for run in (full, half)]
    assert losses[1] == pytest.approx(losses[0], abs=0.02, nan_ok=True)
    for part in ("valid", "test"):
        assert scores_of(half, part) == pytest.approx(scores_of(full, part), abs=0.02)
        predicted = model.predict(list(task.part(part)["smiles"]))
        assert scores_of(half, part) == pytest.approx(predicted, abs=0.005)


def test_bf16_scores_have_no_ties(task, make_model, scores_of):
    """A logit of 8 bits would give many molecules the same score."""
    run = replace(STRATEGIES["full"], precision="bf16").fit(make_model(), task, epochs=1)
    scores = scores_of(run, "test")
    assert len(set(scores)) == len(scores)


@pytest.fixture
def scaling(monkeypatch):
    """The scaler of fp16 at work on a processor from this scale on; a list of those made."""
    scaler = torch.amp.GradScaler

    def begin(scale: float) -> list[torch.amp.GradScaler]:
        made: list[torch.amp.GradScaler] = []

        def enabled(device, enabled):
            made.append(scaler(device, init_scale=scale, enabled=True))
            return made[-1]

        monkeypatch.setattr(torch.amp, "GradScaler", enabled)
        return made

    return begin


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_a_scaler_meets_frozen_groups(strategy, task, make_model, scaling, assert_same_bits):
    """All groups are in the optimizer, most without a gradient; a power of 2 changes no bit."""
    plain = strategy.fit(make_model(), task, epochs=EPOCHS)
    scalers = scaling(2.0**10)
    assert_same_bits(strategy.fit(make_model(), task, epochs=EPOCHS), plain)
    assert scalers[0].get_scale() == 2.0**10
    assert scalers[0].state_dict()["_growth_tracker"] == 4 * EPOCHS


@pytest.fixture
def overflowing(make_model):
    """A model whose gradient overflows in its third step, as in fp16."""

    def make():
        model, steps = make_model(), count(1)

        def overflow(gradient):
            return gradient * torch.inf if next(steps) == 3 else gradient

        model.head[1].bias.register_hook(overflow)
        return model

    return make


@pytest.mark.parametrize("name", ["full", "averaged", "held"])
def test_a_step_that_overflows_moves_nothing(
    name, task, overflowing, weights, scaling, monkeypatch
):
    """Neither the optimizer, nor a penalty's pull, nor the average's counter."""
    scaling(2.0**10)
    counted, seen = Session.count, []

    def watched(self, *given):
        updates = max(self.average.updates.values(), default=0)
        seen.append((self.scaler.get_scale(), weights(self.model), updates))
        counted(self, *given)

    monkeypatch.setattr(Session, "count", watched)
    STRATEGIES[name].fit(overflowing(), task, epochs=2, seed=1)
    assert [scale for scale, _, _ in seen] == [2.0**10] * 2 + [2.0**9] * 6
    averages = STRATEGIES[name].ema is not None
    assert [updates for _, _, updates in seen[:5]] == [1, 2, 2, 3, 4] if averages else [0] * 5
    for step, (before, after) in enumerate(pairwise(values for _, values, _ in seen), start=2):
        same = all(torch.equal(value, after[key]) for key, value in before.items())
        assert same == (step == 3)


def test_the_scale_goes_on_with_a_run(
    task, overflowing, make_model, scaling, assert_same_bits, tmp_path
):
    strategy, folder = STRATEGIES["full"], {"checkpoint_dir": tmp_path}
    scaling(2.0**10)
    whole = strategy.fit(overflowing(), task, epochs=EPOCHS)
    with stopping_after(6):
        strategy.fit(overflowing(), task, epochs=EPOCHS, **folder)
    scalers = scaling(2.0**10)
    with stopping_after(7):
        strategy.fit(overflowing(), task, epochs=EPOCHS, **folder)
    state = scalers[0].state_dict()
    assert (state["scale"], state["_growth_tracker"]) == (2.0**9, 4)
    assert_same_bits(strategy.fit(make_model(), task, epochs=EPOCHS, **folder), whole)


class Idle(FinetuneStrategy):
    """Opens parameters that the pooled vector does not pass through."""

    def parameter_groups(self, model):
        idle = [f"encoder.{n}" for n, _ in model.encoder.named_parameters() if "pooler" in n]
        return {**model.groups, "pooler": tuple(idle)}

    def phases(self, model, epochs):
        return [Phase({"pooler": self.lr}, epochs)]


def test_a_phase_that_learns_nothing_says_so(task, make_model):
    with pytest.raises(TrainingError, match=r"phase 0 opens \['pooler'\], but the predictions do"):
        Idle().fit(make_model(), task, epochs=1)
