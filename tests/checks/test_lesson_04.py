"""Lesson 04: what its checks hold to be right is what the engine does, and a stranger's schedule
does no harm where it is judged."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from families import small_classifier as classifier
from tiny import tiny_task

from coursekit.checks import Wrong, find, judge, schedules
from coursekit.checks.lesson_04 import TRACES, _facts_of_model
from coursekit.checks.schedules import entries_of
from coursekit.models import load_classifier
from coursekit.training import ScheduledFinetune, session

RIGHT = """
0: {params: [head], max_transition_epoch: 2}
1: {params: [block.5, block.4], lr: 1.0e-3, max_transition_epoch: 6}
2: {params: ["block.[0-3]"], lr: 5.0e-4}
"""
COSINE = """
    lr_scheduler_init: {class_path: CosineAnnealingLR, init_args: {T_max: 6}}
"""
FALLING = RIGHT.replace(
    '2: {params: ["block.[0-3]"], lr: 5.0e-4}',
    '2:\n  params: ["block.[0-3]"]\n  lr: 5.0e-4\n  new_lr_scheduler:' + COSINE,
)


@pytest.fixture(scope="module")
def model() -> Any:
    return load_classifier("coursekit-mini", pooling="mean")


def asked(id: str, **answers: Any) -> Any:
    return judge(find(id), answers)


def fitted(
    strategy: ScheduledFinetune, losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A real fit of a small model, of which only the validation loss is scripted."""
    real, said = session.validation_scores, iter(losses)
    monkeypatch.setattr(
        session, "validation_scores", lambda *parts: real(*parts) | {"loss": next(said)}
    )
    return strategy.fit(classifier("bert"), tiny_task(), epochs=len(losses))


@pytest.mark.parametrize(
    ("name", "losses", "ends"),
    [
        ("trace_a", [0.66, 0.60, 0.61, 0.62, 0.7], {}),
        ("trace_b", [0.66, 0.62, 0.63, 0.60, 0.7], {0: 4}),
        ("trace_c", [0.66, 0.60, 0.61, 0.62, 0.64, 0.61, 0.7], {}),
    ],
)
def test_the_traces_go_on_as_the_check_says(
    name: str, losses: list[float], ends: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = [["head"], ["block.2"], ["block.1"]]
    schedule = {
        n: {"params": params} | ({"max_transition_epoch": ends[n]} if n in ends else {})
        for n, params in enumerate(phases)
    }
    run = fitted(ScheduledFinetune(schedule, patience=2), losses, monkeypatch)
    valid = run.history[run.history["split"] == "valid"]
    begins = int(valid.groupby("phase")["epoch"].min().iloc[-1])
    note = next(n for n in run.notes if n.startswith(f"phase {valid['phase'].max()} began"))
    weights = int(re.search(r"epoch (\d+)", note)[1])  # type: ignore[index]
    assert (begins, weights) == TRACES[name]


def test_when_the_last_phase_opens_if_nothing_improves(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = ScheduledFinetune(lr=1e-3, patience=2)
    losses = [0.5, *[0.6] * 30]
    run = fitted(strategy, losses, monkeypatch)
    valid = run.history[run.history["split"] == "valid"]
    groups = classifier("bert").groups
    opens = int(valid.loc[valid["phase"] == len(groups) - 1, "epoch"].min())
    answers = {"n_phases": len(groups), "last_opens": opens}
    answers["n_pairs"] = -(-sum(map(len, groups.values())) // 2)
    plan = ScheduledFinetune(generate="pairs").plan(classifier("bert"), epochs=99)
    assert len(plan.phases) == answers["n_pairs"]
    facts = _facts_of_model(classifier("bert"))
    assert asked("04.1", **answers, model=facts).state == "right"


def test_the_rate_that_is_asked_for_is_the_plans(model: Any) -> None:
    plan = ScheduledFinetune(FALLING, lr=1e-3, patience=2).plan(model, epochs=12)
    rates = plan.per_epoch()
    half = rates[(rates["epoch"] == 9) & (rates["group"] == "head")]["learning_rate"].item()
    found = asked("04.5", my_rates=FALLING, head_rate=half, model=_facts_of_model(model))
    assert found.state == "right"


@pytest.mark.parametrize(
    "schedule",
    [
        RIGHT,
        RIGHT.replace('"block.[0-3]"', "block.0, block.1, block.2, block.3"),
        RIGHT.replace('"block.[0-3]"', r"'encoder\.layers\.[0-3]\..*'"),
        RIGHT.replace("block.5, block.4", "block.4, block.5").replace("1.0e-3", "0.001"),
        RIGHT.replace("lr: 5.0e-4", "lr: 5e-4, max_transition_epoch: -1"),
        RIGHT.replace("[head]", "[head], lr: 1.0e-3"),
        {
            "0": {"params": ["head"], "max_transition_epoch": 2},
            "1": {"params": ["block.4", "block.5"], "lr": 1e-3, "max_transition_epoch": 6},
            "2": {"params": ["block.[0-3]"], "lr": 5e-4},
        },
    ],
)
def test_every_way_to_write_the_schedule_is_right(schedule: Any, model: Any) -> None:
    assert asked("04.2", my_schedule=schedule, model=_facts_of_model(model)).state == "right"


LAUGHS = "0: &a [x, x]\n" + "".join(f"{n}: &{chr(96 + n)}x [*a, *a]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("/etc/passwd", "a single line"),
        (LAUGHS, "an anchor"),
        (RIGHT.replace("block.[0-3]", "(e+)+x"), "repeated brackets"),
        (RIGHT.replace("block.[0-3]", ".*.*.*.*.*x"), "repeated brackets"),
        (RIGHT.replace("block.[0-3]", "x" * 500), "repeated brackets"),
        ("#" * 5_000 + "\n0: {params: [head]}\n", "are plenty"),
        ("0:\n  params: !!python/object/apply:os.getcwd []\n", "plain data"),
        ("0: {params: [head]}\n1: [block.5]\n2: 3\n", "phase 1 is a list"),
    ],
)
def test_a_schedule_that_would_do_harm_is_sent_back_at_once(
    schedule: str, said: str, model: Any
) -> None:
    began = time.process_time()
    result = asked("04.2", my_schedule=schedule, model=_facts_of_model(model))
    assert result.state == "wrong"
    assert said in result.message
    assert time.process_time() - began < 2


@pytest.mark.parametrize("text", ["[" * 3_000 + "\n", "{" * 3_000 + "\n", "- " * 1_900 + "\n"])
def test_text_that_is_nested_without_end_ends_in_a_result(text: str, model: Any) -> None:
    result = asked("04.2", my_schedule=text, model=_facts_of_model(model))
    assert result.state in ("wrong", "cannot be checked")
    assert result.points == 0


def test_names_are_tried_as_those_of_the_bundled_encoders_family() -> None:
    assert load_classifier("coursekit-mini").encoder.base_model_prefix == schedules.PREFIX


@pytest.mark.parametrize("model", [[], {"groups": 3}, {"groups": {"head": [1]}}, {}])
def test_a_model_that_is_none_is_named(model: Any) -> None:
    result = asked("04.2", my_schedule=RIGHT, model=model)
    assert result.state == "wrong"
    assert "`model`" in result.message


def test_what_the_library_objects_to_is_passed_on() -> None:
    with pytest.raises(Wrong, match="did you mean 'params'"):
        entries_of("mine", "0:\n  parms: [head]\n")
