"""Notebooks: whatever saved them, and whatever bytes come."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from course import dump, solved, student_version
from hypothesis import given, settings
from hypothesis import strategies as st

from coursekit.classroom.handed_in import saved_by_colab
from coursekit.errors import SubmissionError
from coursekit.grading.notebook import MAX_CELLS, read_notebook


def test_what_colab_saves_has_the_same_sources() -> None:
    original = solved()
    kept = read_notebook(dump(original))
    colab = read_notebook(dump(saved_by_colab(original)))
    assert [c.source for c in colab.cells] == [c.source for c in kept.cells]
    assert [c.kind for c in colab.cells] == [c["cell_type"] for c in original["cells"]]
    assert {c.grade_id for c in colab.cells} == {None}
    assert kept.cells[3].grade_id == "solution-97-1"


def test_format_3_crlf_bom_and_latin_1() -> None:
    cells = [{"cell_type": "code", "input": ["a = 1\r\n", "b = 2"], "outputs": []},
             {"cell_type": "heading", "source": "Title", "level": 1}]  # fmt: skip
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}
    read = read_notebook(b"\xef\xbb\xbf" + dump(old))
    assert [(c.kind, c.source) for c in read.cells] == [
        ("code", "a = 1\nb = 2"), ("markdown", "Title")
    ]  # fmt: skip
    assert "format 3" in read.notices[0]
    text = json.dumps(solved(text="Größe"), ensure_ascii=False)
    assert "Größe" in read_notebook(text.encode("latin-1")).cells[-1].source
    assert "Größe" in read_notebook(text.encode("utf-16")).cells[-1].source


def test_html_outputs_are_kept_and_nothing_else() -> None:
    notebook = student_version()
    display = {"output_type": "display_data", "data": {"text/html": ["<b>", "x</b>"]}}
    junk: list[Any] = [None, 7, {"data": 3}, {"data": {"text/html": 5}}, {"text": "<script>"}]
    notebook["cells"][1]["outputs"] = [display, *junk]
    notebook["cells"][1]["attachments"] = {"x.png": {"image/png": "A" * 100}}
    notebook["metadata"]["widgets"] = {"state": {"bomb": "A" * 100_000}}
    read = read_notebook(dump(notebook))
    assert list(read.html()) == ["<b>x</b>"]


def test_nan_in_json_is_read() -> None:
    raw = dump(student_version()).replace(b'"execution_count": null', b'"execution_count": NaN')
    assert b"NaN" in raw
    assert len(read_notebook(raw).cells) == 9


def test_hidden_characters_are_taken_out() -> None:
    notebook = solved({"97.1": "mean = 5 # \u202e txet\x00\ufeff\x1b[2J"})
    read = read_notebook(dump(notebook))
    assert read.cells[3].source == "mean = 5 #  txet[2J"
    assert read.notices


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b'{"cells": [', "cut off"),
        (b"[" * 100_000, "nested too deep|cut off"),
        (b'{"nbformat": 4, "cells": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested too deep"),
        (b"[1, 2]", "not a notebook"),
        (b'{"nbformat": 9, "cells": []}', "nbformat 9"),
        (b'{"nbformat": true, "cells": []}', "nbformat True"),
        (b'{"nbformat": 4}', "no list of cells"),
        (b'{"nbformat": 4, "cells": {}}', "no list of cells"),
        (b'{"nbformat": 3, "worksheets": [3]}', "no list of cells"),
        (b'{"nbformat": 4, "x": [' + b"1," * 1_100_000 + b"1]}", "too many values"),
        (b'{"nbformat": 4, "n": ' + b"9" * 10_000 + b', "cells": []}', "no valid JSON"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:12],
)
def test_what_is_no_notebook_is_refused_in_words(raw: bytes, message: str) -> None:
    with pytest.raises(SubmissionError, match=message):
        read_notebook(raw)


def test_limits() -> None:
    notebook = student_version()
    notebook["cells"] = [{"cell_type": "code", "source": "1"}] * (MAX_CELLS + 1)
    with pytest.raises(SubmissionError, match="cells"):
        read_notebook(dump(notebook))
    notebook["cells"] = [{"cell_type": "code", "source": "#" * 100_001}]
    with pytest.raises(SubmissionError, match="characters"):
        read_notebook(dump(notebook))


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "cells",
                    "source",
                    "outputs",
                    "metadata",
                    "nbgrader",
                    "data",
                    "text/html",
                    "id",
                    "grade_id",
                    "cell_type",
                    "worksheets",
                    "input",
                ]
            ),
            inner | st.sampled_from(["code", "markdown"]),
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=200, deadline=None)
@given(cells=odd | st.lists(odd), version=st.sampled_from([3, 4]))
def test_any_json_is_a_notebook_or_an_error(cells: Any, version: int) -> None:
    raw = json.dumps({"nbformat": version, "cells": cells, "worksheets": [{"cells": cells}]})
    try:
        found = read_notebook(raw.encode())
    except SubmissionError:
        return
    assert all(isinstance(cell.source, str) and cell.kind for cell in found.cells)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_notebook_or_an_error(raw: bytes) -> None:
    with contextlib.suppress(SubmissionError):
        read_notebook(raw)
