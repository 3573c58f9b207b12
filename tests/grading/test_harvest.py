"""Records are read out of outputs and files, each once, before anything is run."""

from __future__ import annotations

import copy
import html
import json
from collections.abc import Callable
from typing import Any

import pytest
from course import dump, solved
from hypothesis import given, settings
from hypothesis import strategies as st

from coursekit.classroom.handed_in import saved_by_colab
from coursekit.grading.harvest import MAX_RECORDS, harvest
from coursekit.grading.notebook import read_notebook
from coursekit.runs import Run, encode_record
from coursekit.runs.embedded import MARKER, embed_record, find_embedded


@pytest.fixture(scope="session")
def run(make_run: Callable[..., Run]) -> Run:
    return make_run()


def with_output(text: str, lines: bool = False) -> dict[str, Any]:
    notebook = solved()
    data = {"text/html": text.splitlines(keepends=True) if lines else text}
    notebook["cells"][6]["outputs"] = [
        {"output_type": "display_data", "data": data, "metadata": {}}
    ]
    return notebook


def test_a_record_survives_every_save(run: Run) -> None:
    page = f"<h3>Run</h3>\n{embed_record(run)}\n<p>done</p>"
    for notebook in (with_output(page), saved_by_colab(with_output(page, lines=True))):
        found = harvest(read_notebook(dump(notebook)).html())
        assert [h.record for h in found.runs] == [run.record()]
        assert found.notices == ()


def test_escapes_quotes_and_wrapped_lines_do_not_matter(run: Run) -> None:
    text = encode_record(run)
    wrapped = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    pages = [
        html.escape(embed_record(run)),
        f"<pre>{MARKER}{wrapped}</pre>",
        json.dumps(f"<div data-x='{MARKER}{wrapped}'></div>"),
    ]
    for page in pages:
        assert [h.record for h in harvest([page]).runs] == [run.record()]


def test_one_run_shown_twice_is_one(run: Run) -> None:
    page = embed_record(run)
    found = harvest([page, page], {"runs/a/record.json": json.dumps(run.record()).encode()})
    assert len(found.runs) == 1
    assert found.runs[0].place == "output 1"


def test_files_that_are_no_records(run: Run) -> None:
    broken = run.record() | {"seed": float("nan")}
    files = {
        "settings.json": b'{"theme": "dark"}',
        "bad.json": json.dumps(broken).encode(),
        "list.json": b"[1]",
        "good/record.json": json.dumps(run.record()).encode(),
    }
    found = harvest([], files)
    assert [h.place for h in found.runs] == ["'good/record.json'"]
    assert len(found.notices) == 2
    assert all("no usable record" in notice for notice in found.notices)


def test_a_damaged_record_is_noticed(run: Run) -> None:
    page = embed_record(run)
    for damaged in (page[:900] + page[940:], page[:400] + '"></div>'):
        found = harvest([damaged])
        assert found.runs == ()
        assert "output 1 cannot be used" in found.notices[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["predictions"]["score"].__setitem__(0, float("inf")),
        lambda r: r["predictions"]["molecule_id"].__setitem__(slice(2), ["same", "same"]),
        lambda r: r["task"].update(fingerprint="short"),
        lambda r: r.update(version=99),
        lambda r: r.update(extra=1),
        lambda r: r["history"]["loss"].pop(),
    ],
)  # fmt: skip
def test_what_a_record_may_not_hold(run: Run, change: Any) -> None:
    record = copy.deepcopy(run.record())
    change(record)
    found = harvest([], {"record.json": json.dumps(record).encode()})
    assert found.runs == ()
    assert len(found.notices) == 1


def test_a_run_of_another_task_is_named(run: Run) -> None:
    found = harvest([embed_record(run)])
    assert found.for_task([run.task["fingerprint"]]) == found
    other = found.for_task(["1f" * 32])
    assert other.runs == ()
    assert "another task" in other.notices[0]


def test_a_flood_of_records_ends(make_run: Callable[..., Run]) -> None:
    page = embed_record(make_run(epochs=1))
    runs = harvest([page * 30] * 100)
    assert len(runs.runs) == 1
    assert f"more than {MAX_RECORDS}" in runs.notices[-1]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abcA+/=\\n \n<\"'&;", max_size=60), st.text(max_size=20))
def test_anything_behind_the_marker_is_a_value_or_a_notice(some: str, other: str) -> None:
    page = other + MARKER + some + MARKER + other
    assert all(isinstance(text, str) for text in find_embedded(page))
    assert harvest([page]).runs == ()
