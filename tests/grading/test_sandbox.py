"""The sandbox, attacked: each of these really runs, and each outcome is stated."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from coursekit.errors import GradingError
from coursekit.grading.container import ENGINES
from coursekit.grading.execute import Code, Execution, execute
from coursekit.grading.fork_server import ForkServer
from coursekit.grading.sandbox import Limits, Room, Sandbox, find_sandbox
from coursekit.grading.seccomp import seccomp_filter
from coursekit.grading.watch import usage
from coursekit.runs import Run

LIMITS = Limits(
    cell_seconds=4,
    grace_seconds=1,
    notebook_seconds=60,
    memory_bytes=2**30,
    processes=80,
    disk_bytes=64 * 2**20,
    file_bytes=32 * 2**20,
)
AFTER = "print('still', 6 * 7)"


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    try:
        found = find_sandbox()
    except GradingError as error:
        pytest.skip(f"NO SANDBOX, its tests are not run: {error}")
    assert found.kind == "bubblewrap"
    return found


@pytest.fixture(scope="session")
def warm(sandbox: Sandbox) -> Iterator[ForkServer]:
    """One for all tests of a session, as for a class; none of them gets a cold sandbox instead."""
    server = ForkServer(sandbox)
    yield server
    assert server.trouble == ""
    server.close()


IMAGE = os.environ.get("COURSEKIT_TEST_IMAGE", "")
"""Of a container that has coursekit; where it is given, all attacks are run in one too."""


@pytest.fixture(scope="session")
def container() -> Sandbox:
    engine, *_ = [found for name in ENGINES if (found := shutil.which(name))]
    return Sandbox("container", engine, IMAGE)


@pytest.fixture(params=["cold", "warm", *(["container"] if IMAGE else [])])
def room(request: pytest.FixtureRequest) -> Room:
    kinds = {"cold": "sandbox", "warm": "warm", "container": "container"}
    return request.getfixturevalue(kinds[request.param])


@pytest.fixture
def run(room: Room) -> Callable[..., Execution]:
    def go(*sources: str, **more: object) -> Execution:
        cells = [Code(number, source) for number, source in enumerate(sources)]
        return execute(cells, room, **{"limits": LIMITS} | more)

    return go


def printed(found: Execution, cell: int = 0) -> str:
    return found.cells[cell].output.text


def test_a_notebook_runs_as_students_see_it(run: Callable[..., Execution]) -> None:
    found = run(
        "x = 6\nx * 7",
        "from IPython.display import HTML, display\n"
        "handle = display(HTML('<b>one</b>'), display_id=True)",
        "handle.update(HTML('<b>two</b>'))",
        "!echo from a shell\n%time y = 1",
        "import asyncio\nawait asyncio.sleep(0)\nprint('awaited')",
        "1 / 0",
        "import coursekit as ck\nck.check('97.1', x, 'text')",
        "input()",
        "exit()",
        AFTER,
        exercises={"97.1": ["x", "word"]},
    )
    outputs = {n: c.output for n, c in found.cells.items()}
    assert outputs[0].displays == [{"text/plain": "42"}]
    assert outputs[1].displays[0]["text/html"] == "<b>two</b>"
    assert "from a shell" in outputs[3].text
    assert outputs[4].text == "awaited\n"
    assert outputs[5].error[:2] == ("ZeroDivisionError", "division by zero")
    assert found.answers == {
        "97.1": [
            (6, {"x": {"kind": "number", "value": 6}, "word": {"kind": "text", "value": "text"}})
        ]
    }
    assert found.cells[7].state == "error"  # nobody is there to be asked
    assert printed(found, 9) == "still 42\n"
    assert [c.state for c in found.cells.values()].count("error") == 2
    assert found.notices == []
    assert found.warning == ""


def test_what_comes_with_the_kit_is_there(run: Callable[..., Execution]) -> None:
    """Selection, blocks, encoder and recorded runs: lessons use them all."""
    found = run(
        "import coursekit as ck\nfrom coursekit.data.paths import bundled\n"
        "print(ck.bundled_run('frozen', 1).name, ck.load_classifier('coursekit-mini').name)\n"
        "print(len(ck.load_selection('sample')), len(list(bundled('blocks').glob('*.csv'))))",
        limits=Limits(),
    )
    assert re.fullmatch(r"HeadOnlyFinetune\S* coursekit-mini\n\d{4,} 3\n", printed(found))


def test_figures_come_out_as_pictures(run: Callable[..., Execution]) -> None:
    found = run("import matplotlib.pyplot as plt\nplt.plot([1, 2]);", limits=Limits())
    assert found.cells[0].output.displays[0]["image/png"].startswith("iVBORw0KGgo")


SECRETS = """
import glob, os, socket, sys
from pathlib import Path
found = []
for folder, _, names in os.walk("/"):
    if folder.startswith(("/proc", "/usr/share", "/usr/lib", "/usr/include")):
        continue
    found += [os.path.join(folder, n) for n in names if n in WANTED]
print("found", found)
print("environment", sorted(set(os.environ) & {"TOKEN", "SSH_AUTH_SOCK", "AWS_SECRET_KEY"}))
for path in LEADS:
    try:
        print("read", Path(path).read_bytes()[:20], os.listdir(path))
    except OSError as error:
        print("no", type(error).__name__)
    try:
        Path(path).write_text("changed")
        print("wrote", path)
    except OSError:
        pass
print("processes", sorted(int(p) for p in os.listdir("/proc") if p.isdigit())[-1] < 20)
print("user", os.getuid(), os.uname().nodename)
"""


def test_nothing_secret_is_in_there(
    run: Callable[..., Execution], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "very secret")
    mark = uuid.uuid4().hex
    gradebook, hidden = tmp_path / f"{mark}.db", tmp_path / f"{mark}.py"
    with sqlite3.connect(gradebook) as base:
        base.execute("create table grade (score)")
    hidden.write_text("answer = 42")
    content = gradebook.read_bytes()
    root = Path(__file__).resolve().parents[2]
    own = [gradebook, hidden, *(root / name for name in ("autograder", "solutions", "tests"))]
    others = ["/root", "/etc/shadow", "/etc/passwd", "/mnt", "/home", "/proc/1/environ", "/sys"]
    others += ["/proc/1/root/etc/passwd", "/dev/sda", str(Path.home() / ".bash_history")]
    leads = [*map(str, own), *others]
    code = SECRETS.replace("WANTED", repr({gradebook.name, hidden.name, "truth.csv"}))
    found = run(code.replace("LEADS", repr(leads)), limits=Limits())
    text = printed(found)
    assert "found []" in text, text
    assert "environment []" in text
    # A checkout below the system's temporary folder has its place in the sandbox's own, empty one.
    wrote = [Path(line[6:]) for line in text.splitlines() if line.startswith("wrote ")]
    assert all(path.is_relative_to(tempfile.gettempdir()) for path in wrote)
    assert not any(path.is_file() and path.read_bytes() == b"changed" for path in own)
    assert "user 65534 grading" in text
    assert "processes True" in text
    assert "very secret" not in text
    assert text.count("no ") == len(leads) - text.count("read b")
    assert "root:" not in text
    assert gradebook.read_bytes() == content


def test_no_network_no_other_namespace_no_odd_socket(run: Callable[..., Execution]) -> None:
    found = run(
        "import ctypes, os, socket\n"
        "for family, place in ((2, ('1.1.1.1', 53)), (2, ('127.0.0.1', 22)), (40, (2, 22))):\n"
        "    try:\n"
        "        s = socket.socket(family); s.settimeout(1); s.connect(place); print('connected')\n"
        "    except OSError as error:\n"
        "        print('refused')\n"
        "try:\n    print(socket.gethostbyname('example.org'))\n"
        "except OSError:\n    print('refused')\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.unshare(0x10000000), libc.ptrace(16, 1, 0, 0), libc.mount(0, 0, 0, 0, 0))\n"
        "clone = {'x86_64': 56, 'aarch64': 220}[os.uname().machine]\n"
        "print(libc.umount2(b'/student', 2), libc.syscall(clone, 0x10000011, 0, 0, 0, 0))",
        "!touch /usr/x /opt/coursekit/x /x /dev/x; unshare -Ur id; mount -t tmpfs none /tmp; id -u",
    )
    assert printed(found).splitlines() == ["refused"] * 4 + ["-1 -1 -1", "-1 -1"]
    second = printed(found, 1)
    assert second.count("cannot touch") == 4
    assert second.splitlines()[-1] == "65534"
    assert "uid=0" not in second


SETTINGS = """
import os
paths = [os.path.join(folder, n) for folder, _, names in os.walk("/proc/sys") for n in names]
paths += ["/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/1/mem"]
for path in paths:
    try:
        os.close(os.open(path, os.O_WRONLY))
        print("can write", path)
    except OSError:
        pass
print(len(paths) > 100)
"""


def test_settings_of_the_machine_cannot_be_changed(run: Callable[..., Execution]) -> None:
    # Root's sandbox is the same user as root to files that belong to it.
    assert printed(run(SETTINGS)) == "True\n"


BOMBS = {
    "fork bomb": ("import os\nwhile True:\n    os.fork()", "processes|interrupted|GiB"),
    "thread bomb": (
        "import threading, time\nfor _ in range(9000):\n"
        "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "processes|can't start|interrupted",
    ),
    "memory bomb": ("a = []\nwhile True:\n    a.append(b'x' * 10**8)", "MemoryError|GiB"),
    "memory of many": (
        "import os, time\nfor _ in range(8):\n    if not os.fork():\n"
        "        a = b'x' * (300 * 2**20); time.sleep(60)\ntime.sleep(60)",
        "GiB",
    ),
    "disk fill": (
        "for n in range(99):\n    open(f'/tmp/{n}', 'wb').write(b'x' * 2**20)",
        "No space left",
    ),
    "large file": ("open('/student/x', 'wb').write(b'x' * 2**26)", "File too large|space"),
    "shared memory": ("open('/dev/shm/x', 'wb').write(b'x' * 2**25)", "No space left"),
    "many files": (
        "import os\nfor n in range(10**6):\n    os.close(os.open(f'/tmp/{n}', 65))",
        "files|interrupted|No space",
    ),
    "endless loop": (
        "def deaf():\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass\n"
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\ndeaf()",
        "did not end within",
    ),
    "hard exit": ("import os\nos._exit(0)", "the process ended"),
    "own death": ("import os\nos.kill(os.getpid(), 9)", "SIGKILL"),
    "crash": ("import ctypes\nctypes.string_at(0)", "SIGSEGV|the process ended"),
    "message flood": (
        "import os\nfor fd in range(3, 20):\n    try:\n"
        "        while True: os.write(fd, b'{\"kind\": \"done\"}\\n[' + b'1,' * 10**6)\n"
        "    except OSError: pass",
        "no message|more than may|does not end|interrupted",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_costs_its_own_cell(run: Callable[..., Execution], bomb: str) -> None:
    source, outcome = BOMBS[bomb]
    start = time.monotonic()
    # Memory takes its time to be filled on a busy machine, an endless loop takes all there is.
    limits = replace(LIMITS, cell_seconds=30) if "memory" in bomb else LIMITS
    found = run("before = 1", source, "print(before, 'after')", limits=limits)
    assert time.monotonic() - start < 60
    cell = found.cells[1]
    assert cell.state in ("ended", "error")
    # Where nothing can start, IPython cannot format the error either, and prints it as text.
    said = f"{cell.why} {cell.output.error} {cell.output.text}"
    assert re.search(outcome, said), said
    assert printed(found, 2) == "1 after\n"
    assert found.cells[2].state == "ran"


def test_a_flood_of_output_is_cut_while_it_streams(run: Callable[..., Execution]) -> None:
    before = usage(os.getpid()).memory_bytes
    found = run(
        "import sys\nfor _ in range(400):\n    sys.stdout.write('x' * 100_000)\nprint('end')", AFTER
    )
    cell = found.cells[0]
    assert cell.state == "ran"
    assert cell.output.cut
    assert len(cell.output.text) == LIMITS.output_bytes
    assert printed(found, 1) == "still 42\n"
    assert usage(os.getpid()).memory_bytes - before < 60 * 2**20


def test_signals_reach_nobody_outside_and_children_do_not_survive(
    run: Callable[..., Execution],
) -> None:
    mark = f"sleep-{uuid.uuid4().hex[:8]}"
    found = run(
        "import os, signal, subprocess\n"
        "for pid in {os.getppid(), *range(1, 40)} - {os.getpid()}:\n"
        "    try: os.kill(pid, 9)\n"
        "    except OSError: pass\n"
        f"child = subprocess.Popen(['bash', '-c', 'exec -a {mark} sleep 600'],\n"
        "    start_new_session=True, stdin=-3, stdout=-3, stderr=-3)\n"
        "print('alive', child.poll() is None)",
        AFTER,
    )
    assert printed(found) == "alive True\n"
    assert printed(found, 1) == "still 42\n"
    until = time.monotonic() + 20  # the kernel ends what is left without waiting for it
    while (left := any(mark.encode() in line for line in command_lines())) and (
        time.monotonic() < until
    ):
        time.sleep(0.1)
    assert not left


def command_lines() -> list[bytes]:
    """Of all processes of this machine."""
    lines = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit():
                lines.append((process / "cmdline").read_bytes())
    return lines


def test_what_one_submission_leaves_behind_no_other_finds(run: Callable[..., Execution]) -> None:
    startup = "~/.ipython/profile_default/startup/x.py"
    first = run(
        "from pathlib import Path\n"
        f"p = Path('{startup}').expanduser(); p.parent.mkdir(parents=True, exist_ok=True)\n"
        "p.write_text(\"raise SystemExit('infected')\")\n"
        "Path('/tmp/left').touch(); Path('~/sitecustomize.py').expanduser().touch()\n"
        "print('written')"
    )
    assert printed(first) == "written\n"
    second = run(
        "from pathlib import Path\n"
        f"print(Path('{startup}').expanduser().exists(), Path('/tmp/left').exists())\n"
        "print(sorted(p.name for p in Path.home().iterdir()))"
    )
    assert printed(second).startswith("False False")
    assert "sitecustomize" not in printed(second)
    assert second.cells[0].state == "ran"


def test_a_shell_turned_against_the_runner_changes_only_itself(
    run: Callable[..., Execution],
) -> None:
    found = run(
        "from IPython import get_ipython\nip = get_ipython()\n"
        "ip.input_transformers_cleanup.append(lambda lines: [])",
        "print('blanked')",
        limits=LIMITS,
    )
    assert printed(found, 1) == ""
    again = run("print('whole')")
    assert printed(again) == "whole\n"


def test_the_whole_notebook_has_its_time(run: Callable[..., Execution]) -> None:
    limits = Limits(cell_seconds=2, grace_seconds=1, notebook_seconds=4)
    found = run(*["import time\ntime.sleep(60)"] * 6, limits=limits)
    states = [cell.state for cell in found.cells.values()]
    assert states[0] == "error"
    assert "interrupted after 2 seconds" in found.cells[0].why
    assert states[-1] == "not run"
    assert states.count("not run") >= 3  # two seconds a cell, four in all
    assert "cells were not run" in found.notices[-1]


def test_fit_answers_from_the_harvested_record(
    run: Callable[..., Execution], make_run: Callable[..., Run]
) -> None:
    found = run(
        "from pathlib import Path\nimport json, os\nfrom coursekit.training import recorded\n"
        "from coursekit.errors import TrainingError\n"
        "path, = Path(os.environ['COURSEKIT_RECORDS']).rglob('record.json')\n"
        "data = json.loads(path.read_text())\n"
        "task = data['task']['fingerprint']\n"
        "identity = {'strategy': data['strategy'], 'task': task, 'seed': 0}\n"
        "_, run = recorded.recorded_run(identity)\n"
        "print(len(run.predictions))\n"
        "try:\n    recorded.recorded_run(identity | {'seed': 1})\n"
        "except TrainingError as error:\n    print('refused')",
        records=[make_run().record()],
        limits=Limits(),
    )
    assert printed(found).splitlines()[-2:] == ["27", "refused"], found.cells[0].output


def test_without_a_sandbox_grading_is_refused_or_loud(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GradingError, match=r"no sandbox.*bubblewrap is not installed"):
        find_sandbox()
    unsafe = find_sandbox(unsafe=True)
    monkeypatch.undo()
    assert unsafe.kind == "none"
    monkeypatch.setenv("TOKEN", "very secret")
    cells = [
        Code(0, "import os\nprint(os.environ.get('TOKEN'))"),
        Code(1, "import os\nos._exit(3)"),
    ]
    found = execute([*cells, Code(2, AFTER)], unsafe, LIMITS)
    assert found.warning.startswith("UNSAFE")
    assert found.cells[0].output.text == "None\n"
    assert found.cells[1].state == "ended"
    assert found.cells[2].output.text == "still 42\n"


def test_a_sandbox_that_cannot_start_is_no_students_fault(tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'no namespaces for you' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(GradingError, match="no namespaces for you"):
        execute([Code(0, "1")], Sandbox("bubblewrap", str(broken)), LIMITS)


def test_a_container_engine_is_used_where_bubblewrap_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stand-in for the engine: it notes its arguments and runs the command they end with."""
    engine = tmp_path / "podman"
    engine.write_text(
        f'#!/bin/sh\nif [ "$1" != run ]; then exit 0; fi\necho "$@" > {tmp_path}/arguments\n'
        f"export COURSEKIT_RECORDS={tmp_path}/r HOME={tmp_path} PYTHONPATH={os.getcwd()}\n"
        f"exec {sys.executable} -m coursekit.grading.inside\n"
    )
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GradingError, match="no container image"):
        find_sandbox()
    found = find_sandbox(image="course:1")
    monkeypatch.undo()
    assert found == Sandbox("container", str(engine), "course:1")
    result = execute([Code(0, AFTER)], found, LIMITS)
    assert result.cells[0].output.text == "still 42\n"
    arguments = (tmp_path / "arguments").read_text()
    for flag in ("--network=none", "--read-only", "--cap-drop=ALL", "--pids-limit=130",
                 "--security-opt=no-new-privileges", "--user=65534:65534"):  # fmt: skip
        assert flag in arguments
    last = ["course:1", "python", "-m", "coursekit.grading.contained", "120"]
    assert arguments.split()[-5:] == last
    assert "--workdir" not in arguments  # docker makes that folder itself, for root alone


def test_a_container_is_ended_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes are the engine's: that the client is killed would not end them.

    Before them, for docker ends none whose output still waits for somebody to read it.
    """
    monkeypatch.setattr("coursekit.grading.container._START_SECONDS", 1)
    engine = tmp_path / "podman"
    engine.write_text(
        f"#!/bin/sh\ncd {tmp_path}\ncase $1 in\n"
        'run) echo "$4 $3" > started; echo $$ > client; exec sleep 60;;\n'
        'kill) echo "--name=$2" > killed; kill -0 $(cat client) && echo reads >> killed;;\nesac\n'
    )
    engine.chmod(0o755)
    room = Sandbox("container", str(engine), "course:1")
    with tempfile.TemporaryFile() as job, room.start(job, LIMITS, 1, False) as process:
        assert process.pid == 0  # an engine that does not say which one it is
        assert not (tmp_path / "killed").exists()
    killed = (tmp_path / "killed").read_text().strip()
    assert len(killed) > 40
    assert killed in (tmp_path / "started").read_text().split()
    assert process.end() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("source", "status"),
    [("import time; time.sleep(60)", 137), ("import os; open('here', 'w'); os._exit(3)", 3),
     ("import os; os.kill(os.getpid(), 11)", 139)],
)  # fmt: skip
def test_a_container_ends_with_its_notebook_or_its_time(
    source: str, status: int, tmp_path: Path
) -> None:
    """Also where the grader is gone: its first process looks at the clock by itself."""
    job = {"limits": vars(Limits()) | {"processes": 4000}, "records": []}
    job |= {"profile": "", "exercises": {}, "fresh": {}, "cells": [{"number": 0, "source": source}]}
    with subprocess.Popen(
        [sys.executable, "-m", "coursekit.grading.contained", "15"],
        env={"COURSEKIT_RECORDS": str(tmp_path), "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
        try:
            assert process.wait(60) == status
            assert (tmp_path / "here").exists() == (status == 3)  # it began in its home
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_the_filter_of_system_calls_is_there_for_two_architectures() -> None:
    for machine in ("x86_64", "aarch64"):
        program = seccomp_filter(machine)
        assert program is not None
        assert len(program) % 8 == 0
    assert seccomp_filter("sparc") is None


def test_usage_counts_descendants() -> None:
    process = subprocess.Popen(["bash", "-c", "sleep 20 & sleep 20 & wait"])
    try:
        deadline = time.monotonic() + 10
        while usage(process.pid).processes < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert usage(process.pid).processes == 3
        assert usage(process.pid).memory_bytes > 1_000_000
    finally:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), 9)
        process.kill()
        process.wait()
    assert usage(process.pid).processes == 0
