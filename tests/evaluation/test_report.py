"""The report page: whole in itself, readable by anybody, and safe with any name."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

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
    noted = replace(
        run,
        notes=(f"note {NASTY}",),
        strategy={
            "strategy": "FullFinetune",
            "lr": 0.00025,
            "patience": None,
            "monitor": NASTY,
            "phases": [{"learning_rates": {"head": 0.125}}],
            "encoder": {"name": "some/encoder", "pooling": "mean", "origin": "1234"},
        },
        cost=run.cost | {"epochs": 7, "steps": 91},
        environment=run.environment | {"device": "Tesla T4"},
        seed=23,
    )
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


def test_one_machine_is_described_once(task: BindingTask, tmp_path: Path) -> None:
    run = fingerprint_baseline(task, "logistic")
    comparison = compare({"one": run, "two": run}, n_boot=20)
    path = write_report(tmp_path / "report.html", "Title", comparison, task, [])
    text = path.read_text(encoding="utf-8")
    assert "<dt>All runs</dt>" in text
    assert text.count("scikit-learn") == 1


def test_it_says_how_the_runs_were_made(page: Page, task: BindingTask) -> None:
    text = "".join(page.words)
    assert f"fingerprint {task.fingerprint}" in text
    assert "split: by hand" in text
    expected = "FullFinetune: lr 0.00025, monitor <script>alert(1)</script>, encoder some/encoder, "
    assert expected + "pooling mean, seed 23." in text
    assert "0.125" not in text
    assert "7 epochs, 91 steps." in text
    places = text[text.index("Where they were made") :]
    assert places.index("Tesla T4") < places.index("device CPU")  # in the order of the table
    assert "scikit-learn" in text
    assert "resamples" in text
    assert "cannot be told apart" in text or "beats" in text
