"""A container around students' code, where bubblewrap cannot run.

The engine's client has the pipes, but neither the processes nor their end: a container goes on when
its client is killed. So each has a name, by which it is ended, and a first process of ours
(:mod:`coursekit.grading.contained`), which ends it should the grader itself be gone.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from coursekit.grading.sandbox import Limits, Started

ENGINES = ("podman", "docker")
_MODULE = "coursekit.grading.contained"
_START_SECONDS, _END_SECONDS, _GONE_SECONDS = 20, 20, 60
_SPARE_PROCESSES = 50


def container_line(
    engine: str, image: str, home: str, variables: Mapping[str, str], limits: Limits
) -> tuple[str, list[str]]:
    """A new container's name, and the command that runs a notebook in it.

    The engine's bounds lie above those that are watched from outside, which can say what was too
    much: they hold where nobody sees into the container.
    """
    name = f"coursekit-{uuid4().hex}"
    memory = limits.memory_bytes * 5 // 4
    line = [engine, "run", "--rm", f"--name={name}", "--interactive", "--network=none"]
    line += ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    line += ["--user=65534:65534", "--hostname=grading"]
    line += [f"--pids-limit={limits.processes + _SPARE_PROCESSES}"]
    line += [f"--memory={memory}", f"--memory-swap={memory}"]
    line += [f"--shm-size={limits.disk_bytes // 4}"]
    # Not as --workdir: docker would make that folder first, for root alone.
    line += [f"--tmpfs={home}:rw,exec,mode=1777,size={limits.disk_bytes // 2}"]
    line += [f"--tmpfs=/tmp:rw,mode=1777,size={limits.disk_bytes // 4}"]
    line += [f"--env={key}={value}" for key, value in variables.items() if key != "PATH"]
    seconds = str(int(limits.notebook_seconds) + _GONE_SECONDS)
    return name, [*line, image, "python", "-m", _MODULE, seconds]


def client_environment() -> dict[str, str]:
    """What the engine's client, which is trusted, needs to find its server."""
    names = ("PATH", "HOME", "XDG_RUNTIME_DIR", "DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST")
    return {name: os.environ[name] for name in names if name in os.environ}


class Contained:
    """A notebook's process in a container, as ``sandbox.Process``.

    Args:
        engine: path of podman's or docker's program.
        name: of the container.
        client: that has been started to run it.
    """

    resident = 0

    def __init__(self, engine: str, name: str, client: Started) -> None:
        self._engine, self._name, self._client = engine, name, client
        self.output, self.errors = client.output, client.errors
        self.pid = 0

    def find(self) -> None:
        """Wait until it has started, and find its first process, to be watched from here."""
        self.pid = self._first_process()

    def end(self) -> int:
        """As ``Process.end``."""
        by_itself = self._client.wait(1)
        code = self._client.end()  # first: docker ends nothing whose output waits for a reader
        if not by_itself:
            self._ask("kill", self._name)
            self._ask("rm", "--force", self._name)  # waits until it is gone
        return code

    def _first_process(self) -> int:
        """As this machine numbers it; 0 where the engine's containers are on another."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._client.wait(0.05) and time.monotonic() < deadline:
            said = self._ask("inspect", "--format={{.State.Pid}}", self._name).strip()
            if said.isdigit() and int(said) > 0:
                return int(said) if _is_ours(int(said)) else 0
        return 0

    def _ask(self, *words: str) -> str:
        asked: Sequence[str] = [self._engine, *words]
        try:
            done = subprocess.run(
                asked,
                capture_output=True,
                text=True,
                timeout=_END_SECONDS,
                stdin=subprocess.DEVNULL,
                env=client_environment(),
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout


def _is_ours(process: int) -> bool:
    try:
        return _MODULE.encode() in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
