"""Rows of the history on their way to trackers, none of which can stop or slow down a run."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from uuid import uuid4

from coursekit.errors import ScoreError, TrainingError
from coursekit.training.identity import settings_of
from coursekit.training.trackers import PACKAGES, Book, Whereabouts, open_book

if TYPE_CHECKING:
    from coursekit.runs import Run
    from coursekit.training.session import Session

Named = Literal["tensorboard", "mlflow", "wandb", "comet", "langfuse"]
RowCallback = Callable[[dict[str, Any]], None]
TrackerChoice = Named | RowCallback | Sequence[Named | RowCallback] | None
WAIT_SECONDS = 30.0


def check_trackers(choice: TrackerChoice) -> list[str | RowCallback]:
    """The trackers asked for, one by one.

    Raises:
        TrainingError: if a name is not known, or the packages that it needs are not installed.
    """
    asked = [] if choice is None else [choice] if isinstance(choice, str) else choice
    several = list(asked) if isinstance(asked, Sequence) else [asked]
    known = get_args(Named)
    for one in several:
        if callable(one):
            continue
        if one not in known:
            raise TrainingError(
                f"fit: tracker is {one!r}; one of {', '.join(known)}, a function that takes a row "
                "of the history, or a list of these is expected"
            )
        missing = [name for name in PACKAGES[one] if find_spec(name) is None]
        if missing:
            raise TrainingError(
                f"tracker {one!r} needs {' and '.join(missing)}, not installed here; run "
                "`pip install 'coursekit[trackers]'`"
            )
    return several  # type: ignore[return-value]


def start_tracking(session: Session) -> None:
    """Open the session's trackers, where there is something left to be tracked."""
    if session.finished:
        return
    at = session.at
    going_on = at.tracked_as is not None
    at.tracked_as = at.tracked_as or uuid4().hex
    session.tracking.start(
        Whereabouts(
            title=f"{session.name} on {session.task.name}",
            key=at.tracked_as,
            config=settings_of(session.identity),
            folder=(session.folder or Path()) / "tensorboard",
            step=at.step if going_on else 0,
        )
    )


class Tracking:
    """All trackers of one run.

    A function is called at once, with each row of the history. A tracker with a name works in a
    thread of its own, so that training waits for no server.

    Args:
        choice: see ``FinetuneStrategy.fit``.
        note: called with a sentence, and what is only to be said, where a tracker has failed.
    """

    def __init__(self, choice: TrackerChoice, note: Callable[[str, str], None]) -> None:
        self._note = note
        several = check_trackers(choice)
        self._callbacks = [one for one in several if not isinstance(one, str)]
        self._names = [one for one in several if isinstance(one, str)]
        self._workers: list[_Worker] = []
        self._step = 0

    def start(self, where: Whereabouts) -> None:
        """Open the trackers that have names."""
        self._workers = [_Worker(name, where) for name in self._names]

    def row(self, row: dict[str, Any]) -> None:
        """Hand on one row of the history."""
        for callback in [*self._callbacks]:
            try:
                callback(dict(row))
            except Exception as error:
                # A server that is down, a full quota, a bug: none is worth hours of training.
                self._callbacks.remove(callback)
                self._note("the tracker failed and is no longer called", repr(error))
        self._step = row["step"]
        if self._workers:
            prefix = row["split"]
            values = {
                key if key in ("epoch", "phase") else f"{prefix}/{key}": value
                for key, value in row.items()
                if key not in ("step", "split")
            }
            self._log(values)
            self._look_after()

    def end(self, run: Run | None) -> None:
        """Log the final scores, where there are any, and wait for what is still on its way.

        A tracker from which nothing is heard for half a minute is left behind, and so are all with
        a ctrl-C: the Run is there by then.
        """
        if run is not None:
            self._log(_final(run))
        try:
            for worker in self._workers:
                worker.finish()
        except KeyboardInterrupt:
            self._note("ctrl-C: the trackers have not been waited for", "")
        self._look_after()
        self._workers = []

    def _log(self, values: Mapping[str, Any]) -> None:
        numbers = {k: v for k, v in values.items() if v is not None and math.isfinite(v)}
        for worker in self._workers:
            worker.log(numbers, self._step)

    def _look_after(self) -> None:
        for worker in [*self._workers]:
            if worker.failed is not None:
                self._workers.remove(worker)
                self._note(f"the tracker {worker.name} failed and gets no more", worker.failed)


class _Worker:
    """One tracker and the thread that feeds it.

    Attributes:
        failed: what went wrong, None as long as nothing has.
    """

    def __init__(self, name: str, where: Whereabouts) -> None:
        self.name = name
        self.failed: str | None = None
        self._work: queue.SimpleQueue[tuple[dict[str, float], int] | None] = queue.SimpleQueue()
        self._done = 0
        # A daemon: a server that never answers must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, args=(where,), daemon=True)
        self._thread.start()

    def _run(self, where: Whereabouts) -> None:
        try:
            book: Book = open_book(self.name, where)
            book.start()
            book.store_init_configuration(where.config)
            while (work := self._work.get()) is not None:
                values, step = work
                book.log(values, step=step)
                self._done += 1
            book.finish()
        except BaseException as error:  # some exit where others raise
            self.failed = repr(error)

    def log(self, values: dict[str, float], step: int) -> None:
        self._work.put((values, step))

    def finish(self) -> None:
        """Wait for its end as long as it gets on."""
        self._work.put(None)
        while self._thread.is_alive():
            before = self._done
            self._thread.join(WAIT_SECONDS)
            if self._thread.is_alive() and self._done == before:
                self.failed = f"no answer in {WAIT_SECONDS:g} seconds"
                return


def _final(run: Run) -> dict[str, Any]:
    try:
        scores = run.scores("test", n_boot=0)
    except ScoreError:  # a task without a test part
        return {}
    names = ("auroc_easy", "au_prc_easy", "auroc_hard", "au_prc_hard")
    return {f"test/{name}": getattr(scores, name).value for name in names}
