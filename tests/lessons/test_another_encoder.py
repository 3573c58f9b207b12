"""A lesson with the encoder that ``ck.setup`` was given instead of the bundled one."""

from __future__ import annotations

from pathlib import Path

import pytest
from chemberta import write_chemberta
from colab import offline
from transformers import RobertaForMaskedLM

from coursekit.checks import exercises
from coursekit.lessons.notebooks import run_notebook, solution_notebook
from coursekit.lessons.source import read_source

pytest.importorskip("nbclient")
pytest.importorskip("jupytext")
pytestmark = pytest.mark.slow
SOLUTIONS = Path(__file__).resolve().parents[2] / "solutions"


def test_progressive_unfreezing_on_chembertas_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three blocks, another tokenizer, nothing in the text that knows six: all checks are right."""
    for name, value in offline(tmp_path / "ipython").items():
        monkeypatch.setenv(name, value)
    encoder = write_chemberta(tmp_path / "encoder", 24, RobertaForMaskedLM)
    notebook = solution_notebook(read_source(SOLUTIONS / "03_progressive_unfreezing.py"), False)
    given = [cell for cell in notebook.cells if 'ck.setup(lesson="03"' in cell.source]
    assert len(given) == 1
    given[0].source = given[0].source.replace('lesson="03"', f'lesson="03", encoder="{encoder}"')
    done = {cell.id: cell for cell in run_notebook(notebook, "quick").cells}
    for one in exercises("03"):
        shown = str(done[f"check-{one.id.replace('.', '-')}"].outputs)
        assert ("answered, for a person" if one.by_person else ": right (") in shown, shown
