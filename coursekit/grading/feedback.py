"""A page for the student: points, messages, and their own notebook as it was run.

Everything that came from a student is escaped, or passed through a sanitizer (nh3, which wraps the
Rust library ammonia); the page runs no script and loads nothing. It is made from messages of the
public checks alone.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from coursekit.grading.execute import CellRun
from coursekit.grading.report import Graded
from coursekit.storage import atomic_file

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

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Feedback on {{ graded.assignment }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 56rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top;
         border-bottom: 1px solid #ccc; }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; white-space: pre-wrap; }
.output { border-left: 3px solid #ccc; padding-left: .8rem; margin-bottom: 1.2rem; }
.output pre { background: none; padding: 0; margin: .3rem 0; }
.warning { border: 2px solid #8a1c1c; padding: .6rem; }
img { max-width: 100%; }
</style>
</head>
<body>
<main>
<h1>Feedback on {{ graded.assignment }}</h1>
{% if graded.warning %}<p class="warning"><strong>{{ graded.warning }}</strong></p>{% endif %}
<p><strong>{{ "%g" | format(graded.score) }} of {{ "%g" | format(graded.max_score) }}
points</strong> so far. {{ standing }}</p>
<table>
<caption>Exercises</caption>
<thead><tr><th scope="col">Exercise</th><th scope="col">State</th><th scope="col">Points</th>
<th scope="col">What to look at</th></tr></thead>
<tbody>
{% for one in graded.judged %}<tr><th scope="row">{{ one.exercise }}</th>
<td>{{ signs[one.state] }} {{ state(one) }}</td>
<td>{{ "%g" | format(one.points) }} of {{ "%g" | format(one.max_points) }}</td>
<td>{{ one.message }}</td></tr>
{% endfor %}</tbody>
</table>
{% if graded.findings %}<h2>How your notebook was read</h2>
<ul>{% for finding in graded.findings %}<li>{{ finding }}</li>{% endfor %}</ul>{% endif %}
{% if cells %}<h2>Your notebook, as it was run</h2>
{% for cell in cells %}<section aria-label="Cell {{ loop.index }}">
<pre>{{ cell.source }}</pre>
{% if cell.run %}<div class="output">
{% if cell.run.output.text %}<pre>{{ cell.run.output.text }}</pre>{% endif %}
{% if cell.run.output.cut %}<p>(more was printed; the rest is left out)</p>{% endif %}
{% for display in cell.displays %}{{ display | safe }}{% endfor %}
{% if cell.run.output.error %}<pre>{{ cell.run.output.error[2] }}</pre>{% endif %}
{% if cell.run.why %}<p>{{ cell.run.why }}</p>{% endif %}
</div>{% endif %}
</section>
{% endfor %}{% endif %}
</main>
</body>
</html>
"""


def write_feedback(graded: Graded, folder: str | Path) -> Path:
    """Write ``feedback.html`` into a folder, whole or not at all; returns its path."""
    target = Path(folder) / "feedback.html"
    with atomic_file(target) as temporary:
        temporary.write_text(feedback_page(graded), encoding="utf-8", errors="replace")
    return target


def feedback_page(graded: Graded) -> str:
    """The page for the student."""
    from jinja2 import Environment

    page = Environment(autoescape=True).from_string(_PAGE)
    return page.render(
        graded=graded,
        standing=_standing(graded),
        signs=_SIGNS,
        state=lambda one: (
            "a person gives the points"
            if one.by_person and one.state == "cannot be checked"
            else one.state
        ),
        cells=_cells(graded),
    )


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


def _standing(graded: Graded) -> str:
    if graded.state == "graded":
        return "All of it is graded."
    if graded.state == "partial":
        return "Your written answers are still to be read by a person."
    return "A person will look at this submission before the points are final."


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
            piece = _display(display)
            room -= len(piece)
            displays.append(piece if room > 0 else "<p>(left out: the page is full)</p>")
        shown.append({"source": cell.source, "run": run, "displays": displays})
    return shown


def _display(data: dict[str, str]) -> str:
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
