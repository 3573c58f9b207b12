"""Anything in, a value or our own error out: whatever grading parses, and what it does with it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import struct
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from course import dump, solved, the_master
from hypothesis import given, settings
from hypothesis import strategies as st

from coursekit.checks.plain import from_plain, to_plain
from coursekit.errors import AnswerError, SubmissionError
from coursekit.grading.files import read_files
from coursekit.grading.messages import Lines, parse_message
from coursekit.grading.notebook import read_notebook
from coursekit.grading.rebuild import rebuild
from coursekit.grading.verify import verify_table
from coursekit.grading.weights import _read

FUZZER = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz_record.py"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(["kind", "items"]), inner)
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def fuzzer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_record", FUZZER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_record"] = module
    spec.loader.exec_module(module)
    return module


def test_records_are_fuzzed_and_no_crash_is_found(fuzzer: ModuleType) -> None:
    found = fuzzer.fuzz(3, seed=1)
    assert found["crash"] is None
    assert found["inputs"] > 20
    # Changes must be small enough that some inputs go all the way, and large enough that some fail.
    assert any(end.endswith("read") for end in found["ends"])
    assert {end.split(",")[0] for end in found["ends"]} == {
        "values", "JSON", "compressed bytes", "text"
    }  # fmt: skip


def test_the_fuzzer_sees_a_crash(fuzzer: ModuleType) -> None:
    def careless(text: str, *_: Any) -> str:
        if not text.isascii():
            raise KeyError("a reader that forgot this case")
        return "read"

    crash = fuzzer.fuzz(30, seed=0, reader=careless)["crash"]
    assert crash["layer"] == "text"
    assert "KeyError" in crash["error"]


KINDS = ("placeholder", "nothing", "flag", "number", "text", "unknown", "array", "table", "run",
         "list", "fields")  # fmt: skip
FIELDS = ("value", "type", "why", "shape", "values", "index", "columns", "record", "items")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3))
def test_any_answer_is_read_or_refused(kind: str, some: dict[str, Any]) -> None:
    with contextlib.suppress(AnswerError):
        from_plain({"kind": kind, **some})


cells = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
names = st.sampled_from(["easy AUROC", "hard AUROC", "AUROC", "hard AU-PRC", "x", ""])


@settings(max_examples=100, deadline=None)
@given(
    columns=st.lists(names, min_size=1, max_size=4),
    rows=st.lists(st.lists(cells, min_size=4, max_size=4), max_size=4),
    index=st.lists(st.text(max_size=5), min_size=4, max_size=4),
)
def test_any_table_is_verified_or_passed_over(
    columns: list[str], rows: list[list[Any]], index: list[str], fuzzer: ModuleType
) -> None:
    """Columns may repeat, and hold whatever a learner's table can hold."""
    from coursekit.runs import Run

    task = fuzzer.small_task()
    run = Run.from_record(fuzzer.good_record(task))
    frame = pd.DataFrame([row[: len(columns)] for row in rows], index[: len(rows)], columns)
    table = from_plain(to_plain(frame))
    layer = verify_table("table", table, {"mine": run, index[0]: run}, task)
    assert layer is None or layer.state in ("holds", "fails", "not verified")


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=80)
    | json_values.map(lambda x: json.dumps(x).encode())
    | st.dictionaries(
        st.sampled_from(["kind", "cell", "ok", "exercise", "answers", "data", "display_id"]),
        json_values | st.sampled_from(["begin", "end", "answer", "display", "error", "done"]),
    ).map(lambda x: json.dumps(x).encode())
)
def test_any_line_from_the_sandbox_is_a_message_or_none(raw: bytes) -> None:
    for line in Lines().feed(raw + b"\n"):
        parse_message(line)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), json_values, st.integers(0, 2**64 - 1) | st.none())
def test_any_bytes_are_weights_or_an_error(tail: bytes, header: Any, length: int | None) -> None:
    text = json.dumps(header).encode()
    head = struct.pack("<Q", len(text) if length is None else length)
    with contextlib.suppress(ValueError):
        _read(head + text + tail)
    with contextlib.suppress(ValueError):
        _read(tail)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_notebook_is_rebuilt_as_the_master(data: Any) -> None:
    """A good notebook with bytes changed, as far as grading takes it before it is run."""
    raw = bytearray(dump(solved()))
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=6)
    ):
        raw[place] = value
    with contextlib.suppress(SubmissionError):
        rebuilt = rebuild(the_master(), read_notebook(bytes(raw)))
        ids = [c.master.grade_id for c in rebuilt.cells if c.master and c.master.grade_id]
        assert ids == [cell.grade_id for cell in the_master().cells if cell.grade_id]


file_names = st.text(max_size=12) | st.sampled_from(
    ["a.ipynb", "../a.ipynb", "/etc/x.ipynb", "C:\\a.ipynb", "a/b/c/d/e/f/g/h/i/j.ipynb", "x.json"]
)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=80, deadline=None)
@given(members=st.lists(st.tuples(file_names, st.binary(max_size=30)), max_size=5))
def test_any_zip_is_taken_in_or_refused(
    members: list[tuple[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name or "x"), content)
    folder = tmp_path_factory.mktemp("zip")
    (folder / "s.zip").write_bytes(buffer.getvalue())
    with contextlib.suppress(SubmissionError):
        read_files(folder / "s.zip")
    assert [path.name for path in folder.iterdir()] == ["s.zip"]
