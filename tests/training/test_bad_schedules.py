"""Every way to write a bad schedule: the error names the phase, the entry and the fix."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
from families import small_classifier
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coursekit.errors import TrainingError
from coursekit.training import ScheduledFinetune

HEAD: dict[str, Any] = {"params": ["head"]}
STEP = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}}
PLATEAU = {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau", "init_args": {}}


def second(**entries: Any) -> dict[int, Any]:
    """A good phase 0, and these entries in phase 1."""
    return {0: HEAD, 1: {"params": ["block.2"], **entries}}


def scheduled(init: Any = STEP, **more: Any) -> dict[int, Any]:
    return second(new_lr_scheduler={"lr_scheduler_init": init, **more})


def optimized(init: Any) -> dict[int, Any]:
    return second(new_optimizer={"optimizer_init": init})


# What is wrong: the schedule, and what its message must say, in this order.
BAD: dict[str, tuple[Any, list[str]]] = {
    # ------------------------------------------------------------ the file
    "no such file": ("nowhere.yaml", ["nowhere.yaml cannot be read", "give the path"]),
    "no YAML": ("0:\n  params: [head\n1:\n", ["line 3 of the text", "no YAML", "single quotes"]),
    "tab": ("0:\n\tparams: [head]\n", ["line 2", "indented by spaces"]),
    "python object": (
        "0:\n  params: !!python/object/apply:os.getcwd []\n",
        ["line 2", "python/object", "plain data"],
    ),
    "a list": ("- params: [head]\n- params: [block.2]\n", ["it is a list", "a mapping", "{0: {"]),
    "an alias of what it stands in": (
        "0: &all\n  params: [head]\n  lr: *all\n",
        ["line 1", "recursive", "plain data"],
    ),
    "empty text": ("\n", ["it is a NoneType", "a mapping"]),
    "no phase": ({}, ["it has no phase", "give at least phase 0"]),
    "a phase twice": (
        "0:\n  params: [head]\n0:\n  params: [block.2]\n",
        ["0 stands twice, in lines 1 and 3", "number them differently"],
    ),
    "a phase twice, as text and number": ({0: HEAD, "0": HEAD}, ["phase 0 stands twice", "join"]),
    "a key twice": (
        "0:\n  params: [head]\n  params: [block.2]\n",
        ["'params' stands twice, in lines 2 and 3", "Join the two"],
    ),
    "a key that is a list": ("? [0]\n: 1\n", ["line 1", "the key [0]", "text is expected"]),
    # ------------------------------------------------------------ the numbers of phases
    "numbered by a name": ({"first": HEAD}, ["numbered 'first'", "0, 1, 2"]),
    "numbered below 0": ({0: HEAD, -1: HEAD}, ["numbered -1", "0, 1, 2"]),
    "numbered by a fraction": ({0: HEAD, 1.5: HEAD}, ["numbered 1.5", "0, 1, 2"]),
    "begins with 1": ({1: HEAD}, ["phase 1 is there, but no phase 0", "without gaps"]),
    "a gap": ({0: HEAD, 2: HEAD}, ["phase 2 is there, but no phase 1", "0, 1, 2, … to 1"]),
    # ------------------------------------------------------------ a phase
    "a phase that is a list": (
        {0: HEAD, 1: ["block.2"]},
        ["phase 1 is a list", "a mapping with 'params'"],
    ),
    "a function in it": (
        scheduled({"class_path": "LambdaLR", "init_args": {"lr_lambda": abs}}),
        ["phase 1: new_lr_scheduler", "lr_lambda", "holds a builtin_function", "a list of its"],
    ),
    "unknown key": (second(learning_rate=1e-4), ["phase 1", "unknown key 'learning_rate'", "lr"]),
    "misspelled key": (
        second(max_transition_epochs=3),
        ["phase 1", "'max_transition_epochs'", "did you mean 'max_transition_epoch'?"],
    ),
    "no params": ({0: HEAD, 1: {"lr": 1e-4}}, ["phase 1: params is missing", "a list of at least"]),
    "empty params": ({0: HEAD, 1: {"params": []}}, ["phase 1: params is []", "at least one"]),
    "params that are text": (
        {0: {"params": "head"}},
        ["phase 0: params is 'head'", "a list of at least one"],
    ),
    "params with a number": ({0: {"params": [3]}}, ["phase 0: params has 3", "as text"]),
    "no regular expression": (
        {0: {"params": ["head.(1"]}},
        ["phase 0: params has 'head.(1'", "no regular expression", "a backslash"],
    ),
    # ------------------------------------------------------------ params and the model
    "matches nothing": (
        {0: {"params": ["projector.*"]}},
        ["phase 0: 'projector.*' matches no parameter and no group of bert", "block.2"],
    ),
    "misspelled name": (
        {0: {"params": ["head.1.wieght"]}},
        ["phase 0: 'head.1.wieght' matches no", "did you mean 'head.1.weight'?"],
    ),
    "matches a beginning": (
        {0: HEAD, 1: {"params": [r"encoder\.encoder\.layer\.2"]}},
        ["phase 1: 'encoder", "only the beginning of names", r"layer\\.2.*'", "all 16"],
    ),
    "matches what is not used": (
        {0: HEAD, 1: {"params": ["encoder.pooler.*"]}},
        ["phase 1: 'encoder.pooler.*'", "take no part in the output of bert", "take it out"],
    ),
    "in two phases": (
        {0: HEAD, 1: {"params": ["block.2"]}, 2: {"params": [r"encoder.*layer\.2\..*"]}},
        [
            "phase 2: 'encoder",
            "matches encoder.encoder.layer.2",
            "'block.2' of phase 1",
            "narrower",
        ],
    ),
    "twice in a phase": (
        {0: {"params": ["head", "head.1.bias"]}},
        ["phase 0: 'head.1.bias' matches head.1.bias", "'head' of the same phase", "narrower"],
    ),
    # ------------------------------------------------------------ lr and epochs
    "lr that is no number": (second(lr="high"), ["phase 1: lr is 'high'", "such as 1.0e-5"]),
    "lr below 0": (second(lr=-1e-4), ["phase 1: lr is -0.0001", "a positive number"]),
    "lr that is true": (second(lr=True), ["phase 1: lr is True", "a positive number"]),
    "an epoch that is text": (
        second(max_transition_epoch="three"),
        ["phase 1: max_transition_epoch is 'three'", "a whole number from 1 on", "-1"],
    ),
    "an epoch that is half": (
        second(max_transition_epoch=2.5),
        ["phase 1: max_transition_epoch is 2.5", "a whole number"],
    ),
    "epoch 0": (
        second(max_transition_epoch=0),
        ["phase 1: max_transition_epoch is 0", "from 1 on"],
    ),
    # ------------------------------------------------------------ new_lr_scheduler
    "scheduler in phase 0": (
        {0: HEAD | {"new_lr_scheduler": {"lr_scheduler_init": STEP}}},
        ["phase 0: new_lr_scheduler", "phases from 1 on", "ScheduledFinetune(lr_scheduler=...)"],
    ),
    "scheduler that is text": (
        second(new_lr_scheduler="StepLR"),
        ["phase 1: new_lr_scheduler is 'StepLR'", "a mapping with 'lr_scheduler_init'"],
    ),
    "no lr_scheduler_init": (
        second(new_lr_scheduler={"pl_lrs_cfg": {}}),
        ["phase 1: new_lr_scheduler.lr_scheduler_init is missing", "class_path and init_args"],
    ),
    "unknown key of a scheduler": (
        scheduled(init_lrs=[1e-5]),
        ["phase 1: new_lr_scheduler has the unknown key 'init_lrs'", "did you mean 'init_pg_lrs'?"],
    ),
    "no class_path": (
        scheduled({"init_args": {"step_size": 1}}),
        ["phase 1: new_lr_scheduler.lr_scheduler_init", "a mapping with class_path"],
    ),
    "misspelled class": (
        scheduled({"class_path": "torch.optim.lr_scheduler.StepLr"}),
        ["phase 1: new_lr_scheduler", "did you mean 'torch.optim.lr_scheduler.StepLR'?"],
    ),
    "a scheduler that cannot grow": (
        scheduled({"class_path": "torch.optim.lr_scheduler.OneCycleLR"}),
        ["phase 1: new_lr_scheduler", "OneCycleLR', which is not supported", "StepLR"],
    ),
    "code from elsewhere": (
        scheduled({"class_path": "os.system", "init_args": {"command": "true"}}),
        ["phase 1: new_lr_scheduler", "'os.system'", "imports no other code", "Use one of"],
    ),
    "arguments that are a list": (
        scheduled(STEP | {"init_args": [1]}),
        ["phase 1: new_lr_scheduler", "init_args is [1]", "a mapping from argument to value"],
    ),
    "arguments that torch refuses": (
        scheduled(STEP | {"init_args": {"steps": 1}}),
        ["phase 1: new_lr_scheduler.lr_scheduler_init.init_args", "{'steps': 1}", "documentation"],
    ),
    "argument missing": (
        scheduled(STEP | {"init_args": None}),
        ["phase 1: new_lr_scheduler", "does not take {}", "step_size"],
    ),
    "an optimizer among the arguments": (
        scheduled(STEP | {"init_args": {"step_size": 1, "optimizer": "AdamW"}}),
        ["phase 1: new_lr_scheduler", "['optimizer']", "leave it out"],
    ),
    "a factor that is divided by in the end": (
        scheduled({"class_path": "ConstantLR", "init_args": {"factor": 0.0, "total_iters": 40}}),
        ["phase 1: new_lr_scheduler", "ConstantLR", "division by zero"],
    ),
    "rates that turn negative": (
        scheduled(STEP | {"init_args": {"step_size": 1, "gamma": -0.5}}),
        ["phase 1: new_lr_scheduler", "no positive numbers", "change its arguments"],
    ),
    "min_lr for another number of groups": (
        scheduled(PLATEAU | {"init_args": {"min_lr": [1e-6] * 5}}),
        ["phase 1: new_lr_scheduler", "expected 2 min_lrs, got 5"],
    ),
    "no factors": (
        scheduled({"class_path": "LambdaLR", "init_args": {"lr_lambda": "0.9 ** epoch"}}),
        ["phase 1: new_lr_scheduler", "lr_lambda is '0.9 ** epoch'", "a list of factors"],
    ),
    "the wrong mode": (
        scheduled(PLATEAU | {"init_args": {"mode": "max"}}),
        ["phase 1: new_lr_scheduler: mode is 'max'", "of loss the lower", "take mode out"],
    ),
    "another monitor": (
        scheduled(PLATEAU, pl_lrs_cfg={"monitor": "val_accuracy"}),
        ["phase 1: new_lr_scheduler.pl_lrs_cfg.monitor is 'val_accuracy'", "'loss' decides"],
    ),
    "unknown key of pl_lrs_cfg": (
        scheduled(pl_lrs_cfg={"freqency": 1}),
        ["phase 1: new_lr_scheduler.pl_lrs_cfg", "'freqency'", "did you mean 'frequency'?"],
    ),
    "pl_lrs_cfg that is text": (
        scheduled(pl_lrs_cfg="epoch"),
        ["phase 1: new_lr_scheduler.pl_lrs_cfg is 'epoch'", "a mapping"],
    ),
    "interval": (
        scheduled(pl_lrs_cfg={"interval": "batch"}),
        ["phase 1: new_lr_scheduler.pl_lrs_cfg.interval is 'batch'", "'epoch' is expected, or 's"],
    ),
    "a plateau by steps": (
        scheduled(PLATEAU, pl_lrs_cfg={"interval": "step"}),
        ["phase 1: new_lr_scheduler.pl_lrs_cfg.interval is 'step'", "waits for validation"],
    ),
    "frequency": (
        scheduled(pl_lrs_cfg={"frequency": 0}),
        ["phase 1: new_lr_scheduler.pl_lrs_cfg.frequency is 0", "from 1 on"],
    ),
    "reduce_on_plateau of another class": (
        scheduled(pl_lrs_cfg={"reduce_on_plateau": True}),
        ["phase 1: new_lr_scheduler.pl_lrs_cfg.reduce_on_plateau is True", "take it out"],
    ),
    "too many rates": (
        scheduled(init_pg_lrs=[1e-5, 2e-5, 3e-5]),
        ["phase 1: new_lr_scheduler.init_pg_lrs has 3", "1 are expected", "its own is 'lr'"],
    ),
    "a rate that is none": (
        scheduled(init_pg_lrs=["low"]),
        ["phase 1: new_lr_scheduler.init_pg_lrs is 'low'", "a positive number"],
    ),
    "rates that are one number": (
        scheduled(init_pg_lrs=1e-5),
        ["phase 1: new_lr_scheduler.init_pg_lrs is 1e-05", "a list of 1 learning rates"],
    ),
    "two ways to begin": (
        scheduled(init_pg_lrs=[1e-5], use_current_optimizer_pg_lrs=True),
        ["phase 1: new_lr_scheduler has both init_pg_lrs and use_current", "keep one"],
    ),
    "a choice that is none": (
        scheduled(use_current_optimizer_pg_lrs="yes"),
        ["phase 1: new_lr_scheduler.use_current_optimizer_pg_lrs is 'yes'", "true or false"],
    ),
    # ------------------------------------------------------------ new_optimizer
    "optimizer in phase 0": (
        {0: HEAD | {"new_optimizer": {"optimizer_init": {"class_path": "SGD"}}}},
        ["phase 0: new_optimizer is for the phases from 1 on", "AdamW"],
    ),
    "optimizer that is text": (
        second(new_optimizer="SGD"),
        ["phase 1: new_optimizer is 'SGD'", "a mapping with 'optimizer_init'"],
    ),
    "unknown key of an optimizer": (
        second(new_optimizer={"optim_init": {}}),
        ["phase 1: new_optimizer", "'optim_init'", "did you mean 'optimizer_init'?"],
    ),
    "another optimizer": (
        optimized({"class_path": "torch.optim.LBFGS"}),
        ["phase 1: new_optimizer", "LBFGS', which is not supported", "AdamW"],
    ),
    "arguments that the optimizer refuses": (
        optimized({"class_path": "torch.optim.SGD", "init_args": {"betas": [0.9, 0.99]}}),
        ["phase 1: new_optimizer.optimizer_init.init_args", "betas", "documentation"],
    ),
    "lr of the optimizer": (
        optimized({"class_path": "torch.optim.SGD", "init_args": {"lr": 0}}),
        ["phase 1: new_optimizer.optimizer_init.init_args.lr is 0", "a positive number"],
    ),
    "arguments with which the optimizer cannot step": (
        optimized({"class_path": "torch.optim.SGD", "init_args": {"differentiable": True}}),
        ["phase 1: new_optimizer.optimizer_init.init_args", "differentiable", "documentation"],
    ),
    "parameters among the arguments": (
        optimized({"class_path": "torch.optim.SGD", "init_args": {"params": ["head"]}}),
        ["phase 1: new_optimizer", "['params']", "leave it out"],
    ),
}


def test_there_are_more_than_enough_kinds() -> None:
    assert len(BAD) >= 24


@pytest.mark.parametrize(("schedule", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_schedule(schedule: Any, words: list[str], make_model: Any) -> None:
    with pytest.raises(TrainingError) as caught:
        ScheduledFinetune(schedule).plan(make_model(), 5)
    message = str(caught.value)
    assert message.startswith("schedule: ")
    place = 0
    for word in words:
        assert word in message[place:], f"{word!r} is not in {message!r}"
        place = message.index(word, place) + len(word)


WHOLE = {
    0: HEAD | {"max_transition_epoch": 2},
    1: {
        "params": ["block.2", r"encoder\.encoder\.layer\.1\..*"],
        "lr": 1e-4,
        "max_transition_epoch": 4,
        "new_lr_scheduler": {
            "lr_scheduler_init": {"class_path": "StepLR", "init_args": {"step_size": 1}},
            "pl_lrs_cfg": {"interval": "epoch", "frequency": 1, "monitor": "val_loss"},
            "init_pg_lrs": [1e-5],
        },
        "new_optimizer": {
            "optimizer_init": {"class_path": "SGD", "init_args": {"lr": 1e-3, "momentum": 0.9}}
        },
    },
    2: {
        "params": ["block.0"],
        "new_lr_scheduler": {"lr_scheduler_init": PLATEAU, "use_current_optimizer_pg_lrs": True},
    },
}


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything inside."""
    if not isinstance(value, dict | list):
        return [here]
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    return [here, *(place for key, item in inside for place in places(item, (*here, key)))]


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copied = copy.copy(value)
    copied[place[0]] = changed(value[place[0]], place[1:], new)
    return copied


names = st.sampled_from(["head", "block.2", ".*", "StepLR", "LambdaLR", "LinearLR", "Adam", "1e-4"])
single = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | names
anything = st.recursive(
    single | st.just(10**400) | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | single, inner, max_size=2),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def model() -> Any:
    return small_classifier("bert")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(places(WHOLE)), anything)
def test_whatever_stands_in_it_there_is_a_plan_or_an_error(
    model: Any, place: tuple[Any, ...], new: Any
) -> None:
    schedule = changed(WHOLE, place, new)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            plan = ScheduledFinetune(schedule).plan(model, 5)
        except TrainingError as error:
            said = str(error)
        else:
            said = "schedule: " + ("" if plan.epochs > 100 else str(plan))
    assert said.startswith("schedule: ")


BAD_SETTINGS: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "nothing ends a phase": (
        second(),
        {"patience": None},
        ["schedule: phase 0: max_transition_epoch is missing", "give it, or set patience"],
    ),
    "nothing ends the last but one": (
        {0: HEAD | {"max_transition_epoch": 2}, **{1: {"params": ["block.2"]}},
         2: {"params": ["block.1"]}},
        {"patience": None},
        ["schedule: phase 1: max_transition_epoch is missing"],
    ),
    "epochs only, without epochs": (
        second(max_transition_epoch=3),
        {"epoch_transitions_only": True},
        ["schedule: phase 0: max_transition_epoch", "leave epoch_transitions_only out"],
    ),
    "epochs only, generated": (
        None,
        {"epoch_transitions_only": True},
        ["phase 0: max_transition_epoch", "dump a generated schedule and edit it"],
    ),
    "no patience, generated": (None, {"patience": None}, ["phase 0", "dump", "set patience"]),
    "reinit_lr beside a schedule": (
        second(),
        {"reinit_lr": STEP},
        ["ScheduledFinetune: reinit_lr is", "None beside a schedule", "new_lr_scheduler"],
    ),
    "reinit_optimizer beside a schedule": (
        second(),
        {"reinit_optimizer": {"class_path": "SGD"}},
        ["ScheduledFinetune: reinit_optimizer is", "None beside a schedule", "new_optimizer"],
    ),
    "reinit_lr with rates": (
        None,
        {"reinit_lr": {"lr_scheduler_init": STEP, "init_pg_lrs": [1e-5]}},
        ["ScheduledFinetune: reinit_lr.init_pg_lrs", "one phase of a schedule", "take it out"],
    ),
    "reinit_lr with a list for each group": (
        None,
        {"reinit_lr": PLATEAU | {"init_args": {"min_lr": [1e-6, 1e-7]}}},
        ["ScheduledFinetune: reinit_lr", "expected 3 min_lrs, got 2"],
    ),
    "reinit_lr that is a name": (None, {"reinit_lr": "StepLR"}, ["is 'StepLR'", "a mapping"]),
    "reinit_optimizer unknown": (
        None,
        {"reinit_optimizer": {"class_path": "AdamWW"}},
        ["ScheduledFinetune: reinit_optimizer", "did you mean 'torch.optim.AdamW'?"],
    ),
    "lr_scheduler with rates": (
        None,
        {"lr_scheduler": {"lr_scheduler_init": STEP, "init_pg_lrs": [1e-5]}},
        ["ScheduledFinetune: lr_scheduler.init_pg_lrs", "take it out"],
    ),
    "lr_scheduler unknown": (
        None,
        {"lr_scheduler": {"class_path": "torch.optim.lr_scheduler.Step"}},
        ["ScheduledFinetune: lr_scheduler", "did you mean 'torch.optim.lr_scheduler.StepLR'?"],
    ),
    "max_depth": (None, {"max_depth": -1}, ["max_depth is -1", "None, or a whole number from 0"]),
    "patience": (None, {"patience": 0}, ["patience is 0", "None, or a whole number from 1 on"]),
    "base_max_lr": (None, {"base_max_lr": 0}, ["base_max_lr is 0", "None, or a positive number"]),
    "min_delta": (None, {"min_delta": -0.1}, ["min_delta is -0.1", "0 or a positive number"]),
    "generate": (None, {"generate": "layers"}, ["generate is 'layers'", "one of blocks, pairs"]),
    "decay": (None, {"decay": "linear"}, ["decay is 'linear'", "'constant', as lr_scheduler"]),
    "restore_best": (None, {"restore_best": "no"}, ["restore_best is 'no'", "True or False"]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("schedule", "settings", "words"), BAD_SETTINGS.values(), ids=BAD_SETTINGS.keys()
)
def test_a_bad_setting(schedule: Any, settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(TrainingError) as caught:
        ScheduledFinetune(schedule, **settings)
    message = str(caught.value)
    place = 0
    for word in words:
        assert word in message[place:], f"{word!r} is not in {message!r}"
        place = message.index(word, place) + len(word)


def test_the_last_phase_that_opens_needs_no_end() -> None:
    ScheduledFinetune(second(), patience=None, max_depth=0)
    ScheduledFinetune(patience=None, max_depth=0)
    with pytest.raises(TrainingError, match="phase 0: max_transition_epoch is missing"):
        ScheduledFinetune(patience=None, max_depth=1)


def test_a_folder_or_a_file_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot be read .*give the path of a YAML file"):
        ScheduledFinetune(tmp_path)
    path = tmp_path / "schedule.yaml"
    path.write_bytes(b"\xff\xfe0: 1")
    with pytest.raises(TrainingError, match=r"schedule.yaml cannot be read .*'utf-8'"):
        ScheduledFinetune(path)
