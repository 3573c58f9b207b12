from __future__ import annotations

import io
import sys

import pytest

from coursekit import bars
from coursekit.bars import track, visible


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_logs_stay_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert not visible()
    assert list(track(range(5), "scanning")) == [0, 1, 2, 3, 4]
    assert log.getvalue() == ""


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


@pytest.mark.slow
def test_a_notebook_sees_one_display_that_is_empty_in_the_end() -> None:
    """In a real kernel: nothing on stderr, where frames would pile up and be saved."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    code = """
import time
from coursekit.bars import track, visible
seen = []
from IPython.display import DisplayHandle
update = DisplayHandle.update
DisplayHandle.update = lambda self, x, **more: (seen.append(x), update(self, x, **more))[1]
for _ in track(range(4), "scanning"):
    time.sleep(0.15)
print(visible(), len(seen) > 2, any("2/4" in frame["text/plain"] for frame in seen))
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    displayed, printed = sorted(notebook.cells[0].outputs, key=lambda out: out.output_type)
    assert displayed.data == {"text/plain": ""}
    assert printed == {"output_type": "stream", "name": "stdout", "text": "True True True\n"}


def test_items_are_taken_one_at_a_time() -> None:
    taken: list[int] = []
    endless = iter(lambda: taken.append(1) or len(taken), None)
    progress = track(endless, "endless")
    assert [next(progress) for _ in range(3)] == [1, 2, 3]
    assert len(taken) == 3


def test_silence_hides_what_nobody_asked_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "in_notebook", lambda: True)
    assert bars.visible()
    with bars.silence(), bars.silence():
        assert not bars.visible()
    assert bars.visible()
