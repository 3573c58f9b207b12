"""The page of a class: its numbers are the class's, anybody can read it, and nothing in it acts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from course import solved
from hostile import with_output
from test_copies import disguised, entry

from coursekit.cli import main
from coursekit.data.binding_task import BindingTask
from coursekit.grading.audit import Audit, Audited
from coursekit.grading.class_page import class_page
from coursekit.grading.classwork import Classwork, class_entries, review, score_run, with_layers
from coursekit.grading.verify import Layer, recomputed_scores
from coursekit.runs import Run
from coursekit.runs.embedded import embed_record

EVIL = "<script>alert(1)</script>\u202e<img src=x onerror=alert(1)>"


def report(student: str, score: float, *reasons: str, layers: Any = ()) -> dict[str, Any]:
    return {
        "student": student,
        "state": "needs a person" if reasons else "graded",
        "reasons": list(reasons),
        "score": score,
        "max_score": 10.0,
        "exercises": [{"by_person": False, "state": "right"}],
        "layers": list(layers),
        "warning": "",
        "seconds": 1.5 + score,
    }


@pytest.fixture(scope="module")
def work(task: BindingTask, make_run: Callable[..., Run]) -> Classwork:
    """Six students: one copied, one has an evil name for a run, one needs a person."""
    runs = {f"s{n}": make_run(seed=n) for n in range(4)}
    runs["copier"] = disguised(runs["s1"], lambda s: 0.4 * s + 0.2)
    runs["evil"] = dataclasses.replace(make_run(seed=9), name="<b>x</b>", notes=("n",))
    entries = [entry(student, run) for student, run in runs.items()]
    reports = {student: report(student, n) for n, student in enumerate(runs)}
    reports["evil"] = report("evil", 3.5, f"97.1: {EVIL}")
    held = Layer("coverage", "run", "holds", "all").to_plain()
    reports["s0"]["layers"] = [held]
    found = Audited("s2", "FullFinetune", entries[2].harvested.digest, "fails", "another run")
    audit = Audit(7, 0.25, {found.digest: found})
    reference = dataclasses.replace(score_run(entry("", make_run(seed=20)), task), name="solution")
    return review("97", reports, entries, [task], [reference], audit)


def test_runs_on_shares_of_the_task_are_the_classs(
    task: BindingTask, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    """As lessons 02 to 06 make them; a run of a task that nobody was given is not among them."""
    half = task.share(0.5)
    paths = {}
    for number, (place, fingerprint) in enumerate(
        [(task, task.fingerprint), (half, half.fingerprint), (half, "0" * 64)]
    ):
        facts = {"name": place.name, "fingerprint": fingerprint, "settings": dict(place.settings)}
        some = with_output(solved(), {"text/html": embed_record(make_run(seed=number, task=facts))})
        paths[f"s{number}"] = tmp_path / f"{number}.ipynb"
        paths[f"s{number}"].write_text(json.dumps(some))
    entries, tasks = class_entries(paths, lambda student: [task])
    assert [one.student for one in entries] == ["s0", "s1"]
    assert {one.fingerprint for one in tasks} == {task.fingerprint, half.fingerprint}


def test_the_class_sees_what_one_submission_does_not(work: Classwork) -> None:
    states = {student: one["state"] for student, one in work.reports.items()}
    assert states == {
        "s0": "graded", "s1": "needs a person", "s2": "needs a person", "s3": "graded",
        "copier": "needs a person", "evil": "needs a person",
    }  # fmt: skip
    assert "rescaled as copier" in work.reports["s1"]["reasons"][0]
    assert "rescaled as s1" in work.reports["copier"]["reasons"][0]
    assert work.reports["s2"]["reasons"] == ["audit of FullFinetune: fails; another run"]


def test_a_layer_of_the_class_comes_and_goes() -> None:
    one = report("a", 1, "97.1: no answer")
    found = Layer("copies", "runs", "fails", "like b")
    twice = with_layers(with_layers(one, [found]), [found])
    assert [layer["name"] for layer in twice["layers"]] == ["copies"]
    assert twice["reasons"] == ["97.1: no answer", str(found)]
    assert with_layers(twice, []) == one
    fine = report("b", 1)
    assert with_layers(with_layers(fine, [found]), [])["state"] == "graded"
    fine["exercises"] = [{"by_person": True, "state": "cannot be checked"}]
    assert with_layers(with_layers(fine, [found]), [])["state"] == "partial"


class Reader(HTMLParser):
    """What a page holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.rows[-1][-1] += data.strip()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_everybody_can_read_it(work: Classwork) -> None:
    page = Reader(class_page(work))
    assert page.all("html") == [{"lang": "en"}]
    pictures = page.all("img")
    assert len(pictures) == 2
    assert all(len(str(picture["alt"])) > 60 for picture in pictures)
    # Each table has a caption and headers with a scope, and is reached and named by keyboard.
    tables = len(page.all("table"))
    assert tables == len(page.all("caption")) >= 7
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    regions = [one for one in page.all("div") if one.get("role") == "region"]
    assert len(regions) == tables
    assert all(one.get("tabindex") == "0" and one.get("aria-label") for one in regions)
    # The page's parts are linked from its head.
    places = {one["id"] for one in page.all("h2")}
    assert {str(one["href"]).removeprefix("#") for one in page.all("a")} == places
    assert len(places) == 7


def test_nothing_in_it_acts_or_loads(work: Classwork) -> None:
    text = class_page(work)
    page = Reader(text)
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("b")
    assert all(str(one["src"]).startswith("data:image/png;base64,") for one in page.all("img"))
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


def test_its_numbers_are_those_of_the_class(
    work: Classwork, task: BindingTask, make_run: Callable[..., Run]
) -> None:
    rows = Reader(class_page(work)).rows
    expected = recomputed_scores(make_run(seed=3), task)
    assert ["s3", "FullFinetune", *(f"{getattr(expected, m).value:.3f}" for m in (
        "auroc_easy", "au_prc_easy", "auroc_hard", "au_prc_hard"))] in rows  # fmt: skip
    assert ["s3", "graded", "3", "10"] in rows
    assert ["copies", "4", "2", "0"] in rows
    assert ["audit", "0", "1", "0"] in rows
    assert ["coverage", "1", "0", "0"] in rows
    assert ["s2", "FullFinetune", "fails", "another run"] in rows
    assert [row[0] for row in rows if len(row) > 1 and row[1] == "solution"] == ["reference"]
    assert any(row[0] == "s1 and copier" and row[2] == "rescaled" for row in rows)


def test_an_empty_class_has_a_page() -> None:
    page = class_page(review("97", {}, [], []))
    assert "0 submissions" in page
    assert "Nobody does." in page


def test_the_command_reads_a_course_and_says_where_the_page_is(tmp_path: Path) -> None:
    """A lesson without runs: the reports alone, as grading has left them."""
    notebooks = Path(__file__).resolve().parents[2] / "notebooks"
    (tmp_path / "course.yaml").write_text(f"tasks: []\nnotebooks: {notebooks}\n")
    told = report("ada", 3) | {"findings": []}
    for student in ("ada", "bob"):
        place = tmp_path / "autograded" / student / "01"
        place.mkdir(parents=True)
        (place / "report.json").write_text(json.dumps(told))
    (tmp_path / "submitted" / "ada" / "01").mkdir(parents=True)
    done = CliRunner().invoke(main, ["class-page", "01", "--course", str(tmp_path)])
    assert done.exit_code == 0, done.output
    page = tmp_path / "class" / "01" / "index.html"
    assert str(page) in done.output
    assert "2 submissions: 2 graded" in page.read_text()
    assert json.loads((tmp_path / "autograded/ada/01/report.json").read_text()) == told
    for command, word in (("class-page", "nothing of 00 is graded"), ("audit", "no trained run")):
        lesson = "00" if command == "class-page" else "01"
        done = CliRunner().invoke(main, [command, lesson, "--course", str(tmp_path)])
        assert done.exit_code == 1
        assert word in done.output
