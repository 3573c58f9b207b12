"""Negatives explorer: a negative beside its nearest binder, and what was read of either."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from coursekit.data import load_selection
from coursekit.data.schema import COLUMNS
from coursekit.errors import CourseKitError, ScoreError
from coursekit.evaluation.molecule_figures import negative_beside_binder
from coursekit.lessons.widgets.explorer import (
    Explorer,
    Waiting,
    button,
    choice,
    row,
    table_html,
    unfinished,
    whole_number,
)

if TYPE_CHECKING:
    from coursekit.data import BindingTask

MOMENT = 2  # seconds: somebody waits for the picture
PARTS = ("train", "valid", "test")
KINDS = {
    "disynthon": "hard: shares two blocks with a binder",
    "similarity": "hard: looks like a binder",
    "matrix": "hard: binds the empty matrix",
    "easy": "easy",
    "enumerated": "easy, from the library's enumeration",
}
READS = [name for name in COLUMNS if name.startswith(("seq_", "target_enrichment"))]


class NegativesExplorer(Explorer):
    """Shows the negatives of a task one by one.

    Args:
        task: whose negatives.
        selection: the table with the read counts; None shows no counts.
        part: "train", "valid" or "test".

    Raises:
        ScoreError: the part has no negative with its nearest binder in the task.
    """

    def __init__(self, task: BindingTask, selection: pd.DataFrame | None, part: str) -> None:
        super().__init__()
        everything = pd.concat([task.part(name) for name in PARTS])
        self._binders = everything[everything["label"] == 1].set_index("molecule_id")["smiles"]
        rows = task.part(part)
        rows = rows[(rows["label"] == 0) & rows["nearest_binder"].isin(self._binders.index)]
        if rows.empty:
            raise ScoreError(
                f"negatives_explorer: part {part!r} has no negative whose nearest binder is in "
                "the task."
            )
        order = ["negative_set", "similarity", "molecule_id"]
        self._all = rows.sort_values(order, ascending=[False, False, True]).reset_index(drop=True)
        self._reads = None if selection is None else _reads(selection, self._all)
        self._drawn: dict[str, str] = {}
        counts = self._all["kind"].value_counts()
        kinds = [(f"{KINDS.get(k, k)} ({counts[k]})", k) for k in counts.index]
        kinds.sort(key=lambda pair: list(KINDS).index(pair[1]) if pair[1] in KINDS else len(KINDS))
        self._kind = choice("Kind", [(f"all ({len(rows)})", ""), *kinds], "")
        self._kind.layout.width = "32em"
        self._place = whole_number("Molecule", 1, len(rows), 1)
        self._kind.observe(self._other_kind, "value")
        self._follow(self._place)
        self.controls.children = [
            row(self._kind),
            row(
                self._place,
                button("Back", lambda: self._step(-1)),
                button("Next", lambda: self._step(1)),
            ),
        ]

    @property
    def molecule(self) -> str:
        """The molecule_id of the negative that is shown; may be set."""
        return str(self.negative["molecule_id"])

    @molecule.setter
    def molecule(self, molecule: str) -> None:
        found = self._all.index[self._all["molecule_id"] == molecule]
        if not len(found):
            raise ScoreError(f"negatives_explorer: no negative {molecule!r} in this part.")
        self._kind.value = ""
        self._place.value = int(found[0]) + 1

    @property
    def kind(self) -> str:
        """The kind of negatives that are stepped through, "" for all; may be set."""
        return str(self._kind.value)

    @kind.setter
    def kind(self, kind: str) -> None:
        if kind not in ("", *self._all["kind"]):
            kinds = ", ".join(sorted(set(self._all["kind"])))
            raise ScoreError(f"negatives_explorer: no kind {kind!r} in this part; it has {kinds}.")
        self._kind.value = kind

    @property
    def value(self) -> str:
        """The molecule_id of the negative that is shown."""
        return self.molecule

    @property
    def negative(self) -> pd.Series:
        """The row of the task that is shown."""
        return self._chosen().iloc[int(self._place.value) - 1]

    @property
    def reads(self) -> pd.DataFrame | None:
        """Read counts, load and enrichment of the negative and of its nearest binder."""
        if self._reads is None:
            return None
        shown = self.negative
        ids = {"this negative": shown["molecule_id"], "its nearest binder": shown["nearest_binder"]}
        return self._reads.reindex(list(ids.values())).set_axis(list(ids), axis=0)

    def words(self) -> str:
        """Which negative it is, and why it is one."""
        shown = self.negative
        return (
            f"{shown['negative_set'].capitalize()} negative {self._place.value} of "
            f"{len(self._chosen())}, {_short(shown['molecule_id'])}, similarity "
            f"{shown['similarity']:.2f} to binder {_short(shown['nearest_binder'])}. "
            f"Why a negative: {shown['reason']}"
        )

    def html(self) -> str:
        """The words, both molecules, and their read counts."""
        shown = self.negative
        if self.molecule not in self._drawn:  # what two molecules share takes a moment to find
            binder = str(self._binders[shown["nearest_binder"]])
            self._drawn[self.molecule] = negative_beside_binder(
                dict(shown), binder, MOMENT
            )._repr_html_()
        reads = self.reads
        counts = "<p>Read counts are in the selection: give it, selection=...</p>"
        if reads is not None:
            caption = "Reads in three replicates on the target and on the empty matrix"
            counts = table_html(_as_text(reads), caption, "molecule")
        return f"<p>{escape(self.words())}</p>{self._drawn[self.molecule]}{counts}"

    def _chosen(self) -> pd.DataFrame:
        return self._all[self._all["kind"] == self.kind] if self.kind else self._all

    def _step(self, by: int) -> None:
        self._place.value += by  # the field keeps it between its ends

    def _other_kind(self, change: Any) -> None:
        before = self._place.value
        self._place.value = 1
        self._place.max = len(self._chosen())
        if before == 1:
            self._changed()


def negatives_explorer(
    task: BindingTask, selection: pd.DataFrame | None = None, part: str = "train"
) -> NegativesExplorer | Waiting:
    """Step through negatives, each beside the binder it resembles most, and its read counts.

    Both molecules are laid out alike, and atoms that only one of them has are ringed.

    Args:
        task: from ``load_task`` or ``make_task``.
        selection: the table that the task was made from, for the read counts; by default the one
            that has the task's name, where it can be loaded.
        part: "train", "valid" or "test".

    Returns:
        The explorer; as the last line of a cell it shows itself. ``explorer.molecule`` says, and
        sets, the molecule_id of the negative; ``explorer.negative`` is its row of the task and
        ``explorer.reads`` are the counts.

    Raises:
        ScoreError: the part has no negative with its nearest binder in the task.
    """
    if unfinished(task, selection):
        return Waiting("negatives_explorer")
    if selection is None:
        try:
            selection = load_selection(task.name)
        except CourseKitError:  # a task of the instructor's own: shown without counts
            selection = None
    return NegativesExplorer(task, selection, part)


def _reads(selection: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    wanted = {*rows["molecule_id"], *rows["nearest_binder"]}
    found = selection[selection["molecule_hash"].isin(wanted)]
    return found.drop_duplicates("molecule_hash").set_index("molecule_hash")[READS]


def _short(molecule_id: str) -> str:
    return molecule_id if len(molecule_id) <= 12 else f"{molecule_id[:8]}…"


def _as_text(reads: pd.DataFrame) -> pd.DataFrame:
    names = {name: name.removeprefix("seq_").replace("_", " ") for name in READS}

    def text(name: str, value: float) -> str:
        if pd.isna(value):
            return "not in the file"
        return f"{value:.2f}" if name == "target_enrichment" else f"{value:.0f}"

    return pd.DataFrame(
        {names[name]: [text(name, value) for value in reads[name]] for name in READS},
        index=reads.index,
    )
