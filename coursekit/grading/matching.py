"""Which of a student's cells is which cell of the master, whatever happened on the way.

Ids are looked for in the source text first (students paste and retype, and text is what they
keep), then in nbgrader's metadata, then in the id that Colab keeps; what is left is matched by how
much of what was given is still in it, between its neighbors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from coursekit.grading.master import Master, MasterCell, checks_in, mentions_in
from coursekit.grading.notebook import Cell

SIMILAR = 0.55
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass
class Matches:
    """The assignment of submitted cells to cells of the master.

    Args:
        cells: for a master cell's number, the numbers of submitted cells, in order; more than one
            if it was duplicated.
        ways: by what each master cell was found: "text", "grade_id", "metadata.id", "similarity".
        own: numbers of submitted code cells that belong to no cell of the master.
        changed: numbers of submitted cells that are a given cell with changes.
    """

    cells: dict[int, list[int]] = field(default_factory=dict)
    ways: dict[int, str] = field(default_factory=dict)
    own: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)

    @property
    def taken(self) -> set[int]:
        """Submitted cells that belong to a cell of the master."""
        return {number for numbers in self.cells.values() for number in numbers}


def match_cells(master: Master, submitted: tuple[Cell, ...]) -> Matches:
    """Find each cell of the master among the submitted cells.

    Args:
        master: what was given.
        submitted: what came back, in order.
    """
    matches = Matches()
    _match_unchanged(master, submitted, matches)
    ways: list[tuple[str, _Keys, _Keys]] = [
        ("text", lambda cell: _text_keys(cell), lambda cell: _text_keys(cell)),
        ("grade_id", lambda cell: _one(cell.grade_id), lambda cell: _one(cell.grade_id)),
        ("metadata.id", lambda cell: _one(cell.issued_id), lambda cell: _one(cell.issued_id)),
    ]
    for way, keys_of_master, keys_of_submitted in ways:
        _match_keys(master, submitted, matches, way, keys_of_master, keys_of_submitted)
    _match_similar(master, submitted, matches)
    _sort_out_rest(master, submitted, matches)
    return matches


_Keys = Callable[["MasterCell | Cell"], Iterable[str]]


def _one(value: str | None) -> tuple[str, ...]:
    return (value,) if value else ()


def _text_keys(cell: MasterCell | Cell) -> tuple[str, ...]:
    checks = checks_in(cell.source)
    mentions = mentions_in(cell.source, cell.kind)
    return (*(f"check {e}" for e in checks), *(f"mention {e}" for e in mentions))


def _match_unchanged(master: Master, submitted: tuple[Cell, ...], matches: Matches) -> None:
    """Given cells that came back as they were: anchors for all that follows."""
    places: dict[str, list[int]] = {}
    for number, cell in enumerate(submitted):
        places.setdefault(_squeezed(cell.source), []).append(number)
    for index, given in enumerate(master.cells):
        found = places.get(_squeezed(given.source), [])
        if not given.editable and found and given.source.strip():
            matches.cells[index] = [found.pop(0)]
            matches.ways[index] = "text"


def _match_keys(
    master: Master,
    submitted: tuple[Cell, ...],
    matches: Matches,
    way: str,
    keys_of_master: _Keys,
    keys_of_submitted: _Keys,
) -> None:
    holders: dict[str, list[int]] = {}
    for index, given in enumerate(master.cells):
        for key in keys_of_master(given):
            holders.setdefault(key, []).append(index)
    before, taken = set(matches.cells), matches.taken
    for number, cell in enumerate(submitted):
        if number in taken or not cell.source.strip():
            continue
        for key in keys_of_submitted(cell):
            # An id in two cells of the master names neither, save the one that is to be written.
            named = holders.get(key, [])
            named = [i for i in named if master.cells[i].editable] if len(named) > 1 else named
            if len(named) == 1 and named[0] not in before:
                found = matches.cells.setdefault(named[0], [])
                if number not in found:
                    found.append(number)
                matches.ways.setdefault(named[0], way)


def _match_similar(master: Master, submitted: tuple[Cell, ...], matches: Matches) -> None:
    taken = matches.taken
    open_cells = [i for i, cell in enumerate(master.cells) if cell.editable and cell.source.strip()]
    open_cells = [i for i in open_cells if i not in matches.cells]
    free = [n for n, c in enumerate(submitted) if n not in taken and c.source.strip()]
    tokens = {n: Counter(_TOKEN.findall(submitted[n].source)) for n in free}
    pairs = []
    for index in open_cells:
        given = Counter(_TOKEN.findall(master.cells[index].source))
        low, high = _between(matches, index)
        for number in free:
            # One that stayed between its neighbors is believed sooner than one far away.
            bonus = 0.15 if low < number < high else 0.0
            bonus += 0.1 if submitted[number].kind == master.cells[index].kind else 0.0
            likeness = _likeness(given, tokens[number])
            if likeness + bonus >= SIMILAR + 0.1 and likeness > 0.2:
                pairs.append((likeness + bonus, -abs(number - index), index, number))
    used: set[int] = set()
    for _, _, index, number in sorted(pairs, reverse=True):
        if index not in matches.cells and number not in used:
            matches.cells[index], matches.ways[index] = [number], "similarity"
            used.add(number)
    # Alone between two neighbors that are known: order says which it is.
    for index in open_cells:
        if index in matches.cells:
            continue
        low, high = _between(matches, index)
        rivals = [
            i for i in open_cells if i not in matches.cells and _between(matches, i) == (low, high)
        ]
        kind = master.cells[index].kind
        alone = [n for n in free if n not in used and low < n < high and submitted[n].kind == kind]
        if len(alone) == 1 and len(rivals) == 1 and low >= 0:
            matches.cells[index], matches.ways[index] = alone, "similarity"
            used.add(alone[0])


def _between(matches: Matches, index: int) -> tuple[int, int]:
    """Places of the nearest matched neighbors of a master cell among the submitted cells."""
    below = [numbers[-1] for i, numbers in matches.cells.items() if i < index]
    above = [numbers[0] for i, numbers in matches.cells.items() if i > index]
    low = max(below, default=-1)
    later = [number for number in above if number > low]
    return low, min(later, default=1_000_000)


def _sort_out_rest(master: Master, submitted: tuple[Cell, ...], matches: Matches) -> None:
    """Tell the student's own code from given cells that were changed."""
    editable = {n for i, found in matches.cells.items() if master.cells[i].editable for n in found}
    given = [
        Counter(_TOKEN.findall(cell.source))
        for cell in master.cells
        if not cell.editable and cell.kind == "code" and cell.source.strip()
    ]
    same = {_squeezed(cell.source) for cell in master.cells}
    for number, cell in enumerate(submitted):
        if number in editable or not cell.source.strip() or _squeezed(cell.source) in same:
            continue  # a copy of what was given runs where it was given
        tokens = Counter(_TOKEN.findall(cell.source))
        if any(_dice(one, tokens) > 0.8 for one in given):
            matches.changed.append(number)
        elif cell.kind == "code":
            # Also what has a given cell's id, or calls its check, but is another text.
            matches.own.append(number)


def _likeness(given: Counter[str], found: Counter[str]) -> float:
    """How much of the given text is in the found one, and how little else."""
    common = sum((given & found).values())
    total = sum(given.values())
    return 0.6 * common / total + 0.4 * _dice(given, found) if total else 0.0


def _dice(one: Counter[str], other: Counter[str]) -> float:
    total = sum(one.values()) + sum(other.values())
    return 2 * sum((one & other).values()) / total if total else 0.0


def _squeezed(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().split("\n"))
