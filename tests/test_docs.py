"""The handbook: its code runs, its commands exist, its numbers are measured."""

from __future__ import annotations

import re
import runpy
import shlex
import warnings
from pathlib import Path

import click
import pytest

from coursekit.cli import main
from coursekit.training import FinetuneStrategy

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]


FOLDERS = [page for page in ROOT.glob("[a-z]*/README.md") if page.parent.name != "report"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


with_code = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.slow
@pytest.mark.parametrize("page", with_code, ids=lambda p: p.name)
def test_the_code_on_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # A page's own strategies are known by name while it runs, and not after.
    known = dict(FinetuneStrategy.rebuildable)
    monkeypatch.setattr(FinetuneStrategy, "rebuildable", known)
    names: dict[str, object] = {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for number, code in enumerate(blocks(page, "python")):
            exec(compile(code, f"{page.name}, block {number}", "exec"), names)
    assert len(names) > 2


COMMAND = re.compile(r"coursekit (?:[a-z]+ )?[^`|<>\n]*")
shown = sorted(
    {
        (page.name, line.strip())
        for page in PAGES
        for text in blocks(page, "bash")
        for line in text.splitlines()
        if line.startswith("coursekit ")
    }
    | {
        (page.name, code)
        for page in PAGES
        for code in re.findall(r"`(coursekit [a-z][^`]+)`", page.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize(("page", "line"), shown)
def test_commands_shown_exist(page: str, line: str) -> None:
    """Parsed as the command line would, and not run."""
    words = shlex.split(line.split("#")[0])[1:]
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    if isinstance(command, click.Group):
        assert words in ([], ["--help"], ["COMMAND", "--help"]), line
        return
    for parameter in command.params:  # the folders in an example need not be here
        if isinstance(parameter.type, click.Path):
            parameter.type.exists = False
    bare = command.params and not words and any(p.required for p in command.params)
    if not bare:  # `coursekit train`, as the name of a command in a sentence
        command.make_context(command.name, words, parent=context)


def test_commands_were_found() -> None:
    assert len(shown) > 12


def test_the_benchmark_page_has_the_numbers_of_the_benchmarks() -> None:
    """After a change: python docs/make_benchmark_page.py."""
    page = runpy.run_path(str(ROOT / "docs" / "make_benchmark_page.py"))["page"]()
    assert (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8") == page


def test_the_strategies_page_shows_the_plans_of_the_strategies(tmp_path: Path) -> None:
    """After a change: python docs/make_strategies_page.py. Pictures are compared by their words."""
    maker = runpy.run_path(str(ROOT / "docs" / "make_strategies_page.py"))
    assert (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8") == maker["page"](tmp_path)
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == sorted(path.name for path in (ROOT / "docs" / "strategies").iterdir())
    own = {type(entry.strategy).__name__ for entry in maker["ENTRIES"]}
    kit = {
        n for n, c in FinetuneStrategy.rebuildable.items() if c.__module__.startswith("coursekit")
    }
    assert own == kit


@pytest.mark.parametrize("page", [*PAGES, *FOLDERS], ids=lambda p: f"{p.parent.name}-{p.name}")
def test_links_lead_somewhere_and_pictures_are_described(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for mark, words, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "#")):
            assert (page.parent / target.split("#")[0]).exists(), target
        assert not mark or len(words) > 40, f"{target} has no description"
