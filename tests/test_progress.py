from __future__ import annotations

import io
import sys

import pytest

from coursekit.progress import track, visible


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


@pytest.mark.usefixtures("no_notebook")
def test_logs_stay_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert not visible()
    assert list(track(range(5), "scanning")) == [0, 1, 2, 3, 4]
    assert log.getvalue() == ""


@pytest.mark.usefixtures("no_notebook")
def test_a_terminal_sees_how_far_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert visible()
    assert list(track(iter("abcd"), "scanning", total=4, unit="file")) == list("abcd")
    shown = terminal.getvalue()
    assert shown.startswith("\rscanning:   0%|")
    assert " 0/4 [" in shown
    assert "file" in shown
    assert not shown.endswith("\n")  # the line is taken away when all is done


def test_a_notebook_sees_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert visible()
    assert list(track([1], "one")) == [1]
    assert "one:" in log.getvalue()


def test_items_are_taken_one_at_a_time() -> None:
    taken: list[int] = []
    endless = iter(lambda: taken.append(1) or len(taken), None)
    progress = track(endless, "endless")
    assert [next(progress) for _ in range(3)] == [1, 2, 3]
    assert len(taken) == 3
