"""A run that stops dead at a chosen place, as when the power is cut; its states are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from coursekit.training import session
from coursekit.training.session import Session


class Stopped(BaseException):
    """Stands for a kill where no process need die; no handler of errors takes it for one."""


def stopping_after(steps: int):
    """Inside, a run saves its state at each step and stops after so many; the block ends there."""
    return _stopping("save_if_due", lambda at: at.step == steps, before=False)


def stopping_at(method: str, call: int, before: bool = False):
    """The same at a call of one of the session's methods, counted from 1, before or after it."""
    calls = count(1)
    return _stopping(method, lambda _: next(calls) == call, before)


@contextmanager
def _stopping(method: str, due: Callable[..., bool], before: bool) -> Iterator[None]:
    really, seconds = getattr(Session, method), session.SAVE_SECONDS

    def stop(self: Session) -> None:
        stops = due(self.at)
        if not (stops and before):
            really(self)
        if stops:
            raise Stopped

    setattr(Session, method, stop)
    if method == "save_if_due":
        session.SAVE_SECONDS = -1.0
    try:
        yield
    except Stopped:
        pass
    else:
        raise AssertionError(f"the run came to its end before {method} could stop it")
    finally:
        setattr(Session, method, really)
        session.SAVE_SECONDS = seconds
