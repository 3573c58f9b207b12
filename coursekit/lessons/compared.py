"""Whether two executed notebooks show the same, whatever machine and hour they were run at."""

from __future__ import annotations

import math
import re
from typing import Any

from coursekit.lessons.notebooks import FOLD

TOLERANCE = 0.02  # of scores: another processor adds in another order
_NUMBER = re.compile(r"(?<![\w.#])-?\d[\d,]*\.?\d*(?:e-?\d+)?%?")
_IMAGE = re.compile(r"data:image/[^\"']*")
# Cost of a run, and facts about the machine: of another kind every time.
_COST = re.compile(r"<td>[^<]*</td><td>[^<]*</td></tr>")
_MINUTES = re.compile(r"(<td>\d+</td>\s*)<td>[\d.,]+</td>")  # what a recommendation expects
_MACHINE = re.compile(r"<tr><th scope=\"row\" style=\"text-align: left\">.*?</tr>", re.DOTALL)
_SECONDS = re.compile(r"\d[\d,.]*\s?(?:seconds|minutes|min\b|s\b|ms|molecules/s)")


def differences(before: Any, after: Any) -> list[str]:
    """What a reader of two executed notebooks would find to differ, in words.

    Cells must agree in kind, text and id. Outputs must agree in number and kind. In what they show,
    words must be the same, and numbers within :data:`TOLERANCE` (absolute, or relative where they
    are large). Pixels of figures, records, costs of runs and facts about the machine do not count;
    figures are held to their alt text, which has their numbers.
    """
    if len(before.cells) != len(after.cells):
        return [f"{len(before.cells)} cells were there, {len(after.cells)} are now"]
    found = []
    for old, new in zip(before.cells, after.cells, strict=True):
        if (old.cell_type, old.source, old.id) != (new.cell_type, new.source, new.id):
            found.append(f"cell {new.id} has another text or id")
            continue
        outputs = (old.get("outputs", []), new.get("outputs", []))
        if [_kinds(o) for o in outputs[0]] != [_kinds(o) for o in outputs[1]]:
            found.append(f"cell {new.id} has outputs of another kind")
            continue
        for one, two in zip(*outputs, strict=True):
            why = _differ(shown(one), shown(two))
            if why:
                found.append(f"cell {new.id} shows {why}")
    return found


def shown(output: Any) -> str:
    """What an output says, without what is never the same twice."""
    data = output.get("data", {})
    text = str(data.get("text/html") or data.get("text/plain") or output.get("text", ""))
    text = _IMAGE.sub("", FOLD.sub("", text))
    if "molecules/s" in text or "trainable parameters</th></tr>" in text:
        text = _COST.sub("</tr>", text)
    if "<th>minutes</th>" in text:
        text = _MINUTES.sub(r"\1", text)
    return _SECONDS.sub("", _MACHINE.sub("", text))


def _kinds(output: Any) -> tuple[str, ...]:
    return (output.output_type, *sorted(output.get("data", {})))


def _differ(old: str, new: str) -> str:
    words = (_NUMBER.sub("#", old), _NUMBER.sub("#", new))
    if words[0] != words[1]:
        at = next(
            (i for i, (a, b) in enumerate(zip(*words, strict=False)) if a != b),
            min(map(len, words)),
        )
        around = slice(max(0, at - 20), at + 40)
        return f"other words: {words[0][around]!r} before, {words[1][around]!r} now"
    for a, b in zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True):
        x, y = _value(a), _value(b)
        if not math.isclose(x, y, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            return f"{b} where {a} was"
    return ""


def _value(text: str) -> float:
    number = float(text.rstrip("%").replace(",", ""))
    return number / 100 if text.endswith("%") else number
