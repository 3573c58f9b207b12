"""The report page: whole in itself, readable by anybody, and safe with any name."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from tiny import tiny_task

from coursekit.data.binding_task import BindingTask
from coursekit.evaluation import compare, fingerprint_baseline
from coursekit.evaluation.figures import scores_figure
from coursekit.evaluation.report import Section, write_report


class Page(HTMLParser):
    """Tags with their attributes, and the text, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def task() -> BindingTask:
    return tiny_task()


@pytest.fixture(scope="module")
def page(task: BindingTask, tmp_path_factory: pytest.TempPathFactory) -> Page:
    run = fingerprint_baseline(task, "logistic")
    noted = replace(run, notes=(f"note {NASTY}",))
    comparison = compare({NASTY: noted, "forest": fingerprint_baseline(task, "forest")}, n_boot=50)
    path = write_report(
        tmp_path_factory.mktemp("report") / "new folder" / "report.html",
        f"Title {NASTY}",
        comparison,
        task,
        [Section(f"Scores {NASTY}", f"Words {NASTY}", [scores_figure(comparison)])],
        lead=[f"Lead {NASTY}"],
    )
    return Page(path.read_text(encoding="utf-8"))


def test_it_loads_nothing_from_anywhere(page: Page) -> None:
    sources = [a[k] for _, a in page.tags for k in ("src", "href") if k in a]
    assert sources
    assert all(str(source).startswith("data:image/png;base64,") for source in sources)


def test_any_name_is_text_and_never_a_tag(page: Page) -> None:
    assert not page.all("script")
    assert "".join(page.words).count(NASTY) >= 5


def test_a_screen_reader_finds_its_way(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    headings = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert all(later - before <= 1 for before, later in pairwise(headings))
    assert all(len(image["alt"] or "") > 50 for image in page.all("img"))
    assert all("scope" in cell for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert any(tag.get("name") == "viewport" for tag in page.all("meta"))


def test_it_says_how_the_runs_were_made(page: Page, task: BindingTask) -> None:
    text = "".join(page.words)
    assert task.fingerprint[:12] in text
    assert "scikit-learn" in text
    assert "resamples" in text
    assert "cannot be told apart" in text or "beats" in text
