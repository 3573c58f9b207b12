from __future__ import annotations

import builtins
import random

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import AllChem

from coursekit.data.chemistry import (
    canonical,
    fingerprints,
    nearest,
    parent_key,
    parse,
    require_rdkit,
    scaffold,
)
from coursekit.errors import CourseKitError

LIGAND = "CNC(=O)[C@H](Cc1ccncc1)NC(=O)[C@@H]1CCCN1C(=O)c1cccc(F)c1"


def test_bad_smiles_is_none_and_silent(capfd: pytest.CaptureFixture[str]) -> None:
    assert parse("c1ccccc") is None
    assert parse("") is None
    assert parse("C1CC") is None
    assert capfd.readouterr() == ("", "")


def test_canonical_does_not_depend_on_spelling() -> None:
    molecule = Chem.MolFromSmiles(LIGAND)
    order = list(range(molecule.GetNumAtoms()))
    for seed in range(5):
        random.Random(seed).shuffle(order)
        respelled = Chem.MolToSmiles(Chem.RenumberAtoms(molecule, order), canonical=False)
        assert canonical(respelled) == canonical(LIGAND)
        assert parent_key(respelled) == parent_key(LIGAND)


@pytest.mark.parametrize(
    ("other", "one"),
    [
        (LIGAND.replace("[C@H]", "[C@@H]"), LIGAND),  # stereoisomer
        (LIGAND + ".Cl", LIGAND),  # salt
        ("OC(=O)C(F)(F)F." + LIGAND, LIGAND),
        (LIGAND.replace("CNC", "[2H]C([2H])([2H])NC"), LIGAND),  # deuterated
        ("[NH3+]CC(=O)[O-]", "NCC(=O)O"),  # zwitterion
        ("C[NH+]1CCCC1.[Cl-]", "CN1CCCC1"),
        ("[Na+].[O-]C(=O)c1ccccc1", "OC(=O)c1ccccc1"),
        ("C/C=C/C", "C/C=C\\C"),
        ("[13CH4]", "C"),
    ],
)
def test_parent_key_sees_through(other: str, one: str) -> None:
    assert parent_key(other) == parent_key(one)


def test_parent_key_keeps_molecules_apart() -> None:
    assert parent_key("Fc1ccccc1") != parent_key("Clc1ccccc1")
    assert parent_key("CCO.CCN") == parent_key("CCN.CCO")  # a tie in size, either order


def test_canonical_keeps_stereo_and_isotopes() -> None:
    assert canonical("C[C@H](N)C(=O)O") != canonical("C[C@@H](N)C(=O)O")
    assert "[2H]" in canonical("[2H]OC")


@pytest.mark.parametrize("function", [canonical, parent_key, scaffold])
def test_unreadable_names_the_smiles(function) -> None:
    with pytest.raises(CourseKitError, match="c1cc"):
        function("c1cc")


def test_scaffold_is_the_ring_system() -> None:
    assert scaffold("CCc1ccc(CC2CC2)cc1") == "c1ccc(CC2CC2)cc1"
    assert scaffold("CCO") == ""


def test_fingerprints_match_rdkits_bit_vectors() -> None:
    molecules = [LIGAND, "CCO", "c1ccccc1O"]
    ours = fingerprints(molecules, radius=2, n_bits=512)
    assert ours.dtype == np.uint8
    for row, smiles in zip(ours, molecules, strict=True):
        theirs = AllChem.GetMorganFingerprintAsBitVect(Chem.MolFromSmiles(smiles), 2, 512)
        assert set(np.flatnonzero(row)) == set(theirs.GetOnBits())
    with pytest.raises(CourseKitError, match=r"molecule 1.*C1CC"):
        fingerprints(["CC", "C1CC"])


def test_nearest_agrees_with_rdkits_tanimoto_whatever_the_chunk() -> None:
    rng = np.random.default_rng(0)
    query = (rng.random((23, 64)) < 0.3).astype(np.uint8)
    reference = (rng.random((17, 64)) < 0.3).astype(np.uint8)
    query[3] = reference[5]
    query[4] = 0

    def vector(row):
        return DataStructs.CreateFromBitString("".join(map(str, row)))

    expected = np.array(
        [
            DataStructs.BulkTanimotoSimilarity(vector(q), [vector(r) for r in reference])
            for q in query
        ]
    )
    for chunk in (1, 4, 100):
        similarity, index = nearest(query, reference, chunk=chunk)
        np.testing.assert_allclose(similarity, expected.max(axis=1), atol=1e-12)
        np.testing.assert_array_equal(index, expected.argmax(axis=1))
    assert similarity[3] == 1
    assert similarity[4] == 0


@pytest.mark.parametrize("reference", [np.zeros((0, 8), np.uint8), np.zeros((2, 9), np.uint8)])
def test_nearest_refuses_what_it_cannot_compare(reference: np.ndarray) -> None:
    with pytest.raises(CourseKitError, match="cannot compare"):
        nearest(np.zeros((1, 8), np.uint8), reference)


def test_missing_rdkit_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.partition(".")[0] == "rdkit":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(CourseKitError, match="pip install rdkit"):
        require_rdkit()
