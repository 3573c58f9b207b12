"""docs/pitfalls.md: each trouble that others have has a test here, and the test is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line.strip("| ").split(" | ")
    for line in (ROOT / "docs" / "pitfalls.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "watched by" not in line
]


@cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_there_are_rows() -> None:
    assert len(ROWS) > 40
    assert len({row[0] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_what_goes_wrong_elsewhere_is_watched_here(row: list[str]) -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row[-1])
    assert named, row
    for file, test in named:
        path = ROOT / file if "/" in file else Path(__file__).with_name(file)
        assert test in functions_of(path), f"{file} has no {test}"
