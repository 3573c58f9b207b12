"""A process that has imported everything already, and is forked for each submission.

It runs in a sandbox of its own, where it sees what a submission would see, and never any code or
data of a student: a fork takes the job over after it has moved into namespaces of its own, with
empty private folders, and has given up all rights (:mod:`coursekit.grading.namespaces`). So nothing
of one submission can reach another. What all of them share is memory as it was before any of them:
imported modules, the bundled task, which every learner has, and fingerprint baselines for it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from coursekit.grading import namespaces
from coursekit.grading.sandbox import NO_THREAD

UID = 65534
_FAILED: set[tuple[str, str, int]] = set()
_LIBRARIES = (
    "torch", "transformers", "pandas", "matplotlib.pyplot", "ipywidgets", "scipy.stats",
    "sklearn.ensemble", "sklearn.linear_model", "sklearn.metrics", "sklearn.preprocessing",
    "rdkit.Chem.AllChem", "rdkit.Chem.Draw", "IPython.core.interactiveshell",
)  # fmt: skip
_NOT_IN_ADVANCE = ("__main__", "matplotlib_inline")  # the latter ties itself to a running shell


def main() -> None:
    """Serve the socket that is standard input: each message is a request, with four open files.

    The files are the job, both pipes for what comes out, and a socket on which the fork says that
    it is ready, and how it ended.
    """
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.pop(NO_THREAD, None)  # students see the same environment here as in a cold sandbox
    try:
        namespaces.fresh_proc()
        _load()
    except Exception as error:
        control.send(f"error: {type(error).__name__}: {error}"[:500].encode())
        return
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    while True:
        message, files, _, _ = socket.recv_fds(control, 65_536, 4)
        if not message:
            os._exit(0)
        request = json.loads(message)
        _have_baselines(request["baselines"])
        if os.fork() == 0:
            with suppress(BaseException):
                control.close()
                _move_out(request, *files)
            os._exit(70)
        for file in files:
            os.close(file)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _load() -> None:
    """Import what lessons import, and keep the bundled task.

    Some of that starts threads, which a fork would lose in the middle of whatever they do. So it is
    done in a process beside this one, that hands over the result and the names of its modules.

    Raises:
        RuntimeError: this process has other threads than the one that forks.
    """
    import coursekit as ck
    from coursekit.data import task

    for name in _LIBRARIES:
        importlib.import_module(name)
    for name in ck.__all__:
        getattr(ck, name)
    names, made = _in_a_fork(_lesson_begins)
    for name in names:
        if name not in sys.modules and name.split(".")[0] not in _NOT_IN_ADVANCE:
            with suppress(Exception):  # some are made, and cannot be imported
                importlib.import_module(name)
    task.MADE.update(made)
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise RuntimeError(f"it has {threads} threads and cannot be forked")


def _in_a_fork(work: Callable[[], Any]) -> Any:
    """What a function gives in a fork of this process, in which nothing of a student runs.

    Raises:
        EOFError: it gave nothing; what it prints says why.
    """
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(sending, "wb") as pipe:
                pickle.dump(work(), pipe)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        try:
            return pickle.load(pipe)
        finally:
            os.waitpid(child, 0)


def _have_baselines(models: Sequence[str]) -> None:
    """Train those baselines of the bundled task that a notebook asks for, the first time it does.

    Half a minute of each submission's time is theirs otherwise; they come out the same.
    """
    from coursekit.data import load_task
    from coursekit.evaluation import baselines

    task = load_task()
    for model in models:
        place = (task.fingerprint, model, 0)
        if place not in baselines.MADE and place not in _FAILED:
            try:
                train = partial(baselines.fingerprint_baseline, task, model)
                baselines.MADE[place] = _in_a_fork(train)
            except EOFError:
                _FAILED.add(place)  # the notebook will meet the same trouble, and say it


def _lesson_begins() -> tuple[list[str], Mapping[Any, Any]]:
    from coursekit.data import task
    from coursekit.grading.inside import shell

    running = shell(lambda message: None)
    running.run_cell(
        "import coursekit as ck, matplotlib.pyplot as plt\n"
        "task = ck.load_task()\n"
        "model = ck.load_classifier('coursekit-mini')\n"
        "ids = model.tokenizer(['CCO'], return_tensors='pt', padding=True)\n"
        "model.encoder(ids['input_ids'], ids['attention_mask'])\n"
        "plt.plot([1, 2]);"
    )
    return list(sys.modules), task.MADE


def _move_out(request: Mapping[str, Any], job: int, output: int, errors: int, said: int) -> None:
    """In a fork of the template: move into other namespaces, and run the job in them."""
    status = socket.socket(fileno=said)
    try:
        namespaces.leave(UID)
        if os.fork():
            os._exit(0)
        # From here on the first process of a process namespace: with it everything in there ends.
        namespaces.furnish(request["folders"], request["files"])
        os.chdir(request["home"])
        namespaces.renounce()
    except OSError as error:
        status.send(f"error: {error}"[:500].encode())
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    namespaces.hide(True)
    status.send(b"ready")
    child = os.fork()
    if child == 0:
        status.detach()
        _become_the_notebook(job, output, errors)
    for file in (job, output, errors):
        os.close(file)
    while True:
        ended, code = os.wait()  # orphans come here to be buried
        if ended == child:
            status.send(str(os.waitstatus_to_exitcode(code)).encode())
            os._exit(0)


def _become_the_notebook(job: int, output: int, errors: int) -> None:
    from coursekit.grading import inside

    os.setsid()
    for number, file in enumerate((job, output, errors)):
        os.dup2(file, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    namespaces.hide(False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    try:
        inside.main()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


if __name__ == "__main__":
    main()
