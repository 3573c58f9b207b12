"""The house rules that a reader relies on: imports follow the flow, and files stay small."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "coursekit"
FILES = sorted(PACKAGE.rglob("*.py"))
GROUND = {"errors", "version", "storage", "bars", "interrupt"}
# A station may import from those named here and from the ground, and from nowhere else.
MAY_IMPORT = {
    "data": set(),
    "runs": {"data"},
    "models": {"data"},
    "training": {"data", "models", "runs"},
    "evaluation": {"data", "runs"},
    "checks": {"data", "models", "training", "runs", "evaluation"},
    "lessons": {"data", "models", "training", "runs", "evaluation", "checks", "doctor"},
    "grading": {"data", "models", "training", "runs", "evaluation", "checks"},
}
# Imports inside a function, for an object that shows itself: an arrow backwards, taken on demand.
ON_DEMAND = {
    ("runs/run.py", "evaluation"),
    ("training/lr_finder.py", "evaluation"),
    ("training/plan.py", "evaluation"),
    ("training/watch.py", "lessons"),
}


def imports(path: Path) -> set[tuple[str, bool]]:
    """Stations that a file imports from, and whether at import time (not for type checking)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    top = {id(node) for node in tree.body}
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom):
            modules = [
                f"{node.module}.{a.name}" if node.module == "coursekit" else f"{node.module}"
                for a in node.names
            ]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            if module.startswith("coursekit."):
                found.add((module.split(".")[1], id(node) in top))
    return found


def station(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_flow(path: Path) -> None:
    here, name = station(path), path.relative_to(PACKAGE).as_posix()
    if here in GROUND:
        assert {module for module, _ in imports(path)} <= GROUND
    if here not in MAY_IMPORT:
        return  # the command line, the doctor and the demo stand above all stations
    for module, at_import in imports(path):
        allowed = module in MAY_IMPORT[here] | GROUND | {here}
        assert allowed or ((name, module) in ON_DEMAND and not at_import), (name, module)


def test_the_check_sees_an_import_against_the_flow(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text("from coursekit import bars\ndef f():\n    import coursekit.models.hub\n")
    assert imports(path) == {("bars", True), ("models", False)}


def is_setter(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether it is the other half of a property, which is described where it is read."""
    return any(ast.unparse(one).endswith(".setter") for one in node.decorator_list)


def public(body: list[ast.stmt]) -> list[ast.FunctionDef | ast.ClassDef]:
    defined = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    named = [node for node in defined if not node.name.startswith("_") and not is_setter(node)]
    return named + [
        x for node in named if isinstance(node, ast.ClassDef) for x in public(node.body)
    ]


def test_every_public_name_is_described() -> None:
    bare = [
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for path in FILES
        for node in public(ast.parse(path.read_text(encoding="utf-8")).body)
        if ast.get_docstring(node) is None
    ]
    assert not bare


def test_no_file_holds_two_ideas() -> None:
    long = {p.name: n for p in FILES if (n := len(p.read_text("utf-8").splitlines())) > 400}
    assert not long
    assert not [p for p in FILES if p.stem in ("utils", "helpers", "misc", "common")]


def test_no_path_of_one_machine() -> None:
    pattern = re.compile(r"""["'\s(](/home/|/root/|/Users/|/mnt/|[A-Z]:\\)""")
    texts = [*FILES, ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile"]
    found = [p.name for p in texts if pattern.search(p.read_text(encoding="utf-8"))]
    assert not found
