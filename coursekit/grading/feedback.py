"""A page for the student: points, messages, and their own notebook as it was run.

Everything that came from a student is escaped, or passed through a sanitizer (nh3, which wraps the
Rust library ammonia); the page runs no script and loads nothing. It is made from messages of the
public checks alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coursekit.grading.execute import CellRun
from coursekit.grading.report import Graded
from coursekit.storage import atomic_file, write_json

CONTENT = "feedback.json"
MAX_PICTURE = 1_000_000
MAX_PAGE_HTML = 200_000
_SIGNS = {"right": "✓", "wrong": "✗", "not attempted": "○", "cannot be checked": "?"}
_TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "details",
    "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i",
    "img", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "summary", "sup", "table",
    "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul",
}  # fmt: skip
_ATTRIBUTES = {
    "img": {"src", "alt", "width", "height"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "details": {"open"},
}
_PICTURES = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/svg+xml;base64,")
_STANDING = {
    "graded": "All of it is graded.",
    "partial": "Your written answers are still to be read by a person.",
    "needs a person": "A person will look at this submission before the points are final.",
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Feedback on {{ page.assignment }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 56rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top;
         border-bottom: 1px solid #ccc; }
th, td:nth-child(3) { white-space: nowrap; }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; white-space: pre-wrap; }
.output { border-left: 3px solid #ccc; padding-left: .8rem; margin-bottom: 1.2rem; }
.output pre { background: none; padding: 0; margin: .3rem 0; }
.warning { border: 2px solid #8a1c1c; padding: .6rem; }
img { max-width: 100%; }
</style>
</head>
<body>
<main>
<h1>Feedback on {{ page.assignment }}</h1>
{% if page.warning %}<p class="warning"><strong>{{ page.warning }}</strong></p>{% endif %}
<p><strong>{{ "%g" | format(score) }} of {{ "%g" | format(page.max_score) }}
points</strong>{{ " so far" if waiting }}. {{ standing }}</p>
{% if penalty %}<p>It came after its due date, which cost {{ "%g" | format(penalty) }} points; they
are taken off above.</p>{% endif %}
<table>
<caption>Exercises</caption>
<thead><tr><th scope="col">Exercise</th><th scope="col">State</th><th scope="col">Points</th>
<th scope="col">What to look at</th></tr></thead>
<tbody>
{% for row in rows %}<tr><th scope="row">{{ row.exercise }}</th>
<td>{{ row.state }}</td>
<td>{{ "%g" | format(row.points) }} of {{ "%g" | format(row.max_points) }}</td>
<td>{{ row.message }}{% if row.comment %}
<p><strong>Your grader writes:</strong> {{ row.comment }}</p>{% endif %}</td></tr>
{% endfor %}</tbody>
</table>
{% if page.findings %}<h2>How your notebook was read</h2>
<ul>{% for finding in page.findings %}<li>{{ finding }}</li>{% endfor %}</ul>{% endif %}
{% if page.cells %}<h2>Your notebook, as it was run</h2>
{% for cell in page.cells %}<section aria-label="Cell {{ loop.index }}">
<pre>{{ cell.source }}</pre>
{% if cell.ran %}<div class="output">
{% if cell.text %}<pre>{{ cell.text }}</pre>{% endif %}
{% if cell.cut %}<p>(more was printed; the rest is left out)</p>{% endif %}
{% for display in cell.displays %}{{ display | safe }}{% endfor %}
{% if cell.error %}<pre>{{ cell.error }}</pre>{% endif %}
{% if cell.why %}<p>{{ cell.why }}</p>{% endif %}
</div>{% endif %}
</section>
{% endfor %}{% endif %}
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Settled:
    """What the gradebook says of a submission by now.

    Args:
        score: all points, those that a person gave included, before ``penalty``.
        penalty: points taken for lateness.
        waiting: whether a person still has something to decide.
        points: by exercise, where a person gave them.
        comments: by exercise, what a person wrote.
    """

    score: float
    penalty: float = 0.0
    waiting: bool = False
    points: Mapping[str, float] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)


def write_feedback(graded: Graded, folder: str | Path) -> Path:
    """Write ``feedback.html`` into a folder, and ``feedback.json`` to make it again from.

    Both are there whole or not at all.

    Returns:
        The path of the page.
    """
    content = feedback_content(graded)
    write_json(Path(folder) / CONTENT, content)
    return write_page(content, Path(folder) / "feedback.html")


def write_page(content: Mapping[str, Any], target: Path, settled: Settled | None = None) -> Path:
    """Write the page of :func:`feedback_page` into a file; returns its path."""
    with atomic_file(target) as temporary:
        page = feedback_page(content, settled)
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return target


def feedback_content(graded: Graded) -> dict[str, Any]:
    """What the student may see, as plain data, with outputs already sanitized."""
    return {
        "assignment": graded.assignment,
        "state": graded.state,
        "score": graded.score,
        "max_score": graded.max_score,
        "warning": graded.warning,
        "exercises": [
            {
                "exercise": one.exercise,
                "state": one.state,
                "points": one.points,
                "max_points": one.max_points,
                "message": one.message,
                "by_person": one.by_person,
            }
            for one in graded.judged
        ],
        "findings": list(graded.findings),
        "cells": _cells(graded),
    }


def feedback_page(content: Mapping[str, Any], settled: Settled | None = None) -> str:
    """The page for the student.

    Args:
        content: of :func:`feedback_content`.
        settled: points and comments of a person; None right after grading.
    """
    from jinja2 import Environment

    state = content["state"]
    if settled is not None and not settled.waiting:
        state = "graded"
    page = Environment(autoescape=True).from_string(_PAGE)
    return page.render(
        page=content,
        score=content["score"] if settled is None else max(0.0, settled.score - settled.penalty),
        penalty=settled.penalty if settled is not None else 0,
        waiting=state != "graded",
        standing=_STANDING[state],
        rows=[_row(one, settled) for one in content["exercises"]],
    )


def _row(one: Mapping[str, Any], settled: Settled | None) -> dict[str, Any]:
    given = None if settled is None else settled.points.get(one["exercise"])
    state = f"{_SIGNS[one['state']]} {one['state']}"
    if given is not None:
        state = "graded by a person"
    elif one["by_person"] and one["state"] == "cannot be checked":
        state = f"{_SIGNS[one['state']]} a person gives the points"
    return {
        "exercise": one["exercise"],
        "state": state,
        "points": one["points"] if given is None else given,
        "max_points": one["max_points"],
        "message": "" if given is not None and one["by_person"] else one["message"],
        "comment": "" if settled is None else settled.comments.get(one["exercise"], ""),
    }


def sanitized(html: str) -> str:
    """HTML of a student's output without anything that acts, loads or covers the page."""
    import nh3

    if len(html) > MAX_PAGE_HTML:
        return "<p>(an output too large to show)</p>"
    return nh3.clean(
        html,
        tags=_TAGS,
        clean_content_tags={"script", "style", "template", "iframe", "object", "svg", "math"},
        attributes=_ATTRIBUTES,
        attribute_filter=_keep,
        url_schemes={"data"},
        link_rel=None,
    )


def _keep(tag: str, attribute: str, value: str) -> str | None:
    if (tag, attribute) == ("img", "src"):
        return value if value.startswith(_PICTURES) and len(value) <= MAX_PICTURE else None
    return value


def _cells(graded: Graded) -> list[dict[str, Any]]:
    if graded.rebuilt is None:
        return []
    runs = {} if graded.execution is None else graded.execution.cells
    room = 5_000_000
    shown: list[dict[str, Any]] = []
    for cell in graded.rebuilt.cells:
        run: CellRun | None = runs.get(cell.number)
        if cell.kind != "code" and not cell.touched:
            continue  # the text that everybody was given
        displays = []
        for display in [] if run is None else run.output.displays:
            piece = shown_display(display)
            room -= len(piece)
            displays.append(piece if room > 0 else "<p>(left out: the page is full)</p>")
        output = None if run is None else run.output
        shown.append(
            {
                "source": cell.source,
                "ran": run is not None,
                "text": output.text if output else "",
                "cut": bool(output and output.cut),
                "displays": displays,
                "error": output.error[2] if output and output.error else "",
                "why": run.why if run else "",
            }
        )
    return shown


def shown_display(data: Mapping[str, str]) -> str:
    """One display of a student's cell as HTML that does nothing."""
    from markupsafe import escape

    if "image/png" in data:
        try:
            raw = base64.b64decode("".join(data["image/png"].split()), validate=True)
        except (binascii.Error, ValueError):
            return ""
        encoded = base64.b64encode(raw).decode("ascii")
        words = escape(data.get("text/plain", "a figure")[:200])
        return f'<p><img alt="{words}" src="data:image/png;base64,{encoded}"></p>'
    if "text/html" in data:
        return f"<div>{sanitized(data['text/html'])}</div>"
    return str(escape(data.get("text/plain", ""))[:20_000]).join(("<pre>", "</pre>"))
