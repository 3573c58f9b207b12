"""Runs a rebuilt notebook in the sandbox and takes down what comes out, within limits.

A cell that does not come back ends the process it runs in. The notebook is then run again without
that cell, so that one endless loop costs its own exercise and no other.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from coursekit.errors import GradingError
from coursekit.grading.messages import MAX_DISPLAYS, CellOutput, Lines, Message, parse_message
from coursekit.grading.sandbox import Limits, Process, Room
from coursekit.grading.watch import MAX_FILES, usage

State = Literal["ran", "error", "ended", "not run"]
MAX_RESTARTS = 3
MAX_GARBAGE = 1_000
_MARK = re.compile(rb"\x1e(\d{1,4})\x1e")
_UNSAFE = re.compile("[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Code:
    """A cell to run: its number in the rebuilt notebook, and its source."""

    number: int
    source: str


@dataclass
class CellRun:
    """How one cell went.

    Args:
        number: of the cell in the rebuilt notebook.
        state: "ran", "error" (it raised), "ended" (the process ended in it; ``why`` says how) or
            "not run" (the notebook's time was over).
        seconds: wall clock, as seen from outside.
        output: what it showed.
        why: for "ended" and "not run", what happened.
    """

    number: int
    state: State = "not run"
    seconds: float = 0.0
    output: CellOutput = field(default_factory=CellOutput)
    why: str = ""


@dataclass
class Execution:
    """What running a notebook left: plain data that nobody has judged yet.

    Args:
        cells: by their number.
        answers: exercise to the numbers of the cells that handed in an answer, with the answer in
            plain form, in order.
        notices: what happened to the notebook as a whole.
        seconds: wall clock, all attempts.
        warning: what the sandbox has to say for itself, "" if all is well.
    """

    cells: dict[int, CellRun]
    answers: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    seconds: float = 0.0
    warning: str = ""


def execute(
    cells: Sequence[Code],
    sandbox: Room,
    limits: Limits | None = None,
    records: Sequence[Mapping[str, Any]] = (),
    exercises: Mapping[str, Sequence[str]] | None = None,
    train: bool = False,
    threads: int = 1,
    profile: str = "",
    fresh: Mapping[str, Mapping[str, Any]] | None = None,
) -> Execution:
    """Run the cells in order.

    Args:
        cells: what to run.
        sandbox: where.
        limits: what it may use.
        records: harvested records, from which ``fit`` answers.
        exercises: variables of the answers to exercises that coursekit itself does not know.
        train: whether ``fit`` may train where there is no record.
        threads: for numerical libraries.
        profile: that the student's runs were made in, so that ``setup`` chooses it as well.
        fresh: packed inputs for functions among the answers, by exercise.

    Returns:
        Whatever came out, however it ended.

    Raises:
        GradingError: the sandbox itself could not be started.
    """
    limits = limits or Limits()
    start = time.monotonic()
    left = limits.notebook_seconds
    ended: dict[int, CellRun] = {}
    names = {exercise: list(variables) for exercise, variables in (exercises or {}).items()}
    packed = [json.dumps(dict(record), allow_nan=False) for record in records]
    while True:
        waiting = [cell for cell in cells if cell.number not in ended]
        attempt = _Attempt(waiting, sandbox, limits, left)
        job = {"records": packed, "exercises": names, "profile": profile, "fresh": fresh or {}}
        attempt.run(job, train, threads)
        left -= attempt.seconds
        result = attempt.result
        fallen = [run for run in result.cells.values() if run.state == "ended"]
        if not fallen:
            break
        ended[fallen[0].number] = fallen[0]
        if len(ended) > MAX_RESTARTS or left <= 0 or len(waiting) == 1:
            break
    result.cells.update(ended)
    result.cells = {cell.number: result.cells[cell.number] for cell in cells}
    if ended:
        one = "a cell" if len(ended) == 1 else f"{len(ended)} cells"
        result.notices.append(f"{one} ended the notebook's process; the others were run without it")
    missed = sum(run.state == "not run" for run in result.cells.values())
    if missed:
        result.notices.append(f"{missed} cells were not run: the notebook's time was over")
    result.seconds = time.monotonic() - start
    result.warning = sandbox.warning
    return result


class _Attempt:
    """One process from its start to its end."""

    def __init__(self, cells: Sequence[Code], sandbox: Room, limits: Limits, left: float) -> None:
        self.cells, self.sandbox, self.limits, self.left = cells, sandbox, limits, left
        self.seconds = 0.0
        self.result = Execution({cell.number: CellRun(cell.number) for cell in cells})
        self._now: CellRun | None = None
        self._last: CellRun | None = None
        self._began = 0.0
        self._lines = Lines()
        self._received = self._garbage = 0
        self._stopped = ""
        self._done = False
        self._places: dict[str, tuple[CellRun, int]] = {}
        self._printing: CellRun | None = None
        self._torn = b""
        self._warnings = b""  # what a sandbox that cannot start prints

    def run(self, job: Mapping[str, Any], train: bool, threads: int) -> None:
        job = dict(job) | {
            "cells": [{"number": c.number, "source": c.source} for c in self.cells],
            "limits": {k: getattr(self.limits, k) for k in self.limits.__dataclass_fields__},
        }
        with tempfile.TemporaryFile() as paper:
            # A file without a name: a pipe would fill before the other side reads.
            paper.write(json.dumps(job).encode("utf-8", "replace"))
            paper.seek(0)
            with self.sandbox.start(paper, self.limits, threads, train) as process:
                # Only from here on: how long a sandbox takes to start is no notebook's time.
                began = time.monotonic()
                self.deadline = began + self.left
                self._follow(process)
                self.seconds = time.monotonic() - began
                status = process.end()
        self._close(status)

    def _follow(self, process: Process) -> None:
        channel, stream = process.output, process.errors
        self._began = looked = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for pipe in (channel, stream):
                os.set_blocking(pipe, False)
                selector.register(pipe, selectors.EVENT_READ)
            # Child processes may hold the stream open; the channel is the runner's own.
            while channel in selector.get_map() and not self._stopped:
                selector.select(timeout=0.1)
                self._read_stream(stream)
                for _ in range(16):
                    try:
                        data = os.read(channel, 1 << 20)
                    except BlockingIOError:
                        break
                    if not data:
                        selector.unregister(channel)
                        break
                    self._take(data)
                now = time.monotonic()
                self._look_at_clock(now)
                if now - looked > 0.1:
                    looked = now
                    self._look_at_usage(process)
            self._read_stream(stream)

    def _take(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self.limits.message_bytes:
            self._stopped = "it sent more than may come back from a notebook"
            return
        try:
            lines = self._lines.feed(data)
        except GradingError as error:
            self._stopped = str(error)
            return
        for line in lines:
            message = parse_message(line)
            if message is None:
                self._garbage += 1
                if self._garbage > MAX_GARBAGE:
                    self._stopped = "it sent what is no message"
                continue
            self._note(message)

    def _note(self, message: Message) -> None:
        kind, found = message.kind, message.fields
        if kind == "begin":
            run = self.result.cells.get(found["cell"])
            if run is not None and run.state == "not run":
                self._now = self._last = run
                self._began = time.monotonic()
        elif kind == "done":
            self._done = True
        elif self._now is None:
            return
        elif kind == "end" and found["cell"] == self._now.number:
            self._now.state = "ran" if found["ok"] else "error"
            self._now.seconds = time.monotonic() - self._began
            # A busy grader may have seen the beginning late; "late" explains, and decides nothing.
            if found["late"] or self._now.seconds >= self.limits.cell_seconds:
                self._now.why = f"interrupted after {self.limits.cell_seconds:g} seconds"
            self._now, self._began = None, time.monotonic()
        elif kind == "error":
            self._now.output.error = (found["name"], found["message"], found["traceback"])
        elif kind == "answer":
            given = self.result.answers.setdefault(found["exercise"], [])
            given.append((self._now.number, found["answers"]))
            del given[:-20]
        elif kind == "clear":
            self._now.output.text, self._now.output.displays = "", []
        elif kind == "display":
            self._show(found)

    def _show(self, found: Mapping[str, Any]) -> None:
        assert self._now is not None
        place = self._places.get(found["display_id"]) if found["display_id"] else None
        if found["update"] and place is not None:
            run, index = place
            if index < len(run.output.displays):
                run.output.displays[index] = found["data"]
        elif not found["update"] and len(self._now.output.displays) < MAX_DISPLAYS:
            self._now.output.displays.append(found["data"])
            if found["display_id"]:
                self._places[found["display_id"]] = (self._now, len(self._now.output.displays) - 1)

    def _read_stream(self, stream: int) -> None:
        """Keep some of what is printed, and let the rest fall: the writer must never wait."""
        for _ in range(64):
            try:
                data = os.read(stream, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                return
            self._print(data)

    def _print(self, data: bytes) -> None:
        """Give printed text to the cell whose mark came before it in the stream."""
        data, self._torn = self._torn + data, b""
        start = data.rfind(b"\x1e", max(0, len(data) - 8))
        if start >= 0 and data.count(b"\x1e") % 2:
            data, self._torn = data[:start], data[start:]  # half a mark
        for index, piece in enumerate(_MARK.split(data)):
            if index % 2:
                self._printing = self.result.cells.get(int(piece), self._printing)
            elif self._printing is None:
                self._warnings = (self._warnings + piece)[-2_000:]
            elif piece:
                output = self._printing.output
                room = self.limits.output_bytes - len(output.text)
                text = _UNSAFE.sub("\ufffd", piece.decode("utf-8", "replace"))
                output.text += text[: max(room, 0)]
                output.cut = output.cut or len(text) > room

    def _look_at_clock(self, now: float) -> None:
        patience = self.limits.cell_seconds + self.limits.grace_seconds
        if now > self.deadline:
            self._stopped = f"the notebook took more than {self.limits.notebook_seconds:g} seconds"
        elif self._now is not None and now - self._began > patience:
            self._stopped = f"it did not end within {self.limits.cell_seconds:g} seconds"
        elif self._now is None and now - self._began > max(patience, 120):
            self._stopped = "the sandbox did not answer"

    def _look_at_usage(self, process: Process) -> None:
        used = usage(process.pid)
        if used.processes > self.limits.processes:
            self._stopped = f"it had more than {self.limits.processes} processes"
        elif used.memory_bytes - process.resident > self.limits.memory_bytes:
            self._stopped = f"it used more than {self.limits.memory_bytes / 2**30:.3g} GiB"
        elif used.files > MAX_FILES and self.sandbox.kind != "none":
            self._stopped = f"it made more than {MAX_FILES:,} files"

    def _close(self, status: int) -> None:
        """Give the cell that ended the process its end; one that did not start is an error."""
        fallen = self._now
        if fallen is not None:
            fallen.seconds = time.monotonic() - self._began
        elif not self._done and self.seconds < self.left:
            if self._last is None and self.cells:
                said = self._warnings.decode("utf-8", "replace").strip().splitlines()
                raise GradingError(
                    f"the sandbox could not start ({self._stopped or f'status {status}'}): "
                    f"{' '.join(said[-3:])[:500]}"
                )
            fallen = self._last  # between two cells: by what an earlier one left behind
        if fallen is not None:
            fallen.state = "ended"
            fallen.why = self._stopped or f"the process ended ({_status(status)})"


def _status(code: int) -> str:
    code = code - 128 if code > 128 else -code if code < 0 else 0
    try:
        return signal.Signals(code).name
    except ValueError:
        return "it left"
