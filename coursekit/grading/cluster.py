"""A running Dask cluster in place of processes of this machine, for the same unit of work.

Workers need coursekit in this version and a sandbox; they share no folder with the grader. A worker
that is lost costs nothing but time: the scheduler gives its submission to another one.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from coursekit.errors import GradingError
from coursekit.grading.report import Graded
from coursekit.grading.sandbox import find_sandbox
from coursekit.grading.unit import Unit, work
from coursekit.grading.workers import WorkerDied
from coursekit.version import __version__

PATIENCE = 60
"""Seconds in which a first worker has to be there."""


class ClusterWorkers:
    """Whoever works for a scheduler; more may come, and some may go, while a class is graded.

    Args:
        packed: the assignment, from :func:`coursekit.grading.unit.pack`.
        address: of the scheduler, such as ``tcp://head:8786``.
        image: of a container for workers without bubblewrap, as in ``find_sandbox``.
        unsafe: whether workers may go on without a sandbox.

    Raises:
        GradingError: no scheduler answers, it has no worker, or its workers cannot grade.
    """

    def __init__(self, packed: bytes, address: str, image: str = "", unsafe: bool = False) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise GradingError(
                "--scheduler needs Dask: pip install 'coursekit[cluster]', here and on the workers."
            ) from error
        try:
            self._client = Client(address, timeout=20, set_as_default=False)
            self._client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            raise GradingError(
                f"no worker of {address!a:.100} can be reached ({type(error).__name__}: {error}). "
                "Is the scheduler running, may this machine connect to it, and has it workers?"
            ) from error
        try:
            self._look_at_workers(image, unsafe)
            # Once for each worker that needs it, and not once for each submission.
            self._packed = self._client.scatter(packed, broadcast=True)
        except BaseException:
            self.close()
            raise

    @property
    def places(self) -> int:
        """Submissions in hand: enough that no worker waits for the next one."""
        threads = sum(self._client.nthreads().values())
        return int(threads + max(2, threads // 4))

    def submit(self, unit: Unit) -> Future[Graded]:
        """Grade a unit; the future may raise :class:`coursekit.errors.GradingError`."""
        from distributed import KilledWorker

        answer: Future[Graded] = Future()
        task = self._client.submit(work, self._packed, unit, pure=False)

        def settle(done: Any) -> None:
            try:
                found = done.result()
            except KilledWorker as error:
                answer.set_exception(WorkerDied(f"each worker that graded it ended ({error})"))
            except Exception as error:
                answer.set_exception(error)
            except BaseException as error:  # asyncio's word for what was taken back
                gone = GradingError(f"the cluster gave it up ({type(error).__name__})")
                answer.set_exception(gone)
            else:
                answer.set_result(found)

        task.add_done_callback(settle)
        return answer

    def close(self) -> None:
        """Take back what is in hand; the cluster itself goes on."""
        self._client.close()

    def _look_at_workers(self, image: str, unsafe: bool) -> None:
        found = self._client.run(_fitness, image, unsafe, on_error="return")
        unfit = {where: said for where, said in found.items() if said != __version__}
        if unfit:
            where, said = next(iter(unfit.items()))
            raise GradingError(
                f"{len(unfit)} of {len(found)} workers cannot grade; {where} says: {said!s:.300}. "
                f"Workers need coursekit {__version__} and a sandbox."
            )


def _fitness(image: str, unsafe: bool) -> str:
    find_sandbox(image, unsafe)
    return __version__
