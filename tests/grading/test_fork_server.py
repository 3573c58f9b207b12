"""Forks of a warm process: as far apart from each other as sandboxes that were started alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_sandbox import AFTER, LIMITS, printed, sandbox, warm  # noqa: F401

from coursekit.errors import GradingError
from coursekit.grading.execute import Code, Execution, execute
from coursekit.grading.fork_server import ForkServer
from coursekit.grading.sandbox import Limits, Room, Sandbox


def run(room: Room, *sources: str, limits: Limits = LIMITS) -> Execution:
    return execute([Code(n, source) for n, source in enumerate(sources)], room, limits)


WHERE = """
import os, time
kinds = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
print(*(os.readlink(f"/proc/self/ns/{kind}") for kind in kinds))
time.sleep(1)
"""


def test_each_has_namespaces_of_its_own(warm: ForkServer) -> None:  # noqa: F811
    with ThreadPoolExecutor(2) as pool:  # at one time: numbers of what has ended are given again
        both = [found.split() for found in pool.map(lambda _: printed(run(warm, WHERE)), range(2))]
    here = {os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "mnt", "pid", "net", "ipc",
                                                             "uts", "cgroup")}  # fmt: skip
    assert [len(one) for one in both] == [7, 7]
    assert not set(both[0]) & set(both[1])
    assert not here & set(both[0] + both[1])


INHERITED = """
import os, re
from pathlib import Path
print(sorted(os.readlink(f"/proc/self/fd/{n}").split(":")[0] for n in os.listdir("/proc/self/fd")
             if os.path.exists(f"/proc/self/fd/{n}")))
shared = [line for line in Path("/proc/self/maps").read_text().splitlines()
          if re.match(r"\\S+ .w.s ", line)]
print("shared", shared)
print("threads", len(os.listdir("/proc/self/task")))
status = Path("/proc/self/status").read_text()
print("rights", set(re.findall(r"Cap\\w+:\\s+(\\w+)", status)),
      re.findall(r"Seccomp:\\s+(\\d)", status),
      re.findall(r"NoNewPrivs:\\s+(\\d)", status))
for path in ("/proc/1/environ", "/proc/1/mem", "/proc/1/maps", "/proc/1/fd/3", "/proc/1/root/usr"):
    try:
        os.stat(path) if "/fd/" in path or "/root/" in path else open(path, "rb").read(1)
        print("open", path)
    except OSError:
        pass
print(sorted(os.listdir("/student")), os.listdir("/tmp"), os.listdir("/dev/shm"))
print(sorted(os.environ))
"""


def test_nothing_of_the_template_is_left_in_a_fork(
    warm: ForkServer,  # noqa: F811
    sandbox: Sandbox,  # noqa: F811
) -> None:
    forked, cold = printed(run(warm, INHERITED)), printed(run(sandbox, INHERITED))
    lines = forked.splitlines()
    assert "socket" not in lines[0]
    assert lines[1:3] == ["shared []", "threads 1"]
    assert lines[3] == "rights {'0000000000000000'} ['2'] ['1']"
    assert "open" not in forked
    # Open files, memory, threads, rights and folders are those of a cold sandbox.
    assert [*lines[:4], lines[-2]] == [*cold.splitlines()[:4], cold.splitlines()[-2]]
    assert "JE_ARROW_MALLOC_CONF" not in lines[-1]


def test_what_one_submission_changes_in_memory_no_other_finds(
    warm: ForkServer,  # noqa: F811
) -> None:
    poison = (
        "import builtins, json, sys, numpy as np, sklearn.metrics, random\n"
        "builtins.evil = True; json.loads = None; np.pi = 3; sys.path.insert(0, '/student')\n"
        "sklearn.metrics.roc_auc_score = lambda *a: 1.0\n"
        "import coursekit as ck\n"
        "task = ck.load_task(); task.train['label'] = 1\n"
        "from coursekit.data import task as module; module.MADE.clear()\n"
        "random.seed(1); np.random.seed(1); print('done')"
    )
    look = (
        "import json, sys, numpy as np, sklearn.metrics\nimport coursekit as ck\n"
        "print('evil' in dir(__builtins__), json.loads('1'), round(np.pi, 2), sys.path[0])\n"
        "print(sklearn.metrics.roc_auc_score([0, 1], [1, 0]), ck.load_task().train['label'].min())"
    )
    before = printed(run(warm, look, limits=Limits()))
    assert before.splitlines()[1] == "0.0 0"
    assert printed(run(warm, poison, limits=Limits())) == "done\n"
    assert printed(run(warm, look, limits=Limits())) == before


def test_the_courses_task_is_there_without_being_made(warm: ForkServer) -> None:  # noqa: F811
    found = run(
        warm,
        "import time; start = time.process_time()\n"
        "import coursekit as ck\n"
        "task = ck.load_task(); model = ck.load_classifier('coursekit-mini')\n"
        "print(time.process_time() - start < 2, task.fingerprint)",
        limits=Limits(),
    )
    from coursekit.data import load_task

    assert printed(found).split() == ["True", load_task().fingerprint]


def test_baselines_are_trained_once_for_all(warm: ForkServer) -> None:  # noqa: F811
    cell = (
        "import coursekit as ck\ntask = ck.load_task()\n"
        "run = ck.fingerprint_baseline(task, 'logistic')\n"
        "print(run.cost['seconds'], repr(run.predictions['score'].sum()))"
    )
    first, second = (printed(run(warm, cell, limits=Limits())) for _ in range(2))
    assert first == second  # the seconds, too: it is one and the same
    from coursekit.data import load_task
    from coursekit.evaluation import fingerprint_baseline

    here = fingerprint_baseline(load_task(), "logistic").predictions["score"]
    # As many threads as in the sandbox are not promised, and they sum in another order.
    there = float(first.split()[1].removeprefix("np.float64(").rstrip(")"))
    assert there == pytest.approx(here.sum(), rel=1e-6)
    # What a notebook does to its task or to its copy is its own affair.
    changed = (
        "import coursekit as ck\ntask = ck.load_task()\n"
        "given = ck.fingerprint_baseline(task, 'logistic')\n"
        "given.predictions['score'] = 0.0\n"
        "print(ck.fingerprint_baseline(task, 'logistic').predictions['score'].sum() > 0)\n"
        "task.train['label'] = 1 - task.train['label']\n"
        "other = ck.fingerprint_baseline(task, 'logistic')\n"
        "print(other.cost == given.cost)"
    )
    assert printed(run(warm, changed, limits=Limits())).split() == ["True", "False"]


def test_a_template_that_ends_is_no_students_fault(sandbox: Sandbox) -> None:  # noqa: F811
    server = ForkServer(sandbox)
    try:
        assert printed(run(server, AFTER)) == "still 42\n"
        assert server._template is not None
        template = server._template._process.pid
        killer = threading.Timer(1, os.kill, (template, signal.SIGKILL))
        killer.start()
        with pytest.raises(GradingError, match="fork server ended"):
            run(server, "import time\ntime.sleep(3)")
        assert printed(run(server, AFTER)) == "still 42\n"
        assert server.trouble == ""
        # With the server ends what it has forked, and nothing waits for it.
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(run, server, "import time\ntime.sleep(60)")
            time.sleep(1)
            start = time.monotonic()
            server.close()
            with pytest.raises(GradingError):
                future.result(timeout=30)
            assert time.monotonic() - start < 20
    finally:
        server.close()


def test_where_namespaces_cannot_be_nested_each_gets_a_sandbox_of_its_own(
    sandbox: Sandbox,  # noqa: F811
    tmp_path: Path,
) -> None:
    program = tmp_path / "bwrap"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in *grading.template*) echo "no namespaces below" >&2; exit 1;; esac\n'
        f'exec {sandbox.program} "$@"\n'
    )
    program.chmod(0o755)
    server = ForkServer(Sandbox("bubblewrap", str(program)))
    assert printed(run(server, AFTER)) == "still 42\n"
    assert "no namespaces below" in server.trouble
