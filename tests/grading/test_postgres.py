"""The same gradebook on a real PostgreSQL server: whole transactions, and two graders at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("nbgrader")
pytest.importorskip("psycopg2", reason="NO DRIVER FOR POSTGRESQL: pip install psycopg2-binary")
from course import the_master
from nbgrader.api import Gradebook
from test_gradebook import grades, record

from coursekit.classroom.export import read_grades
from coursekit.errors import GradingError
from coursekit.grading.gradebook import CellGrade, register_assignment
from coursekit.grading.lateness import Late, extend, settle_late

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of Debian's package on a socket of its own, with an empty gradebook."""
    if not PROGRAMS:
        pytest.skip("NO POSTGRESQL SERVER, its tests are not run: apt install postgresql")
    root = os.geteuid() == 0
    if root and shutil.which("runuser") is None:
        pytest.skip("NO POSTGRESQL SERVER: it does not run as root, and there is no runuser")
    home = Path(tempfile.mkdtemp(prefix="pg"))  # the path of a socket must be short
    programs = PROGRAMS[-1].parent

    def call(name: str, *words: str) -> None:
        line = [str(programs / name), *words]
        if root:
            line = ["runuser", "-u", "postgres", "--", *line]
        # What the server inherits would be held open by it, so it gets a file and no pipe.
        with (home / "log").open("a") as log:
            done = subprocess.run(line, cwd=home, stdout=log, stderr=log, timeout=120)
        assert done.returncode == 0, (home / "log").read_text()

    try:
        if root:
            shutil.chown(home, "postgres")
        call("initdb", "-D", str(home / "data"), "-A", "trust", "-U", "teacher", "--no-sync")
        options = f"-k {home} -c listen_addresses='' -c fsync=off"
        call("pg_ctl", "-D", str(home / "data"), "-o", options, "-w", "start")
        try:
            call("createdb", "-h", str(home), "-U", "teacher", "grades")
            found = f"postgresql+psycopg2://teacher@/grades?host={home}"
            register_assignment(found, "97", the_master())
            yield found
        finally:
            call("pg_ctl", "-D", str(home / "data"), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def rows(url: str) -> dict[str, tuple[float, bool]]:
    with Gradebook(url) as book:
        return {s.student_id: (s.score, s.needs_manual_grade)
                for s in book.assignment_submissions("97")}  # fmt: skip


def test_recorded_once_and_a_persons_marks_stay(url: str) -> None:
    assert record(url, grades(), student="ada", flagged=True)
    assert not record(url, grades(), student="ada", flagged=True)
    with Gradebook(url) as book:
        grade = book.find_grade("written-97-3", "97_tiny", "97", "ada")
        grade.manual_score, grade.needs_manual_grade = 2.5, False
        book.db.commit()
    assert record(url, grades(first=1.0), student="ada", flagged=False)
    assert rows(url)["ada"] == (7.0, False)


def test_all_or_nothing(url: str) -> None:
    before = rows(url)
    with pytest.raises(GradingError, match="no cells"):
        record(url, [*grades(), CellGrade("other", None, False)], student="new")
    assert rows(url) == before
    with Gradebook(url) as book:
        assert "new" not in {one.id for one in book.students}


KILLED = """
import os, sys
sys.path.insert(0, {tests!r})
import coursekit.grading.gradebook as g
from test_gradebook import grades, record
entered, left = g._enter, [2]
def enter(*given):
    entered(*given)
    left[0] -= 1
    if not left[0]:
        given[0].flush()
        os.kill(os.getpid(), 9)
g._enter = enter
record({url!r}, grades(), student="cut-off")
"""
WRITER = """
import sys
sys.path.insert(0, {tests!r})
from test_gradebook import grades, record
for number in range(8):
    record({url!r}, grades(first=number % 3), student=f"s{{number}}")
"""


def start(code: str, url: str) -> subprocess.Popen[bytes]:
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    code = code.format(tests=str(Path(__file__).parent), url=url)
    return subprocess.Popen([sys.executable, "-c", code], env=variables)


def test_killed_in_the_middle_nothing_is_there(url: str) -> None:
    assert start(KILLED, url).wait(timeout=120) == -9
    assert "cut-off" not in rows(url)
    assert record(url, grades(), student="cut-off")
    assert rows(url)["cut-off"] == (5.5, True)


def test_two_graders_at_once(url: str) -> None:
    graders = [start(WRITER, url) for _ in range(2)]
    assert [grader.wait(timeout=240) for grader in graders] == [0, 0]
    found = rows(url)
    assert {s: found[s][0] for s in found if s[0] == "s"} == {
        f"s{n}": n % 3 + 3.5 for n in range(8)
    }


def test_extensions_lateness_and_export(url: str) -> None:
    extend(url, "97", "late", 1)
    record(url, [g if g.auto_score is not None else CellGrade(g.grade_id, 0.0, False)
                 for g in grades(2.0, 5.0, 0.0)][:3], student="late")  # fmt: skip
    with Gradebook(url) as book:
        book.update_or_create_assignment("97", duedate="2026-03-01 12:00:00 UTC")
        book.update_or_create_submission("97", "late", timestamp="2026-03-03 11:00:00 UTC")
    settle_late(url, "97", Late(share_per_day=0.1), "late")
    (one,) = [grade for grade in read_grades(url, ["97"]) if grade.student == "late"]
    assert (one.state, one.points, one.penalty) == ("final", pytest.approx(6.3), pytest.approx(0.7))
