"""Every lesson, run: solutions right, wrong answers answered, an untouched notebook quiet.

One run of a lesson serves several tests: its solutions with the wrong answers in between. Nothing
that runs here reaches another machine.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from colab import offline, saved_by_colab, saved_by_vs_code

from coursekit.checks import exercises, judge_sheet, read_notebook
from coursekit.checks.truth import judged, scored
from coursekit.data import load_task
from coursekit.errors import GradingError
from coursekit.grading import notebook as submitted
from coursekit.grading.course import open_course
from coursekit.grading.execute import Code, Execution, execute
from coursekit.grading.files import Files
from coursekit.grading.fork_server import ForkServer
from coursekit.grading.harvest import harvest, profile_in
from coursekit.grading.judge import judge_notebook
from coursekit.grading.rebuild import Rebuilt, rebuild
from coursekit.grading.sandbox import find_sandbox
from coursekit.grading.submission import grade_files
from coursekit.grading.verify import with_shares
from coursekit.lessons.compared import differences
from coursekit.lessons.generate import sources
from coursekit.lessons.notebooks import as_text, run_notebook, solution_notebook, tidy
from coursekit.lessons.source import LessonSource, read_source
from coursekit.runs import Run
from coursekit.runs.embedded import find_embedded

pytest.importorskip("nbclient")
pytest.importorskip("jupytext")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in offline(tmp_path_factory.mktemp("ipython")).items():
            patch.setenv(name, value)
        yield


@lru_cache
def timed(name: str) -> tuple[Any, float]:
    """A lesson's solutions with the wrong answers in between, run, and the seconds that it took."""
    began = time.monotonic()
    done = run_notebook(solution_notebook(read_source(ROOT / "solutions" / name), True), "quick")
    return done, time.monotonic() - began


def solved_and_wrong(name: str) -> Any:
    return timed(name)[0]


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


def test_solutions_are_right(source: LessonSource, done: Any, record_property: Any) -> None:
    record_property(f"solutions/{source.name}.ipynb", timed(source.path.name)[1])
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


def test_a_notebook_saved_by_colab_is_a_whole_submission(source: LessonSource, done: Any) -> None:
    found = read_notebook(saved_by_colab(done))
    assert found.problems == ()
    assert found == read_notebook(done)
    assert found.sheet is not None
    for result in judge_sheet(found.sheet):
        assert result.done, result
    text = as_text(done)
    assert len(text) < 4_000_000
    assert max(map(len, find_embedded(text)), default=0) < 300_000  # one run's record


def test_the_whole_course_takes_less_than_25_minutes() -> None:
    """Every solution in ``quick``, with its wrong answers, on the two cores of the CI machine."""
    assert sum(timed(path.name)[1] for path in sources(ROOT)) < 25 * 60


def test_handing_in_shows_what_is_done_and_each_run_with_its_device(
    source: LessonSource, done: Any
) -> None:
    """In words that every front end keeps, with the table of scores where there are runs."""
    last = done.cells[-1]
    html = "".join(o.get("data", {}).get("text/html", "") for o in last.outputs)
    assert "Everything is answered." in html
    assert "this one .ipynb" in html
    found = read_notebook(done)
    assert found.sheet is not None
    names = {
        name: value
        for id in found.sheet
        for name, value in found.sheet.values(id).items()
        if isinstance(value, Run)
    }
    for name, run in names.items():
        assert f"Run {name}: {run.name}, task {run.task['name']}, seed 0, on " in html
    for column in ("easy AUROC", "easy AU-PRC", "hard AUROC", "hard AU-PRC"):
        assert (f"<th>{column}</th>" in html) == bool(names)


# --- the same through the grader ------------------------------------------------------------------


@pytest.fixture(scope="module")
def room() -> Iterator[ForkServer]:
    try:
        server = ForkServer(find_sandbox())
    except GradingError as error:
        pytest.skip(f"NO SANDBOX, its tests are not run: {error}")
    yield server
    server.close()


def html_of(cells: list[Any]) -> list[str]:
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return [data["text/html"] for data in outputs if "text/html" in data]


def handed_in(source: LessonSource, done: Any) -> dict[str, Any]:
    """The learner's notebook, answered and run."""
    notebook = json.loads((ROOT / "notebooks" / f"{source.name}.ipynb").read_text("utf-8"))
    ran = [c for c in done.cells if c.cell_type == "code" and not c.id.startswith("wrong-")]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell, answered in zip(code, ran, strict=True):
        cell["outputs"] = answered["outputs"]
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = answered["source"]
    return notebook


def test_a_right_solution_gets_full_marks_whoever_saved_it(
    source: LessonSource, done: Any, room: ForkServer
) -> None:
    """Graded once, with the hidden checks; the three files differ in nothing that grading reads."""
    assignment = open_course(ROOT / "autograder").assignment(source.lesson)
    notebook = handed_in(source, done)
    files = {"Lab": notebook, "Colab": saved_by_colab(notebook), "VS": saved_by_vs_code(notebook)}
    content = {name: json.dumps(file).encode() for name, file in files.items()}
    read = {name: submitted.read_notebook(text) for name, text in content.items()}
    cells = [rebuild(assignment.master, one).cells for one in read.values()]
    assert cells[0] == cells[1] == cells[2]
    carried = [([h.digest for h in harvest(one.html()).runs], profile_in(one.html()))
               for one in read.values()]  # fmt: skip
    assert carried[0] == carried[1] == carried[2]
    began = time.monotonic()
    graded = grade_files(Files({f"{source.name}.ipynb": content["Colab"]}), "ada", assignment, room)
    print(f"{source.name}: graded in {time.monotonic() - began:.1f} s")
    for one in graded.judged:
        assert one.points == (0 if one.by_person else one.max_points), one
    assert graded.state == "partial", graded.reasons
    assert not [layer for layer in graded.layers if layer.state == "fails"]


def test_the_grader_gives_wrong_answers_the_marks_of_their_author(
    source: LessonSource, done: Any, room: ForkServer
) -> None:
    """The points and the message that the notebook showed, with hidden checks and without."""
    assignment = open_course(ROOT / "autograder").assignment(source.lesson)
    cells = [cell for cell in done.cells if cell.cell_type == "code"]
    records = {h.digest: h for cell in cells for h in harvest(html_of([cell])).runs}
    tasks = with_shares(assignment.tasks, [one.run for one in records.values()])
    began = time.monotonic()
    execution = execute(
        [Code(number, cell.source) for number, cell in enumerate(cells)],
        room,
        records=[one.record for one in records.values()],
        profile="quick",
    )
    print(f"{source.name}: wrong answers run in {time.monotonic() - began:.1f} s")
    given = {number: (exercise, answers) for exercise, all_ in execution.answers.items()
             for number, answers in all_}  # fmt: skip
    wrong = {cell.id: c for c, cell in zip(
        [c for c in source.cells if c.role == "wrong"],
        [cell for cell in cells if cell.id.startswith("wrong-")], strict=True)}  # fmt: skip
    for number, cell in enumerate(cells):
        if cell.id not in wrong:
            continue
        exercise, answers = given[number]
        one = Execution({}, {exercise: [(number, answers)]})
        asked = [e for e in assignment.exercises if e.id == exercise]
        shown = re.search(r"wrong \(([0-9.]+) of", said(cell))
        for hidden in ({}, assignment.hidden):
            (judged_,) = judge_notebook(asked, Rebuilt((), ()), one, hidden, tasks)
            assert judged_.state == "wrong", cell.source
            assert wrong[cell.id].gets in judged_.message, cell.source
            assert judged_.points == pytest.approx(float(shown[1]), abs=1e-3)


def pictures(notebook: Any) -> set[str]:
    """The cells that show one."""
    return {cell.id for cell in notebook.cells if "<img " in "".join(html_of([cell]))}


def pictures_of_trainings(source: LessonSource) -> set[str]:
    """Those of the solution outside of answers, but for what is drawn of the learner's own code."""
    kept = nbformat.read(ROOT / "solutions" / f"{source.name}.ipynb", as_version=4)
    own = {cell.id for cell in kept.cells if "The picture appears here after" in cell.source}
    return {id for id in pictures(kept) - own if not id.startswith("answer")}


def test_an_untouched_notebook_runs_and_nothing_is_attempted(
    source: LessonSource, record_property: Any
) -> None:
    given = nbformat.read(ROOT / "notebooks" / f"{source.name}.ipynb", as_version=4)
    began = time.monotonic()
    ran = run_notebook(given, "quick")
    record_property(f"notebooks/{source.name}.ipynb", time.monotonic() - began)
    for one in exercises(source.lesson):
        cell = next(c for c in ran.cells if c.id == f"check-{one.id.replace('.', '-')}")
        assert f"Exercise {one.id}: not attempted yet" in said(cell)
    assert f"0 of {len(exercises(source.lesson))} exercises done" in said(ran.cells[-1])
    assert pictures(ran) >= pictures_of_trainings(source)
    found = read_notebook(saved_by_colab(ran))
    assert found == read_notebook(ran)
    assert found.sheet is not None
    assert set(found.sheet.answers) == {one.id for one in exercises(source.lesson)}
    assert not any(result.done for result in judge_sheet(found.sheet))


def test_no_lesson_here_could_have_used_the_network() -> None:
    calls = (
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import urllib.request; urllib.request.urlopen('https://example.org')",
    )
    cells = [nbformat.v4.new_code_cell(call) for call in calls]
    ran = run_notebook(nbformat.v4.new_notebook(cells=cells), "quick", allow_errors=True)
    for cell in ran.cells:
        assert "no network in this test" in cell.outputs[-1].evalue


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


def test_a_text_that_a_slow_moment_cut_in_two_is_one_output() -> None:
    code = (
        "import time\nprint('one', flush=True)\ntime.sleep(1)\nprint('two', flush=True)\n"
        "display(3)\nprint('four')"
    )
    cells = [nbformat.v4.new_code_cell(code)]
    ran = run_notebook(nbformat.v4.new_notebook(cells=cells), "quick")
    shown = [output.get("text") or output["data"]["text/plain"] for output in ran.cells[0].outputs]
    assert shown == ["one\ntwo\n", "3", "four\n"]
