from __future__ import annotations

import signal
import threading

import pytest

from coursekit.interrupt import Interruptible


def press() -> None:
    """Ctrl-C, as a real signal."""
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def before():
    """The handler that Python itself has; whatever a test does, it is put back."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


def test_the_first_ctrl_c_is_noted_and_the_step_goes_on() -> None:
    steps = 0
    with Interruptible() as ctrl_c:
        assert not ctrl_c.asked
        for _ in range(10):
            if steps == 3:
                press()
            steps += 1
            if ctrl_c.asked:
                break
    assert steps == 4


def test_the_second_ctrl_c_interrupts_at_once() -> None:
    with Interruptible() as ctrl_c:
        press()
        assert ctrl_c.asked
        with pytest.raises(KeyboardInterrupt):
            press()


def test_afterwards_ctrl_c_is_what_it_was() -> None:
    with Interruptible():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        press()
    with pytest.raises(ZeroDivisionError), Interruptible():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_within_another_hears_for_itself() -> None:
    with Interruptible() as outer:
        with Interruptible() as inner:
            press()
        assert inner.asked
        assert not outer.asked
        press()
        assert outer.asked


def test_a_second_use_starts_anew() -> None:
    ctrl_c = Interruptible()
    with ctrl_c:
        press()
    with ctrl_c:
        assert not ctrl_c.asked


def test_outside_of_the_main_thread_nothing_is_touched() -> None:
    found: list[object] = []

    def work() -> None:
        with Interruptible() as ctrl_c:
            found.append(signal.getsignal(signal.SIGINT))
            found.append(ctrl_c.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler, False]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
