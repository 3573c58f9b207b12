"""A class on one page: opened from disk, without a network or a script, by any reader.

All text is escaped, and freed of characters that steer a terminal or turn a line around: names of
runs and reasons may quote a student. Every figure has a sentence that says what it shows, and a
table with its numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from coursekit.evaluation.metrics import METRICS
from coursekit.evaluation.picture import PALETTE, Picture, listed, new_figure
from coursekit.grading.classwork import Classwork, RunScores
from coursekit.grading.messages import safe_text
from coursekit.storage import atomic_file

STATES = ("graded", "partial", "needs a person")
LAYER_STATES = ("holds", "fails", "not verified")
_AUROC = {"auroc_easy": "easy AUROC", "auroc_hard": "hard AUROC"}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Lesson {{ lesson }}: the class</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 66rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; overflow-wrap: normal; margin: .5rem 0 1.5rem; }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top;
         border-bottom: 1px solid #ccc; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #444; padding-bottom: .3rem; }
.wide { overflow-x: auto; }
.wide:focus, summary:focus, a:focus { outline: 3px solid #0072B2; outline-offset: 2px; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #444; }
summary { cursor: pointer; padding: .3rem 0; }
.warning { border: 2px solid #8a1c1c; padding: .6rem; }
ul.why { margin: 0; padding-left: 1.2rem; }
@media print { body { margin: 0; max-width: none; } figure, tr { break-inside: avoid; } }
</style>
</head>
<body>
<nav aria-label="On this page"><ul>
{% for place, name in parts %}<li><a href="#{{ place }}">{{ name }}</a></li>
{% endfor %}</ul></nav>
<main>
<h1>Lesson {{ lesson }}: the class</h1>
{% for warning in warnings %}<p class="warning"><strong>{{ warning }}</strong></p>{% endfor %}
<p>{{ lead }}</p>
{% for section in sections %}<section aria-labelledby="{{ section.place }}">
<h2 id="{{ section.place }}">{{ section.name }}</h2>
{% for sentence in section.text %}<p>{{ sentence }}</p>
{% endfor %}{% for picture in section.pictures %}{{ picture | safe }}
{% endfor %}{% for table in section.tables %}
{% if table.folded %}<details><summary>{{ table.caption }}</summary>{% endif %}
<div class="wide" tabindex="0" role="region" aria-label="{{ table.caption }}">
<table><caption>{{ table.caption }}</caption>
<thead><tr>{% for name in table.head %}<th scope="col"
{%- if loop.index0 in table.numbers %} class="number"{% endif %}>{{ name }}</th>
{%- endfor %}</tr></thead>
<tbody>{% for row in table.rows %}<tr>{% for cell in row %}
{% if loop.first %}<th scope="row">{{ cell }}</th>
{% elif cell is string or cell is number %}<td
{%- if loop.index0 in table.numbers %} class="number"{% endif %}>{{ cell }}</td>
{% else %}<td><ul class="why">{% for line in cell %}<li>{{ line }}</li>{% endfor %}</ul></td>
{% endif %}{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% if table.folded %}</details>{% endif %}
{% endfor %}</section>
{% endfor %}</main>
</body>
</html>
"""


def write_class_page(work: Classwork, path: str | Path) -> Path:
    """Write the page, whole or not at all; returns its path."""
    target = Path(path)
    with atomic_file(target) as temporary:
        temporary.write_text(class_page(work), encoding="utf-8", errors="replace")
    return target


def class_page(work: Classwork) -> str:
    """The page of a class as HTML.

    Args:
        work: the class, from ``classwork.review``.
    """
    from jinja2 import Environment

    sections = [
        _people(work),
        _scores(work),
        *([_aurocs(work)] if work.runs else []),
        _copies(work),
        _layers(work),
        _audit(work),
        _times(work),
    ]
    counts = Counter(report["state"] for report in work.reports.values())
    standing = ", ".join(f"{counts[state]} {state}" for state in STATES)
    lead = f"{len(work.reports)} submissions: {standing}."
    return (
        Environment(autoescape=True)
        .from_string(_PAGE)
        .render(
            lesson=_clean(work.lesson),
            warnings=sorted(
                {_clean(r["warning"]) for r in work.reports.values() if r.get("warning")}
            ),
            lead=lead,
            parts=[(section["place"], section["name"]) for section in sections],
            sections=sections,
        )
    )


def _section(
    name: str, text: Sequence[str], tables: Sequence[Any] = (), pictures: Sequence[Picture] = ()
) -> dict[str, Any]:
    place = name.lower().replace(" ", "-")
    shown = [picture._repr_html_() for picture in pictures]
    return {"place": place, "name": name, "text": text, "tables": tables, "pictures": shown}


def _table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[Any]],
    numbers: Sequence[int] = (),
    folded: bool = False,
) -> dict[str, Any]:
    clean = [[_clean(c) if isinstance(c, str) else
              c if isinstance(c, int | float) else [_clean(x) for x in c] for c in row]
             for row in rows]  # fmt: skip
    return {"caption": caption, "head": head, "rows": clean, "numbers": numbers, "folded": folded}


def _clean(text: Any) -> str:
    return safe_text(str(text), 2_000)


def _people(work: Classwork) -> dict[str, Any]:
    asked = {s: r for s, r in work.reports.items() if r["state"] == "needs a person"}
    if not asked:
        return _section("Needs a person", ["Nobody does."])
    rows = [[student, list(report["reasons"])] for student, report in asked.items()]
    head = ["student", "because"]
    return _section(
        "Needs a person",
        ["A layer of verification that fails is a question to put, and takes no points by itself."],
        [_table(f"{len(asked)} submissions, and why", head, rows)],
    )


def _scores(work: Classwork) -> dict[str, Any]:
    reports = work.reports
    if not reports:
        return _section("Scores", ["Nothing has been handed in."])
    most = max(float(report["max_score"]) for report in reports.values())
    values = np.array([float(report["score"]) for report in reports.values()])
    edges = np.linspace(0, most or 1.0, 11)
    counts, _ = np.histogram(values, edges)
    figure, (axes,) = new_figure(7, 3)
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=PALETTE[0],
             edgecolor="white")  # fmt: skip
    axes.set_xlabel("points")
    axes.set_ylabel("submissions")
    _whole(axes)
    spans = [f"{a:g} to {b:g}" for a, b in pairwise(edges)]
    busiest = int(counts.argmax())
    alt = (
        f"Histogram of the points of {len(values)} submissions, of {most:g}: median "
        f"{np.median(values):g}, lowest {values.min():g}, highest {values.max():g}; most of them, "
        f"{counts[busiest]}, have {spans[busiest]}."
    )
    rows = [
        [student, report["state"], f"{report['score']:g}", f"{report['max_score']:g}"]
        for student, report in reports.items()
    ]
    return _section(
        "Scores",
        ["What a person still gives, for reflections, is not in yet."],
        [
            _table("Submissions by points", ["points", "submissions"],
                   [[s, int(c)] for s, c in zip(spans, counts, strict=True)], [1]),
            _table("Points of each student", ["student", "state", "points", "of"], rows, [2, 3],
                   folded=len(rows) > 30),
        ],
        [Picture(figure, alt, "Points")],
    )  # fmt: skip


def _aurocs(work: Classwork) -> dict[str, Any]:
    figure, both = new_figure(9, 3.2, columns=2)
    edges = np.linspace(0.0, 1.0, 21)
    sentences, bins = [], {}
    low = 1.0
    for axes, (metric, name) in zip(both, _AUROC.items(), strict=True):
        values = _values(work.runs, metric)
        counts, _ = np.histogram(values, edges)
        bins[name] = counts
        axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=PALETTE[0],
                 edgecolor="white")  # fmt: skip
        marks = [(_label(r), v) for r in work.references if (v := r.value(metric)) is not None]
        for number, (_, value) in enumerate(marks):
            axes.axvline(value, color=PALETTE[1], linestyle=("-", "--", ":", "-.")[number % 4])
        axes.set_xlabel(f"{name} on test")
        axes.set_ylabel("runs")
        _whole(axes)
        low = min([low, *values, *(v for _, v in marks)])
        if len(values):
            sentences.append(
                f"{name}: median {np.median(values):.3f}, from {values.min():.3f} to "
                f"{values.max():.3f}" + "".join(f"; {n} has {v:.3f}" for n, v in marks)
            )
    for axes in both:
        axes.set_xlim(max(0.0, math.floor(low * 20) / 20 - 0.05), 1.0)
    alt = f"Two histograms of {len(work.runs)} runs, the reference as vertical lines. " + (
        ". ".join(sentences) + "." if sentences else "No run could be scored."
    )
    rows = [
        [run.student or "reference", run.name, *_four(run)]
        for run in (*work.references, *work.runs)
    ]
    spans = [f"{a:.2f} to {b:.2f}" for a, b in pairwise(edges)]
    filled = [[s, *(int(bins[n][i]) for n in _AUROC.values())] for i, s in enumerate(spans)
              if any(bins[n][i] for n in _AUROC.values())]  # fmt: skip
    named = listed([_label(r) for r in work.references]) if work.references else "none"
    return _section(
        "AUROC against the reference",
        [
            "Recomputed from the predictions under your labels. A run far above the reference "
            "deserves a look as much as one far below.",
            f"The reference: {_clean(named)}.",
        ],
        [
            _table("Runs by AUROC", ["AUROC", *_AUROC.values()], filled, [1, 2]),
            _table("Scores of each run", ["student", "run", *METRICS.values()], rows,
                   range(2, 6), folded=len(rows) > 12),
        ],
        [Picture(figure, alt, "AUROC of all runs, and the reference")],
    )  # fmt: skip


def _copies(work: Classwork) -> dict[str, Any]:
    odd = [one for one in work.copies if not one.expected]
    expected = len(work.copies) - len(odd)
    text = [
        f"Runs that are alike and should not be: {len(odd)} pair{'s' * (len(odd) > 1)}."
        if odd
        else "No two runs are alike that should not be."
    ]
    if expected:
        text.append(
            f"{expected} pairs are alike because both did the same with the same seed, or trained "
            "a head alone; they are not counted."
        )
    rows = [[" and ".join(o.students), " and ".join(o.runs), o.kind, o.reason] for o in odd]
    tables = [_table("Runs that are alike", ["students", "runs", "kind", "what was found"], rows)]
    return _section("Copies", text, tables if odd else [])


def _layers(work: Classwork) -> dict[str, Any]:
    counts: dict[str, Counter[str]] = {}
    failed = []
    for student, report in work.reports.items():
        for layer in report["layers"]:
            counts.setdefault(str(layer["name"]), Counter())[str(layer["state"])] += 1
            if layer["state"] == "fails":
                failed.append([student, layer["name"], layer["subject"], layer["reason"]])
    if not counts:
        return _section("Verification", ["No run was handed in that could be verified."])
    rows = [[name, *(found[s] for s in LAYER_STATES)] for name, found in counts.items()]
    tables = [_table("Layers of all runs", ["layer", *LAYER_STATES], rows, [1, 2, 3])]
    if failed:
        head = ["student", "layer", "of", "what was found"]
        tables.append(_table("Layers that failed", head, failed))
    return _section("Verification", ["Each layer looks at one claim."], tables)


def _audit(work: Classwork) -> dict[str, Any]:
    found = work.audit.found.values()
    if not found:
        return _section("Audit", ["No run has been trained again."])
    rows = [[o.student, o.run, o.state, o.reason] for o in found]
    share = f"{work.audit.fraction:.0%} of the students were drawn, with seed {work.audit.seed}."
    head = ["student", "run", "result", "what was found"]
    return _section("Audit", [share], [_table("Runs trained again", head, rows)])


def _times(work: Classwork) -> dict[str, Any]:
    seconds = {s: float(r["seconds"]) for s, r in work.reports.items()}
    if not seconds:
        return _section("Time", ["Nothing was graded."])
    values = np.array(list(seconds.values()))
    longest = sorted(seconds.items(), key=lambda pair: -pair[1])[:5]
    text = (
        f"Grading took {values.sum():.0f} s in all, {np.median(values):.1f} s for the submission "
        f"in the middle and {values.max():.1f} s for the slowest."
    )
    rows = [[student, f"{value:.1f}"] for student, value in longest]
    return _section("Time", [text], [_table("The slowest", ["student", "seconds"], rows, [1])])


def _values(runs: Sequence[RunScores], metric: str) -> np.ndarray:
    found = [run.value(metric) for run in runs]
    return np.array([v for v in found if v is not None and math.isfinite(v)])


def _four(run: RunScores) -> list[str]:
    values = [run.value(metric) for metric in METRICS]
    return ["not scored" if v is None or math.isnan(v) else f"{v:.3f}" for v in values]


def _label(run: RunScores) -> str:
    return f"{run.name} (reference)" if not run.student else run.name


def _whole(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
