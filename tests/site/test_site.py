"""The site: whole, linked, described, searchable, and needing nothing from elsewhere."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import nbformat
import pytest
from pages import Page, dead_ends, outside, without_description

import coursekit as ck
from coursekit.checks import exercises
from coursekit.lessons.texts import lesson_text

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted(path.stem for path in (ROOT / "solutions").glob("[0-9][0-9]_*.ipynb"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(files: list[Path]) -> dict[Path, Page]:
    return {path: Page(path) for path in files}


@pytest.fixture(params=LESSONS)
def lesson(request: pytest.FixtureRequest, site: Path) -> Page:
    return Page(site / "lessons" / f"{request.param}.html")


def made_page(folder: Path, body: str) -> Page:
    path = folder / "page.html"
    path.write_text(f"<html><body>{body}</body></html>", encoding="utf-8")
    return Page(path)


def test_reading_it_needs_no_network(pages: dict[Path, Page], site: Path) -> None:
    assert len(pages) > 20
    assert {path.name: found for path, page in pages.items() if (found := outside(page))} == {}
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", text), sheet


@pytest.mark.parametrize(
    "body",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<img alt="a badge" src="https://example.org/badge.svg">',
        "<style>@font-face { src: url('https://example.org/font.woff2') }</style>",
        '<script type="module">import a from "https://example.org/a.mjs"</script>',
        '<div style="background: url(https://example.org/a.png)"></div>',
    ],
)
def test_the_check_sees_what_comes_from_elsewhere(body: str, tmp_path: Path) -> None:
    assert outside(made_page(tmp_path, body))
    assert not outside(made_page(tmp_path, '<a href="https://example.org">a link</a>'))


def test_links_and_anchors_lead_somewhere(pages: dict[Path, Page], site: Path) -> None:
    assert dead_ends(pages, site) == []


def test_the_check_sees_dead_ends(tmp_path: Path) -> None:
    links = '<p id="here"></p><a href="#here">a</a><a href="#there">b</a><a href="no.html">c</a>'
    page = made_page(tmp_path, links + '<img src="no.png" alt="nothing">')
    found = dead_ends({page.path: page}, tmp_path)
    assert [one.split(": ")[1] for one in found] == [
        "no file no.html", "no file no.png", "no place #there",
    ]  # fmt: skip


def test_every_picture_is_described(pages: dict[Path, Page]) -> None:
    assert sum(len(page.images) for page in pages.values()) > 10
    missing = {p.name: bare for p, page in pages.items() if (bare := without_description(page))}
    assert missing == {}


@pytest.mark.parametrize("image", ['<img src="a.png">', '<img src="a.png" alt=" ">'])
def test_the_check_sees_a_picture_without_description(image: str, tmp_path: Path) -> None:
    assert without_description(made_page(tmp_path, image)) == ["a.png"]
    assert without_description(made_page(tmp_path, '<img src="a.png" alt="A curve">')) == []


def test_every_lesson_has_its_page_in_order(site: Path) -> None:
    made = sorted(path.stem for path in (site / "lessons").glob("*.html"))
    assert made == LESSONS
    linked = [link for link in Page(site / "index.html").links if link.startswith("lessons/")]
    assert list(dict.fromkeys(linked)) == [f"lessons/{name}.html" for name in LESSONS]


def test_answers_hints_and_rubrics_are_behind_folds(lesson: Page) -> None:
    number = lesson.path.name[:2]
    texts = lesson_text(number).exercises
    summaries = "\n".join(fold.strip().splitlines()[0] for fold in lesson.folds)
    in_folds = squeezed(" ".join(lesson.folds))
    for one in exercises(number):
        assert f"Answer to exercise {one.id}" in summaries
        assert f"Hint {len(texts[one.id].hints)} for exercise {one.id}" in summaries
        solution = texts[one.id].solution.splitlines()
        lines = [squeezed(line) for line in solution if len(line.strip()) > 12]
        assert [line for line in lines if line not in in_folds] == []
        assert lines[-1] not in squeezed(lesson.text), "an answer can be read unasked"
        if one.by_person:
            assert f"What a good answer to exercise {one.id} holds" in summaries
    assert "# gets:" not in lesson.path.read_text(encoding="utf-8")


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def test_a_lesson_can_be_taken_along(lesson: Page, site: Path) -> None:
    name = lesson.path.stem
    taken = [lesson.path.parent / link for link in lesson.links if link.endswith(f"{name}.ipynb")]
    kept = [path.resolve().read_bytes() for path in taken if path.exists()]
    for folder in ("notebooks", "solutions"):
        assert (ROOT / folder / f"{name}.ipynb").read_bytes() in kept
    badge = next(image for image in lesson.images if image["src"].endswith("colab.svg"))
    assert badge["alt"] == "Open in Colab"
    assert any(link.startswith("https://colab.research.google.com/") for link in lesson.links)


def test_results_are_on_the_page(lesson: Page) -> None:
    """Figures with their descriptions, the last frame of each training, and verdicts."""
    notebook = nbformat.read(ROOT / "solutions" / f"{lesson.path.stem}.ipynb", as_version=4)
    html = "".join(
        str(output.get("data", {}).get("text/html", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    pictures = re.findall(r"<img [^>]*src=\"(data:image/[^\"]+)\"", html)
    shown = [image["src"] for image in lesson.images if image["src"].startswith("data:")]
    assert shown == pictures
    checks = [c for c in notebook.cells if c.get("id", "").startswith("check-")]
    assert len(re.findall(r"Exercise \d\d\.\d+: (?:right|answered)", lesson.text)) == len(checks)


def test_the_badge_opens_the_lesson_where_notebooks_are_published() -> None:
    pytest.importorskip("myst_nb")
    colab_link = runpy.run_path(str(ROOT / "docs" / "_ext" / "lesson_pages.py"))["colab_link"]
    site = "https://colab.research.google.com/"
    published = f"{site}github/who/kit/blob/main/notebooks/01_x.ipynb"
    for address in ("https://github.com/who/kit", "https://github.com/who/kit.git"):
        assert colab_link("01_x", address) == published
    assert colab_link("01_x", "") == site


def test_formulas_are_drawn_without_a_script(pages: dict[Path, Page], site: Path) -> None:
    assert "math" in pages[site / "data.html"].tags
    for page in pages.values():
        assert not [one for one in page.loaded if "mathjax" in one.lower() or "katex" in one]
        assert not re.search(r"\\\(|\$\$|\\frac", page.text), page.path


def test_everything_can_be_searched(pages: dict[Path, Page], site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    names = set(json.loads(re.search(r'"?docnames"?:(\[.*?\])', index)[1]))  # type: ignore[index]
    assert {f"lessons/{name}" for name in LESSONS} | {"api", "instructors", "strategies"} <= names
    assert (site / "search.html").is_file()


def test_the_reference_has_every_name_of_the_public_face(
    pages: dict[Path, Page], site: Path
) -> None:
    described = {name.rpartition(".")[2] for name in pages[site / "api.html"].ids}
    assert set(ck.__all__) - {"__version__"} <= described
