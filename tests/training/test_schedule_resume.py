"""A run by a schedule, stopped anywhere and gone on with, ends with the bits of one that was not.

finetuning-scheduler goes on at the beginning of an epoch, and Lightning #21901 tells of layers
that were frozen again. Here a state holds the phase, the scheduler with its counters, the best
epoch's weights and moments, and the optimizer is made as the phase has it before its moments come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stopping import stopping_at
from tiny import PENALTIES

from coursekit.errors import TrainingError
from coursekit.training import ScheduledFinetune

# Learning rates far too high, so that phases end by patience and go back to the best epoch.
PLATEAU = """
0:
  params: [head]
1:
  params: [block.2]
  lr: 0.02
  new_optimizer:
    optimizer_init: {class_path: SGD, init_args: {lr: 0.05, momentum: 0.9}}
  new_lr_scheduler:
    lr_scheduler_init:
      class_path: ReduceLROnPlateau
      init_args: {factor: 0.5, patience: 0, min_lr: 1.0e-6}
2:
  params: [block.1]
  lr: 0.02
"""
FAST: dict[str, Any] = {"lr": 0.3, "batch_size": 8, "patience": 1}
STRATEGIES = {
    "plateau and a new optimizer": ScheduledFinetune(PLATEAU, **FAST),
    "steps and warm restarts": ScheduledFinetune(
        **FAST,
        base_max_lr=0.05,
        lr_scheduler={
            "lr_scheduler_init": {
                "class_path": "CosineAnnealingWarmRestarts", "init_args": {"T_0": 3},
            },
            "pl_lrs_cfg": {"interval": "step", "frequency": 3},
        },
    ),
    "factors in pieces of groups": ScheduledFinetune(
        **FAST,
        generate="pairs",
        base_max_lr=0.05,
        apply_lambdas_new_pgs=True,
        lr_scheduler={"class_path": "LambdaLR", "init_args": {"lr_lambda": [1.0, 0.9, 0.8, 0.5]}},
    ),
    "averaged and held": ScheduledFinetune(PLATEAU, **FAST, ema=0.5, penalties=PENALTIES),
}  # fmt: skip
FIT: dict[str, Any] = {"epochs": 7, "seed": 3}
# A method of the session, at which of its calls, and whether before or after it.
PLACES = {
    **{f"step {n}": ("save_if_due", n, "after") for n in (2, 9, 18, 23)},
    **{f"{w} transition {n}": ("next_phase", n, w) for n in (1, 2) for w in ("before", "after")},
}  # fmt: skip


def stop(strategy: ScheduledFinetune, model: Any, task: Any, folder: Path, place: str) -> None:
    """Fit and stop dead at a place."""
    method, call, when = PLACES[place]
    with stopping_at(method, call, before=when == "before"):
        strategy.fit(model, task, checkpoint_dir=folder, **FIT)


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    from families import small_classifier
    from tiny import tiny_task

    found = {}
    for name, strategy in STRATEGIES.items():
        model = small_classifier("bert")
        run = strategy.fit(model, tiny_task(), **FIT)
        found[name] = run, {k: v.clone() for k, v in model.state_dict().items()}
    return found


@pytest.mark.parametrize("name", STRATEGIES)
def test_there_is_something_to_go_wrong(name, whole):
    notes = whole[name][0].notes
    assert sum("began with the weights of epoch" in note for note in notes) >= 1
    assert notes[0].startswith("phase 0 ended by patience after epoch")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", STRATEGIES)
def test_stopped_and_gone_on_with(name, place, whole, task, make_model, assert_same_bits, tmp_path):
    expected, weights = whole[name]
    stop(STRATEGIES[name], make_model(), task, tmp_path, place)
    torch.manual_seed(999)
    model = make_model()
    run = STRATEGIES[name].fit(model, task, checkpoint_dir=tmp_path, **FIT)
    assert_same_bits(run, expected)
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[key]), key
    assert run.notes == expected.notes
    assert run.strategy == expected.strategy


def test_another_schedule_is_another_run(task, make_model, tmp_path):
    strategy = STRATEGIES["plateau and a new optimizer"]
    stop(strategy, make_model(), task, tmp_path, "after transition 1")
    edited = ScheduledFinetune(PLATEAU.replace("lr: 0.02\n  new", "lr: 0.01\n  new"), **FAST)
    with pytest.raises(TrainingError, match=r"another run: .*lr is 0.02 there and 0.01 here"):
        edited.fit(make_model(), task, checkpoint_dir=tmp_path, **FIT)
    pieces = ScheduledFinetune(PLATEAU.replace("[block.2]", r"[block\.2]"), **FAST)
    with pytest.raises(TrainingError, match=r"params is \['block.2'\] there and \['block"):
        pieces.fit(make_model(), task, checkpoint_dir=tmp_path, **FIT)
