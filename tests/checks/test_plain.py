"""Plain answers: what a notebook hands over comes back, and nothing harmful comes with it."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coursekit.checks import Unknown, from_plain, to_plain
from coursekit.errors import AnswerError
from coursekit.evaluation import Score


def travel(value: Any) -> Any:
    return from_plain(json.loads(json.dumps(to_plain(value), allow_nan=False)))


@pytest.mark.parametrize(
    "value", [..., None, True, 3, -0.25, "text\nof two lines", [1, "a", None], {"a": {"b": 2}}, []]
)
def test_plain_values_come_back(value: Any) -> None:
    assert (
        np.array_equal(travel(value), value) if isinstance(value, list) else travel(value) == value
    )


def test_numbers_of_all_makes_are_numbers() -> None:
    assert travel(np.float32(0.5)) == 0.5
    assert travel(np.array(7)) == 7
    assert travel(torch.tensor(2.5)) == 2.5
    assert math.isnan(travel(float("nan")))
    assert travel(float("-inf")) == -math.inf
    assert travel(Score(0.75, 0.7, 0.8, 10, 10, 0.5)) == 0.75
    assert travel(10**30) == 1e30


def test_arrays_tensors_and_lists_of_numbers_are_arrays() -> None:
    grid = np.arange(6.0).reshape(2, 3)
    for value in (grid, torch.tensor(grid, requires_grad=True), pd.Series([1.0, math.nan])):
        found = travel(value)
        expected = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(travel([1, 2.5]), [1, 2.5])


def test_a_table_comes_back_with_its_rows_and_gaps() -> None:
    table = pd.DataFrame({"n": [1, 2], "x": [0.5, math.nan], "who": ["a", None]}, index=["p", "q"])
    found = travel(table)
    assert list(found.index) == ["p", "q"]
    assert list(found.columns) == ["n", "x", "who"]
    assert found["n"].tolist() == [1, 2]
    assert math.isnan(found.loc["q", "x"])
    assert found["who"].tolist() == ["a", None]


def test_a_series_with_names_is_a_dict() -> None:
    assert travel(pd.Series({"binder": 3, "easy": 4})) == {"binder": 3, "easy": 4}


class Hostile:
    """Raises whatever one does with it."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemError("no")


def test_what_cannot_travel_comes_through_by_name() -> None:
    assert travel(len) == Unknown("builtin_function_or_method")
    assert isinstance(travel(Hostile()), Unknown)
    endless: list[Any] = []
    endless.append(endless)
    json.dumps(to_plain(endless))
    assert "200,000" in travel(np.zeros(200_001)).why


def test_a_lying_number_is_only_its_value() -> None:
    class Liar(float):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = float.__hash__

    found = travel(Liar(0.25))
    assert type(found) is float
    assert found == 0.25
    assert found != 0.75


def test_text_cannot_disturb_a_terminal() -> None:
    assert travel("a\x1b[31mb\u202ec") == "a�[31mb�c"


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["kind", "value", "items", "shape", "values", "index", "columns", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
kinds = st.sampled_from(
    ["number", "array", "table", "run", "list", "fields", "text", "unknown", "flag"]
)


@settings(max_examples=300, deadline=None)
@given(plain_json, kinds)
def test_any_json_is_a_value_or_an_answer_error(data: Any, kind: str) -> None:
    if isinstance(data, dict):
        data["kind"] = kind
    with suppress(AnswerError):
        from_plain(data)


answers = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(np.asarray(a, float), np.asarray(b, float))
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b) and type(a) is type(b)


@settings(max_examples=200, deadline=None)
@given(answers)
def test_whatever_is_plain_travels_unchanged(value: Any) -> None:
    assert same(travel(value), value)
