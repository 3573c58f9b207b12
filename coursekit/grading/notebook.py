"""A student's notebook as cells of text, whatever program saved it and whatever became of it.

Colab saves nbformat 4.0 with ids of its own, older programs save version 3, editors change line
ends, copies lose metadata. Read here is only what grading uses: kind, source, two ids, and the
HTML outputs in which records travel. All else is dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from coursekit.errors import SubmissionError

MAX_CELLS = 500
MAX_SOURCE = 100_000
MAX_TEXT = 1_000_000
MAX_HTML = 20_000_000
# A dense list costs fifty times its bytes once parsed; a long text does not.
MAX_VALUES = 1_000_000

Kind = Literal["code", "markdown", "raw"]
# No source needs them; they could hide text from a reader, end a C string or steer a terminal.
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True)
class Cell:
    r"""One cell of a submitted notebook.

    Args:
        kind: "code", "markdown" or "raw".
        source: its text, line ends as ``\\n``.
        grade_id: the id in nbgrader's metadata, where it is still there.
        issued_id: ``metadata.id``, which Colab keeps, where it is still there.
        html: its HTML outputs.
    """

    kind: Kind
    source: str
    grade_id: str | None = None
    issued_id: str | None = None
    html: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Notebook:
    """The cells of a submitted notebook, and what was found odd while reading them."""

    cells: tuple[Cell, ...]
    notices: tuple[str, ...] = ()

    def html(self) -> Iterator[str]:
        """All HTML outputs, in the order of the cells."""
        for cell in self.cells:
            yield from cell.html


def read_notebook(raw: bytes) -> Notebook:
    """Read a notebook out of bytes that nobody vouches for.

    Args:
        raw: content of the file.

    Raises:
        SubmissionError: not a notebook, damaged, too large or too deeply nested.
    """
    data = _parse(raw)
    version = data.get("nbformat")
    if type(version) is not int or version not in (3, 4):
        raise SubmissionError(
            f"the notebook has nbformat {ascii(version)[:20]}; 4 and 3 can be read. Open it in "
            "Jupyter or Colab and save it again."
        )
    notices: list[str] = []
    if version == 3:
        notices.append("saved in the old notebook format 3")
    found = _cells(data, version)
    if len(found) > MAX_CELLS:
        raise SubmissionError(f"the notebook has {len(found):,} cells; at most {MAX_CELLS}")
    cells = [cell for item in found if (cell := _cell(item, notices)) is not None]
    if sum(len(cell.source) for cell in cells) > MAX_TEXT:
        raise SubmissionError(f"the cells hold more than {MAX_TEXT:,} characters of source")
    if sum(len(text) for cell in cells for text in cell.html) > MAX_HTML:
        raise SubmissionError(f"the outputs hold more than {MAX_HTML:,} characters of HTML")
    return Notebook(tuple(cells), tuple(dict.fromkeys(notices)))


def _parse(raw: bytes) -> dict[str, Any]:
    if not raw.strip():
        raise SubmissionError("the notebook is an empty file")
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        # Commas of large pictures and records: none, they are base64. Of tables: few enough.
        raise SubmissionError("the notebook holds too many values to be read")
    try:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        data = json.loads(text, parse_constant=lambda name: None)
    except (ValueError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else "no valid JSON"
        raise SubmissionError(
            f"the notebook is {what}; was the file cut off, or saved as something else?"
        ) from error
    if not isinstance(data, dict):
        raise SubmissionError("the file is JSON, but not a notebook")
    return data


def _cells(data: dict[str, Any], version: int) -> list[Any]:
    if version == 3:
        sheets = data.get("worksheets")
        sheet = sheets[0] if isinstance(sheets, list) and sheets else None
        found = sheet.get("cells") if isinstance(sheet, dict) else None
    else:
        found = data.get("cells")
    if not isinstance(found, list):
        raise SubmissionError("the notebook has no list of cells")
    return found


def _cell(item: Any, notices: list[str]) -> Cell | None:
    if not isinstance(item, dict):
        notices.append("a cell that is not an object was left out")
        return None
    kind = item.get("cell_type")
    if kind == "heading":
        kind = "markdown"
    if kind not in ("code", "markdown", "raw"):
        notices.append("a cell of unknown type was left out")
        return None
    source = _text(item.get("source", item.get("input", "")))
    if source is None:
        notices.append("a cell whose source is not text was left out")
        return None
    if len(source) > MAX_SOURCE:
        raise SubmissionError(f"a cell has {len(source):,} characters; at most {MAX_SOURCE:,}")
    clean = _UNWANTED.sub("", source.replace("\r\n", "\n").replace("\r", "\n"))
    if clean != source and "\r" not in source:
        notices.append("invisible or control characters were taken out of a cell")
    metadata = item.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    nbgrader = metadata.get("nbgrader")
    grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    html = tuple(_html(item.get("outputs"))) if kind == "code" else ()
    return Cell(kind, clean, _identifier(grade_id), _identifier(metadata.get("id")), html)


def _html(outputs: Any) -> Iterator[str]:
    for output in outputs if isinstance(outputs, list) else ():
        if isinstance(output, dict):
            data = output.get("data", output)  # format 3 has no inner object
            found = data.get("text/html", data.get("html")) if isinstance(data, dict) else None
            text = _text(found) if found is not None else None
            if text:
                yield text


def _text(value: Any) -> str | None:
    """Text that JSON may hold whole or line by line."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value if isinstance(value, str) else None


def _identifier(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 200 else None
