"""What the checks of lessons 02 and 03 hold answers against, held against something else."""

from __future__ import annotations

from dataclasses import replace

import pytest

import coursekit as ck
from coursekit.checks import find, judge
from coursekit.checks.lesson_03 import _epochs_within
from coursekit.checks.truth import is_bundled
from coursekit.training.trial_parts import tiny_model


@pytest.mark.parametrize("blocks", [3, 6, 12])
@pytest.mark.parametrize("full", [1, 2, 5, 12])
def test_equal_time_by_the_strategys_own_plan(blocks: int, full: int) -> None:
    """The most epochs whose phases, as the kit plans them, open no more than ``full`` epochs do."""

    def cost(epochs: int) -> float:
        plan = ck.ProgressiveUnfreeze().plan(tiny_model(blocks), epochs)
        return sum(
            (phase.epochs or 0) * sum(g.startswith("block.") for g in phase.learning_rates)
            for phase in plan.phases
        )

    right = _epochs_within(full, blocks)
    assert cost(right) <= full * blocks < cost(right + 1)


def test_a_bundled_run_is_known_again_and_another_is_not() -> None:
    run = ck.bundled_run("frozen")
    assert is_bundled(ck.Run.from_record(run.record()))
    other = run.predictions.assign(score=run.predictions["score"] * 0.999)
    assert not is_bundled(replace(run, predictions=other))


def test_a_table_is_judged_by_its_names_whatever_their_order() -> None:
    frozen, tuned = ck.bundled_run("frozen"), ck.bundled_run("fine-tuned")
    four = ["hard AU-PRC", "easy AUROC", "easy AU-PRC", "hard AUROC"]
    table = ck.compare({"fine-tuned": tuned, "frozen": frozen}, n_boot=0).table[four]
    answers = {"frozen": frozen, "fine_tuned": tuned, "table": table}
    assert judge(find("02.4"), answers).state == "right"
    assert judge(find("02.4"), answers | {"table": table.round(3)}).state == "right"
    off = table + 0.01
    assert "its run's record gives" in judge(find("02.4"), answers | {"table": off}).message


@pytest.mark.parametrize("rates", [list, tuple])
def test_learning_rates_may_be_rounded(rates: type) -> None:
    values = rates(float(f"{2e-5 * 0.9 ** (11 - b):.3g}") for b in range(12))
    answers = {"block_rates": ck_plain(values), "embeddings_rate": 5.65e-6}
    assert judge(find("03.1"), answers).state == "right"


def ck_plain(value: object) -> object:
    """A value as it comes out of a sheet."""
    from coursekit.checks import from_plain, to_plain

    return from_plain(to_plain(value))
