"""Where a student's code runs: a room with nothing in it, that ends when grading says so.

Bubblewrap gives user, process, network, message and mount namespaces of its own: a read-only
system by a list of what is there (so hidden checks, labels, gradebooks, other submissions and the
instructor's home are not), private folders of bounded size, no network, no capability, no way to
make further namespaces. What cannot be enforced from outside (memory and processes in sum, where
the grader runs as root) is watched by the executor.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from coursekit.data.paths import bundled
from coursekit.errors import GradingError
from coursekit.grading.container import ENGINES, Contained, client_environment, container_line
from coursekit.grading.seccomp import seccomp_filter

Kind = Literal["bubblewrap", "container", "none"]
HOME = "/student"
_PACKAGE = Path(__file__).resolve().parent.parent
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "localtime")
_MODULE = "coursekit.grading.inside"
NO_THREAD = "JE_ARROW_MALLOC_CONF"


@dataclass(frozen=True)
class Limits:
    """What a notebook may use while it is run.

    Args:
        cell_seconds: one cell; after it comes an interrupt, and after ``grace_seconds`` the end.
        grace_seconds: how long an interrupted cell may go on.
        notebook_seconds: all cells together, wall clock, restarts included.
        cpu_seconds: processor time of each process.
        memory_bytes: private memory of each process, and of all together.
        processes: how many at once, threads included.
        open_files: of each process.
        file_bytes: the largest file.
        disk_bytes: all files together.
        output_bytes: text that a cell writes, beyond which it is dropped while it streams.
        message_bytes: everything that comes back from one notebook.
    """

    cell_seconds: float = 120.0
    grace_seconds: float = 5.0
    notebook_seconds: float = 600.0
    cpu_seconds: float = 1200.0
    memory_bytes: int = 6 * 2**30
    processes: int = 400
    open_files: int = 512
    file_bytes: int = 512 * 2**20
    disk_bytes: int = 1024 * 2**20
    output_bytes: int = 100_000
    message_bytes: int = 64_000_000


class Process(Protocol):
    """A notebook's process in its sandbox.

    Attributes:
        pid: of its first process, below which all others are.
        output: end of a pipe, on which its messages come.
        errors: end of a pipe, on which its text comes.
        resident: bytes of memory that it shared with others when it began.
    """

    pid: int
    output: int
    errors: int
    resident: int

    def end(self) -> int:
        """End it with all that is in it; returns its status as ``subprocess`` has it."""


class Room(Protocol):
    """Where code of strangers can be run: :class:`Sandbox`, or a warm one."""

    @property
    def kind(self) -> Kind:
        """Of the sandbox."""

    @property
    def warning(self) -> str:
        """What a report has to say about it; "" where all is well."""

    def start(
        self, job: IO[bytes], limits: Limits, threads: int, train: bool
    ) -> AbstractContextManager[Process]:
        """Run :mod:`coursekit.grading.inside` in there, on a job."""


@dataclass(frozen=True)
class Command:
    """A program to start.

    Args:
        line: itself and its arguments.
        variables: its whole environment.
        folder: where it begins.
        files: open ones that it is given.
        name: of the container that it runs.
    """

    line: list[str]
    variables: dict[str, str]
    folder: str
    files: tuple[int, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Sandbox:
    """A way to run code of strangers on this machine.

    Args:
        kind: "bubblewrap", "container", or "none".
        program: the sandbox's own program; "" for none.
        image: for a container, the image that has coursekit installed.
    """

    kind: Kind
    program: str = ""
    image: str = ""

    @property
    def warning(self) -> str:
        """What a report has to say about it; "" where all is well."""
        if self.kind != "none":
            return ""
        return (
            "UNSAFE: the student's code was run WITHOUT A SANDBOX, with the rights of the account "
            "that graded. It could read and change everything that this account can."
        )

    @contextmanager
    def start(self, job: IO[bytes], limits: Limits, threads: int, train: bool) -> Iterator[Process]:
        """Run :mod:`coursekit.grading.inside` in here; in the end all of it is ended.

        Args:
            job: an open file that it reads.
            limits: sizes of the private folders.
            threads: for numerical libraries.
            train: whether ``fit`` may train where there is no record.
        """
        with self._command(limits, threads, train) as command:
            started = Started(command, job)
            process = Contained(self.program, command.name, started) if command.name else started
            try:
                if isinstance(process, Contained):
                    process.find()
                yield process
            finally:
                process.end()

    def template_line(self, threads: int, train: bool) -> list[str]:
        """What starts :mod:`coursekit.grading.template`.

        From inside of this bubblewrap further namespaces can be made; no code of a student runs in
        there before they are.
        """
        # Arrow's allocator starts a thread when it is loaded, which a fork would lose.
        variables = _variables(HOME, threads, train) | {NO_THREAD: "background_thread:false"}
        line = self._bubblewrap(variables, Limits(), template=True)
        return [*line[:-1], "coursekit.grading.template"]

    @contextmanager
    def _command(self, limits: Limits, threads: int, train: bool) -> Iterator[Command]:
        if self.kind == "none":
            with tempfile.TemporaryDirectory(prefix="coursekit-") as home:
                variables = _variables(home, threads, train) | {
                    "PYTHONPATH": str(_PACKAGE.parent),
                    "TMPDIR": home,
                }
                yield Command([sys.executable, "-m", _MODULE], variables, home)
            return
        variables = _variables(HOME, threads, train)
        if self.kind == "container":
            name, line = container_line(self.program, self.image, HOME, variables, limits)
            # podman's monitor leaves a file where it was started if memory runs out.
            with tempfile.TemporaryDirectory(prefix="coursekit-") as folder:
                yield Command(line, client_environment(), folder, name=name)
            return
        line, calls = self._bubblewrap(variables, limits), seccomp_filter()
        if calls is None:
            yield Command(line, {}, "/")
            return
        with tempfile.TemporaryFile() as paper:
            paper.write(calls)
            paper.seek(0)
            number = paper.fileno()
            yield Command([line[0], "--seccomp", str(number), *line[1:]], {}, "/", (number,))

    def _bubblewrap(
        self, variables: dict[str, str], limits: Limits, template: bool = False
    ) -> list[str]:
        size, uid = str(limits.disk_bytes // 2), "0" if template else "65534"
        line = [self.program, "--unshare-user", "--unshare-all"]
        line += ["--die-with-parent", "--new-session", "--cap-drop", "ALL"]
        # To mount /proc and to give a user another number, in namespaces within these.
        inner = ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETFCAP"]
        line += inner if template else ["--disable-userns"]
        line += ["--uid", uid, "--gid", uid, "--hostname", "grading", "--clearenv"]
        line += ["--ro-bind", "/usr", "/usr"]
        for name in ("bin", "sbin", "lib", "lib32", "lib64"):
            path = Path("/", name)
            if path.is_symlink():
                line += ["--symlink", os.readlink(path), str(path)]
            elif path.is_dir():
                line += ["--ro-bind", str(path), str(path)]
        for name in _ETC:
            line += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
        # Before Python, which may itself lie below one of them.
        line += ["--size", size, "--tmpfs", HOME]
        line += ["--size", str(limits.disk_bytes // 4), "--tmpfs", "/tmp"]
        for prefix in dict.fromkeys((sys.base_prefix, sys.prefix)):
            if not Path(prefix).is_relative_to("/usr"):
                line += ["--ro-bind", prefix, prefix]
        # The package and its data alone: a clone also holds solutions and hidden checks.
        line += ["--ro-bind", str(_PACKAGE), "/opt/coursekit/coursekit"]
        if not (_PACKAGE / "_bundled").is_dir():
            for name in ("sample", "blocks", "coursekit-mini", "runs"):
                line += ["--ro-bind", str(bundled(name)), f"/opt/coursekit/data/{name}"]
        line += ["--proc", "/proc", "--dev", "/dev"]
        line += ["--size", str(limits.disk_bytes // 4), "--tmpfs", "/dev/shm"]
        line += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]
        # In /proc/sys the machine's settings belong to root, which root's sandbox is outside.
        line += [] if template else ["--remount-ro", "/proc"]
        for name, value in (variables | {"PYTHONPATH": "/opt/coursekit"}).items():
            line += ["--setenv", name, value]
        return [*line, "--", sys.executable, "-m", _MODULE]


class Started:
    """A sandbox as a program of its own."""

    resident = 0

    def __init__(self, command: Command, job: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            command.line,
            stdin=job,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=command.variables,
            cwd=command.folder,
            pass_fds=command.files,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.pid = self._process.pid
        self.output, self.errors = self._process.stdout.fileno(), self._process.stderr.fileno()

    def wait(self, seconds: float) -> bool:
        """Whether it ends by itself within so long."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> int:
        """As ``Process.end``."""
        if self._process.returncode is None:
            try:
                # Without a sandbox this reaches its session; with one, all end with its first.
                os.killpg(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self._process.kill()
            self._process.wait(timeout=30)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        return self._process.returncode


def find_sandbox(image: str = "", unsafe: bool = False) -> Sandbox:
    """The safest way there is on this machine.

    Args:
        image: of a container with coursekit installed, for where bubblewrap cannot run.
        unsafe: run without a sandbox where there is none. Every report will say so.

    Raises:
        GradingError: there is no sandbox; the message says why and what to do.
    """
    program, reasons = shutil.which("bwrap"), []
    if program is None:
        reasons.append("bubblewrap is not installed (Debian, Ubuntu: apt install bubblewrap)")
    else:
        found = Sandbox("bubblewrap", program)
        trouble = _trouble([*found._bubblewrap({"PATH": "/usr/bin"}, Limits())[:-3], "/bin/true"])
        if trouble is None:
            return found
        reasons.append(f"bubblewrap cannot run here ({trouble})")
    engines = [path for name in ENGINES if (path := shutil.which(name))]
    if not engines:
        reasons.append("there is no container engine")
    elif not image:
        reasons.append("no container image with coursekit was named")
    for engine in engines if image else ():
        trouble = _trouble([engine, "image", "inspect", image])
        if trouble is None:
            return Sandbox("container", engine, image)
        reasons.append(f"{Path(engine).name} cannot use the image {image} ({trouble})")
    if unsafe:
        return Sandbox("none")
    raise GradingError(
        f"there is no sandbox for students' code: {'; '.join(reasons)}. Install bubblewrap 0.8 or "
        "newer and allow unprivileged user namespaces, or name a container image; "
        "--unsafe-no-sandbox grades without one, at your own risk."
    )


def _trouble(command: list[str]) -> str | None:
    """Why a command fails, in one line; None if it does not."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)[:200]
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:200]


def _variables(home: str, threads: int, train: bool) -> dict[str, str]:
    """All the environment that student code gets to see."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        "HOME": home,
        "USER": "student",
        "LOGNAME": "student",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MPLCONFIGDIR": f"{home}/.cache/matplotlib",
        "COURSEKIT_CACHE": f"{home}/.cache/coursekit",
        "COURSEKIT_RECORDS": f"{home}/.records",
        "COURSEKIT_TRAINING": "allowed" if train else "recorded",
        "NBGRADER_EXECUTION": "autograde",
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PIP_NO_INDEX": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
    }
