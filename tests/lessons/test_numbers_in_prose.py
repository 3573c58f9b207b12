"""What a lesson's prose says of its own results is what its executed solution shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
LESSONS = ("04_finetuning_schedules", "06_contrastive_learning")
_SCORE = re.compile(r"[+-]?\d\.\d{3}\b")


def shown(notebook: Any) -> str:
    """All that the outputs say, in words."""
    texts = [
        str(output.get("data", {}).get(kind, output.get("text", "")))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in ("text/plain", "text/html")
    ]
    return re.sub(r"data:image/[^\"']*", "", "\n".join(texts))


@pytest.mark.parametrize("name", LESSONS)
def test_scores_in_prose_are_those_of_the_outputs(name: str) -> None:
    notebook = nbformat.read(ROOT / "solutions" / f"{name}.ipynb", as_version=4)
    outputs = shown(notebook)
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    claimed = _SCORE.findall(prose)
    assert len(claimed) >= 5
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
    assert "before: of a binder's 10 nearest neighbors 60% are" in outputs
    assert "easy, 51% among hard" in outputs
    assert "76% are binders among easy, 66% among hard" in outputs
    assert "contrastive beats frozen on hard AUROC" in outputs
    assert "Highest on hard negatives is <code>forest</code>" in outputs
