"""Judging: every way that a check can end gives a result with the points it deserves."""

from __future__ import annotations

import math
from typing import Any

import pytest

from coursekit.checks import (
    AnswerSheet,
    CannotCheck,
    CheckResult,
    Exercise,
    NotAttempted,
    Unknown,
    Wrong,
    exercises,
    find,
    judge,
    judge_sheet,
    lessons,
)
from coursekit.errors import AnswerError


def exercise(check: Any, **more: Any) -> Exercise:
    return Exercise("99.1", "A test", 4, ("x",), check, **more)


def raises(error: Exception) -> Any:
    def check(x: Any) -> str:
        raise error

    return check


@pytest.mark.parametrize(
    ("check", "state", "points", "said"),
    [
        (lambda x: "well", "right", 4, "well"),
        (lambda x: None, "right", 4, ""),
        (raises(Wrong("look at `x`")), "wrong", 0, "look at `x`"),
        (raises(Wrong("half", share=0.5)), "wrong", 2, "half"),
        (raises(Wrong("odd", share=math.nan)), "wrong", 0, "odd"),
        (raises(Wrong("odd", share=1)), "wrong", 0, "odd"),
        (raises(NotAttempted("write it")), "not attempted", 0, "write it"),
        (raises(CannotCheck("no file")), "cannot be checked", 0, "no file"),
        (raises(KeyError("boom")), "cannot be checked", 0, "KeyError"),
    ],
)
def test_each_ending_has_its_state(check: Any, state: str, points: float, said: str) -> None:
    result = judge(exercise(check), {"x": 1})
    assert (result.state, result.points, result.max_points) == (state, points, 4)
    assert said in result.message
    assert "Traceback" not in result.message


@pytest.mark.parametrize(
    ("answers", "state", "said"),
    [
        ({}, "not attempted", "`x`"),
        ({"x": ...}, "not attempted", "`x`"),
        ({"x": None}, "wrong", "None"),
        ({"x": Unknown("function")}, "wrong", "function"),
        ({"x": Unknown("error", "ZeroDivisionError: division by zero")}, "wrong", "ZeroDivision"),
    ],
)
def test_gaps_are_found_before_the_check_runs(answers: Any, state: str, said: str) -> None:
    result = judge(exercise(lambda x: "right whatever"), answers)
    assert result.state == state
    assert said in result.message
    assert result.points == 0


def test_a_hidden_check_takes_the_place_of_the_public_one() -> None:
    public = exercise(lambda x: "fine")
    assert judge(public, {"x": 1}, check=raises(Wrong("hidden"))).state == "wrong"


def test_what_a_person_grades_gives_no_points_but_is_done() -> None:
    result = judge(exercise(lambda x: None, by_person=True), {"x": "text"})
    assert (result.state, result.points, result.done) == ("cannot be checked", 0, True)


def test_a_function_is_handed_over_as_what_it_gives() -> None:
    one = exercise(lambda x: None, collect={"x": lambda f: [f(1), f(2)]})
    sheet = AnswerSheet("99")
    sheet.add_plain("99.1", one.hand_over(lambda n: n * 10))
    assert sheet.values("99.1")["x"].tolist() == [10, 20]
    sheet.add_plain("99.1", one.hand_over(lambda n: 1 / 0))
    assert sheet.values("99.1")["x"].why == "ZeroDivisionError: division by zero"
    assert judge(one, sheet.values("99.1")).state == "wrong"
    nothing = exercise(lambda x: None, collect={"x": lambda f: f()})
    sheet.add_plain("99.1", nothing.hand_over(lambda: None))
    assert judge(nothing, sheet.values("99.1")).state == "not attempted"
    sheet.add_plain("99.1", one.hand_over(...))
    assert judge(one, sheet.values("99.1")).state == "not attempted"


@pytest.mark.parametrize(
    ("state", "points", "most"),
    [
        ("right", math.nan, 4),
        ("right", 3, 4),
        ("wrong", 5, 4),
        ("wrong", 4, 4),
        ("wrong", -1, 4),
        ("not attempted", 1, 4),
        ("full", 4, 4),
        ("right", True, 1),
    ],
)
def test_no_result_holds_points_that_do_not_go_with_it(state: Any, points: Any, most: Any) -> None:
    with pytest.raises(AnswerError):
        CheckResult("99.1", state, points, most, "")


def test_a_result_shows_its_state_in_words_and_travels() -> None:
    result = CheckResult("99.1", "wrong", 1, 4, "`x` < 3 & more")
    assert "wrong (1 of 4 points)" in str(result)
    shown = result._repr_html_()
    assert "wrong (1 of 4 points)" in shown
    assert "<code>x</code> &lt; 3 &amp; more" in shown
    assert CheckResult.from_plain(result.to_plain()) == result
    for spoiled in ({}, {**result.to_plain(), "more": 1}, {**result.to_plain(), "points": "4"}):
        with pytest.raises(AnswerError):
            CheckResult.from_plain(spoiled)


def test_every_lesson_has_exercises_in_order_with_ids_of_its_own() -> None:
    assert {"00", "01"} <= set(lessons())
    for lesson in lessons():
        ids = [one.id for one in exercises(lesson)]
        assert ids == [f"{lesson}.{k + 1}" for k in range(len(ids))]
        assert exercises(lesson)[-1].by_person


def test_unknown_ids_are_named_with_those_there_are() -> None:
    with pytest.raises(AnswerError, match=r"00\.1"):
        find("00.77")
    for bad in ("99.1", "1", "00.1; x", None):
        with pytest.raises(AnswerError):
            find(bad)  # type: ignore[arg-type]


def test_an_empty_sheet_is_not_attempted_and_a_spoiled_answer_cannot_be_checked() -> None:
    sheet = AnswerSheet("00")
    assert {result.state for result in judge_sheet(sheet)} == {"not attempted"}
    sheet.add_plain("00.2", {"my_enrichment": {"kind": "array", "shape": [1], "values": ["x"]}})
    states = {result.exercise: result.state for result in judge_sheet(sheet)}
    assert states["00.2"] == "cannot be checked"
    assert states["00.1"] == "not attempted"


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        ("word " * 30, "cannot be checked", "has 30 words. A person reads it"),
        ("too short", "wrong", "has 2 words"),
        (42, "wrong", "is not a text"),
        (..., "not attempted", "`reflection_00`"),
    ],
)
def test_a_reflection_is_looked_at_for_being_there(answer: Any, state: str, said: str) -> None:
    result = judge(find("00.6"), {"reflection_00": answer})
    assert (result.state, result.points) == (state, 0)
    assert said in result.message
