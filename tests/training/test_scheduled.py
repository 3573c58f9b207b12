"""What ScheduledFinetune promises beside the traces of test_schedule_traces.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.optimizer import register_optimizer_step_pre_hook

from coursekit.runs import Run
from coursekit.training import Phase, ScheduledFinetune, rebuild, session
from coursekit.training.transition import Transition, expected_lengths

STEP = {"class_path": "StepLR", "init_args": {"step_size": 1, "gamma": 0.7}}
BY_LOSS = {"class_path": "ReduceLROnPlateau", "init_args": {"factor": 0.5, "patience": 0}}
COMMON: dict[str, Any] = {"lr": 3e-3, "batch_size": 8}
NAMES = ["head.1.bias", "head.1.weight"]

# As a user of finetuning-scheduler has it: keys, forms and comments of its own examples.
FILE = r"""
0:
  params:
  - head.1.bias
  - head.1.weight
  max_transition_epoch: -1
"1":
  params:
  - encoder.encoder.layer.(2).(output|attention|intermediate).*
  lr: 3e-4
  max_transition_epoch: 4
  new_lr_scheduler:
    lr_scheduler_init:
      class_path: torch.optim.lr_scheduler.StepLR
      init_args:
        step_size: 1
        gamma: 0.7
    pl_lrs_cfg:
      interval: epoch
      frequency: 1
      name: Explicit_Reinit_LR_Scheduler
    init_pg_lrs: [2.0e-06, 2.0e-06]    # two groups a phase, where a module has no_decay
2:
  params:
  - encoder.encoder.layer.[01]..*
  # - encoder.embeddings.LayerNorm.bias
  new_optimizer:
    optimizer_init:
      class_path: torch.optim.SGD
      init_args: {lr: 1.0e-05, momentum: 0.9, weight_decay: 1.0e-05}
  new_lr_scheduler:
    lr_scheduler_init:
      class_path: lightning.pytorch.cli.ReduceLROnPlateau
      init_args: {factor: 0.5, verbose: true}
    pl_lrs_cfg: {interval: epoch, monitor: val_loss, reduce_on_plateau: true, strict: true}
    use_current_optimizer_pg_lrs: true
"""


@pytest.fixture
def scripted(monkeypatch) -> Callable[..., None]:
    """Let validation give these losses, the last one for ever."""

    def script(losses: Sequence[float], **more: Sequence[float]) -> None:
        given = {"loss": losses, **more}
        seen: list[int] = []
        real = session.validation_scores

        def scores(part: pd.DataFrame, predicted: Any) -> dict[str, float]:
            number = len(seen)
            seen.append(number)
            return real(part, predicted) | {
                name: values[min(number, len(values) - 1)] for name, values in given.items()
            }

        monkeypatch.setattr(session, "validation_scores", scores)

    return script


# ---------------------------------------------------------------- reading and writing


def test_a_file_of_finetuning_scheduler_is_read(tmp_path, make_model):
    path = tmp_path / "schedule.yaml"
    path.write_text(FILE, encoding="utf-8")
    strategy = ScheduledFinetune(path, **COMMON, lr_scheduler=STEP)
    assert strategy == ScheduledFinetune(FILE, **COMMON, lr_scheduler=STEP)
    path.unlink()  # it has been read, once
    plan = strategy.plan(make_model(), 10)
    as_dict = ScheduledFinetune(yaml.safe_load(FILE), **COMMON, lr_scheduler=STEP)
    assert plan == as_dict.plan(make_model(), 10)  # PyYAML reads 3e-4 as text
    first, second, third = plan.phases
    assert list(first.learning_rates) == ["head"]
    assert list(second.learning_rates) == ["head", "block.2"]
    assert list(third.learning_rates) == ["head", "block.2", "block.0", "block.1"]
    assert [p.transition.until_epoch for p in (first, second, third)] == [None, 4, None]
    assert second.transition.scheduler.init_rates == (2e-6,)
    assert third.transition.scheduler.keep_rates
    assert third.transition.optimizer.init_args["momentum"] == 0.9


def test_it_trains_and_is_recorded(task, make_model):
    strategy = ScheduledFinetune(FILE, **COMMON, lr_scheduler=STEP, patience=1)
    model = make_model()
    run = strategy.fit(model, task, epochs=6)
    again = Run.from_record(json.loads(json.dumps(run.record())))
    assert rebuild(dict(again.strategy)) == strategy
    assert model.fitted == ["ScheduledFinetune"]
    assert run.history["loss"].notna().all()


def test_lr_in_phase_0_counts_for_nothing_and_that_is_said(make_model):
    schedule = {0: {"params": ["head"], "lr": 0.5}, 1: {"params": ["block.2"]}}
    with pytest.warns(UserWarning, match=r"phase 0: lr is 0.5, .*ScheduledFinetune\(lr=...\)"):
        strategy = ScheduledFinetune(schedule, lr=1e-3)
    assert strategy.plan(make_model(), 4).phases[0].learning_rates == {"head": 1e-3}
    assert schedule[0]["lr"] == 0.5


def test_without_base_max_lr_what_opens_begins_at_lr(make_model):
    """finetuning-scheduler has that in its documentation, and fails on an explicit schedule."""
    strategy = ScheduledFinetune(
        {0: {"params": ["head"]}, 1: {"params": ["block.2"]}}, lr=2e-3, base_max_lr=None
    )
    rates = strategy.plan(make_model(), 4).phases[1].learning_rates
    assert rates == {"head": 2e-3, "block.2": 2e-3}


def test_what_is_done_to_a_schedule_later_does_not_matter():
    schedule: dict[int, Any] = {0: {"params": ["head"]}}
    strategy = ScheduledFinetune(schedule)
    schedule[0]["params"].append("block.2")
    assert strategy.schedule == {0: {"params": ["head"]}}


EVERYTHING = {
    "patience": 2,
    "min_delta": 0.01,
    "restore_best": False,
    "max_depth": 2,
    "base_max_lr": None,
    "lr_scheduler": {"lr_scheduler_init": STEP, "pl_lrs_cfg": {"frequency": 2}},
    "apply_lambdas_new_pgs": True,
    "monitor": "auroc_hard",
}


@pytest.mark.parametrize(
    "strategy",
    [
        ScheduledFinetune(),
        ScheduledFinetune(FILE),
        ScheduledFinetune(FILE.replace("monitor: val_loss, ", ""), **EVERYTHING),
        ScheduledFinetune(
            generate="pairs", reinit_lr=BY_LOSS, reinit_optimizer={"class_path": "SGD"}
        ),
    ],
    ids=["generated", "file", "everything", "pairs"],
)
def test_it_is_rebuilt_from_its_description(strategy):
    assert rebuild(json.loads(json.dumps(strategy.describe()))) == strategy
    assert replace(strategy) == strategy


@pytest.mark.parametrize("generate", ["blocks", "pairs"])
def test_dumped_and_loaded_it_is_the_same_plan(generate, make_model, tmp_path):
    model = make_model()
    strategy = ScheduledFinetune(
        generate=generate,
        **COMMON,
        lr_scheduler=STEP,
        reinit_lr={"lr_scheduler_init": STEP, "use_current_optimizer_pg_lrs": True},
        reinit_optimizer={"class_path": "AdamW", "init_args": {"lr": 1e-5}},
    )
    text = strategy.dump(model, tmp_path / "schedule.yaml")
    assert (tmp_path / "schedule.yaml").read_text(encoding="utf-8") == text
    assert "&" not in text  # every phase is written out, to be edited by itself
    loaded = ScheduledFinetune(tmp_path / "schedule.yaml", **COMMON, lr_scheduler=STEP)
    assert loaded.plan(model, 100) == strategy.plan(model, 100)
    assert loaded.dump(model) == text


def test_dumped_edited_and_loaded(make_model):
    model = make_model()
    text = ScheduledFinetune(**COMMON).dump(model)
    edited = text.replace("- block.2\n  lr: 1.0e-05", "- block.2\n  - block.1\n  lr: 5e-4")
    edited = edited.replace("- block.1\n  lr: 1.0e-05", "- block.0\n  max_transition_epoch: 5")
    edited = edited[: edited.index("3:")]
    plan = ScheduledFinetune(edited, **COMMON).plan(model, 9)
    assert [phase.name for phase in plan.phases] == [
        "open head",
        "open block.1, block.2",
        "open block.0",
    ]
    assert plan.phases[2].learning_rates == {
        "head": 3e-3, "block.1": 5e-4, "block.2": 5e-4, "block.0": 1e-5,
    }  # fmt: skip


# ---------------------------------------------------------------- the plan


def test_the_plan_shows_what_each_entry_matched(make_model):
    model = make_model()
    plan = ScheduledFinetune(FILE, **COMMON).plan(model, 8)
    entries = plan.entries()
    assert list(entries["phase"]) == [0, 0, 1, 2]
    assert list(entries["parameters"]) == [1, 1, 16, 32]
    assert entries["names"][2] == model.groups["block.2"]
    shown = str(plan)
    assert "encoder.encoder.layer.(2).(output|attention|intermediate).*         16" in shown
    assert "encoder.encoder.layer.0.attention.self.query.weight … encoder" in shown
    assert shown.count("itself") == 2
    page = plan._repr_html_()
    assert page.count("<table>") == page.count("<caption>") == 2
    assert "<td>encoder.encoder.layer.[01]..*</td><td>32</td>" in page


ENDS = {
    n: {"params": [group], "max_transition_epoch": end}
    for n, (group, end) in enumerate(zip(["head", "block.2", "block.1"], [2, 3, 6], strict=True))
}
ANEW = {
    "new_lr_scheduler": {
        "lr_scheduler_init": {"class_path": "CosineAnnealingLR", "init_args": {"T_max": 3}}
    }
}

OTHER = {"lr": 1e-4, "new_optimizer": {"optimizer_init": {"class_path": "SGD"}}}


@pytest.mark.parametrize("epochs", [4, 6, 8])
@pytest.mark.parametrize("more", [{}, ANEW, OTHER], ids=["as before", "scheduler", "optimizer"])
def test_the_plan_foretells_the_learning_rates(more, epochs, task, make_model):
    """What lr comes after unfreezing is to be seen before training, for each group and epoch."""
    schedule = ENDS | {2: ENDS[2] | more}
    strategy = ScheduledFinetune(
        schedule, **COMMON, lr_scheduler=STEP, epoch_transitions_only=True, warmup=0.5
    )
    model = make_model()
    plan = strategy.plan(model, epochs)
    run = strategy.fit(model, task, epochs=epochs)
    assert plan.epochs == run.cost["epochs"] == max(6, epochs)
    train = run.history[run.history["split"] == "train"].reset_index()
    windows = len(train) // plan.epochs
    for row in plan.per_epoch().itertuples():
        rates = (
            train.loc[train["epoch"] == row.epoch, f"learning_rate.{row.group}"]
            if f"learning_rate.{row.group}" in train
            else pd.Series([0.0] * windows)
        )
        assert set(train.loc[train["epoch"] == row.epoch, "phase"]) == {row.phase}
        assert rates.iloc[-1] == pytest.approx(row.learning_rate, rel=1e-9, abs=0.0)
    table = plan.table()
    for number, first in enumerate(table["first epoch"]):
        begun = train[train["epoch"] == first].iloc[-1]
        rates = [begun[f"learning_rate.{group}"] for group in plan.phases[number].learning_rates]
        assert table["highest learning rate"][number] == pytest.approx(max(rates))
        assert table["lowest learning rate"][number] == pytest.approx(min(rates))


def simulated(phases: Sequence[Phase], epochs: int) -> list[int]:
    """Epochs of each phase as the loop counts them, where patience ends none."""
    total = max(epochs, phases[-1].transition.until_epoch or 0)
    lengths = [0] * len(phases)
    phase = 0
    for epoch in range(total):
        end = phases[phase].transition.until_epoch
        if lengths[phase] and end is not None and epoch >= end and phase + 1 < len(phases):
            phase += 1
        lengths[phase] += 1
    return lengths


@given(st.lists(st.integers(1, 9), max_size=4), st.none() | st.integers(1, 9), st.integers(1, 9))
def test_epochs_are_counted_as_the_loop_counts_them(ends, last, epochs):
    phases = [Phase({"head": 1.0}, transition=Transition(until_epoch=e)) for e in [*ends, last]]
    expected = [length for length in simulated(phases, epochs) if length]
    assert expected_lengths(phases, epochs) == expected
    patient = [replace(phase, patience=1) for phase in phases]
    found = expected_lengths(patient, epochs)
    assert found[: len(expected)] == expected
    assert not any(found[len(expected) :])


@given(st.lists(st.none() | st.integers(1, 9), max_size=5), st.integers(1, 9))
def test_where_nobody_knows_the_epochs_are_shared(ends, epochs):
    phases = [
        Phase({"head": 1.0}, patience=1, transition=Transition(until_epoch=e))
        for e in [*ends, None]
    ]
    lengths = expected_lengths(phases, epochs)
    assert sum(lengths) == epochs
    assert all(length >= 0 for length in lengths)
    assert len(lengths) == min(len(phases), epochs)


def test_a_phase_that_only_patience_would_reach_is_shown_as_such(make_model):
    schedule = {0: ENDS[0] | {"max_transition_epoch": 5}, 1: {"params": ["block.2"]}}
    plan = ScheduledFinetune(schedule, **COMMON).plan(make_model(), 4)
    assert [phase.epochs for phase in plan.phases] == [4, 0]
    assert "if earlier" in str(plan)
    assert set(plan.per_epoch()["phase"]) == {0}
    assert plan.plot().alt


# ---------------------------------------------------------------- back to the best


LATE = [1.0, 0.8, 0.9, 0.95, 0.7, 0.9]
THREE = {0: {"params": ["head"]}, 1: {"params": ["block.2"]}, 2: {"params": ["block.1"]}}


@pytest.mark.parametrize("back", [True, False])
def test_weights_and_moments_of_the_best_epoch_come_back(back, task, make_model, scripted, weights):
    """Phase 1 begins in epoch 4; the best so far is epoch 1."""
    scripted([1.0, 0.8, 0.9, 0.95, 1.1])
    model = make_model()
    after: list[dict[str, torch.Tensor]] = []
    before: list[tuple[int, dict[str, torch.Tensor]]] = []

    def all_of(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        name_of = {id(p): n for n, p in model.named_parameters()}
        return weights(model) | {
            f"{name_of[id(p)]}.{key}": value.clone()
            for p, state in optimizer.state.items()
            for key, value in state.items()
        }

    def watch(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if "name" in optimizer.param_groups[0]:
            holder[:] = [optimizer]
            before.append((len(after), all_of(optimizer)))

    holder: list[torch.optim.Optimizer] = []
    hook = register_optimizer_step_pre_hook(watch)
    try:
        strategy = ScheduledFinetune(THREE, **COMMON, patience=2, restore_best=back)
        run = strategy.fit(
            model, task, epochs=5,
            tracker=lambda row: row["split"] == "valid" and after.append(all_of(holder[0])),
        )  # fmt: skip
    finally:
        hook.remove()
    assert list(run.history.groupby("epoch")["phase"].first()) == [0, 0, 0, 0, 1]
    first = next(state for epoch, state in before if epoch == 4)
    assert set(first) == set(after[1 if back else 3])
    for name, value in first.items():
        assert torch.equal(value, after[1 if back else 3][name]), name
    assert not all(
        torch.equal(value, after[3 if back else 1][name]) for name, value in first.items()
    )
    said = "phase 1 began with the weights of epoch 1, the best"
    assert (said in run.notes) == back
    assert "phase 0 ended by patience after epoch 3: no better loss in 2 validations" in run.notes
    # And in the end the best epoch's, which finetuning-scheduler leaves on the disk.
    for name, value in weights(model).items():
        assert torch.equal(value, after[1][name])
    assert run.notes[-1] == "weights of epoch 1, the best by loss"


def test_moments_of_another_class_of_optimizer_stay_away(task, make_model, scripted):
    """finetuning-scheduler loads what AdamW had into SGD, and AdamW's settings with it."""
    scripted([1.0])
    schedule = THREE | {
        1: THREE[1]
        | {"new_optimizer": {"optimizer_init": {
            "class_path": "torch.optim.SGD", "init_args": {"lr": 1e-3, "momentum": 0.9}}}}
    }  # fmt: skip
    seen: list[tuple[str, set[str]]] = []

    def watch(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if "name" in optimizer.param_groups[0]:
            kept = {key for state in optimizer.state.values() for key in state}
            seen.append((type(optimizer).__name__, kept))
            assert all(g["momentum"] == 0.9 for g in optimizer.param_groups if "momentum" in g)

    hook = register_optimizer_step_pre_hook(watch)
    try:
        run = ScheduledFinetune(schedule, **COMMON, patience=1).fit(make_model(), task, epochs=9)
    finally:
        hook.remove()
    assert run.cost["epochs"] == 4
    steps = len(seen) // 4
    adam = {"step", "exp_avg", "exp_avg_sq"}
    assert [seen[steps * epoch] for epoch in range(4)] == [
        ("AdamW", set()),
        ("AdamW", adam),
        ("SGD", set()),
        ("SGD", set()),  # phase 2 went back to the weights of epoch 0, whose moments were AdamW's
    ]


def test_all_groups_are_in_the_optimizer_from_the_start(task, make_model, scripted):
    """Lightning 6891 and 8502: a checkpoint whose number of groups differs cannot be loaded."""
    scripted([1.0])
    shapes = set()

    def watch(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if "name" in optimizer.param_groups[0]:
            shapes.add(tuple((g["name"], len(g["params"])) for g in optimizer.param_groups))

    hook = register_optimizer_step_pre_hook(watch)
    try:
        run = ScheduledFinetune(**COMMON, patience=1).fit(make_model(), task, epochs=12)
    finally:
        hook.remove()
    assert run.cost["epochs"] == 6
    assert len(shapes) == 1


# ---------------------------------------------------------------- ends


def test_where_higher_is_better(task, make_model, scripted):
    """Patience and ReduceLROnPlateau turn around with the monitored number."""
    scripted([0.5], auroc_hard=[0.5, 0.6, 0.7, 0.65, 0.66, 0.6])
    strategy = ScheduledFinetune(
        THREE, **COMMON, patience=2, monitor="auroc_hard", lr_scheduler=BY_LOSS, max_depth=1
    )
    run = strategy.fit(make_model(), task, epochs=6)
    train = run.history[run.history["split"] == "train"].groupby("epoch").first()
    assert list(train["phase"]) == [0, 0, 0, 0, 0, 1]
    assert list(train["learning_rate.head"]) == pytest.approx(
        [3e-3, 3e-3, 3e-3, 3e-3, 1.5e-3, 7.5e-4]
    )
    assert "phase 1 began with the weights of epoch 2, the best" in run.notes


def test_why_a_phase_ended_is_written_down(task, make_model, scripted):
    scripted([1.0, 0.9, 0.95, 0.96])
    schedule = THREE | {1: THREE[1] | {"max_transition_epoch": 5}}
    run = ScheduledFinetune(schedule, **COMMON, patience=2).fit(make_model(), task, epochs=12)
    assert run.notes == (
        "phase 0 ended by patience after epoch 3: no better loss in 2 validations",
        "phase 1 began with the weights of epoch 1, the best",
        "phase 1 ended by its schedule after epoch 4",
        "phase 2 began with the weights of epoch 1, the best",
        "phase 2 ended by patience after epoch 6: no better loss in 2 validations",
        "weights of epoch 1, the best by loss",
    )


@pytest.mark.parametrize(
    ("depth", "ends", "said"),
    [
        (0, {}, [
            "phase 0 ended with the run, after epoch 3",
            "max_depth left phases 1 to 2 closed",
        ]),
        (1, {0: 2}, [
            "phase 0 ended by its schedule after epoch 1",
            "phase 1 began with the weights of epoch 1, the best",
            "phase 1 ended with the run, after epoch 3",
            "max_depth left phase 2 closed",
        ]),
        (1, {}, ["phase 0 ended with the run, after epoch 3"]),
        (None, {}, ["phase 0 ended with the run, after epoch 3"]),
    ],
    ids=["depth 0", "depth 1", "depth not reached", "run's end"],
)  # fmt: skip
def test_what_ended_with_the_run_or_stayed_closed_is_written_down(
    depth, ends, said, task, make_model, scripted, tmp_path
):
    scripted([1.0, 0.9, 0.8, 0.7])
    schedule = {
        n: phase | ({"max_transition_epoch": ends[n]} if n in ends else {})
        for n, phase in THREE.items()
    }
    strategy = ScheduledFinetune(schedule, **COMMON, patience=5, max_depth=depth)
    run = strategy.fit(make_model(), task, epochs=4, checkpoint_dir=tmp_path)
    assert run.notes == (*said, "weights of epoch 3, the best by loss")
    again = strategy.fit(make_model(), task, epochs=4, checkpoint_dir=tmp_path)
    assert again.notes == run.notes


def test_max_depth_is_written_down_where_patience_ends_the_last_phase(task, make_model, scripted):
    scripted([1.0])
    strategy = ScheduledFinetune(THREE, **COMMON, patience=1, max_depth=0)
    assert strategy.fit(make_model(), task, epochs=9).notes == (
        "phase 0 ended by patience after epoch 1: no better loss in 1 validations",
        "max_depth left phases 1 to 2 closed",
        "weights of epoch 0, the best by loss",
    )


def test_phases_that_were_not_reached_are_not_counted(task, make_model, scripted):
    scripted([1.0, 0.9, 0.8])
    model = make_model()
    run = ScheduledFinetune(THREE, **COMMON, patience=1).fit(model, task, epochs=3)
    assert run.cost["trainable_parameters"] == model.count(["head"])
    assert set(run.history["learning_rate.block.2"].dropna()) == {0.0}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(NAMES)


def test_a_schedule_of_a_hundred_phases_is_recorded(task, make_model):
    """A history has at most 200 columns, and a record at most 100 notes."""
    model = make_model()
    names = [name for group in model.groups.values() for name in group]
    schedule = {
        n: {"params": [name], "max_transition_epoch": n + 1} for n, name in enumerate(names)
    }
    assert len(schedule) == 55
    strategy = ScheduledFinetune(schedule, lr=1e-3, batch_size=32, patience=None)
    run = strategy.fit(model, task, epochs=3)
    assert run.cost["epochs"] == 55
    assert sum(name.startswith("learning_rate.") for name in run.history) == 55
    assert len(run.history.columns) <= 200
    again = Run.from_record(json.loads(json.dumps(run.record())))
    assert rebuild(dict(again.strategy)) == strategy
    assert len(run.notes) == 100  # what a record takes
    assert run.notes[50] == "11 notes are left out here"
    assert run.notes[-1].startswith("weights of epoch")


def test_an_average_begins_anew_at_the_best_weights(task, make_model, scripted, weights):
    """Lightning #21724 and its like: an average of weights that were left behind goes on."""
    scripted([1.0, 0.9, 0.95, 0.96])
    model = make_model()
    ended: list[dict[str, torch.Tensor]] = []
    begun: list[dict[str, torch.Tensor]] = []

    def watch(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if "name" in optimizer.param_groups[0] and len(ended) == 4 and not begun:
            begun.append(weights(model))

    hook = register_optimizer_step_pre_hook(watch)
    try:
        run = ScheduledFinetune(THREE, **COMMON, patience=2, ema=0.5).fit(
            model, task, epochs=5,
            tracker=lambda row: row["split"] == "valid" and ended.append(weights(model)),
        )  # fmt: skip
    finally:
        hook.remove()
    assert "phase 1 began with the weights of epoch 1, the best" in run.notes
    # The averages of epoch 1, which were the best; neither its own weights nor the last ones.
    for name in NAMES:
        assert torch.equal(begun[0][name], weights(model)[name])
        assert not torch.equal(begun[0][name], ended[1][name])
        assert not torch.equal(begun[0][name], ended[3][name])
