"""Negatives drawn beside the binder they resemble most: what makes a negative easy or hard."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from coursekit.errors import ScoreError
from coursekit.evaluation.picture import GREY, PALETTE, Picture, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELLED_COLUMNS = ("molecule_id", "smiles", "negative_set", "reason", "nearest_binder")
MCS_SECONDS = 10  # rarely more than one; a limit that is met would make the figure vary
_PIXELS = (620, 400)


def molecules_beside_nearest_binder(labelled: pd.DataFrame, n: int = 4) -> Picture:
    """Hard and easy negatives beside their nearest binder, atoms that differ ringed.

    Half of the rows (rounded up) are hard negatives, those most similar to a binder; the others
    are easy negatives of about median similarity. Kinds and binders vary where they can. What two
    molecules share is their maximum common substructure, searched for ten seconds at most (Dalke
    and Hastings, J. Cheminform. 5, O6, 2013).

    Args:
        labelled: labeled molecules with columns ``molecule_id``, ``smiles``, ``negative_set``,
            ``reason``, ``nearest_binder`` (a molecule_id of the same table) and ``similarity``
            (Tanimoto, 0 to 1).
        n: rows of the figure.

    Raises:
        ScoreError: a column is missing, or no negative has its nearest binder in the table.
    """
    missing = [name for name in (*LABELLED_COLUMNS, "similarity") if name not in labelled.columns]
    if missing:
        raise ScoreError(f"molecules: the table lacks {missing}. Use what label_selection gives.")
    smiles = dict(zip(labelled["molecule_id"], labelled["smiles"], strict=True))
    rows = _chosen(labelled[labelled["nearest_binder"].isin(list(smiles))], n)
    if rows.empty:
        raise ScoreError("molecules: no negative in the table has its nearest binder in it.")
    figure, axes = new_figure(9.2, 3.5 * len(rows), rows=len(rows), columns=2)
    layout: Any = figure.get_layout_engine()
    foot = 0.35 / (3.5 * len(rows))  # room for the last reason
    layout.set(hspace=0.16, h_pad=0.2, rect=(0, foot, 1, 1 - foot))
    sentences = []
    for number, row in enumerate(rows.to_dict("records")):
        left, right = axes[2 * number], axes[2 * number + 1]
        binder = smiles[row["nearest_binder"]]
        negative = {str(name): value for name, value in row.items()}
        sentences.append(
            f"{_drawn_pair(left, right, negative, binder)} Why a negative: {row['reason']}"
        )
        reason = textwrap.fill(f"Why a negative: {row['reason']}", 115)
        # Out of the layout: it runs under both molecules and must not push them apart.
        left.text(
            0.02, -0.01, reason, transform=left.transAxes, fontsize=9, color=GREY, va="top"
        ).set_in_layout(False)
    return Picture(
        figure, " ".join(sentences), "Negatives beside their nearest binder; ringed atoms differ"
    )


def negative_beside_binder(
    negative: Mapping[str, Any], binder: str, seconds: int = MCS_SECONDS
) -> Picture:
    """One negative beside a binder, drawn alike, atoms that differ ringed.

    Args:
        negative: ``smiles``, ``negative_set`` and ``similarity`` of the negative.
        binder: SMILES of the binder.
        seconds: search at most so long for what they share.

    Raises:
        ScoreError: a SMILES that cannot be read.
    """
    figure, (left, right) = new_figure(9.2, 3.3, columns=2)
    alt = _drawn_pair(left, right, negative, binder, seconds)
    return Picture(figure, alt, "A negative beside its nearest binder; ringed atoms differ")


def _drawn_pair(
    left: Axes,
    right: Axes,
    negative: Mapping[str, Any],
    binder: str,
    seconds: int = MCS_SECONDS,
) -> str:
    """Draw both molecules with a title; returns what is seen, in a sentence."""
    pair = _Pair(negative["smiles"], binder, seconds=seconds)
    kind, similarity = negative["negative_set"], f"similarity {negative['similarity']:.2f}"
    left.set_title(f"{kind} negative", fontsize=10, fontweight="bold")
    right.set_title(f"its nearest binder, {similarity}", fontsize=10)
    pair.draw(left, 0)
    pair.draw(right, 1)
    return (
        f"{kind.capitalize()} negative {negative['smiles']} beside binder {binder}, "
        f"{similarity}; {pair.words()}"
    )


def _chosen(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """Rows to show: of hard negatives the closest of each kind first, of easy ones the typical."""
    hard = table[table["negative_set"] == "hard"]
    easy = table[table["negative_set"] == "easy"]
    closest = hard.sort_values(["similarity", "molecule_id"], ascending=[False, True])
    from_middle = (easy["similarity"] - easy["similarity"].median()).abs()
    typical = easy.assign(_from_middle=from_middle).sort_values(["_from_middle", "molecule_id"])
    n_hard = min(len(hard), max((n + 1) // 2, n - len(easy)))
    picked = [_varied(closest, n_hard), _varied(typical, n - n_hard)]
    return pd.concat(picked).drop(columns="_from_middle", errors="ignore")


def _varied(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """The first n rows, preferring kinds and then binders that were not shown yet."""
    kinds = rows["kind"] if "kind" in rows.columns else rows["negative_set"]
    known = kinds.duplicated().astype(int) + rows["nearest_binder"].duplicated().astype(int)
    return rows.iloc[known.to_numpy().argsort(kind="stable")].head(n)


class _Pair:
    """Two molecules, laid out alike, and the atoms that are not in both."""

    def __init__(self, *smiles: str, seconds: int = MCS_SECONDS) -> None:
        from rdkit.Chem import rdFMCS
        from rdkit.Chem.rdDepictor import Compute2DCoords

        from coursekit.data.chemistry import require_rdkit

        chem = require_rdkit()
        self.molecules = [chem.MolFromSmiles(text) for text in smiles]
        for text, molecule in zip(smiles, self.molecules, strict=True):
            if molecule is None:
                raise ScoreError(f"molecules: the SMILES '{text}' cannot be read.")
            Compute2DCoords(molecule)
        # Parts of a ring may match: of morpholine and piperazine one atom differs, not six.
        found = rdFMCS.FindMCS(self.molecules, timeout=seconds, ringMatchesRingOnly=True)
        self.shared = chem.MolFromSmarts(found.smartsString) if found.numAtoms else None
        self.matches: list[tuple[int, ...]] = [
            molecule.GetSubstructMatch(self.shared) if self.shared else ()
            for molecule in self.molecules
        ]
        self._align()

    def _align(self) -> None:
        """Draw the negative's shared part as the binder's: differences then catch the eye."""
        from rdkit.Chem.rdDepictor import GenerateDepictionMatching2DStructure

        # A ring of six on the places of a ring of five would be crooked, and so would a ring that
        # must bridge two fixed parts: the largest connected part is fixed, the rest is free.
        places = dict(zip(*self.matches, strict=True))
        rings = [molecule.GetRingInfo().AtomRingSizes for molecule in self.molecules]
        safe = {i for i, j in places.items() if sorted(rings[0](i)) == sorted(rings[1](j))}
        fixed = _largest_part(self.molecules[0], safe)
        if len(fixed) > 1:
            atoms = [(places[i], i) for i in sorted(fixed)]
            GenerateDepictionMatching2DStructure(self.molecules[0], self.molecules[1], atoms)

    @property
    def alike(self) -> bool:
        """Whether half of each molecule is in the other; else marks would cover everything."""
        return all(
            2 * len(self.matches[0]) >= molecule.GetNumAtoms() for molecule in self.molecules
        )

    def differing(self, which: int) -> list[int]:
        """Atoms outside the common substructure; of stereoisomers, the centers that differ."""
        shared = set(self.matches[which])
        atoms = range(self.molecules[which].GetNumAtoms())
        if all(len(shared) == molecule.GetNumAtoms() for molecule in self.molecules):
            return [
                pair[which]
                for pair in zip(*self.matches, strict=True)
                if self._handedness(0, pair[0]) != self._handedness(1, pair[1])
            ]
        return [i for i in atoms if i not in shared]

    def _handedness(self, which: int, atom: int) -> str:
        center = self.molecules[which].GetAtomWithIdx(atom)
        return str(center.GetProp("_CIPCode")) if center.HasProp("_CIPCode") else ""

    def words(self) -> str:
        """How many heavy atoms they share."""
        alone = [len(self.differing(which)) for which in (0, 1)]
        sizes = [molecule.GetNumAtoms() for molecule in self.molecules]
        if len(self.matches[0]) == max(sizes):
            centers = f"{alone[0]} stereocenter" + ("s" if alone[0] != 1 else "")
            return f"they share all {sizes[0]} atoms and differ in {centers}."
        return (
            f"they share {len(self.matches[0])} atoms, {alone[0]} are only in the negative and "
            f"{alone[1]} only in the binder" + ("." if self.alike else "; too different to mark.")
        )

    def draw(self, axes: Axes, which: int) -> None:
        """The molecule in black, with an open ring around each atom that the other has not."""
        from matplotlib.image import imread
        from matplotlib.patches import Circle
        from rdkit.Chem.Draw import rdMolDraw2D

        drawer = rdMolDraw2D.MolDraw2DCairo(*_PIXELS)
        options: Any = drawer.drawOptions()
        options.useBWAtomPalette()
        options.padding = 0.08
        rdMolDraw2D.PrepareAndDrawMolecule(drawer, self.molecules[which])
        drawer.FinishDrawing()
        axes.imshow(imread(io.BytesIO(drawer.GetDrawingText()), format="png"))
        axes.set_axis_off()
        if not self.alike:
            return
        places = [drawer.GetDrawCoords(i) for i in range(self.molecules[which].GetNumAtoms())]
        bonds = [
            (places[bond.GetBeginAtomIdx()] - places[bond.GetEndAtomIdx()]).Length()
            for bond in self.molecules[which].GetBonds()
        ]
        radius = min(15.0, 0.45 * float(np.median(bonds))) if bonds else 15.0
        for atom in self.differing(which):
            axes.add_patch(
                Circle(
                    (places[atom].x, places[atom].y),
                    radius,
                    fill=False,
                    edgecolor=PALETTE[1],
                    linewidth=1.6,
                )
            )


def _largest_part(molecule: Any, atoms: set[int]) -> set[int]:
    """The largest connected part of some atoms of a molecule."""
    best: set[int] = set()
    left = set(atoms)
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            atom = edge.pop()
            part.add(atom)
            neighbors = {n.GetIdx() for n in molecule.GetAtomWithIdx(atom).GetNeighbors()} & left
            left -= neighbors
            edge.extend(neighbors)
        best = max(best, part, key=len)
    return best
