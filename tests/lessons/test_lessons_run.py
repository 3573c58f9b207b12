"""Every lesson, run: solutions right, wrong answers answered, an untouched notebook quiet.

One run of a lesson serves several tests: its solutions with the wrong answers in between.
"""

from __future__ import annotations

import copy
import json
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
import pytest

from coursekit.checks import exercises, judge_sheet, read_notebook
from coursekit.checks.truth import judged, scored
from coursekit.data import load_task
from coursekit.lessons.compared import differences
from coursekit.lessons.generate import sources
from coursekit.lessons.notebooks import run_notebook, solution_notebook, tidy
from coursekit.lessons.source import LessonSource, read_source

pytest.importorskip("nbclient")
pytest.importorskip("jupytext")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@lru_cache
def solved_and_wrong(name: str) -> Any:
    began = time.monotonic()
    done = run_notebook(solution_notebook(read_source(ROOT / "solutions" / name), True), "quick")
    print(f"{name}: solutions and wrong answers in {time.monotonic() - began:.0f} s")
    return done


@pytest.fixture(params=[path.name for path in sources(ROOT)])
def source(request: pytest.FixtureRequest) -> LessonSource:
    return read_source(ROOT / "solutions" / request.param)


@pytest.fixture
def done(source: LessonSource) -> Any:
    return solved_and_wrong(source.path.name)


def said(cell: Any) -> str:
    """What a cell shows, in words."""
    return "\n".join(
        str(output.get("data", {}).get("text/plain", output.get("text", "")))
        for output in cell.outputs
    )


def test_solutions_are_right(source: LessonSource, done: Any) -> None:
    for one in exercises(source.lesson):
        cell = next(c for c in done.cells if c.id == f"check-{one.id.replace('.', '-')}")
        wanted = "answered, for a person" if one.by_person else f": right ({one.points:g} of"
        assert wanted in said(cell)


def test_wrong_answers_get_their_messages(source: LessonSource, done: Any) -> None:
    wrong = [cell for cell in source.cells if cell.role == "wrong"]
    ran = [cell for cell in done.cells if cell.id.startswith("wrong-")]
    assert len(ran) == len(wrong)
    for cell, outcome in zip(wrong, ran, strict=True):
        assert cell.gets in said(outcome), cell.text
        assert f"Exercise {cell.exercise}: wrong" in said(outcome)
        assert "Traceback" not in said(outcome)


def test_figures_have_alt_text_and_nothing_is_on_stderr(done: Any) -> None:
    for cell in done.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output.get("text")
            for image in re.findall(r"<img [^>]*>", output.get("data", {}).get("text/html", "")):
                assert re.search(r'alt="[^"]{40,}"', image)


def without_wrong(notebook: Any) -> Any:
    kept = copy.deepcopy(notebook)
    kept.cells = [cell for cell in kept.cells if not cell.id.startswith("wrong-")]
    return tidy(kept)


def test_the_committed_solution_shows_what_it_shows_now(source: LessonSource, done: Any) -> None:
    """In words and numbers; a lesson that does less in ``quick`` is held to its outputs' number."""
    kept = nbformat.read(ROOT / "solutions" / f"{source.name}.ipynb", as_version=4)
    now = without_wrong(done)
    if "env.pick(" in source.path.read_text(encoding="utf-8"):
        outputs = [[(c.id, len(c.get("outputs", []))) for c in n.cells] for n in (kept, now)]
        assert outputs[0] == outputs[1]
    else:
        # The setup cell names the profile, which is another one here.
        for one in (kept, now):
            one.cells = [c for c in one.cells if "ck.setup(" not in c.source]
        assert differences(kept, now) == []


def saved_by_colab(notebook: Any) -> dict[str, Any]:
    """Format 4.0, ids of its own, unknown metadata dropped, long texts as lines."""
    data: dict[str, Any] = json.loads(json.dumps(notebook))
    data["nbformat_minor"] = 0
    data["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3"}}
    for number, cell in enumerate(data["cells"]):
        cell.pop("id", None)
        cell["metadata"] = {"id": f"aB{number}", "outputId": "77", "colab": {"height": 90}}
        for output in cell.get("outputs", []):
            for kind, text in output.get("data", {}).items():
                if isinstance(text, str):
                    output["data"][kind] = text.splitlines(keepends=True)
    return data


def test_a_notebook_saved_by_colab_is_a_whole_submission(source: LessonSource, done: Any) -> None:
    found = read_notebook(saved_by_colab(done))
    assert found.problems == ()
    assert found.sheet is not None
    for result in judge_sheet(found.sheet):
        assert result.done, result
    assert len(json.dumps(done)) < 4_000_000


def test_an_untouched_notebook_runs_and_nothing_is_attempted(source: LessonSource) -> None:
    given = nbformat.read(ROOT / "notebooks" / f"{source.name}.ipynb", as_version=4)
    began = time.monotonic()
    ran = run_notebook(given, "quick")
    print(f"{source.name}: untouched in {time.monotonic() - began:.0f} s")
    for one in exercises(source.lesson):
        cell = next(c for c in ran.cells if c.id == f"check-{one.id.replace('.', '-')}")
        assert f"Exercise {one.id}: not attempted yet" in said(cell)
    assert f"0 of {len(exercises(source.lesson))} exercises done" in said(ran.cells[-1])


def test_what_lesson_01_says_of_its_numbers_is_so() -> None:
    """Its prose speaks of the sample: fingerprints win, hard costs both alike, heads differ."""
    found = read_notebook(solved_and_wrong("01_frozen_embeddings.py"))
    assert found.sheet is not None
    values = found.sheet.values("01.4")
    frozen, forest = judged("frozen", values["frozen"]), judged("forest", values["forest"])
    assert forest["auroc_hard"] > frozen["auroc_hard"] + 0.05
    lost = [scores["auroc_easy"] - scores["auroc_hard"] for scores in (frozen, forest)]
    assert min(lost) > 0.08
    assert abs(lost[0] - lost[1]) < 0.03
    own = found.sheet.values("01.3")["frozen_scores"]
    assert scored(own, load_task("sample"))["auroc_easy"] > frozen["auroc_easy"] + 0.03
