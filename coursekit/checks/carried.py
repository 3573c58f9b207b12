"""What a notebook carries in its outputs: sheets of answers, runs among them, for whoever reads it.

The carrier is text inside of HTML, ``coursekit.answers/1:<base64 of zlib of JSON>:end``, in a fold
(``<details>``), with the records of its runs beside it as :mod:`coursekit.runs.embedded` finds
them. No attribute, script or metadata is needed to find it again, so it is still there when a front
end has sanitized the output, renamed cells, or dropped all metadata. Reading trusts nothing: sizes
are bounded before and while unpacking, and a spoiled carrier costs only itself.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

from coursekit.checks.sheet import MAX_BYTES, AnswerSheet
from coursekit.errors import AnswerError
from coursekit.runs.embedded import MARKER, find_embedded

MAX_TEXT = 4_000_000  # characters of one carrier
MAX_NOTEBOOK_BYTES = 64_000_000
MAX_CARRIERS = 200
_CARRIER = re.compile(r"coursekit\.answers/1:([A-Za-z0-9+/=\s]+):end")


@dataclass(frozen=True)
class Carried:
    """What was found in a notebook.

    Args:
        sheet: all answers together, a later one in place of an earlier one to the same exercise;
            None where the notebook carries none.
        problems: one sentence for each carrier that could not be read.
    """

    sheet: AnswerSheet | None
    problems: tuple[str, ...] = ()


def pack(sheet: AnswerSheet) -> str:
    """A sheet as the text that a notebook carries.

    Raises:
        AnswerError: it is too large.
    """
    raw = zlib.compress(sheet.to_json().encode(), 9)
    text = base64.b64encode(raw).decode("ascii")
    if len(text) > MAX_TEXT:
        raise AnswerError(
            f"answers: the sheet has {len(text):,} characters packed, at most {MAX_TEXT:,} can "
            "travel in a notebook. Hand over smaller tables, or fewer runs."
        )
    return f"coursekit.answers/1:{text}:end"


def unpack(text: str) -> AnswerSheet:
    """The sheet in a text of :func:`pack`; white space in it does not matter.

    Raises:
        AnswerError: damaged, too large, or no sheet.
    """
    found = _CARRIER.fullmatch(text.strip())
    if found is None:
        raise AnswerError("answers: the text is not one whole carrier of coursekit.")
    if len(text) > MAX_TEXT:
        raise AnswerError(f"answers: a carrier of {len(text):,} characters, at most {MAX_TEXT:,}.")
    try:
        packed = base64.b64decode("".join(found[1].split()), validate=True)
        stream = zlib.decompressobj()
        raw = stream.decompress(packed, MAX_BYTES + 1)
    except (binascii.Error, zlib.error) as error:
        raise AnswerError(f"answers: a carrier was cut or changed on the way ({error}).") from error
    if len(raw) > MAX_BYTES or not stream.eof or stream.unused_data:
        raise AnswerError("answers: a carrier unpacks to more than a sheet, or to part of one.")
    return AnswerSheet.from_json(raw)


def fold(sheet: AnswerSheet, summary: str) -> str:
    """HTML that carries a sheet: one line, which opens to the packed text.

    Args:
        sheet: what to carry; each run in it is carried once, as its record.
        summary: the line, plain words without markup.

    Raises:
        AnswerError: it is too large.
    """
    records: dict[str, str] = {}
    light = AnswerSheet(sheet.lesson, sheet.kit, _exchange(sheet.answers, _take_out(records)))
    texts = [pack(light), *(MARKER + text for text in records.values())]
    style = "white-space: pre-wrap; word-break: break-all; font-size: 8px"
    body = "".join(f'<pre style="{style}">{text}</pre>' for text in texts)
    return f"<details><summary>{summary}</summary>{body}</details>"


def _digest(record: str) -> str:
    return "sha256:" + sha256("".join(record.split()).encode()).hexdigest()


def _take_out(records: dict[str, str]) -> Callable[[str], str]:
    def take(record: str) -> str:
        records[_digest(record)] = record
        return _digest(record)

    return take


def _exchange(data: Any, change: Callable[[str], str]) -> Any:
    """The same plain data with the record of every run changed."""
    if isinstance(data, list):
        return [_exchange(item, change) for item in data]
    if not isinstance(data, dict):
        return data
    if data.get("kind") == "run" and isinstance(data.get("record"), str):
        return {**data, "record": change(data["record"])}
    return {key: _exchange(item, change) for key, item in data.items()}


def read_notebook(source: str | Path | bytes | Mapping[str, Any]) -> Carried:
    """All answers that a notebook carries in its outputs; nothing is executed.

    Args:
        source: a path of an .ipynb, its bytes, or the notebook as plain data, of any nbformat 4.

    Raises:
        AnswerError: it is no notebook, or too large.
    """
    sheet: AnswerSheet | None = None
    problems: list[str] = []
    outputs = list(_outputs(_parsed(source)))
    records = {
        _digest(text): "".join(text.split()) for html in outputs for text in find_embedded(html)
    }
    texts = (match[0] for html in outputs for match in _CARRIER.finditer(html))
    for number, text in enumerate(texts):
        if number >= MAX_CARRIERS:
            problems.append(f"more than {MAX_CARRIERS} carriers; the others were not read")
            break
        try:
            one = unpack(text)
            one.answers = _exchange(one.answers, lambda record: records.get(record, record))
        except AnswerError as error:
            problems.append(str(error))
            continue
        if sheet is not None and one.lesson != sheet.lesson:
            problems.append(f"answers of lesson {one.lesson} in a notebook of {sheet.lesson}")
            continue
        sheet = one if sheet is None else AnswerSheet(one.lesson, one.kit, sheet.answers)
        for exercise, answers in one.answers.items():
            sheet.add_plain(exercise, answers)
    return Carried(sheet, tuple(problems))


def _parsed(source: str | Path | bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, bytes):
        path = Path(source)
        if not path.is_file():
            raise AnswerError(f"answers: there is no notebook {path.name!r}.")
        if path.stat().st_size > MAX_NOTEBOOK_BYTES:
            raise AnswerError(f"answers: {path.name!r} has more than {MAX_NOTEBOOK_BYTES:,} bytes.")
        source = path.read_bytes()
    try:
        notebook = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"answers: the notebook is not JSON ({type(error).__name__}).") from error
    if not isinstance(notebook, dict):
        raise AnswerError("answers: the notebook is not a JSON object.")
    return notebook


def _outputs(notebook: Mapping[str, Any]) -> Iterator[str]:
    """The HTML of all outputs."""
    for cell in _list(notebook.get("cells")):
        for output in _list(cell.get("outputs") if isinstance(cell, Mapping) else None):
            data = output.get("data") if isinstance(output, Mapping) else None
            html = data.get("text/html") if isinstance(data, Mapping) else None
            if isinstance(html, list):
                html = "".join(line for line in html if isinstance(line, str))
            if isinstance(html, str) and len(html) <= MAX_NOTEBOOK_BYTES:
                yield unescape(html)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
