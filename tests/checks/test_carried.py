"""A notebook carries its answers through what front ends do to it, and nothing else gets in."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from colab import saved_by_colab
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import made_run

from coursekit.checks import AnswerSheet, read_notebook
from coursekit.checks.carried import fold, pack, unpack
from coursekit.checks.sheet import MAX_BYTES
from coursekit.errors import AnswerError
from coursekit.runs import Run, decode_record
from coursekit.runs.embedded import find_embedded


def a_run(n: int = 40) -> Run:
    rng = np.random.default_rng(0)
    sets = np.array(["", "easy", "hard", ""])[np.arange(n) % 4]
    predictions = pd.DataFrame(
        {
            "molecule_id": [f"{i:064x}" for i in range(n)],
            "part": ["valid" if i < n // 2 else "test" for i in range(n)],
            "negative_set": sets,
            "label": (sets == "").astype("int8"),
            "score": rng.random(n).astype(np.float32).astype(float),
        }
    )
    return made_run(predictions, name="frozen")


def filled() -> AnswerSheet:
    sheet = AnswerSheet("01")
    sheet.add("01.4", {"frozen": a_run(), "table": pd.DataFrame({"easy AUROC": [0.75]})})
    return sheet


def notebook(*html: str) -> dict[str, Any]:
    cells = [
        nbformat.v4.new_code_cell(
            "ck.handin()",
            outputs=[nbformat.v4.new_output("display_data", data={"text/html": one})],
        )
        for one in html
    ]
    return nbformat.v4.new_notebook(cells=cells)


def test_a_run_comes_back_whole_from_a_notebook_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "lesson.ipynb"
    nbformat.write(notebook(fold(filled(), "answers")), path)
    found = read_notebook(path)
    assert found.problems == ()
    run = found.sheet.values("01.4")["frozen"]
    pd.testing.assert_frame_equal(run.predictions, Run.from_record(a_run().record()).predictions)
    assert [Run.from_record(decode_record(t)).name for t in find_embedded(as_text(path))] == [
        "frozen"
    ]


def as_text(path: Path) -> str:
    return "".join(json.loads(path.read_text())["cells"][0]["outputs"][0]["data"]["text/html"])


def test_a_run_that_is_answered_twice_is_carried_once() -> None:
    sheet = filled()
    sheet.add("01.5", {"again": [a_run(), "text"]})
    html = fold(sheet, "answers")
    assert html.count("coursekit-record:") == 1
    found = read_notebook(notebook(html)).sheet
    assert found == sheet


def test_a_lost_record_is_missed_by_name() -> None:
    html = re.sub("coursekit-record:[^<]*", "", fold(filled(), "answers"))
    with pytest.raises(AnswerError, match="not in the notebook"):
        read_notebook(notebook(html)).sheet.values("01.4")


def as_sanitized(html: str) -> str:
    return re.sub(r"<(/?\w+)[^>]*>", r"<\1>", html)  # every attribute gone


def as_wrapped(html: str) -> str:
    return "\n".join(html[i : i + 76] for i in range(0, len(html), 76))


def as_escaped(html: str) -> str:
    return html.replace("+", "&#43;").replace("/", "&#x2F;").replace("=", "&equals;")


@pytest.mark.parametrize("change", [as_sanitized, as_escaped, lambda h: f"<div>{h}</div>"])
def test_it_survives_what_front_ends_do(change: Any) -> None:
    carried = read_notebook(saved_by_colab(notebook(change(fold(filled(), "answers")))))
    assert carried.sheet == filled()


def test_a_wrapped_carrier_is_read() -> None:
    text = pack(filled())
    head, body = text[:20], text[20:-4]
    assert unpack(head + as_wrapped(body) + ":end") == filled()


def test_the_last_answer_counts_and_a_spoiled_one_costs_only_itself() -> None:
    later = AnswerSheet("01")
    later.add("01.5", {"precision_at": [0.5]})
    later.add("01.4", {"frozen": ...})
    spoiled = re.sub("answers/1:(.{20})..", r"answers/1:\1", fold(filled(), "b"))
    found = read_notebook(notebook(fold(filled(), "a"), spoiled, fold(later, "c")))
    assert set(found.sheet.answers) == {"01.4", "01.5"}
    assert found.sheet.values("01.4") == {"frozen": ...}
    assert len(found.problems) == 1


def test_a_bomb_is_refused() -> None:
    bomb = base64.b64encode(zlib.compress(b" " * (MAX_BYTES + 10), 9)).decode()
    assert len(bomb) < 20_000
    found = read_notebook(notebook(f"coursekit.answers/1:{bomb}:end"))
    assert found.sheet is None
    assert "more than" in found.problems[0]


@pytest.mark.parametrize("source", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_notebook_is_refused(source: bytes) -> None:
    with pytest.raises(AnswerError, match="notebook"):
        read_notebook(source)


@pytest.mark.parametrize("source", [b"{}", b'{"cells": 3}', b'{"cells": [3, {"outputs": {}}]}'])
def test_a_notebook_of_another_shape_carries_nothing(source: bytes) -> None:
    assert read_notebook(source).sheet is None


def test_a_missing_notebook_is_named() -> None:
    with pytest.raises(AnswerError, match="none"):
        read_notebook("none.ipynb")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_in_an_output_is_harmless(text: str) -> None:
    read_notebook(notebook(f"coursekit.answers/1:{escape(text)}:end", text))
