"""Pages in Chromium: what axe-core finds in them, and what they ask the network for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
GRAVE = ("serious", "critical")
NO_CONTRAST = {"color-contrast": {"enabled": False}}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's Chromium, driven by Playwright; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("Chromium is not installed: apt install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


# Marks each text whose colors no text before it has: by tag, class, style and row of a table, on
# the whole way up. Contrast takes most of axe's time, and most of a page is code in ten colors.
MARK_COLORS = """others => {
  const seen = new Set(), keys = new Map();
  const key = e => {
    if (!e) return "";
    if (!keys.has(e)) {
      const odd = e.tagName == "TR" ? [...e.parentElement.children].indexOf(e) % 2 : "";
      const own = [e.tagName, e.className, e.getAttribute("style"), odd].join("|");
      keys.set(e, key(e.parentElement) + ">" + own);
    }
    return keys.get(e);
  };
  for (const e of document.body.querySelectorAll("*")) {
    const speaks = [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim());
    if (!speaks || seen.has(key(e)) || (others && e.closest(others))) continue;
    seen.add(key(e));
    e.setAttribute("data-colors", "");
  }
  return seen.size;
}"""


class Reader:
    """A window on pages from files, in one color scheme and size; nothing else can be fetched.

    Args:
        browser: of :func:`chromium`.
        scheme: "light" or "dark".
        size: of the window, in CSS pixels.
    """

    def __init__(self, browser: Any, scheme: str, size: dict[str, int] = DESKTOP) -> None:
        self.scheme = scheme
        self.asked: list[str] = []
        self.context = browser.new_context(color_scheme=scheme, viewport=size, offline=True)
        self.context.on("request", self._note)
        self.page = self.context.new_page()

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.asked.append(request.url)

    def open(self, path: Path) -> Any:
        """Show a page, with every fold open: what is in them is read as well."""
        self.page.goto(path.as_uri(), wait_until="load")
        self.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        return self.page

    def grave(self, path: Path, of_others: str = "") -> list[str]:
        """What axe calls serious or critical in a page, a line for each element.

        Args:
            path: its file.
            of_others: a CSS selector of what has its colors from somebody else.
        """
        from axe_playwright_python.base import AXE_SCRIPT

        self.open(path)
        self.page.evaluate(AXE_SCRIPT)
        runs: list[tuple[str, dict[str, Any]]] = [
            ("html", {"rules": {"color-contrast": {"enabled": False}}})
        ]
        if self.page.evaluate(MARK_COLORS, of_others):
            runs.append(("[data-colors]", {"runOnly": ["color-contrast"]}))
        return [
            f"{path.name}, {self.scheme}: {one['impact']} {one['id']}: {place['html'][:150]}"
            for context, options in runs
            for one in self._axe(context, {"resultTypes": ["violations"], **options})
            if one["impact"] in GRAVE
            for place in one["nodes"]
        ]

    def _axe(self, context: str, options: dict[str, Any]) -> list[dict[str, Any]]:
        call = "async ([context, options]) => (await axe.run(context, options)).violations"
        found: list[dict[str, Any]] = self.page.evaluate(call, [context, options])
        return found
