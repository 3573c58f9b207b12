"""A record inside a cell's HTML output: where a lesson puts it, and a grader finds it again.

The text of :func:`coursekit.runs.encode_record` stands behind a marker in a data attribute of an
empty element. Nothing of it is shown, whatever a front end allows, and it is found by the marker
alone, in whatever quotes, escapes or elements the file went through on its way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from coursekit.runs.record import MAX_TEXT, encode_record
from coursekit.runs.run import Run

MARKER = "coursekit-record:"
BLIND_MARKER = "coursekit-blind:"
MAX_EMBEDDED = 40
"""Records read out of one text: lessons show fewer than ten runs."""
# Mail programs and editors may wrap a long attribute; JSON written twice escapes line ends.
_EMBEDDED = {
    marker: re.compile(marker + r"([A-Za-z0-9+/](?:[A-Za-z0-9+/=]|\s|\\n)*)")
    for marker in (MARKER, BLIND_MARKER)
}


def embed_record(run: Run | Mapping[str, Any]) -> str:
    """An HTML element that carries a run's record and shows nothing.

    Raises:
        RecordError: not a good record, or too large to travel in a notebook.
    """
    return embed(encode_record(run))


def embed(text: str, marker: str = MARKER) -> str:
    """An HTML element that carries a text behind a marker and shows nothing."""
    return f'<div data-coursekit-record="{marker}{text}"></div>'


def find_embedded(html: str, marker: str = MARKER) -> Iterator[str]:
    """The texts of the records in an output, in order, each for ``decode_record`` to read.

    Never raises: what only looks like a record comes out too, cut to a length that
    ``decode_record`` refuses, so that a damaged record is noticed instead of overlooked.
    """
    for number, found in enumerate(_EMBEDDED[marker].finditer(html)):
        if number == MAX_EMBEDDED:
            return
        yield found[1].replace("\\n", "\n")[: 2 * MAX_TEXT]
