"""One HTML page that shows a comparison: opened from disk, without a network, by any reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coursekit.storage import atomic_file

if TYPE_CHECKING:
    from coursekit.data.task import BindingTask
    from coursekit.evaluation.comparison import Comparison
    from coursekit.evaluation.picture import Picture

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ccc; }
th:first-child, td:first-child { text-align: left; }
caption { caption-side: bottom; text-align: left; color: #444; padding-top: .5rem; }
small { white-space: nowrap; }
.wide { overflow-x: auto; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #444; }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{% for sentence in lead %}<p>{{ sentence }}</p>
{% endfor %}
<h2>The comparison</h2>
<div class="wide" tabindex="0" role="region" aria-label="Comparison table">
{{ table | safe }}
</div>
{% for section in sections %}<h2>{{ section.title }}</h2>
{% if section.text %}<p>{{ section.text }}</p>{% endif %}
{% for picture in section.pictures %}{{ picture | safe }}
{% endfor %}{% endfor %}
<h2>The task</h2>
<div class="wide" tabindex="0" role="region" aria-label="Parts of the task">
{{ task | safe }}
</div>
<h2>How the runs were made</h2>
<dl>
{% for name, facts in made %}<dt><strong>{{ name }}</strong></dt><dd>{{ facts }}</dd>
{% endfor %}</dl>
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph to read the pictures by, and the pictures."""

    title: str
    text: str
    pictures: Sequence[Picture]


def write_report(
    path: str | Path,
    title: str,
    comparison: Comparison,
    task: BindingTask,
    sections: Sequence[Section],
    lead: Sequence[str] = (),
) -> Path:
    """Write the page: table with its differences, pictures, task, and how each run was made.

    Args:
        path: of the HTML file; its folder is made.
        title: heading of the page.
        comparison: the runs, scored.
        task: what they were trained on.
        sections: pictures with their words.
        lead: sentences under the heading.
    """
    from jinja2 import Environment

    page = Environment(autoescape=True).from_string(_PAGE)
    text = page.render(
        title=title,
        lead=lead,
        table=comparison.to_html(),
        sections=[
            {"title": s.title, "text": s.text, "pictures": [p._repr_html_() for p in s.pictures]}
            for s in sections
        ],
        task=task._repr_html_(),
        made=[(name, _facts(run.environment, run.notes, run.cost)) for name, run in
              comparison.runs.items()],
    )  # fmt: skip
    with atomic_file(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def _facts(
    environment: Mapping[str, object], notes: Sequence[str], cost: Mapping[str, object]
) -> str:
    versions = environment.get("versions")
    listed = (
        ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else ""
    )
    words = [f"{environment.get('device')}, Python {environment.get('python')}, {listed}."]
    if cost.get("epochs") is not None:
        words.append(f"{cost['epochs']} epochs, {cost.get('steps')} steps.")
    return " ".join([*words, *(f"{note[:1].upper()}{note[1:]}." for note in notes)])
