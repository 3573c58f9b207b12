"""What a lesson's prose says of its own results is what its executed solution shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
LESSONS = ("04_finetuning_schedules", "06_contrastive_learning")
# Held to the runs that come along, and to a benchmark: test_recordings.py, test_lesson_05.py.
ELSEWHERE = ("03_progressive_unfreezing", "05_forgetting")
OTHERS = sorted(
    path.stem
    for path in (ROOT / "solutions").glob("[0-9][0-9]_*.ipynb")
    if path.stem not in ELSEWHERE
)
_SCORE = re.compile(r"(?<![\d.])[+-]?\d\.\d{3}\b(?!\d)")


def shown(notebook: Any) -> str:
    """All that the outputs say, in words."""
    texts = [
        str(output.get("data", {}).get(kind, output.get("text", "")))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in ("text/plain", "text/html")
    ]
    return re.sub(r"data:image/[^\"']*", "", "\n".join(texts))


@pytest.mark.parametrize("name", OTHERS)
def test_scores_in_prose_are_those_of_the_outputs(name: str) -> None:
    notebook = nbformat.read(ROOT / "solutions" / f"{name}.ipynb", as_version=4)
    outputs = shown(notebook)
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    claimed = _SCORE.findall(re.sub(r"`[^`]*`", "", prose))
    assert len(claimed) >= 5 or name not in LESSONS
    assert [number for number in claimed if number.lstrip("+") not in outputs] == []


def test_what_lesson_04_says_of_its_run_is_so() -> None:
    notebook = nbformat.read(ROOT / "solutions" / f"{LESSONS[0]}.ipynb", as_version=4)
    outputs = shown(notebook)
    assert "phase 0 ended by its schedule" in outputs
    assert "phase 1 ended by its schedule" in outputs
    assert "phase 2 began with the weights of epoch 4, the best" in outputs
    assert "phase 2 ended by patience after epoch 7" in outputs
    assert "phase 2 left nothing behind" in outputs
    for pair in ("scheduled and full", "forest and full"):
        assert f"{pair} cannot be told apart on hard AUROC" in outputs


def test_what_lesson_06_says_of_its_run_is_so() -> None:
    notebook = nbformat.read(ROOT / "solutions" / f"{LESSONS[1]}.ipynb", as_version=4)
    outputs = shown(notebook)
    assert "does not fall: 5.15 to 6.63" in outputs
    assert "in epoch 11. Phases: contrastive, head only" in outputs  # the head's second
    assert "before: of a binder's 10 nearest neighbors 60% are" in outputs
    assert "easy, 51% among hard" in outputs
    assert "76% are binders among easy, 66% among hard" in outputs
    assert "contrastive beats frozen on hard AUROC" in outputs
    assert "Highest on hard negatives is <code>forest</code>" in outputs


def test_what_lesson_03_says_of_the_cache_is_so() -> None:
    """By count, for eight epochs on six blocks; by clock, what the benchmark found."""
    told = " ".join(
        (ROOT / "solutions" / "03_progressive_unfreezing.py").read_text("utf-8").split()
    )
    open_blocks = [min(epoch, 6) / 6 for epoch in range(8)]
    kept = sum(open_blocks)
    through = sum(share + (1 - share) / 3 for share in open_blocks)  # forward is a third of it
    assert f"cost {kept:.1f} full ones with the cache and {through:.1f} without" in told
    assert f"a gain of {through / kept:.2f} at best" in told
    found = json.loads((ROOT / "benchmarks" / "results" / "prefix.json").read_text("utf-8"))
    six = found["results"]["progressive, six phases of one epoch"]
    assert f"{six['gain']:.2f} was measured" in told
    assert six["largest difference of a loss"] < 5e-7
