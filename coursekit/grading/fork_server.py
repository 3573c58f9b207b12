"""The warm way into the sandbox: one template for many submissions, started when first needed.

Seen from here a fork of the template is like a sandbox that was just started (``Sandbox.start``):
two pipes, a process to watch, and an end that takes everything in it along. Where the system allows
no namespaces within namespaces, each submission gets a sandbox from scratch, and ``trouble`` says
why.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from coursekit.errors import GradingError
from coursekit.evaluation.baselines import NAMES
from coursekit.grading.sandbox import HOME, Kind, Limits, Process, Sandbox
from coursekit.grading.watch import MAX_FILES, resident

_PATIENCE = 120.0
_CREDENTIALS = struct.Struct("3i")


class ForkServer:
    """A sandbox whose submissions begin with everything imported.

    Args:
        sandbox: the cold one; where it is not bubblewrap, it is used as it is.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.cold = sandbox
        self.trouble = "" if sandbox.kind == "bubblewrap" else f"with {sandbox.kind} there is none"
        self._template: _Template | None = None
        self._lock = threading.Lock()

    @property
    def kind(self) -> Kind:
        """As of the cold sandbox."""
        return self.cold.kind

    @property
    def warning(self) -> str:
        """As of the cold sandbox."""
        return self.cold.warning

    @contextmanager
    def start(self, job: IO[bytes], limits: Limits, threads: int, train: bool) -> Iterator[Process]:
        """As ``Sandbox.start``."""
        process = self._fork(job, limits, threads, train)
        if process is None:
            with self.cold.start(job, limits, threads, train) as cold:
                yield cold
            return
        try:
            yield process
        finally:
            process.end()

    def close(self) -> None:
        """End the template, and whatever was forked from it."""
        with self._lock:
            if self._template is not None:
                self._template.close()
                self._template = None

    def _fork(self, job: IO[bytes], limits: Limits, threads: int, train: bool) -> _Forked | None:
        with self._lock:
            for attempt in (1, 2):
                if self.trouble:
                    return None
                try:
                    if self._template is None or self._template.settings != (threads, train):
                        if self._template is not None:
                            self._template.close()
                        self._template = _Template(self.cold, threads, train)
                    return self._template.fork(job, limits)
                except (OSError, GradingError) as error:
                    if self._template is not None:
                        self._template.close()
                        self._template = None
                    if attempt == 2:
                        self.trouble = str(error)[:500]
        return None


class _Template:
    """The process that is forked."""

    def __init__(self, sandbox: Sandbox, threads: int, train: bool) -> None:
        self.settings = (threads, train)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            self._process = subprocess.Popen(
                sandbox.template_line(threads, train),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                env={},
                cwd="/",
                start_new_session=True,
            )
        try:
            self._socket.settimeout(_PATIENCE)
            said = self._socket.recv(1_000)
            if said != b"ready":
                raise GradingError(f"the fork server cannot run here: {self._why(said)}")
        except (OSError, GradingError):
            self.close()
            raise

    def fork(self, job: IO[bytes], limits: Limits) -> _Forked:
        """A fork at work on a job.

        Raises:
            OSError or GradingError: the template is gone, or the system does not let it.
        """
        half, quarter = limits.disk_bytes // 2, limits.disk_bytes // 4
        folders = {HOME: half, "/tmp": quarter, "/dev/shm": quarter}
        request = {"folders": folders, "files": MAX_FILES, "home": HOME}
        request["baselines"] = _baselines_in(job)
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        output, output_in = os.pipe()
        errors, errors_in = os.pipe()
        try:
            try:
                given = [job.fileno(), output_in, errors_in, theirs.fileno()]
                socket.send_fds(self._socket, [json.dumps(request).encode()], given)
            finally:
                theirs.close()
                os.close(output_in)
                os.close(errors_in)
            status.settimeout(_PATIENCE)
            said, extra, _, _ = status.recvmsg(1_000, socket.CMSG_SPACE(_CREDENTIALS.size))
            if said != b"ready":
                raise GradingError(f"the fork server cannot run here: {self._why(said)}")
            process = next(
                _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
                for _, kind, data in extra
                if kind == socket.SCM_CREDENTIALS
            )
            return _Forked(process, output, errors, status, self)
        except BaseException:
            status.close()
            os.close(output)
            os.close(errors)
            raise

    @property
    def alive(self) -> bool:
        """Whether it can still be forked."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it; bubblewrap ends all that is in there with it."""
        self._process.kill()
        self._process.wait(timeout=30)
        self._socket.close()
        self._complaints.close()

    def _why(self, said: bytes) -> str:
        if said:
            return said.decode("utf-8", "replace").removeprefix("error: ")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self._complaints.seek(0)
        lines = self._complaints.read(100_000).decode("utf-8", "replace").strip().splitlines()
        return " ".join(lines[-3:])[:400] or "it ended without a word"


def _baselines_in(job: IO[bytes]) -> list[str]:
    """Fingerprint baselines that a job's cells speak of."""
    said = job.read()
    job.seek(0)
    return [m for m in NAMES if b"fingerprint_baseline" in said and m.encode() in said]


class _Forked:
    """One submission's processes, by the first of them."""

    def __init__(
        self, pid: int, output: int, errors: int, status: socket.socket, template: _Template
    ) -> None:
        self.pid, self.output, self.errors = pid, output, errors
        self._template = template
        # The first process and the notebook's begin with all the template's memory.
        self.resident = 2 * resident(pid)
        self._status, self._code = status, -int(signal.SIGKILL)
        self._handle: int | None = os.pidfd_open(pid)

    def end(self) -> int:
        """As ``Process.end``.

        Raises:
            GradingError: the template has ended, and this with it: no submission is to blame.
        """
        if self._handle is None:
            return self._code
        alive = self._template.alive
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        if not select.select([self._handle], [], [], 30)[0]:
            raise GradingError("a sandbox does not end")
        self._status.setblocking(False)
        with suppress(OSError, ValueError):
            self._code = int(self._status.recv(100) or self._code)
        os.close(self._handle)
        self._handle = None
        os.close(self.output)
        os.close(self.errors)
        self._status.close()
        if not alive:
            raise GradingError("the fork server ended while a notebook was run")
        return self._code
