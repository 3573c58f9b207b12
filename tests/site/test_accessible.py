"""Everybody can read it: axe on each page and on the notebooks as HTML, in light and in dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accessible import DESKTOP, PHONE, Reader, chromium

pytest.importorskip("axe_playwright_python")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)])
def test_axe_finds_nothing_grave_on_any_page(
    scheme: str, size: dict[str, int], browser: Any, files: list[Path]
) -> None:
    reader = Reader(browser, scheme, size)
    found, wide = [], []
    for path in files:
        found += reader.grave(path)
        if reader.page.evaluate("document.documentElement.scrollWidth") > size["width"]:
            wide.append(path.name)
    assert found == []
    assert wide == [], "what is wide scrolls in its own box; the page does not"
    assert reader.asked == []


# The colors of code and of In [1]: are those of JupyterLab's theme, which nbconvert brings.
THEME = ".jp-InputArea .highlight, .jp-InputPrompt, .jp-OutputPrompt"


@pytest.mark.parametrize(("scheme", "folder"), [("light", "notebooks"), ("dark", "solutions")])
def test_axe_finds_nothing_grave_in_notebooks(
    scheme: str, folder: str, browser: Any, tmp_path: Path
) -> None:
    exporter = pytest.importorskip("nbconvert").HTMLExporter(theme=scheme)
    reader = Reader(browser, scheme)
    found = []
    for notebook in sorted((ROOT / folder).glob("*.ipynb")):
        path = tmp_path / f"{notebook.stem}.html"
        path.write_text(exporter.from_filename(str(notebook))[0], encoding="utf-8")
        found += reader.grave(path, of_others=THEME)
    assert found == []


BAD = {
    "image-alt": '<img src="a.png">',
    "color-contrast": '<p style="color: #bbb; background: #fff">faint</p>',
    "label": "<input type=text>",
}


@pytest.mark.parametrize("rule", BAD)
def test_axe_sees_what_is_wrong(rule: str, browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(f'<html lang="en"><title>a</title><main>{BAD[rule]}</main></html>')
    found = Reader(browser, "light").grave(path)
    assert [one for one in found if f" {rule}: " in one]


def test_the_search_finds_without_a_server(browser: Any, site: Path) -> None:
    page = Reader(browser, "light").open(site / "search.html")
    page.goto(f"{(site / 'search.html').as_uri()}?q=tanimoto")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    links = page.eval_on_selector_all("#search-results li a", "all => all.map(a => a.href)")
    assert any(re.search(r"lessons/00_base_camp\.html", link) for link in links)


def test_it_can_be_read_in_the_dark(browser: Any, site: Path) -> None:
    """By the system's wish, and by the button on the page."""
    background = "getComputedStyle(document.body).backgroundColor"
    for scheme, bright in (("light", True), ("dark", False)):
        page = Reader(browser, scheme).open(site / "index.html")
        red = int(re.findall(r"\d+", page.evaluate(background))[0])
        assert (red > 127) == bright
    page.locator("button.theme-switch-button").first.click()
    page.locator("button.theme-change-button[data-mode=light]").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
