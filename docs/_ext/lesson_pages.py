"""Lessons as pages: each executed solution, with its hints and answers behind folds.

When a build begins, every ``solutions/NN_name.ipynb`` becomes ``docs/lessons/NN_name.ipynb`` (which
git ignores), and the table of contents takes what is in that folder.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from myst_nb.sphinx_ import HideCodeCellNode
from nbformat import NotebookNode

from coursekit.lessons.notebooks import FOLD
from coursekit.lessons.texts import LessonText, lesson_text

ROOT = Path(__file__).resolve().parents[2]
COLAB = "https://colab.research.google.com/"
_ROLE = re.compile(r"(answer|rubric)-(\d\d)-(\d+)(-\d+)?")
_RUBRIC = "**What a good answer holds.** "


def write_pages(solutions: Path, pages: Path, repository: str) -> None:
    """Write the page of every lesson, and remove pages of lessons that are no more."""
    pages.mkdir(exist_ok=True)
    made = {}
    for path in sorted(solutions.glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        made[path.name] = nbformat.writes(lesson_page(notebook, path.stem, repository))
    for old in pages.glob("*.ipynb"):
        if old.name not in made:
            old.unlink()
    for name, content in made.items():
        page = pages / name
        if not page.is_file() or page.read_text(encoding="utf-8") != content:
            page.write_text(content, encoding="utf-8")


def lesson_page(notebook: NotebookNode, name: str, repository: str = "") -> NotebookNode:
    """A solution as its reader meets it: question, hints, answer, what the answer gives.

    Args:
        notebook: the executed solution.
        name: of the lesson, such as "01_frozen_embeddings".
        repository: address of the public repository that has the notebooks; "" where there is none.
    """
    text = lesson_text(name[:2])
    cells: list[NotebookNode] = []
    for number, cell in enumerate(notebook.cells):
        if number == 0:
            cells += _opening(cell, name, repository)
            continue
        match = _ROLE.fullmatch(cell.get("id", ""))
        role, exercise = (match[1], f"{match[2]}.{match[3]}") if match else ("", "")
        if role == "answer":
            if not match[4]:
                cells += _hints(text, exercise)
            cell.metadata["tags"] = ["hide-input"]
            words = f"Answer to exercise {exercise}"
            cell.metadata["mystnb"] = {"code_prompt_show": words, "code_prompt_hide": words}
        elif role == "rubric":
            summary = f"What a good answer to exercise {exercise} holds"
            cell = _folded(summary, cell.source.removeprefix(_RUBRIC))
        for output in cell.get("outputs", []):  # records are for programs, and for the download
            if "text/html" in output.get("data", {}):
                output.data["text/html"] = FOLD.sub("", output.data["text/html"])
        cells.append(cell)
    page = nbformat.v4.new_notebook(cells=cells)
    page.metadata["kernelspec"] = notebook.metadata.kernelspec
    for number, cell in enumerate(page.cells):
        cell.id = f"cell-{number}"
    return page


def colab_link(name: str, repository: str) -> str:
    """Where the badge leads: the lesson itself on Colab, or Colab, for a notebook to upload."""
    where = repository.removesuffix("/").removesuffix(".git").partition("github.com/")[2]
    return f"{COLAB}github/{where}/blob/main/notebooks/{name}.ipynb" if where else COLAB


def _opening(cell: NotebookNode, name: str, repository: str) -> list[NotebookNode]:
    """Title, ways to take the notebook along, and the rest of the first cell."""
    title, _, rest = cell.source.partition("\n")
    link = colab_link(name, repository)
    how = "" if link != COLAB else " (download the notebook to work in, and upload it there)"
    ways = (
        f"[![Open in Colab](../_static/colab.svg)]({link}){how}\n\n"
        f"- {{download}}`Notebook to work in <../../notebooks/{name}.ipynb>`\n"
        f"- {{download}}`The same with answers and results <../../solutions/{name}.ipynb>`"
    )
    return [nbformat.v4.new_markdown_cell(one) for one in (title, ways, rest.strip())]


def _hints(text: LessonText, exercise: str) -> list[NotebookNode]:
    hints = text.exercises[exercise].hints if exercise in text.exercises else ()
    return [
        _folded(f"Hint {number} for exercise {exercise}", hint)
        for number, hint in enumerate(hints, 1)
    ]


def _folded(summary: str, body: str) -> NotebookNode:
    fold = f'<details class="fold">\n<summary>{escape(summary)}</summary>\n\n{body}\n\n</details>'
    return nbformat.v4.new_markdown_cell(fold)


def _open_fold(self: Any, node: HideCodeCellNode) -> None:
    self.body.append(f'<details class="fold">\n<summary>{escape(node["prompt_show"])}</summary>\n')


def _close_fold(self: Any, node: HideCodeCellNode) -> None:
    self.body.append("</details>\n")


def _write(app: Any, config: Any) -> None:
    write_pages(ROOT / "solutions", Path(app.srcdir) / "lessons", config.lesson_repository)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("myst_nb")
    app.add_config_value("lesson_repository", "", "env")
    app.connect("config-inited", _write)
    # myst-nb's own fold tells screen readers "Toggle hidden content", whatever is in it.
    app.add_node(HideCodeCellNode, override=True, html=(_open_fold, _close_fold))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
