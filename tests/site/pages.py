"""What a page of the site has in it, read from its file; and what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

OUTSIDE = ("http:", "https:", "//")
FETCHED = ("stylesheet", "preload", "modulepreload", "icon", "shortcut icon", "manifest")
SOURCES = ("src", "srcset", "data", "poster")
_IN_SCRIPT = re.compile(r"(?:import|from|url|src|href)\W{1,4}((?:https?:)?//[^\s'\")]+)")
_EMPTY = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source",
          "track", "wbr"}  # fmt: skip


@dataclass
class Page(HTMLParser):
    """One page.

    Args:
        path: its file.
    """

    path: Path
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    images: list[dict[str, str]] = field(default_factory=list)
    folds: list[str] = field(default_factory=list)
    """Text of each fold, its summary first."""
    text: str = ""
    """Text outside of folds."""
    tags: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._depth = 0
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.ids |= {given[name] for name in ("id", "name") if name in given and tag != "meta"}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") in FETCHED:
            self.loaded.append(given["href"])
        self.loaded += [
            given[name] for name in ("src", "srcset", "data", "poster") if name in given
        ]
        self.loaded += re.findall(r"url\(['\"]?([^'\")]+)", given.get("style", ""))
        if tag == "img":
            self.images.append(given)
        if tag == "details":
            self._depth += 1
            if self._depth == 1:
                self.folds.append("")
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "details":
            self._depth -= 1
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            self.scripts.append(data)
        elif self._depth:
            self.folds[-1] += data
        else:
            self.text += data


def outside(page: Page) -> list[str]:
    """What a browser would fetch from elsewhere to show the page."""
    found = [one for one in page.loaded if one.startswith(OUTSIDE)]
    for script in page.scripts:
        found += re.findall(
            r"(?:import|from|url|src|href)\W{1,4}((?:https?:)?//[^\s'\")]+)", script
        )
    return found


def without_description(page: Page) -> list[str]:
    """Pictures that a reader who cannot see them learns nothing of."""
    return [image.get("src", "")[:60] for image in page.images if not image.get("alt", "").strip()]


def dead_ends(pages: dict[Path, Page], root: Path) -> list[str]:
    """Links and files of the site that lead nowhere: no such file, or no such place in it."""
    found = []
    for page in pages.values():
        for target in {*page.links, *page.loaded}:
            parts = urlsplit(target)
            if parts.scheme or target.startswith("//") or target in ("#", ""):
                continue
            path = page.path
            if parts.path:
                path = (page.path.parent / unquote(parts.path)).resolve()
            if path.is_dir():
                path /= "index.html"
            here = page.path.relative_to(root)
            if not path.is_relative_to(root) or not path.is_file():
                found.append(f"{here}: no file {target}")
            elif (
                path in pages and parts.fragment and unquote(parts.fragment) not in pages[path].ids
            ):
                found.append(f"{here}: no place {target}")
    return sorted(found)
