"""The notebook that is graded: the master's cells, with the student's text where it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coursekit.grading.master import Master, MasterCell
from coursekit.grading.matching import Matches, match_cells
from coursekit.grading.notebook import Cell, Notebook


@dataclass(frozen=True)
class GradedCell:
    """One cell of the rebuilt notebook.

    Args:
        number: its place among the rebuilt cells, from 0.
        master: the cell of the master that it stands for; None for a student's own cell.
        kind: "code", "markdown" or "raw"; the master's word where there is one.
        source: what is run or read.
        touched: whether the student changed what was given (False for given cells).
    """

    number: int
    master: MasterCell | None
    kind: str
    source: str
    touched: bool


@dataclass(frozen=True)
class Rebuilt:
    """The rebuilt notebook and sentences on what had happened to its cells."""

    cells: tuple[GradedCell, ...]
    findings: tuple[str, ...]

    @property
    def code(self) -> tuple[GradedCell, ...]:
        """The cells to run."""
        return tuple(c for c in self.cells if c.kind == "code" and c.source.strip())


def rebuild(master: Master, notebook: Notebook) -> Rebuilt:
    """Put the student's solutions into the master.

    Of the submission only the text of solution and written cells, and code cells that the student
    added, are taken over; metadata, tags, outputs and changes to given cells are not.

    Args:
        master: what was given.
        notebook: what came back.
    """
    submitted = notebook.cells
    matches = match_cells(master, submitted)
    findings: list[str] = []
    chosen, own = _choose(master, submitted, matches, findings)
    after = _places_of_own_cells(matches, own)

    cells: list[GradedCell] = []

    def add(cell: MasterCell | None, kind: str, source: str, touched: bool) -> None:
        cells.append(GradedCell(len(cells), cell, kind, source, touched))

    for extra in after.get(-1, ()):
        add(None, "code", submitted[extra].source, True)
    used: dict[int, str] = {}
    for index, given in enumerate(master.cells):
        number: int | None = chosen.get(index)
        if not given.editable:
            add(given, given.kind, given.source, False)
        elif number is None:
            add(given, given.kind, given.source, False)
            findings.append(f"{_name(given)}: the cell is missing; what was given stands there")
        elif number in used:
            add(given, given.kind, "", True)
            findings.append(f"{_name(given)}: answered in the same cell as {used[number]}")
        else:
            used[number] = _name(given)
            source = submitted[number].source
            add(given, given.kind, source, source.strip() != given.source.strip())
        for extra in after.get(index, ()):
            add(None, "code", submitted[extra].source, True)
    _describe(master, submitted, matches, chosen, own, findings)
    return Rebuilt(tuple(cells), tuple(dict.fromkeys([*notebook.notices, *findings])))


def _choose(
    master: Master, submitted: tuple[Cell, ...], matches: Matches, findings: list[str]
) -> tuple[dict[int, int], list[int]]:
    """One submitted cell for each master cell; other versions of it become cells of their own."""
    chosen: dict[int, int] = {}
    rivals: list[int] = []
    for index, numbers in sorted(matches.cells.items()):
        given = master.cells[index]
        stub = given.source.strip()
        # As in the student's own session, what was written last stands; a fresh copy does not.
        written = [n for n in numbers if submitted[n].source.strip() != stub]
        chosen[index] = (written or numbers)[-1]
        if given.editable and len(numbers) > 1:
            findings.append(
                f"{_name(given)}: the cell is there {len(numbers)} times; the last one written to "
                "counts"
            )
            rivals += [n for n in written[:-1] if submitted[n].kind == "code"]
    taken = set(chosen.values())
    texts = {submitted[n].source.strip() for n in taken}
    rivals = [n for n in rivals if n not in taken and submitted[n].source.strip() not in texts]
    return chosen, sorted({*matches.own, *rivals})


def _places_of_own_cells(matches: Matches, own: Sequence[int]) -> dict[int, list[int]]:
    """Own cells by the master cell they stood behind; -1 for those before all."""
    places: dict[int, int] = {}
    for index, numbers in matches.cells.items():
        for number in numbers:
            places[number] = max(index, places.get(number, -1))
    after: dict[int, list[int]] = {}
    for number in own:
        before = [place for place in places if place < number]
        index = places[max(before)] if before else -1
        after.setdefault(index, []).append(number)
    return after


def _describe(
    master: Master,
    submitted: tuple[Cell, ...],
    matches: Matches,
    chosen: dict[int, int],
    own: list[int],
    findings: list[str],
) -> None:
    editable = [i for i in chosen if master.cells[i].editable]
    lost = [i for i in editable if submitted[chosen[i]].grade_id != master.cells[i].grade_id]
    if lost and len(lost) == len(editable):
        findings.append("nbgrader's metadata is lost in all cells; they were found by their text")
    for index in editable:
        given, cell = master.cells[index], submitted[chosen[index]]
        if matches.ways[index] == "similarity":
            findings.append(f"{_name(given)}: found by likeness and place, for its ids are gone")
        elif index in lost and len(lost) < len(editable):
            findings.append(f"{_name(given)}: retyped; found by its {matches.ways[index]}")
        if cell.kind != given.kind:
            findings.append(
                f"{_name(given)}: it was a {cell.kind} cell in the submission; read as {given.kind}"
            )
    order = [chosen[i] for i in sorted(editable)]
    if order != sorted(order):
        findings.append("cells were moved; they are graded in the order in which they were given")
    if matches.changed:
        findings.append(f"{len(matches.changed)} given cells had been changed; they were restored")
    restored = [
        cell.grade_id
        for i, cell in enumerate(master.cells)
        if cell.role == "check"
        and not any(
            submitted[n].source.strip() == cell.source.strip() and submitted[n].kind == cell.kind
            for n in matches.cells.get(i, ())
        )
    ]
    if restored:
        findings.append(f"check cells were changed or deleted and restored: {', '.join(restored)}")
    if own:
        cells = "a code cell" if len(own) == 1 else f"{len(own)} code cells"
        findings.append(f"{cells} of the student's own, run where added")


def _name(cell: MasterCell) -> str:
    return cell.grade_id or "a cell"
