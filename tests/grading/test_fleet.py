"""A class: every submission ends recorded, whoever is killed on the way, and each once."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from course import RIGHT, dump, exercises, solved, the_master
from test_sandbox import LIMITS, sandbox  # noqa: F401

from coursekit.checks import Wrong
from coursekit.grading.fleet import REPORT, Places, Summary, grade_class
from coursekit.grading.sandbox import Sandbox
from coursekit.grading.submission import Assignment
from coursekit.grading.unit import digest, pack
from coursekit.grading.workers import LocalWorkers

pytest.importorskip("nbgrader")


def the_assignment() -> Assignment:
    def hidden(value: Any) -> None:
        if value != 0.875:
            raise Wrong("another")

    return Assignment("97", the_master(), exercises(), hidden={"97.2": hidden}, limits=LIMITS)


ASSIGNMENT = the_assignment()
HANDED_IN: dict[str, tuple[bytes, str, float]] = {
    "ada": (dump(solved()), "graded", 7),
    "bob": (dump(solved({"97.1": RIGHT["97.1"]})), "graded", 2),
    "cem": (dump(solved(text="They share blocks.")), "partial", 7),
    "dan": (dump(solved())[:500], "needs a person", 0),
    "eve": (dump(solved(RIGHT | {"97.2": "# 97.2\nimport os\nos._exit(3)"})), "graded", 2),
}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    url = f"sqlite:///{tmp_path / 'gradebook.db'}"
    return Places(url, tmp_path / "autograded")


def hand_in(folder: Path, student: str, content: bytes) -> Path:
    place = folder / "submitted" / student / "97"
    place.mkdir(parents=True, exist_ok=True)
    (place / "97_tiny.ipynb").write_bytes(content)
    return place


@pytest.fixture
def submissions(tmp_path: Path) -> dict[str, Path]:
    return {name: hand_in(tmp_path, name, content) for name, (content, _, _) in HANDED_IN.items()}


@pytest.fixture(scope="module")
def workers(sandbox: Sandbox) -> Iterator[LocalWorkers]:  # noqa: F811
    found = LocalWorkers(pack(ASSIGNMENT), jobs=2)
    yield found
    found.close()


def scores(places: Places) -> dict[str, float]:
    from nbgrader.api import Gradebook

    with Gradebook(places.gradebook) as book:
        return {one.student.id: one.score for one in book.assignment_submissions("97")}


def rows(places: Places) -> list[str]:
    with sqlite3.connect(places.gradebook.removeprefix("sqlite:///")) as base:
        return list(base.iterdump())


def test_a_class_is_graded_and_then_only_what_changed(
    places: Places, submissions: dict[str, Path], workers: LocalWorkers, tmp_path: Path
) -> None:
    lines: list[str] = []
    odd = {"-rf": submissions["ada"]}
    first = grade_class(ASSIGNMENT, submissions | odd, places, workers, lines.append)
    for student, (_, state, points) in HANDED_IN.items():
        assert first.reports[student]["state"] == state
        assert first.reports[student]["score"] == pytest.approx(points)
        assert (places.of(student, "97") / "feedback.html").is_file()
    assert scores(places) == {s: pytest.approx(p) for s, (_, _, p) in HANDED_IN.items()}
    assert list(first.failed) == ["-rf"]
    assert "student id" in first.failed["-rf"]
    assert len(lines) == 5
    assert any("about" in line for line in lines)
    text = str(first)
    assert "3 graded, 1 partial, 1 needs a person" in text
    assert "dan: it could not be read" in text

    before = rows(places)
    second = grade_class(ASSIGNMENT, submissions, places, workers, lines.append)
    assert second.unchanged == set(HANDED_IN)
    assert len(lines) == 5
    assert str(second).splitlines()[0].startswith("3 graded, 1 partial, 1 needs a person; 5 of")
    assert rows(places) == before

    hand_in(tmp_path, "dan", dump(solved()))
    third = grade_class(ASSIGNMENT, submissions, places, workers)
    assert third.unchanged == set(HANDED_IN) - {"dan"}
    assert third.reports["dan"]["state"] == "graded"
    assert scores(places)["dan"] == 7


def test_what_a_submission_is_held_against_is_part_of_its_key() -> None:
    same = digest(the_assignment())
    assert same == digest(ASSIGNMENT)
    for other in (
        replace(ASSIGNMENT, hidden_digest="another"),
        replace(ASSIGNMENT, exercises=exercises()[:2]),
        replace(ASSIGNMENT, master=replace(ASSIGNMENT.master, cells=ASSIGNMENT.master.cells[:-1])),
        replace(ASSIGNMENT, train=True),
    ):
        assert digest(other) != same


def test_a_lost_gradebook_or_report_is_made_again(
    places: Places, submissions: dict[str, Path], workers: LocalWorkers
) -> None:
    two = {name: submissions[name] for name in ("ada", "bob")}
    grade_class(ASSIGNMENT, two, places, workers)
    Path(places.gradebook.removeprefix("sqlite:///")).unlink()
    assert grade_class(ASSIGNMENT, two, places, workers).unchanged == set()
    assert scores(places) == {"ada": 7, "bob": 2}
    (places.of("ada", "97") / REPORT).write_text('{"key": ')
    assert grade_class(ASSIGNMENT, two, places, workers).unchanged == {"bob"}


def test_a_worker_that_dies_is_replaced_and_its_submission_tried_again(
    places: Places, submissions: dict[str, Path]
) -> None:
    workers = LocalWorkers(pack(ASSIGNMENT), jobs=2)
    slow = solved(RIGHT | {"97.1": "# 97.1\nimport time\ntime.sleep(2)\nmean = 5.0"})
    hand_in(submissions["ada"].parents[2], "ada", dump(slow))
    killed: list[int] = []

    def kill() -> None:
        while not workers.processes():
            time.sleep(0.05)
        time.sleep(1)
        process = workers.processes()[0]
        os.kill(process, signal.SIGKILL)
        killed.append(process)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        found = grade_class(ASSIGNMENT, submissions, places, workers)
    finally:
        killer.join()
        workers.close()
    assert killed
    assert killed[0] not in workers.processes()
    assert not found.failed
    assert {s: r["score"] for s, r in found.reports.items()} == {
        s: pytest.approx(p) for s, (_, _, p) in HANDED_IN.items()
    }


def test_a_submission_that_ends_every_worker_is_left_to_a_person(
    places: Places,
    submissions: dict[str, Path],
    sandbox: Sandbox,  # noqa: F811
) -> None:
    def deadly(value: Any) -> None:
        if value == 99:
            os.kill(os.getpid(), 9)

    assignment = replace(ASSIGNMENT, hidden={"97.2": deadly})
    hand_in(submissions["bob"].parents[2], "bob", dump(solved({"97.2": "# 97.2\nvalue = 99"})))
    workers = LocalWorkers(pack(assignment), jobs=1)
    try:
        found = grade_class(assignment, submissions, places, workers)
        assert found.of("needs a person") == ["bob", "dan"]
        assert "ended, 2 times" in found.reports["bob"]["reasons"][0]
        assert scores(places)["ada"] == 7
        # It was no fault of the submission, as far as anybody knows: the next run tries again.
        again = grade_class(assignment, submissions, places, workers)
        assert again.unchanged == set(HANDED_IN) - {"bob"}
    finally:
        workers.close()


def test_a_gradebook_that_cannot_be_written_costs_nobody_their_turn(
    places: Places,
    submissions: dict[str, Path],
    workers: LocalWorkers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grade_class(ASSIGNMENT, {"cem": submissions["cem"]}, places, workers)
    places.folder.mkdir(exist_ok=True)
    (places.folder / "ada").write_text("a file where a folder has to be")
    found = grade_class(ASSIGNMENT, submissions, places, workers)
    assert list(found.failed) == ["ada"]
    assert "directory" in found.failed["ada"]
    assert len(found.reports) == 4
    (places.folder / "ada").unlink()
    assert not grade_class(ASSIGNMENT, submissions, places, workers).failed


GRADER = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from test_fleet import ASSIGNMENT, Places, grade_class, pack, LocalWorkers, the_assignment
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    places = Places(f"sqlite:///{{folder / 'gradebook.db'}}", folder / "autograded")
    submissions = {{p.name: p / "97" for p in (folder / "submitted").iterdir()}}
    workers = LocalWorkers(pack(the_assignment()), jobs=int(sys.argv[2]))
    try:
        say = lambda line: print(line, flush=True)
        summary = grade_class(ASSIGNMENT, submissions, places, workers, say)
    finally:
        workers.close()
    print(summary)
    sys.exit(130 if summary.interrupted else 0)
"""


@pytest.fixture
def grader(tmp_path: Path, sandbox: Sandbox) -> Callable[..., subprocess.Popen[str]]:  # noqa: F811
    """Starts a grader of the folder as a program of its own."""
    here = Path(__file__).parent
    script = tmp_path / "grade.py"
    script.write_text(GRADER.format(path=[str(here), str(here.parent), str(here.parents[1])]))

    def start(jobs: int = 1) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(script), str(tmp_path), str(jobs)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


EIGHT = {f"s{number}": list(HANDED_IN)[number % 5] for number in range(8)}


def expected(places: Places) -> None:
    """Eight submissions are recorded as they deserve, in gradebook and reports."""
    assert scores(places) == {s: pytest.approx(HANDED_IN[like][2]) for s, like in EIGHT.items()}
    for student, like in EIGHT.items():
        report = json.loads((places.of(student, "97") / REPORT).read_text())
        assert report["state"] == HANDED_IN[like][1]
        assert (places.of(student, "97") / "feedback.html").stat().st_size > 1_000


def nobody_is_left(group: int) -> bool:
    """Whether all processes of a group end within half a minute."""
    until = time.monotonic() + 30
    while subprocess.run(["pgrep", "-g", str(group)], capture_output=True).stdout:
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def test_killed_at_any_moment_and_called_again(
    places: Places, tmp_path: Path, grader: Callable[..., subprocess.Popen[str]]
) -> None:
    for student, like in EIGHT.items():
        # Slow enough that a kill meets some of them in hand.
        slow = HANDED_IN[like][0].replace(
            b"mean = sum(", b"import time; time.sleep(1.5); mean = sum("
        )
        hand_in(tmp_path, student, slow)
    moments = random.Random(5)
    said: set[str] = set()
    counts = []
    for jobs in (2, 1):
        process = grader(jobs)
        assert process.stdout is not None
        line = process.stdout.readline()  # something is recorded, and something in hand
        if " left" in line:
            said.add(line.split(":")[0])
        time.sleep(moments.uniform(0, 1))
        below = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not psutil.wait_procs(below, timeout=30)[1]  # nobody waits for work for ever
        recorded = {s for s in EIGHT if (places.of(s, "97") / REPORT).is_file()}
        for student in recorded:
            report = json.loads((places.of(student, "97") / REPORT).read_text())
            assert report["student"] == student
        assert said <= recorded
        counts.append(len(recorded))
    assert 0 < counts[0] < 8
    process = grader()
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert "unchanged" in output
    expected(places)


def test_two_graders_share_a_gradebook(
    places: Places, tmp_path: Path, grader: Callable[..., subprocess.Popen[str]]
) -> None:
    for student, like in EIGHT.items():
        hand_in(tmp_path, student, HANDED_IN[like][0])
    both = [grader(), grader()]
    outputs = [process.communicate(timeout=400)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    expected(places)
    graded = [line.split(":")[0] for output in outputs for line in output.splitlines()
              if " left" in line]  # fmt: skip
    assert sorted(graded) == sorted(EIGHT)  # each by one of them


def test_ctrl_c_leaves_what_is_done_and_nothing_running(
    places: Places, tmp_path: Path, grader: Callable[..., subprocess.Popen[str]]
) -> None:
    slow = dump(solved({"97.1": "# 97.1\nimport time\ntime.sleep(3)\nmean = 5.0"}))
    for number in range(6):
        hand_in(tmp_path, f"s{number}", slow)
    process = grader()
    assert process.stdout is not None
    first = process.stdout.readline()
    assert "left" in first, first
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait() == 130
    assert time.monotonic() - start < 20
    assert "Traceback" not in rest
    assert scores(places)[first.split(":")[0]] == 2
    assert "graded" in rest
    assert nobody_is_left(process.pid)


def test_the_summary_says_loudly_that_there_was_no_sandbox() -> None:
    report = {"state": "graded", "warning": "UNSAFE: no sandbox", "reasons": []}
    assert str(Summary({"ada": report})).startswith("UNSAFE")
