"""ScheduledFinetune beside finetuning-scheduler 2.13.0, epoch by epoch, on scripted losses.

``schedules/traces.json`` was measured (``schedules/make_traces.py`` makes it again). A real fit of
a real model runs here; only the validation loss is the script's. Compared are the phase, the epoch
whose weights come back at a transition, the parameters that train, the learning rate and the
moments of each, the optimizer's class, and the number of epochs.

Where this kit does otherwise on purpose:

- Patterns match whole names (``test_schedule_match.py``); the schedules here give exact names.
- The best epoch's weights are given back at the end (``test_scheduled.py``).
- Where a phase brings an optimizer of another class and the best epoch is one of the optimizer
  before it, that one's moments are not loaded into it (``test_scheduled.py``); there they are, and
  its settings with them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from families import tokenizer
from tiny import tiny_task
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from coursekit.models.classifier import Classifier
from coursekit.training import ScheduledFinetune, session

HERE = Path(__file__).resolve().parent
TRACES = json.loads((HERE / "schedules" / "traces.json").read_text(encoding="utf-8"))
ORACLE = HERE.parents[2] / "shared" / "oracles" / "fts_traces.json"
GIVEN = ("implicit_plateau", "explicit_es", "epoch_and_es", "epoch_only", "reinit_lr")
KINDS = ("weight", "bias")
FTS_NAMES = {"reinit_lr_cfg": "reinit_lr", "reinit_optim_cfg": "reinit_optimizer"}


SIZES = PretrainedConfig(hidden_size=4, num_hidden_layers=3, vocab_size=len(tokenizer()))


class ThreeLayers(PreTrainedModel):
    """An encoder of three linear layers; with the head they are the four of the traces."""

    config_class = PretrainedConfig

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(len(tokenizer()), 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> BaseModelOutput:
        hidden = self.words(input_ids)
        for layer in self.layers:
            hidden = torch.tanh(layer(hidden))
        return BaseModelOutput(last_hidden_state=hidden)


def model() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = ThreeLayers(SIZES)
    return Classifier(encoder, tokenizer(), dropout=0.0, name="three layers")


def ours(name: str) -> str:
    """``2.weight`` of the traces in this model."""
    layer, kind = name.split(".")
    return f"head.1.{kind}" if layer == "3" else f"encoder.layers.{layer}.{kind}"


def strategy_of(case: dict[str, Any]) -> ScheduledFinetune:
    settings = {FTS_NAMES.get(k, k): v for k, v in case.get("fts", {}).items()}
    schedule = case["schedule"] and {
        number: phase | {"params": [ours(name) for name in phase["params"]]}
        for number, phase in case["schedule"].items()
    }
    if schedule is None:
        # The embedding of this model would be a fifth phase.
        settings |= {"generate": "pairs", "max_depth": 3}
    scheduler = case["scheduler"] and {"lr_scheduler_init": case["scheduler"]}
    if "pl" in case:
        scheduler["pl_lrs_cfg"] = case["pl"]
    return ScheduledFinetune(
        schedule,
        lr=1e-3,
        lr_scheduler=scheduler,
        patience=case.get("patience", 1),
        min_delta=case.get("min_delta", 0.0),
        batch_size=15,  # two batches an epoch
        **settings,
    )


def expected_rates(case: dict[str, Any], lrs: list[float]) -> dict[str, float]:
    """The learning rate of each parameter; a group of the traces is a phase."""
    if case["schedule"] is None:
        params = [[f"{3 - n}.{kind}" for kind in KINDS] for n in range(4)]
    else:
        params = [phase["params"] for phase in case["schedule"].values()]
    return {ours(p): rate for names, rate in zip(params, lrs, strict=False) for p in names}


def trainable(row: dict[str, Any]) -> set[str]:
    names = row.get("trainable") or [f"{n}.{kind}" for n in row["layers"] for kind in KINDS]
    return {ours(name) for name in names}


def fitted(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Any]]:
    """The Run, and for each optimizer step what the optimizer is about to do."""
    losses, validated = case["losses"], []
    real = session.validation_scores

    def scripted(part: Any, predicted: Any) -> dict[str, float]:
        validated.append(1)
        return real(part, predicted) | {"loss": losses[min(len(validated), len(losses)) - 1]}

    trained, steps = model(), []
    name_of = {id(p): name for name, p in trained.named_parameters()}

    def watch(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if "name" not in optimizer.param_groups[0]:
            return  # the holder of learning rates is none that trains
        rates = {
            name_of[id(p)]: group["lr"]
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        }
        moments = sum(bool(optimizer.state.get(p)) for p in trained.parameters())
        steps.append((rates, moments, type(optimizer).__name__, len(validated)))

    monkeypatch.setattr(session, "validation_scores", scripted)
    hook = register_optimizer_step_pre_hook(watch)
    try:
        run = strategy_of(case).fit(trained, tiny_task(), epochs=case.get("max_epochs", 20))
    finally:
        hook.remove()
    return run, steps


def check(
    case: dict[str, Any],
    trace: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    digits: float = 1e-5,
) -> None:
    run, steps = fitted(case, monkeypatch)
    assert run.cost["epochs"] == trace["epochs_run"] == len(trace["rows"])
    assert len(steps) == 2 * len(trace["rows"])
    train = run.history[run.history["split"] == "train"]
    phases = dict(zip(train["epoch"], train["phase"], strict=True))
    went_back = {
        int(found[1]): int(found[2])
        for note in run.notes
        if (found := re.match(r"phase (\d+) began with the weights of epoch (\d+)", note))
    }
    for row in trace["rows"]:
        epoch = row["epoch"]
        (rates, moments, cls, now), (second, *_) = steps[2 * epoch : 2 * epoch + 2]
        assert now == epoch
        assert phases[epoch] == row["depth"], f"epoch {epoch}"
        begins = epoch > 0 and phases[epoch - 1] != row["depth"]
        restored = row["restored_from_epoch"]
        assert (went_back.get(row["depth"]) if begins else None) == (
            None if restored is None else int(restored)
        ), f"epoch {epoch}"
        assert set(rates) == trainable(row), f"epoch {epoch}"
        assert rates == pytest.approx(expected_rates(case, row["lrs"]), rel=digits), (
            f"epoch {epoch}"
        )
        later = expected_rates(case, row.get("lrs_second_batch", row["lrs"]))
        assert second == pytest.approx(later, rel=digits), f"epoch {epoch}"
        assert moments == row["with_moments"], f"epoch {epoch}"
        assert cls == row.get("optimizer", "AdamW")


@pytest.mark.parametrize("name", TRACES)
def test_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = TRACES[name]
    check(trace["case"], trace, monkeypatch)


@pytest.mark.skipif(not ORACLE.exists(), reason="the traces given with the task are not here")
@pytest.mark.parametrize("name", GIVEN)
def test_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = json.loads(ORACLE.read_text(encoding="utf-8"))
    assert set(given) == set(GIVEN)
    check(TRACES[name]["case"], given[name], monkeypatch, digits=5e-4)  # it has four digits
