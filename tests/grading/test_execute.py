"""Which cell answers for a process that ended, whatever the process was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import pytest

from coursekit.errors import GradingError
from coursekit.grading.execute import Code, Execution, execute
from coursekit.grading.sandbox import Limits

# Says that it runs the cells; with a 1 among them, it misbehaves after its end and before the next.
RUNNER = """
import json, os, sys, time
def say(**message):
    os.write(1, json.dumps(message).encode() + b"\\n")
for cell in json.load(sys.stdin)["cells"]:
    say(kind="begin", cell=cell["number"])
    say(kind="end", cell=cell["number"], ok=True, late=cell["number"] == {late})
    if cell["number"] == 1:
        {deed}
say(kind="done")
"""
DEEDS = {
    "garbage": (
        "os.write(1, b'nonsense\\n' * 2_000); time.sleep(60)",
        "it sent what is no message",
    ),
    "death": ("os._exit(3)", "the process ended (it left)"),
    "signal": ("os.kill(os.getpid(), 9)", "the process ended (SIGKILL)"),
}


class Process:
    resident = 0

    def __init__(self, started: subprocess.Popen[bytes]) -> None:
        assert started.stdout is not None
        assert started.stderr is not None
        self.started, self.pid = started, started.pid
        self.output, self.errors = started.stdout.fileno(), started.stderr.fileno()

    def end(self) -> int:
        self.started.kill()
        return self.started.wait()


class Room:
    """Runs a script of the test in place of a notebook's cells."""

    kind, warning = "none", ""

    def __init__(self, deed: str, late: int | None = None) -> None:
        self.script, self.asked = RUNNER.format(deed=deed, late=late), []

    @contextmanager
    def start(self, job: IO[bytes], *_: Any) -> Iterator[Process]:
        self.asked.append([cell["number"] for cell in json.load(job)["cells"]])
        job.seek(0)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", self.script], stdin=job, **pipes) as started:
            yield Process(started)
            started.kill()


@pytest.fixture
def run() -> Callable[[str], tuple[Execution, list[list[int]]]]:
    def go(deed: str, limits: Limits | None = None) -> tuple[Execution, list[list[int]]]:
        room = Room(deed)
        return execute([Code(n, "") for n in range(4)], room, limits), room.asked

    return go


@pytest.mark.parametrize("deed", DEEDS)
def test_what_goes_wrong_between_two_cells_is_the_former_ones(run, deed: str) -> None:
    """It had ended, and had left a thread, a child or too many files behind."""
    source, why = DEEDS[deed]
    found, asked = run(source)
    assert [cell.state for cell in found.cells.values()] == ["ran", "ended", "ran", "ran"]
    assert found.cells[1].why == why
    assert asked == [[0, 1, 2, 3], [0, 2, 3]]
    assert found.notices == ["a cell ended the notebook's process; the others were run without it"]


def test_when_the_time_is_over_between_two_cells_no_cell_is_blamed(run) -> None:
    found, asked = run("time.sleep(60)", Limits(notebook_seconds=1))
    assert [cell.state for cell in found.cells.values()] == ["ran", "ran", "not run", "not run"]
    assert len(asked) == 1
    assert found.notices == ["2 cells were not run: the notebook's time was over"]


def test_a_cell_that_was_interrupted_says_so_whenever_its_beginning_was_seen() -> None:
    """The grader, kept busy, may read of beginning and end in one moment."""
    found = execute([Code(n, "") for n in range(3)], Room("pass", late=2), Limits(cell_seconds=50))
    assert [cell.why for cell in found.cells.values()] == ["", "", "interrupted after 50 seconds"]


def test_a_process_that_begins_no_cell_is_the_sandbox_s_fault() -> None:
    room = Room("")
    room.script = "import sys; sys.exit('no room here')"
    with pytest.raises(GradingError, match=r"could not start \(status 1\): no room here"):
        execute([Code(0, "")], room)
    room.script = "import os, time; os.write(1, b'x\\n' * 2_000); time.sleep(60)"
    with pytest.raises(GradingError, match=r"could not start \(it sent what is no message\)"):
        execute([Code(0, "")], room)
