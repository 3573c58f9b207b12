from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from coursekit.data.chemistry import canonical
from coursekit.data.library import Library, molecule_hash
from coursekit.data.reactions import react_a, react_b, react_c
from coursekit.errors import LibraryError

BLOCKS = Path(__file__).resolve().parents[2] / "data" / "blocks"


@pytest.fixture(scope="module")
def own() -> Library:
    return Library.own()


@pytest.fixture(scope="module")
def kindel(kindel_dir: Path) -> Library:
    return Library.from_kindel(kindel_dir / "synthons")


# Whole reactions between whole reagents, step by step as on the bench: the oracle for blocks that
# were each reacted on their own.
FREE_AMINE = "[NX3;H1,H2;!$(NC=O);!$(NS):3]"
AMIDE = AllChem.ReactionFromSmarts(f"[CX3:1](=[O:2])[OX2H1].{FREE_AMINE}>>[C:1](=[O:2])[N:3]")
DEPROTECT = [
    AllChem.ReactionFromSmarts("[N:1]C(=O)OCC1c2ccccc2-c2ccccc21>>[N:1]"),
    AllChem.ReactionFromSmarts("[N:1]C(=O)OC(C)(C)C>>[N:1]"),
]
CAP = [
    ("[CX3:1](=[O:2])[OX2H1]", "[C:1](=[O:2])[N:3]"),
    ("[SX4:1](=[O:2])(=[O:4])Cl", "[S:1](=[O:2])(=[O:4])[N:3]"),
    ("[NX2:1]=[CX2:2]=[O:4]", "[N:1][C:2](=[O:4])[N:3]"),
    ("[CX3H1:1](=O)[#6:2]", "[CH2:1]([N:3])[#6:2]"),
]


def _bench(a: str, b: str, c: str) -> set[str]:
    """Every product that the whole reactions could give from three reagents."""

    def products(reaction, *reagents):
        for (product,) in reaction.RunReactants(reagents):
            Chem.SanitizeMol(product)
            yield Chem.MolFromSmiles(Chem.MolToSmiles(product))

    amine, cap, acid = map(Chem.MolFromSmiles, (a, b, c))
    found = set()
    for coupled in products(AMIDE, acid, amine):
        for deprotection in DEPROTECT:
            for free in products(deprotection, coupled):
                for before, after in CAP:
                    capping = AllChem.ReactionFromSmarts(f"{before}.{FREE_AMINE}>>{after}")
                    found |= {Chem.MolToSmiles(p) for p in products(capping, cap, free)}
    return found


def test_own_members_are_what_whole_reactions_give(own: Library) -> None:
    for a, b, c in own.sample(60, seed=3).tolist():
        assert own.smiles(a, b, c) in _bench(*own.unreacted(a, b, c))


def test_own_library_is_large_diverse_and_distinct(own: Library) -> None:
    assert own.size == own.n_a * own.n_b * own.n_c > 5_000_000
    molecules = own.members(own.sample(2_000, seed=0))
    assert len(set(molecules)) == 2_000
    lengths = [len(smiles) for smiles in molecules]
    assert 68 <= np.median(lengths) <= 78  # KinDEL: 77
    assert max(lengths) < 135
    assert all(canonical(smiles) == smiles for smiles in molecules[:100])
    assert not any("[Fr]" in s or "[At]" in s or "." in s for s in molecules)


def test_every_block_of_the_own_library_is_used_right(own: Library) -> None:
    for cycle, react in zip("abc", (react_a, react_b, react_c), strict=True):
        table = pd.read_csv(BLOCKS / f"{cycle}.csv")
        assert list(table.columns) == ["name", "smiles"]
        assert table["smiles"].is_unique
        assert table["name"].is_unique
        assert table["smiles"].map(canonical).eq(table["smiles"]).all()
        assert [react(s) for s in table["smiles"][:5]] == getattr(own, f"reacted_{cycle}")[:5]
    stub = Chem.MolFromSmarts("[CH3][NH]C(=O)[#6]")
    assert all(Chem.MolFromSmiles(s).HasSubstructMatch(stub) for s in own.unreacted_a)


def test_block_tables_are_what_the_script_writes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_blocks", BLOCKS / "make_blocks.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.write(tmp_path)
    for cycle in "abc":
        assert (tmp_path / f"{cycle}.csv").read_bytes() == (BLOCKS / f"{cycle}.csv").read_bytes()


def test_sample_is_distinct_uniform_and_repeatable(own: Library) -> None:
    drawn = own.sample(20_000, seed=20)
    assert len(np.unique(drawn, axis=0)) == 20_000
    np.testing.assert_array_equal(drawn, own.sample(20_000, seed=20))
    assert (own.sample(50, seed=21) != drawn[:50]).any()
    for column, n in enumerate((own.n_a, own.n_b, own.n_c)):
        seen = np.bincount(drawn[:, column], minlength=n)
        assert len(seen) == n
        assert abs(seen - 20_000 / n).max() < 6 * np.sqrt(20_000 / n)


def test_positions_run_with_c_innermost(own: Library) -> None:
    flat = np.array([0, 1, own.n_c, own.n_b * own.n_c, own.size - 1])
    last = [own.n_a - 1, own.n_b - 1, own.n_c - 1]
    assert own.positions(flat).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], last]


def test_stereo_of_the_blocks_survives(own: Library) -> None:
    left = next(i for i, s in enumerate(own.unreacted_c) if "Fmoc" and "[C@H](Cc1ccccc1)" in s)
    for a, b, _ in own.sample(20, seed=5).tolist():
        centers = Chem.FindMolChiralCenters(
            Chem.MolFromSmiles(own.smiles(a, b, left)), useLegacyImplementation=False
        )
        blocks = sum(
            len(Chem.FindMolChiralCenters(Chem.MolFromSmiles(s), useLegacyImplementation=False))
            for s in own.unreacted(a, b, left)
        )
        assert len(centers) == blocks


def test_hash_is_sha256_of_the_joined_reagents() -> None:
    assert molecule_hash("CN", "CC(=O)O", "OC(=O)CN") == (
        "5bc3093707fda5de19beaa062f468186cb998992d1e4306c30cd544151ea95a9"
    )


def test_nine_real_rows_are_rebuilt(kindel: Library, kindel_dir: Path) -> None:
    rows = pd.read_csv(kindel_dir / "sample9_deepchemdel_test_dataset.csv")
    assert len(rows) == 9
    assert kindel.size == 80_727_010
    indices = _indices(kindel, rows)
    assert kindel.members(indices) == [canonical(s) for s in rows["smiles"]]


@pytest.mark.parametrize(
    ("name", "in_library", "doubly_alkylated"),
    [
        ("mapk14_ondna", 30, 0),
        ("ddr1_ondna", 39, 0),
        ("mapk14_offdna", 33, 0),
        ("ddr1_offdna", 49, 6),
    ],
)
def test_held_out_compounds_are_rebuilt(
    kindel: Library, kindel_dir: Path, name: str, in_library: int, doubly_alkylated: int
) -> None:
    rows = pd.read_csv(kindel_dir / "heldout" / f"{name}.csv").dropna(subset="molecule_hash")
    assert len(rows) == in_library
    doubles = 0
    for (a, b, c), smiles in zip(_indices(kindel, rows).tolist(), rows["smiles"], strict=True):
        if kindel.smiles(a, b, c) != canonical(smiles):
            assert kindel.smiles(a, b, c, double=True) == canonical(smiles)
            doubles += 1
    assert doubles == doubly_alkylated


def test_all_of_kindels_blocks_join(kindel: Library) -> None:
    """Every block at least once; a failing join raises."""
    n = max(kindel.n_a, kindel.n_b, kindel.n_c)
    every = np.stack([np.arange(n) % k for k in (kindel.n_a, kindel.n_b, kindel.n_c)], axis=1)
    assert len(set(kindel.members(every))) == n


def _indices(library: Library, rows: pd.DataFrame) -> np.ndarray:
    tables = (library.unreacted_a, library.unreacted_b, library.unreacted_c)
    return np.stack(
        [
            rows[f"smiles_{cycle}"].map({s: i for i, s in enumerate(table)}).to_numpy(int)
            for cycle, table in zip("abc", tables, strict=True)
        ],
        axis=1,
    )


def test_subset_is_all_combinations_of_some_blocks(own: Library) -> None:
    part = own.subset(4, 5, 6, seed=1)
    assert part.size == 120
    assert "part of coursekit: 4 A x 5 B x 6 C = 120" in repr(part)
    assert set(part.unreacted_b) <= set(own.unreacted_b)
    a, b, c = part.unreacted(3, 4, 5)
    where = own.unreacted_a.index(a), own.unreacted_b.index(b), own.unreacted_c.index(c)
    assert part.smiles(3, 4, 5) == own.smiles(*where)
    with pytest.raises(LibraryError, match="cannot draw 0 of"):
        own.subset(1, 0, 1, seed=1)


@pytest.mark.parametrize("call", ["smiles", "members", "unreacted"])
def test_no_such_member(own: Library, call: str) -> None:
    wrong = (0, own.n_b, 0)
    with pytest.raises(LibraryError, match=rf"no member \(0, {own.n_b}, 0\)"):
        getattr(own, call)([wrong]) if call == "members" else getattr(own, call)(*wrong)


def test_requests_that_cannot_be_met(own: Library) -> None:
    with pytest.raises(LibraryError, match=r"shape \(3,\)"):
        own.members([0, 0, 0])
    with pytest.raises(LibraryError, match="cannot draw"):
        own.subset(1, 2, 3, seed=0).sample(7, seed=0)
    sulfonyl = next(i for i, s in enumerate(own.reacted_b) if "S" in s and "[At]" in s)
    with pytest.raises(LibraryError, match="cannot be alkylated twice"):
        own.smiles(0, sulfonyl, 0, double=True)


@pytest.mark.parametrize(
    ("react", "smiles", "message"),
    [
        (react_a, "NCCN", None),  # symmetric: both ends are the same product
        (react_a, "CC(N)CN", "can react in 2 places"),
        (react_a, "CNC(=O)c1ccccc1", "nothing that reacts"),
        (react_b, "c1ccccc1", "nothing that reacts"),
        (react_b, "OC(=O)CC(C)C(=O)O", "can react in 2 places"),
        (react_c, "NCC(=O)O", "expected one of: Fmoc amine, Boc amine"),
        (react_c, "xyz", "cannot read"),
    ],
)
def test_reagents_react_in_one_place(react, smiles: str, message: str | None) -> None:
    if message is None:
        assert react(smiles).count("[Fr]") == 1
    else:
        with pytest.raises(LibraryError, match=message):
            react(smiles)


def test_broken_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"reacted_a\.csv"):
        Library.from_kindel(tmp_path)
    for cycle in "abc":
        (tmp_path / f"reacted_{cycle}.csv").write_text("smiles_a,product\nCN,CN[Fr]\n")
    with pytest.raises(LibraryError, match="column 'smiles_b' is missing"):
        Library.from_kindel(tmp_path)
    with pytest.raises(LibraryError, match="cycle b: 1 reagents and 0 reacted"):
        Library("x", (["N"], ["N"], ["N"]), (["N[Fr]"], [], ["N"]))
    unmarked = Library("x", (["CN"],) * 3, (["CN[Fr]"], ["CC"], ["O=C([Fr])CN[At]"]))
    with pytest.raises(LibraryError, match=r"0 atoms \[At\]"):
        unmarked.smiles(0, 0, 0)
    pentavalent = Library("x", (["CN"],) * 3, (["CN[Fr]"], ["CC[At]"], ["O=C([Fr])CN(C)(C)[At]"]))
    with pytest.raises(LibraryError, match="expected exactly one"):
        pentavalent.smiles(0, 0, 0)
