"""A small lesson: what of lesson 00 needs no training and no data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = ("00.2", "00.4", "00.6")
RIGHT_TANIMOTO = """# 00.4 Tanimoto similarity
def tanimoto(a, b):
    return (a & b).sum() / (a | b).sum()"""
WORDS = """# 00.6 What a negative is
reflection_00 = '''
A molecule without a read was perhaps never in the pool, or simply not drawn, so nothing says that
it does not bind; only one with a high load that stayed unseen is a negative that means something.
'''"""


def small_lesson() -> dict[str, Any]:
    """Of lesson 00's notebook what needs no training and no data."""
    (path,) = (ROOT / "notebooks").glob("00_*.ipynb")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    kept = [{**notebook["cells"][0]}]
    kept.append(_code("import coursekit as ck"))
    for cell in notebook["cells"]:
        marks = cell["metadata"].get("nbgrader", {})
        if any(marks.get("grade_id", "").endswith(id.replace(".", "-")) for id in ANSWERS):
            kept.append(cell)
    notebook["cells"] = kept
    return notebook


def _code(source: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "execution_count": None,
            "outputs": []}  # fmt: skip


def answered(answers: dict[str, str], extra: str = "") -> dict[str, Any]:
    notebook = small_lesson()
    for id, source in answers.items():
        for cell in notebook["cells"]:
            if cell["metadata"].get("id") == f"answer-{id.replace('.', '-')}":
                cell["source"] = source
    if extra:
        notebook["cells"].insert(2, _code(extra))
    return notebook
