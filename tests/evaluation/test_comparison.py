"""The comparison table, read back from every form it is written in."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pytest

from coursekit.errors import ScoreError
from coursekit.evaluation import Comparison, compare
from coursekit.evaluation.metrics import METRICS
from coursekit.runs import Run

MakeRun = Callable[..., Run]
EVIL = "<script>a & b_1 100% $x$ {#} ^~\\"


@pytest.fixture(scope="module")
def table(make_run: MakeRun) -> Comparison:
    forest = make_run(hard=1.0, seed=3, cost={"seconds": 250.0, "trainable_parameters": None})
    return compare(
        {
            "frozen": make_run(hard=0.2, seed=1),
            "fine-tuned": make_run(hard=1.6, seed=2),
            EVIL: forest,
        },
        n_boot=200,
    )


def test_the_table_holds_the_runs_scores_and_cost(table: Comparison, make_run: MakeRun) -> None:
    numbers = table.table
    assert numbers.columns.tolist() == [
        "easy AUROC",
        "easy AU-PRC",
        "hard AUROC",
        "hard AU-PRC",
        "trainable parameters",
        "seconds",
        "molecules/s",
    ]
    assert numbers.index.tolist() == ["frozen", "fine-tuned", EVIL]
    alone = make_run(hard=1.6, seed=2).scores(n_boot=0)
    for metric, title in METRICS.items():
        assert numbers.loc["fine-tuned", title] == getattr(alone, metric).value
    assert numbers.loc["frozen", "trainable parameters"] == 129
    assert np.isnan(numbers.loc[EVIL, "trainable parameters"])


def test_the_caption_names_baseline_and_limits(table: Comparison) -> None:
    assert "60 binders against 60 easy or 60 hard negatives" in table.caption
    assert "AUROC 0.500 and AU-PRC 0.500 (easy), 0.500 (hard)" in table.caption
    assert "200 resamples" in table.caption
    assert "training seed" in table.caption


def test_csv_reads_back_as_numbers(table: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [row["approach"] for row in rows] == ["frozen", "fine-tuned", EVIL]
    for row, name in zip(rows, table.runs, strict=True):
        for metric, title in METRICS.items():
            score = getattr(table.scores[name], metric)
            assert float(row[title]) == pytest.approx(score.value, abs=1e-9)
            assert float(row[f"{title} low"]) == pytest.approx(score.low, abs=1e-9)
            assert float(row[f"{title} high"]) == pytest.approx(score.high, abs=1e-9)
    assert float(rows[0]["trainable parameters"]) == 129
    assert rows[2]["trainable parameters"] == rows[2]["molecules/s"] == ""


def test_csv_defuses_names_that_a_spreadsheet_would_run(make_run: MakeRun) -> None:
    text = compare({'=HYPERLINK("http://x")': make_run()}, n_boot=5).to_csv()
    assert next(csv.DictReader(io.StringIO(text)))["approach"] == '\'=HYPERLINK("http://x")'


class _Table(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.scopes: list[str | None] = []
        self.caption, self.items, self.tags = "", [""], set[str]()
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "th":
            self.scopes.append(dict(attrs).get("scope"))
        if tag in ("td", "th", "caption", "li"):
            self._inside = tag
        if tag == "li":
            self.items.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("td", "th"):
            self.rows[-1][-1] += data
        elif self._inside == "caption":
            self.caption += data
        elif self._inside == "li":
            self.items[-1] += data


def test_html_reads_back_with_scopes_caption_and_the_names_as_text(table: Comparison) -> None:
    parser = _Table()
    parser.feed(table._repr_html_())
    assert "script" not in parser.tags
    assert parser.caption == table.caption
    assert parser.rows[0] == ["approach", *table.table.columns]
    assert [row[0] for row in parser.rows[1:]] == ["frozen", "fine-tuned", EVIL]
    assert parser.scopes == ["col"] * 8 + ["row"] * 3
    score = table.scores["fine-tuned"].auroc_hard
    assert parser.rows[2][3] == f"{score.value:.3f}[{score.low:.3f}, {score.high:.3f}]"
    assert parser.rows[1][5:] == ["129", "12.5", "1,840"]
    assert parser.rows[3][5:] == ["-", "250", "-"]
    assert parser.items[1] == table.verdict().splitlines()[0]
    assert "color" not in table.to_html(), "nothing is told by color"


def test_latex_escapes_names_and_has_a_row_for_each(table: Comparison) -> None:
    latex = table.to_latex()
    body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == 3
    for line in [*body, latex.split(r"\toprule")[1].strip().splitlines()[0]]:
        assert line.endswith(r"\\")
        assert len(re.findall(r"(?<!\\)&", line)) == 7, "eight cells"
    name = body[2].split(" & ")[0]
    assert r"\textless{}script\textgreater{}a \& b\_1 100\% \$x\$ \{\#\}" in body[2]
    assert not re.search(r"(?<!\\)[%_#$]", body[2])
    assert name.startswith(r"\textless")
    assert r"\textasciicircum{}\textasciitilde{}\textbackslash{}" in body[2]
    assert re.search(r"\\caption\{.*95\\% interval", latex)
    assert r"\begin{tabular}{lrrrrrrr}" in latex


def test_terminal_text_lines_up_and_holds_scores_and_intervals(table: Comparison) -> None:
    lines = str(table).splitlines()
    head, rule = lines[1], lines[2]
    assert re.split(r"\s{2,}", head.strip()) == [
        "approach",
        "AUROC",
        "AU-PRC",
        "AUROC",
        "AU-PRC",
        "parameters",
        "seconds",
        "/ s",
    ]
    assert all(len(line) <= len(rule) for line in lines)
    score = table.scores["frozen"].auroc_easy
    assert lines[3].split()[:2] == ["frozen", f"{score.value:.3f}"]
    assert lines[4].split()[0] == f"{score.low:.3f}-{score.high:.3f}"
    end = head.index("AUROC") + len("AUROC")
    assert lines[3][:end].endswith(f"{score.value:.3f}"), "right-aligned under its header"


def test_differences_are_against_the_reference(table: Comparison) -> None:
    against_first = table.differences()
    assert against_first["approach"].tolist() == ["fine-tuned"] * 4 + [EVIL] * 4
    assert against_first["score"].tolist() == list(METRICS.values()) * 2
    row = against_first.iloc[2]
    expected = table.table["hard AUROC"]
    assert row["difference"] == pytest.approx(expected["fine-tuned"] - expected["frozen"])
    assert row["low"] > 0
    assert row["clear"]
    turned = table.differences("fine-tuned")
    assert turned["approach"].unique().tolist() == ["frozen", EVIL]
    assert turned.iloc[2]["difference"] == -row["difference"]


def test_the_verdict_names_the_winner_with_its_interval(table: Comparison) -> None:
    first = table.verdict("frozen").splitlines()[0]
    found = table.difference("fine-tuned", "frozen")
    numbers = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
    assert first == f"fine-tuned beats frozen on hard AUROC by {numbers}."
    assert first in str(table).replace("\n", " ")
    assert "easy AU-PRC" in table.verdict(metric="au_prc_easy")


def test_without_resamples_there_are_differences_and_no_intervals(table: Comparison) -> None:
    bare = compare(table.runs, n_boot=0)
    assert bare.table.equals(table.table)
    found = bare.differences()
    assert found["difference"].equals(table.differences()["difference"])
    assert found[["low", "high"]].isna().all(axis=None)
    assert not found["clear"].any()
    assert "(no interval was asked for)" in bare.verdict()
    for text in (str(bare), bare.to_html(), bare.to_csv()):
        assert "interval from" not in text
        assert "nan" not in text


def test_unknown_names_are_explained(table: Comparison) -> None:
    with pytest.raises(ScoreError, match=r"no approach 'full'; there are \['frozen'"):
        table.difference("full", "frozen")
    with pytest.raises(ScoreError, match="no approach 'full'"):
        table.differences("full")


def test_a_single_run_has_a_table_and_no_verdict(make_run: MakeRun) -> None:
    alone = compare({"alone": make_run()}, n_boot=0)
    assert alone.verdict() == ""
    assert "<ul>" not in alone.to_html()
    assert alone.differences().empty
    assert "[" not in alone.to_html().split("</caption>")[1], "no resamples, no intervals"


def test_scores_that_do_not_exist_are_dashes_everywhere(make_run: MakeRun) -> None:
    two = compare({"a": make_run(n=(9, 9, 0)), "b": make_run(n=(9, 9, 0), seed=1)}, n_boot=20)
    assert "not be compared on hard AUROC: no hard negatives" in two.verdict()
    assert next(csv.DictReader(io.StringIO(two.to_csv())))["hard AUROC"] == ""
    assert str(two).splitlines()[3].split()[3:5] == ["-", "-"]


@pytest.mark.parametrize(
    ("runs", "message"),
    [({}, "give a dict of runs"), ([], "give a dict"), ({"a": 3}, "'a' is a int, not a run")],
)
def test_what_is_not_runs_is_refused(runs: dict[str, Run], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        compare(runs)


def test_runs_of_different_tasks_are_refused_by_their_row_names(make_run: MakeRun) -> None:
    other = make_run(task={"name": "other", "fingerprint": "1b" * 32, "settings": {}})
    with pytest.raises(ScoreError, match="'frozen' and 'full' cannot be compared"):
        compare({"frozen": make_run(), "full": other})
