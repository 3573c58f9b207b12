"""What an executed solution shows is what follows, today, from the records that it carries.

Nothing is trained here. The sheet in the last cell has every answer and the record of every run;
messages of checks, tables, explorers and curves are made from it again. A number that somebody
edited by hand does not fit its record; a record of another encoder, task or strategy than today's
lines give does not fit the code: ``make lessons``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest

import coursekit as ck
from coursekit.checks import AnswerSheet, exercises, judge, lessons, read_notebook
from coursekit.checks.truth import the_task
from coursekit.evaluation.figures import scores_figure
from coursekit.grading.again import rebuilt
from coursekit.lessons.compared import shown
from coursekit.lessons.generate import PROFILE
from coursekit.lessons.live import LiveView
from coursekit.training.identity import identity_of

ROOT = Path(__file__).resolve().parents[2]
Runs = Mapping[str, ck.Run]


def named(runs: Runs, *names: str) -> dict[str, ck.Run]:
    """Runs as a lesson names them in its table."""
    return {name: runs[name.lower().replace("l2-sp", "l2sp").replace("-", "_")] for name in names}


def player(run: ck.Run, epoch: int) -> Any:
    made = ck.unfreezing_player(run)
    made.epoch = epoch
    return made


TABLES = {
    "00": ("logistic", "forest"),
    "01": ("frozen", "forest"),
    "02": ("frozen", "fine-tuned"),
    "03": ("frozen", "full", "progressive", "mine"),
    "04": ("full", "scheduled", "shallow", "forest"),
    "06": ("frozen", "full", "contrastive", "forest"),
}
# By cell, what its output is made of.
SHOWN: dict[str, Callable[[Runs], Any]] = {
    "answer-02-3": lambda runs: runs["fine_tuned"].scores(),
    "02-code-5": lambda runs: ck.threshold_explorer(named(runs, *TABLES["02"])),
    "03-code-4": lambda runs: player(runs["progressive"], runs["progressive"].cost["epochs"] - 1),
    "answer-04-4": lambda runs: player(runs["scheduled"], 0),
    "05-code-3": lambda runs: ck.forgetting_tradeoff(
        named(runs, "plain", "L2-SP", "EWC", "replay", "LoRA")
    ),
}


@dataclass(frozen=True)
class Expected:
    """What follows from a sheet: texts that a cell, or some cell, shows; words of all curves."""

    texts: dict[str, tuple[str, str]]
    curves: dict[str, str]
    epochs: dict[str, list[tuple[str, ...]]]


@lru_cache
def expected(lesson: str) -> Expected:
    """From the sheet that the solution of a lesson carries."""
    sheet = carried(lesson)
    texts = {
        f"exercise {one.id}": (
            f"check-{one.id.replace('.', '-')}",
            words(judge(one, sheet.values(one.id))._repr_html_()),
        )
        for one in exercises(lesson)
    }
    runs = runs_in(sheet)
    if lesson in TABLES:
        table = ck.compare(named(runs, *TABLES[lesson]))
        texts["the table"] = ("", words(table.to_html()))
        if lesson == "02":
            texts["the scores"] = ("02-code-5", words(scores_figure(table)._repr_html_()))
    for id, make in SHOWN.items():
        if lesson in id.split("-"):
            made = make(runs)
            html = made.html() if hasattr(made, "html") else made._repr_html_()
            texts[f"what is in {id}"] = (id, words(html))
    trained = {name: run for name, run in runs.items() if len(run.history)}
    views = {
        name: LiveView(run.strategy["strategy"], 1, 1, (), history(run))
        for name, run in trained.items()
    }
    return Expected(
        texts,
        {name: view.alt() for name, view in views.items()},
        {name: by_epoch(view.html("", final=True)) for name, view in views.items()},
    )


def disagreements(notebook: Any) -> list[str]:
    """What an executed solution does not show as it follows from its sheet."""
    follows = expected(notebook.metadata.coursekit.lesson)
    html = {c.id: "".join(map(words, html_of(c))) for c in notebook.cells if "outputs" in c}
    html[""] = "".join(html.values())
    found = [
        f"{name}: {text}" for name, (id, text) in follows.texts.items() if text not in html[id]
    ]
    sentences, curves = set(_CURVE.findall(html[""])), list(follows.curves.values())
    found += [f"a curve: {one}" for one in sentences if not any(alike(one, c) for c in curves)]
    found += [f"no curve: {one}" for one in curves if not any(alike(one, s) for s in sentences)]
    tables = [str(by_epoch(table)) for table in _EPOCHS.findall(html[""])]
    for name, rows in follows.epochs.items():
        if not any(alike(str(rows), table) for table in tables):
            found.append(f"epochs of {name}")
    return found


def alike(one: str, two: str) -> bool:
    """The same words, and numbers that differ in the last digit at most: records keep float32."""
    numbers = [re.findall(r"\d+\.?\d*", text) for text in (one, two)]
    return re.sub(r"\d+\.?\d*", "#", one) == re.sub(r"\d+\.?\d*", "#", two) and all(
        abs(float(a) - float(b)) < 1.5 * 10.0 ** -len(a.partition(".")[2]) * ("." in a) or a == b
        for a, b in zip(*numbers, strict=True)
    )


_CURVE = re.compile(r"\w+: over \d+ epochs? validation AUROC .*? in epoch \d+\.")
_EPOCHS = re.compile(r"<summary>Numbers by epoch</summary>(.*?)</table>", re.DOTALL)


@lru_cache
def solution(lesson: str) -> Any:
    (path,) = (ROOT / "solutions").glob(f"{lesson}_*.ipynb")
    return nbformat.read(path, as_version=4)


def carried(lesson: str) -> AnswerSheet:
    """The sheet in the last cell of a solution."""
    found = read_notebook(solution(lesson))
    assert found.problems == ()
    assert found.sheet is not None
    return found.sheet


def html_of(cell: Any) -> list[str]:
    return [o["data"]["text/html"] for o in cell.outputs if "text/html" in o.get("data", {})]


def words(html: str) -> str:
    """HTML as it reads, without pixels and without what took how long."""
    return unescape(shown(nbformat.v4.new_output("display_data", {"text/html": html})))


def by_epoch(html: str) -> list[tuple[str, ...]]:
    """Of each row below a curve: epoch, validation loss, AUROC on easy and on hard negatives.

    Training losses are means over more steps than a record keeps; phases have names that it lacks.
    """
    found = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    return [(epoch, *re.findall("<td>(.*?)</td>", row)[2:5]) for epoch, row in found]


def history(run: ck.Run) -> list[dict[str, Any]]:
    """Rows as training gave them: without what a row does not have."""
    return [row.dropna().to_dict() for _, row in run.history.iterrows()]


def runs_in(sheet: AnswerSheet) -> dict[str, ck.Run]:
    """By name of the learner's variable."""
    return {
        name: value
        for id in sheet
        for name, value in sheet.values(id).items()
        if isinstance(value, ck.Run)
    }


@pytest.mark.parametrize("lesson", lessons())
def test_a_solution_is_a_whole_submission_in_the_profile_that_its_text_speaks_of(
    lesson: str,
) -> None:
    assert set(carried(lesson)) == {one.id for one in exercises(lesson)}
    (setup,) = [cell for cell in solution(lesson).cells if "ck.setup(" in cell.source]
    assert re.search(rf"profile: +{PROFILE}:", setup.outputs[0]["data"]["text/plain"])


@pytest.mark.parametrize("lesson", lessons())
def test_what_it_shows_follows_from_its_records(lesson: str) -> None:
    assert disagreements(solution(lesson)) == []


@pytest.mark.parametrize("lesson", lessons())
def test_its_records_are_of_todays_encoder_task_and_strategies(lesson: str) -> None:
    for name, run in runs_in(carried(lesson)).items():
        task = the_task(name, dict(run.task))
        if not len(run.history) or name == "mine":  # a baseline; a learner's own class
            continue
        strategy, model, epochs = rebuilt(run, "cpu")
        plan = strategy.plan(model, epochs)
        today = identity_of(strategy, plan, model, task, epochs, run.seed)
        assert today["strategy"] == dict(run.strategy)
        assert today["task"] == run.task["fingerprint"]


@pytest.mark.parametrize(
    ("cell", "number", "said"),
    [
        ("check-02-3", r"Hard AUROC (0\.\d{3})", "exercise 02.3"),
        ("answer-02-3", r"<td>(0\.\d{3}) \[", "what is in answer-02-3"),
        ("answer-02-4", r"<td>(0\.\d{3})<br>", "the table"),
        ("answer-02-4", r"hard AUROC by (0\.\d{3})", "the table"),
        ("answer-02-2", r"negatives goes from 0\.\d\d to (0\.\d\d)", "a curve"),
        ("answer-02-2", r"<td>(0\.\d{3})</td><td>\d\.\de", "epochs of fine_tuned"),
        ("02-code-5", r"precision (0\.\d\d)", "what is in 02-code-5"),
    ],
)
def test_a_number_that_was_changed_is_found(cell: str, number: str, said: str) -> None:
    changed = copy.deepcopy(solution("02"))
    (one,) = [c for c in changed.cells if c.id == cell]
    data = next(o.data for o in one.outputs if re.search(number, o.get("data", {})["text/html"]))
    start, end = re.search(number, data["text/html"]).span(1)
    other = f"{float(data['text/html'][start:end]) + 0.02:.{end - start - 2}f}"
    data["text/html"] = data["text/html"][:start] + other + data["text/html"][end:]
    assert [one for one in disagreements(changed) if one.startswith(said)]
