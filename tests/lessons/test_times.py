"""How long it takes: stated for each exercise, measured with its solution, shown after tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from coursekit.lessons.generate import sources
from coursekit.lessons.source import LessonSource, read_source
from coursekit.lessons.times import ExerciseTime, minutes_by_exercise, with_times

pytest.importorskip("jupytext")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=sources(ROOT), ids=lambda path: path.stem)
def source(request: pytest.FixtureRequest) -> LessonSource:
    return read_source(request.param)


def test_each_exercise_says_how_long_it_takes_on_a_processor_and_on_a_t4(
    source: LessonSource,
) -> None:
    for folder in ("notebooks", "solutions"):
        kept = nbformat.read(ROOT / folder / f"{source.name}.ipynb", as_version=4)
        lines = "\n".join(c.source for c in kept.cells if c.cell_type == "markdown").splitlines()
        said = {
            line.removeprefix("### Exercise ")[:4]: lines[number + 1]
            for number, line in enumerate(lines)
            if line.startswith("### Exercise ")
        }
        assert said == {id: f"*{time}*" for id, time in source.times.items()}


def test_what_exercises_take_goes_with_what_the_lesson_takes(source: LessonSource) -> None:
    """A lesson is 45 to 90 minutes, reading included."""
    assert 40 <= sum(time.learner for time in source.times.values()) <= 80
    for profile in ("cpu", "t4"):
        computed = sum(getattr(time, profile) for time in source.times.values())
        assert computed <= source.minutes[profile] + 1


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (ExerciseTime(10), "10 min"),
        (ExerciseTime(5, 0.1, 0.1), "5 min; computing: seconds, on CPU or T4"),
        (
            ExerciseTime(10, 1.5, 0.1),
            "10 min; computing: 1.5 min on two CPU cores, seconds on a T4 (estimated)",
        ),
        (
            ExerciseTime(10, 0.3, 2),
            "10 min; computing: less than 1 min on two CPU cores, 2 min on a T4 (estimated)",
        ),
    ],
)
def test_a_time_in_words(time: ExerciseTime, said: str) -> None:
    assert str(time) == said
    text = with_times("## A\n### Exercise 02.1: b\ntext\n### Exercise 02.2\n", {"02.1": time})
    assert text == f"## A\n### Exercise 02.1: b\n*{said}*\n\ntext\n### Exercise 02.2\n"


@pytest.mark.parametrize(
    ("stated", "measured", "fits"),
    [(2, 1.1, True), (2, 3.9, True), (2, 4.1, False), (2, 0.9, False), (0, 0.3, True),
     (0.1, 0.7, True), (0, 1, False)],
)  # fmt: skip
def test_a_time_that_is_off_by_more_than_twice_is_seen(
    stated: float, measured: float, fits: bool
) -> None:
    assert ExerciseTime(10, stated).fits(measured) == fits


@pytest.mark.slow
def test_the_cells_of_an_exercise_are_measured() -> None:
    from coursekit.lessons.notebooks import run_notebook, tidy

    cells = [nbformat.v4.new_code_cell("import time; time.sleep(0.6)") for _ in range(4)]
    for cell, id in zip(cells, ("answer-02-1", "answer-02-1-2", "check-02-2", "one"), strict=True):
        cell.id = id
    ran = run_notebook(nbformat.v4.new_notebook(cells=cells), "quick")
    took = minutes_by_exercise(ran)
    assert 1.2 <= 60 * took["02.1"] < 3
    assert 0.6 <= 60 * took["02.2"] < 2
    assert set(took) == {"02.1", "02.2"}
    assert not any(cell.metadata for cell in tidy(ran).cells)


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["0", "2"])
def test_what_notebooks_took_is_printed_after_the_tests(processes: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text("utf-8"))
    (tmp_path / "test_two.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('name', ['a.ipynb', 'b.ipynb'])\n"
        "def test_one(name, record_property):\n"
        "    record_property(name, 61)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", processes, "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    for line in ("notebooks in the profile quick", "61 s  a.ipynb", "61 s  b.ipynb",
                 "122 s  all (2.0 minutes)"):  # fmt: skip
        assert line in ran.stdout
