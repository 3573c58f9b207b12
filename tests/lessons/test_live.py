"""The live view: what it draws is the history, it says so in words, and it costs little."""

from __future__ import annotations

import base64
import math
import re
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest

from coursekit.lessons.curve import MAX_POINTS, Line, Panel, draw, thin
from coursekit.lessons.live import LiveView, live_view

SVG = "{http://www.w3.org/2000/svg}"


def history(epochs: int = 3, steps: int = 10) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for epoch in range(epochs):
        phase = min(epoch, 1)
        rows += [
            {"split": "train", "epoch": epoch, "phase": phase, "step": epoch * steps + k,
             "loss": 0.7 - 0.1 * epoch, "learning_rate.head": 1e-3, "learning_rate.block.0": 1e-4}
            for k in range(steps)
        ]  # fmt: skip
        rows.append(
            {"split": "valid", "epoch": epoch, "phase": phase, "step": (epoch + 1) * steps,
             "loss": 0.65 - 0.1 * epoch, "auroc_easy": 0.7 + 0.1 * epoch,
             "auroc_hard": 0.6 + 0.05 * epoch}
        )  # fmt: skip
    return rows


@pytest.fixture
def view() -> LiveView:
    one = LiveView("ProgressiveUnfreeze", 3, 10, ["open head", "open block.5"])
    one.rows = history()
    return one


def picture(html: str) -> ElementTree.Element:
    match = re.search(r"data:image/svg\+xml;base64,([^\"]+)", html)
    assert match is not None
    return ElementTree.fromstring(base64.b64decode(match[1]))


def test_its_words_are_the_history(view: LiveView) -> None:
    assert view.alt() == (
        "ProgressiveUnfreeze: over 3 epochs validation AUROC on hard negatives goes from 0.60 to "
        "0.70, on easy ones from 0.70 to 0.90; the validation loss is lowest, 0.450, in epoch 2. "
        "Phases: open head, open block.5."
    )


def test_the_last_frame_has_the_picture_its_words_and_a_table(view: LiveView) -> None:
    html = view.html("finished", final=True)
    assert html.count(view.alt()) == 2  # for those who do not see it, and below it
    rows = re.findall(r"<tr><th scope=\"row\">(\d)</th>(.*?)</tr>", html)
    cells = [re.findall("<td>(.*?)</td>", row) for _, row in rows]
    assert cells[2] == ["open block.5", "0.500", "0.450", "0.900", "0.700", "1.0e-03"]
    assert not re.search(r"<(script|style|svg)", html)  # sanitizers take these away
    text = "".join(picture(html).itertext())
    for word in ("Loss by epoch", "train", "valid", "easy", "hard", "open block.5", "finished"):
        assert word in text


def test_while_it_trains_it_says_where_it_is_and_how_long_it_takes_still(view: LiveView) -> None:
    view.rows = []
    for row in history()[:15]:  # the first epoch with its validation, and four steps
        view(row)
    said = view._progress()
    assert said.startswith("epoch 2 of 3, step 14 of 30, learning rate 1.0e-03, about ")
    assert said.endswith(" s left")
    assert said in "".join(picture(view.html(said)).itertext())


def test_lines_differ_in_more_than_color(view: LiveView) -> None:
    lines = picture(view.html(""))
    dashes = [line.get("stroke-dasharray") for line in lines.iter(f"{SVG}polyline")]
    assert dashes.count(None) == 3
    assert dashes.count("6 3") == 2


def test_points_lie_where_the_numbers_say() -> None:
    panel = Panel(
        "t", [Line("a", [(0, 0.5), (1, 1.0), (2, 0.75)], "#000000", marks=True)], 2, 0.5, 1
    )
    found = ElementTree.fromstring(draw([panel], "")).find(f"{SVG}polyline")
    assert found is not None
    (x0, y0), (x1, y1), (x2, y2) = (
        map(float, p.split(",")) for p in str(found.get("points")).split()
    )
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert (y0 - y2) == pytest.approx((y0 - y1) / 2, abs=0.2)
    assert y1 < y2 < y0


def test_many_steps_become_few_points_with_the_same_mean() -> None:
    points = [(float(i), math.sin(i)) for i in range(12_345)]
    few = thin(points)
    assert len(few) == MAX_POINTS
    assert sum(y for _, y in few) / len(few) == pytest.approx(
        sum(y for _, y in points) / len(points), abs=1e-3
    )
    assert thin([(0, math.nan), (1, 2.0)]) == [(1, 2.0)]


def test_a_frame_is_cheap_and_small_even_late_in_a_long_run(view: LiveView) -> None:
    view.rows = history(epochs=60, steps=300)
    view.html("")
    began = time.perf_counter()
    html = view.html("")
    assert time.perf_counter() - began < 0.5  # 18,000 steps; a usual run has a few hundred
    assert len(html) < 60_000


@pytest.mark.parametrize("rows", [0, 1, 10, 11])
def test_it_draws_from_the_first_step_on(view: LiveView, rows: int) -> None:
    view.rows = history()[:rows]
    picture(view.html("x", final=True))
    assert "ProgressiveUnfreeze" in view.alt()


def test_outside_of_a_notebook_there_is_none() -> None:
    assert live_view("x", 1, 1, [], []) is None


def run_cells(*cells: str) -> Any:
    from coursekit.lessons.notebooks import run_notebook

    code = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return run_notebook(nbformat.v4.new_notebook(cells=code), "quick", allow_errors=True)


TRAIN = """
import coursekit as ck, pandas as pd
task = ck.load_task("sample")
parts = ("train", "valid", "test")
few = {part: task.part(part).groupby("negative_set").head(24) for part in parts}
task = ck.BindingTask("few", **few, settings=task.settings)
model = ck.load_classifier("coursekit-mini", pooling="mean")
"""


@pytest.mark.slow
def test_in_a_notebook_a_run_leaves_one_picture_also_when_it_is_stopped() -> None:
    """A real kernel: the first run finishes, the second is interrupted after a few steps."""
    ran = run_cells(
        TRAIN,
        "run = ck.PartialFinetune(blocks=1, batch_size=8).fit(model, task, epochs=2)",
        "import os, signal\n"
        "def stop(row):\n"
        "    if row['split'] == 'valid': os.kill(os.getpid(), signal.SIGINT)\n"
        "run = ck.PartialFinetune(blocks=1, batch_size=8).fit(model, task, epochs=9, tracker=stop)",
        "print(run.interrupted)",
    )
    for cell, ending in ((ran.cells[1], "finished"), (ran.cells[2], "interrupted")):
        pictures = [o.data["text/html"] for o in cell.outputs if "text/html" in o.get("data", {})]
        assert len(pictures) == 1
        assert "Numbers by epoch" in pictures[0]
        assert "validation AUROC on hard negatives goes from" in pictures[0]
        assert ending in "".join(picture(pictures[0]).itertext())
    assert ran.cells[3].outputs[0].text == "True\n"


def test_names_of_phases_do_not_run_into_each_other(view: LiveView) -> None:
    assert "open block.5" in "".join(picture(view.html("")).itertext())
    view.phases, view.epochs = [f"open block.{k}" for k in range(8)], 8
    view.rows = [row | {"phase": row["epoch"]} for row in history(epochs=8)]
    text = "".join(picture(view.html("")).itertext())
    assert "open block" not in text
    assert "Phases: open block.0, open block.1" in view.alt()


@pytest.mark.slow
def test_a_training_cell_goes_on_after_a_lost_kernel_and_a_finished_one_is_back_at_once(
    tmp_path: Path,
) -> None:
    """One cell in three kernels, of which the first is lost in the middle, as by a disconnect."""
    from nbclient.exceptions import DeadKernelError

    def cell(tracker: str) -> str:
        return (
            f"run = ck.PartialFinetune(blocks=1, batch_size=8).fit(model, task, epochs=4, "
            f"checkpoint_dir={str(tmp_path)!r}, tracker={tracker})"
        )

    lose = (
        "import os, signal\n"
        "def lose(row):\n"
        "    if (row['split'], row['epoch']) == ('valid', 1): os.kill(os.getpid(), signal.SIGKILL)"
    )
    with pytest.raises(DeadKernelError):
        run_cells(TRAIN, lose, cell("lose"))
    count = "steps = []\nnote = lambda row: steps.append(row) if row['split'] == 'train' else None"
    told = "print(len(steps), run.cost['steps'], run.cost['epochs'])"
    gone_on, back = (run_cells(TRAIN, count, cell("note"), told) for _ in range(2))
    steps = [list(map(int, ran.cells[3].outputs[0].text.split())) for ran in (gone_on, back)]
    assert steps[0] == [steps[0][1] * 3 // 4, steps[0][1], 4]  # all but the first epoch
    assert steps[1] == [0, steps[0][1], 4]
    for ran in (gone_on, back):  # the curve of the whole run, the lost kernel's part too
        shown = "".join(o.get("data", {}).get("text/html", "") for o in ran.cells[2].outputs)
        assert "over 4 epochs validation AUROC" in shown
