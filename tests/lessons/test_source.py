"""Sources: what is cut out of them for whom, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from coursekit.errors import CourseKitError
from coursekit.lessons.source import LessonSource, SourceCell, read_source, solution_cells
from coursekit.lessons.times import with_times

pytest.importorskip("jupytext")
ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "solutions").glob("[0-9][0-9]_*.py"))


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request: pytest.FixtureRequest) -> LessonSource:
    return read_source(request.param)


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = SOURCES[0].read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / SOURCES[0].name
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('coursekit="check 00.1"', 'coursekit="check 00.2"', "00.1 has no check cell"),
        ('ck.check("00.4", tanimoto)', 'ck.check("00.4", other)', "00.4 has no check cell"),
        ('coursekit="hint 00.3"', 'coursekit="hint 00.2"', "00.3 has fewer than two hints"),
        ('coursekit="rubric 00.6"', "", "00.6 has no rubric"),
        ('coursekit="success 00.2"', 'coursekit="hint 00.2"', "00.2 has no success list"),
        ('coursekit="wrong 00.4"', 'coursekit="wrong 00.5"', "00.4 has no wrong answer"),
        ('"00.2": [10, 0.1, 0.1], ', "", "00.2 has no time"),
        ("# gets: that is a percentage\n", "", "a wrong answer to 00.1 gets nothing"),
        ('coursekit="hint 00.1"', 'coursekit="hint 00.9"', "00.9 is no exercise"),
        ('coursekit="hint 00.1"', 'coursekit="help 00.1"', "'help' is no role"),
    ],
)
def test_a_source_whose_parts_do_not_belong_together_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(CourseKitError, match=said):
        read_source(changed(tmp_path, old, new))


def test_a_solution_is_shown_without_marks_and_placeholders() -> None:
    cell = SourceCell(
        "code",
        "# 00.1 A test\na = ...\nb, c = ...  # two\n### BEGIN SOLUTION\na = 1\n### END SOLUTION\na",
    )
    assert cell.solved == "# 00.1 A test\na = 1\na"
    assert cell.solution == "a = 1"


def test_readers_of_solutions_get_neither_hints_nor_wrong_answers(source: LessonSource) -> None:
    roles = {cell.role for cell in solution_cells(source)}
    assert roles == {"", "answer", "check", "rubric"}
    assert "wrong" in {cell.role for cell in solution_cells(source, wrong=True)}


def test_a_wrong_answer_names_words_of_its_own(source: LessonSource) -> None:
    gets = [cell.gets for cell in source.cells if cell.role == "wrong"]
    assert len(set(gets)) == len(gets)
    assert all(gets)


def test_it_reads_as_a_lesson_should(source: LessonSource) -> None:
    """Between 600 and 1,200 words, 8 to 12 cells to run beside the checks, 12 lines in each."""
    given = [cell for cell in source.cells if cell.role in ("", "answer")]
    read = [with_times(cell.text, source.times) for cell in given if cell.kind == "markdown"]
    words = sum(len(text.split()) for text in read)
    code = [cell for cell in given if cell.kind == "code"]
    lines = {cell.text.splitlines()[0]: len(cell.solved.strip().splitlines()) for cell in code}
    assert 600 <= words <= 1200
    assert 8 <= len(code) <= 12
    assert max(lines.values()) <= 12, lines
    text = "\n".join(cell.text for cell in given)
    for part in ("Why this lesson", "After it you can", "Needed before", "Time:", "Hand in",
                 "## Setup", "## Reflection", "Ask your assistant", "To go further"):  # fmt: skip
        assert part in text, part
    for one in source.texts().exercises:
        assert f"Exercise {one}" in text
