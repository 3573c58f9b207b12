"""Rings mark exactly the atoms that differ, and the words say how many."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.patches import Circle

from coursekit.errors import ScoreError
from coursekit.evaluation.figures import molecules_beside_nearest_binder
from coursekit.evaluation.molecule_figures import _chosen, _Pair
from coursekit.evaluation.picture import Picture

COLUMNS = ["molecule_id", "smiles", "negative_set", "reason", "nearest_binder", "similarity"]
MORPHOLINE = "CC(=O)Nc1ccc(cc1)C(=O)NCc1ccc(Cl)cc1C(=O)N1CCOCC1"
PIPERAZINE = "CC(=O)Nc1ccc(cc1)C(=O)NCc1ccc(F)cc1C(=O)N1CCN(C)CC1"


@pytest.fixture
def labelled() -> pd.DataFrame:
    rows = [
        ("b1", PIPERAZINE, "", "Enriched.", "", float("nan")),
        ("b2", "O=C(NCc1ccncc1)c1ccc2c(c1)OCO2", "", "Enriched.", "", float("nan")),
        ("h1", MORPHOLINE, "hard", "Shares blocks A and B.", "b1", 0.81),
        ("h2", MORPHOLINE.replace("Cl", "Br"), "hard", "Shares blocks A and B.", "b1", 0.79),
        ("h3", "O=C(NCc1cccnc1)c1ccc2c(c1)OCCO2", "hard", "Looks like a binder.", "b2", 0.62),
        ("h4", PIPERAZINE, "hard", "Its binder is not in the table.", "b9", 1.0),
        ("e1", "CCCCOC(=O)C1CCCCC1NC(=O)c1csc(Br)c1", "easy", "Far away.", "b2", 0.10),
        ("e2", "N#Cc1ccc(cc1)S(=O)(=O)N1CCCCC1", "easy", "Far away.", "b1", 0.18),
        ("e3", "CCO", "easy", "Far away.", "b1", 0.30),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rings(picture: Picture) -> list[int]:
    return [
        sum(isinstance(patch, Circle) for patch in axes.patches) for axes in picture.figure.axes
    ]


def test_exactly_the_differing_atoms_are_ringed(labelled: pd.DataFrame) -> None:
    picture = molecules_beside_nearest_binder(labelled.iloc[:3], n=1)
    # Cl and O against F, N and its methyl.
    assert _rings(picture) == [2, 3]
    patches = [patch for axes in picture.figure.axes for patch in axes.patches]
    assert not any(patch.get_fill() for patch in patches), "a shape, not a colored patch"
    assert (
        "they share 27 atoms, 2 are only in the negative and 3 only in the binder." in picture.alt
    )
    assert MORPHOLINE in picture.alt
    assert "similarity 0.81" in picture.alt
    assert picture.alt.endswith("Why a negative: Shares blocks A and B.")


def test_molecules_with_little_in_common_are_left_unmarked(labelled: pd.DataFrame) -> None:
    easy = labelled[~labelled["negative_set"].eq("hard")]
    picture = molecules_beside_nearest_binder(easy, n=1)
    assert _rings(picture) == [0, 0]
    assert "too different to mark" in picture.alt


def test_the_same_molecule_has_nothing_to_ring() -> None:
    pair = _Pair(MORPHOLINE, MORPHOLINE)
    assert pair.alike
    assert pair.differing(0) == pair.differing(1) == []


def test_of_stereoisomers_the_centers_that_differ_are_ringed() -> None:
    pair = _Pair("C[C@H](N)C(=O)N[C@@H](C)CO", "C[C@H](N)C(=O)N[C@H](C)CO")
    assert pair.differing(0) == pair.differing(1) == [6]
    assert pair.words() == "they share all 10 atoms and differ in 1 stereocenter."


def test_a_ring_that_bridges_shared_parts_keeps_its_bonds() -> None:
    """Piperidine against pyrrolidine, with the same neighbors on both sides."""
    pair = _Pair(
        "CNC(=O)CNC(=O)[C@@H]1CCCN(C(=O)c2cccc(Cl)c2)C1",
        "CNC(=O)CNC(=O)[C@@H]1CCCN1C(=O)c1cccc(Cl)c1",
    )
    place = pair.molecules[0].GetConformer().GetAtomPosition
    for bond in pair.molecules[0].GetBonds():
        length = (place(bond.GetBeginAtomIdx()) - place(bond.GetEndAtomIdx())).Length()
        assert abs(length - 1.5) < 0.1


def test_the_shared_part_is_drawn_alike() -> None:
    pair = _Pair(MORPHOLINE, PIPERAZINE)
    positions = [molecule.GetConformer().GetAtomPosition for molecule in pair.molecules]
    for i, j in zip(*pair.matches, strict=True):
        assert (positions[0](i) - positions[1](j)).Length() < 0.3  # a bond is 1.5 long


def test_molecules_without_a_common_atom_are_drawn_too() -> None:
    pair = _Pair("[Na+]", "CC")
    assert not pair.alike
    assert pair.words().startswith("they share 0 atoms, 1 are only in the negative and 2 only")


def test_hard_rows_are_the_closest_with_other_binders_first_and_easy_ones_typical(
    labelled: pd.DataFrame,
) -> None:
    known = labelled[labelled["nearest_binder"].isin(["b1", "b2"])]
    assert _chosen(known, 4)["molecule_id"].tolist() == ["h1", "h3", "e2", "e1"]
    assert _chosen(known, 5)["molecule_id"].tolist() == ["h1", "h3", "h2", "e2", "e1"]
    assert _chosen(known, 1)["molecule_id"].tolist() == ["h1"]
    kinds = known.assign(kind=["disynthon", "disynthon", "matrix", "easy", "easy", "easy"])
    assert _chosen(kinds, 4)["molecule_id"].tolist() == ["h1", "h3", "e2", "e1"]


def test_a_missing_kind_leaves_its_rows_to_the_other(labelled: pd.DataFrame) -> None:
    hard = labelled[labelled["negative_set"] == "hard"].iloc[:3]
    assert len(_chosen(hard, 4)) == 3
    easy = labelled[labelled["negative_set"] == "easy"]
    assert _chosen(easy, 2)["molecule_id"].tolist() == ["e2", "e1"]


def test_tables_that_cannot_be_drawn_are_explained(labelled: pd.DataFrame) -> None:
    with pytest.raises(ScoreError, match=r"lacks \['reason'\]. Use what label_selection gives"):
        molecules_beside_nearest_binder(labelled.drop(columns="reason"))
    with pytest.raises(ScoreError, match="no negative in the table has its nearest binder"):
        molecules_beside_nearest_binder(labelled[labelled["molecule_id"] == "h4"])
    broken = labelled.iloc[:3].replace({"smiles": {MORPHOLINE: "C1CC"}})
    with pytest.raises(ScoreError, match="SMILES 'C1CC' cannot be read"):
        molecules_beside_nearest_binder(broken, n=1)
