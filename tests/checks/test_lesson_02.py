"""What the checks of lesson 02 hold answers against."""

from __future__ import annotations

from dataclasses import replace

import coursekit as ck
from coursekit.checks import find, judge
from coursekit.checks.truth import is_bundled


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
