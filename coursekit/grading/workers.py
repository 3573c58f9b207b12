"""Worker processes on this machine, each grading one submission at a time."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import wait

from coursekit.errors import GradingError
from coursekit.grading.report import Graded
from coursekit.grading.unit import Unit, work

ATTEMPTS = 2
_PR_SET_PDEATHSIG = 1


class WorkerDied(GradingError):
    """The process that graded a submission ended, each time."""


class LocalWorkers:
    """Processes beside this one; one that ends is replaced, and only its submission tried again.

    Args:
        packed: the assignment, from :func:`coursekit.grading.unit.pack`.
        jobs: how many submissions at a time.
    """

    def __init__(self, packed: bytes, jobs: int) -> None:
        self.places = jobs
        self._packed = packed
        self._context = multiprocessing.get_context("forkserver")
        # What all of them need is loaded once, in the process that they are forked from.
        loaded = ["coursekit.grading.unit", "coursekit.training.validation"]
        self._context.set_forkserver_preload(loaded)
        # A pool of one for each thread: a process that ends takes down its own pool and no other.
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="grader")
        self._own = threading.local()
        self._processes: dict[ProcessPoolExecutor, int] = {}
        self._closing = False

    def submit(self, unit: Unit) -> Future[Graded]:
        """Grade a unit; the future may raise :class:`WorkerDied`."""
        return self._threads.submit(self._grade, unit)

    def processes(self) -> list[int]:
        """Ids of the processes that serve now."""
        return list(self._processes.values())

    def close(self) -> None:
        """End all processes, whatever they are at."""
        self._closing = True
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._threads.shutdown(cancel_futures=True)
        for pool in list(self._processes):
            pool.shutdown()

    def _grade(self, unit: Unit) -> Graded:
        for _ in range(ATTEMPTS):
            pool: ProcessPoolExecutor | None = getattr(self._own, "pool", None)
            try:
                if pool is None:
                    pool = self._own.pool = self._start()
                return pool.submit(work, self._packed, unit).result()
            except BrokenProcessPool:
                if pool is not None:
                    self._processes.pop(pool, None)
                    pool.shutdown()
                self._own.pool = None
                if self._closing:
                    break
        raise WorkerDied(f"the process that graded it ended, {ATTEMPTS} times")

    def _start(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(1, self._context, initializer=_settle)
        self._processes[pool] = pool.submit(os.getpid).result()
        return pool


def _settle() -> None:
    """Make this process one that serves: ctrl-C is for the grader, whose end is its own."""
    import torch
    from tqdm import tqdm

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # with the server that it was forked from
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_with_the_grader, daemon=True).start()
    # Bars of one process need no lock between processes, which this one's end would leave behind.
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(1)


def _end_with_the_grader() -> None:
    """A grader that was killed closes no queue: its workers would wait for work for ever."""
    grader = multiprocessing.parent_process()
    if grader is not None:
        wait([grader.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)
