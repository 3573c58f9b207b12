"""One HTML page that shows a comparison: opened from disk, without a network, by any reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coursekit.storage import atomic_file

if TYPE_CHECKING:
    from coursekit.data.task import BindingTask
    from coursekit.evaluation.comparison import Comparison
    from coursekit.evaluation.picture import Picture
    from coursekit.runs.run import Run

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; overflow-wrap: normal; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ccc; }
th:first-child, td:first-child { text-align: left; }
thead th { vertical-align: bottom; }
caption { caption-side: bottom; text-align: left; color: #444; padding-top: .5rem; }
small { white-space: nowrap; }
.wide { overflow-x: auto; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #444; }
dt { font-weight: bold; margin-top: .7rem; }
dd { margin: 0 0 0 1.2rem; }
@media (max-width: 40rem) {  /* a phone: pictures scroll sideways and stay readable */
  figure { overflow-x: auto; }
  figure img { max-width: none !important; width: 42rem; }
  figcaption { position: sticky; left: 0; }
  caption { width: calc(100vw - 2rem); }
}
@media print { body { margin: 0; max-width: none; } figure, tr { break-inside: avoid; } }
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
<h3>Its settings</h3>
<ul>
<li>fingerprint {{ fingerprint }}</li>
{% for name, value in settings %}<li>{{ name }}: {{ value }}</li>
{% endfor %}</ul>
<h2>How the runs were made</h2>
<dl>
{% for name, facts in made %}<dt>{{ name }}</dt>{% for fact in facts %}<dd>{{ fact }}</dd>
{% endfor %}{% endfor %}</dl>
<h2>Where they were made</h2>
<dl>
{% for place, names in places %}<dt>{{ names }}</dt><dd>{{ place }}</dd>
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
        # With a hyphen that does not break: half a score's name would head a column.
        table=comparison.to_html().replace("AU-PRC</th>", "AU\N{NON-BREAKING HYPHEN}PRC</th>"),
        sections=[
            {"title": s.title, "text": s.text, "pictures": [p._repr_html_() for p in s.pictures]}
            for s in sections
        ],
        task=task._repr_html_(),
        fingerprint=task.fingerprint,
        settings=[(_words(k), _value(v)) for k, v in task.settings.items() if v is not None],
        made=[(name, _facts(run)) for name, run in comparison.runs.items()],
        places=_places(comparison.runs),
    )
    with atomic_file(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def _facts(run: Run) -> list[str]:
    """Sentences on one run: strategy and settings, how long, and its notes."""
    settings = dict(run.strategy)
    name = settings.pop("strategy", run.name)
    settings.pop("phases", None)  # the freeze map shows them
    encoder = settings.pop("encoder", None)
    if isinstance(encoder, Mapping):
        settings |= {"encoder": encoder.get("name"), "pooling": encoder.get("pooling")}
    words = [f"{name}: {_listed({**settings, 'seed': run.seed})}."]
    if run.cost.get("steps") is not None:
        words.append(f"{run.cost.get('epochs')} epochs, {run.cost['steps']} steps.")
    return [*words, *(f"{note[:1].upper()}{note[1:]}." for note in run.notes)]


def _places(runs: Mapping[str, Run]) -> list[tuple[str, str]]:
    """Each machine with its versions once, and the names of the runs that were made there."""
    places: dict[str, list[str]] = {}
    for name, run in runs.items():
        facts = {k: v for k, v in run.environment.items() if k not in ("versions", "precision")}
        versions = run.environment.get("versions")
        if isinstance(versions, Mapping):
            facts |= {k: v or "not installed" for k, v in versions.items()}
        places.setdefault(f"{_listed(facts)}.", []).append(name)
    if len(places) == 1:
        return [(place, "All runs") for place in places]
    return [(place, "; ".join(names)) for place, names in places.items()]


def _listed(facts: Mapping[str, Any]) -> str:
    """Names with their values, as a sentence lists them; what is not set is left out."""
    return ", ".join(
        f"{_words(name)} ({_value(value)})" if isinstance(value, Mapping)
        else f"{_words(name)} {_value(value)}"
        for name, value in facts.items()
        if value is not None
    )  # fmt: skip


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _listed(value)
    if isinstance(value, list | tuple):
        return " / ".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value).rstrip(".")
