"""The example class: twenty submissions, the same every time, each with what it deserves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from small import ROOT

from coursekit.classroom.example import EXPECTED, make_examples
from coursekit.cli import main
from coursekit.grading.course import open_course
from coursekit.grading.files import read_files
from coursekit.grading.harvest import harvest, profile_in
from coursekit.grading.notebook import read_notebook

pytest.importorskip("nbgrader")
pytest.importorskip("jupytext")
LESSONS = sorted(p.stem for p in (ROOT / "autograder" / "example").glob("*.json"))


@pytest.mark.parametrize("lesson", LESSONS)
def test_twenty_the_same_every_time(lesson: str) -> None:
    course = open_course(ROOT / "autograder")
    examples = make_examples(course, lesson)
    assert examples == make_examples(course, lesson)
    assert len({one.student for one in examples}) == 20
    states = Counter(one.state for one in examples)
    assert set(states) == {"graded", "partial", "needs a person"}
    best = max(one.points for one in examples)
    assert best == sum(e.points for e in course.assignment(lesson).exercises if not e.by_person)
    assert sum(one.points == best for one in examples) == 3
    for hostile in ("xaver-spy", "yuri-forger", "zora-bomber"):
        assert next(one.points for one in examples if one.student == hostile) == 0


@pytest.mark.parametrize("lesson", LESSONS)
def test_written_as_an_instructors_folder(lesson: str, tmp_path: Path) -> None:
    folder = tmp_path / "class"
    line = ["example-class", str(folder), "--lesson", lesson]
    line += ["--course", str(ROOT / "autograder")]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    course = open_course(folder)
    found = course.submissions(lesson)
    listed = {one["student"] for one in json.loads((folder / EXPECTED).read_text())}
    assert set(found) == listed
    ids = [row.split(",")[0] for row in (folder / "students.csv").read_text().splitlines()[1:]]
    assert set(ids) == listed
    # Runs fit the course's task, though no two students have the same seconds: nobody copied.
    seconds = {}
    unread, bare = {"olga-other", "paul-cut", "quin-empty"}, {"fritz-no-record", "gina-untouched"}
    hostile = {"xaver-spy", "yuri-forger", "zora-bomber"}
    for student in sorted(listed - unread - bare - hostile):
        files = read_files(found[student])
        (content,) = files.notebooks.values()
        html = list(read_notebook(content).html())
        kept = harvest(html, files.records)
        assert kept.runs
        assert kept.notices == ()
        assert profile_in(html)
        seconds[student] = kept.runs[0].run.cost["seconds"]
    assert len(set(seconds.values())) == len(seconds)
    again = CliRunner().invoke(main, line)
    assert again.exit_code == 1
    assert "is not empty" in again.output
