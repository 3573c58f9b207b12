"""The sheet: written by a stranger's notebook, read by those who do not trust it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursekit.checks import AnswerSheet
from coursekit.errors import AnswerError


def filled() -> AnswerSheet:
    sheet = AnswerSheet("00")
    sheet.add("00.1", {"share_unseen": 0.25, "median_load": 23})
    sheet.add("00.6", {"reflection_00": "Because."})
    return sheet


def test_a_sheet_comes_back_from_its_file(tmp_path: Path) -> None:
    found = AnswerSheet.load(filled().save(tmp_path / "deep" / "answers.json"))
    assert found == filled()
    assert found.values("00.1") == {"share_unseen": 0.25, "median_load": 23}
    assert list(found) == ["00.1", "00.6"]
    assert found.values("00.2") == {}


def test_an_answer_again_replaces_the_first() -> None:
    sheet = filled()
    sheet.add("00.1", {"share_unseen": 0.5})
    assert sheet.values("00.1") == {"share_unseen": 0.5}


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("schema", "coursekit.run", "schema"),
        ("version", 2, "version"),
        ("version", True, "version"),
        ("lesson", "../00", "lesson"),
        ("kit", "", "version of coursekit"),
        ("answers", [], "answers"),
        ("answers", {"00.1/../../x": {}}, "00.1"),
        ("answers", {"00.1": {"a b": {}}}, "bad answer"),
        ("answers", {"00.1": {"a": 1}}, "bad answer"),
        ("extra", 1, "fields"),
    ],
)
def test_a_bad_frame_is_refused_by_name(key: str, value: object, named: str) -> None:
    data = json.loads(filled().to_json()) | {key: value}
    with pytest.raises(AnswerError, match=named):
        AnswerSheet.from_json(json.dumps(data))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"\xff\xfe", b'{"a":1,"a":2}', b'{"schema":NaN}', b"[" * 100_000]
)
def test_what_is_no_sheet_is_refused(text: bytes) -> None:
    with pytest.raises(AnswerError):
        AnswerSheet.from_json(text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_damage_anywhere_gives_an_error_or_a_sheet(junk: bytes, at: int) -> None:
    good = filled().to_json().encode()
    try:
        sheet = AnswerSheet.from_json(good[:at] + junk + good[at + len(junk) :])
        for exercise in sheet:
            sheet.values(exercise)
    except AnswerError:
        pass


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnswerError, match=r"none\.json"):
        AnswerSheet.load(tmp_path / "none.json")
