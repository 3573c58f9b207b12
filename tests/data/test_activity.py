from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coursekit.data.activity import Activity, describe_a, describe_b, describe_c
from coursekit.data.library import Library
from coursekit.errors import LibraryError


def test_hinge_motifs_of_amines() -> None:
    blocks = {
        "CNC(=O)[C@H](Cc1cccnc1)N[Fr]": (1, True),  # pyridine: acceptor
        "CNC(=O)[C@H](CN[Fr])NC(=O)c1ccc2[nH]ncc2c1": (2, True),  # indazole
        "CNC(=O)[C@H](CN[Fr])NC(=O)c1cnc2[nH]ccc2c1": (2, True),  # azaindole
        "CNC(=O)[C@H](CN[Fr])NC(=O)c1cnc(N)nc1": (2, True),  # aminopyrimidine
        "CNC(=O)[C@H](Cc1ccccc1)N[Fr]": (0, True),
        "CNC(=O)[C@H](Cc1c[nH]c2ccccc12)N[Fr]": (0, True),  # indole: donor without an acceptor
        "CNC(=O)C1CCCN([Fr])C1": (0, False),
    }
    table = describe_a(list(blocks))
    assert list(zip(table["hinge"], table["aryl"], strict=True)) == list(blocks.values())
    # [Fr]-N-CA-CB-C(ring, 4 bonds)-C-N
    assert table["reach"].tolist()[0] == 6
    assert table["reach"].tolist()[-1] == 0


@pytest.mark.parametrize(
    ("block", "features"),
    [
        ("O=C([At])c1cccc(Cl)c1", {"amide", "meta"}),
        ("O=C([At])c1ccc(C(F)(F)F)cc1", {"amide", "para"}),
        ("O=C([At])c1ccc(Cl)c(Cl)c1", {"amide", "meta", "para"}),
        ("O=C([At])Nc1ccc(Cl)cc1", {"urea"}),
        ("O=S(=O)([At])c1ccc(C)cc1", {"sulfonyl", "para"}),
        ("[At]Cc1ccc2ccccc2c1", {"alkyl", "fused"}),
        ("O=C([At])c1ccc(OC)cc1", {"amide"}),  # methoxy is not greasy
        ("O=C([At])C1CCCCC1", {"amide"}),
    ],
)
def test_caps(block: str, features: set[str]) -> None:
    row = describe_b([block]).iloc[0]
    names = ("amide", "urea", "sulfonyl", "alkyl", "meta", "para", "fused")
    assert {name for name in names if row[name]} == features


def test_middle_hand_and_reach() -> None:
    left, right = "O=C([Fr])[C@@H]1CCCN1[At]", "O=C([Fr])[C@H]1CCCN1[At]"  # L- and D-proline
    flexible = "O=C([Fr])CCCN[At]"
    table = describe_c([left, right, flexible])
    assert table["hand"].tolist() == [1, -1, 0]
    assert table["ring_amine"].tolist() == [True, True, False]
    assert table["reach"].tolist() == [4, 4, 6]


def test_the_rule_is_not_a_sum_over_blocks() -> None:
    """The same exchange of C helps beside one amine and hurts beside another."""
    pyrazole, phenyl = "CNC(=O)[C@H](Cc1cn[nH]c1)N[Fr]", "CNC(=O)[C@H](Cc1ccccc1)N[Fr]"
    cap = "O=C([At])c1cc(Cl)cc(-c2cn[nH]c2)c1"
    left, right = "O=C([Fr])[C@@H]1CCCN1[At]", "O=C([Fr])[C@H]1CCCN1[At]"
    library = Library(
        "x", (["a1", "a2"], ["b"], ["c1", "c2"]), ([pyrazole, phenyl], [cap], [left, right])
    )
    rule = Activity(library)
    straight, _, turned = (
        np.stack([rule.by_pose(a)[pose, 0] for a in (0, 1)]) for pose in range(3)
    )
    assert straight[0, 0] > straight[0, 1]  # pyrazole wants the left hand
    assert turned[1, 1] > turned[1, 0]  # phenyl the right one
    best = np.maximum(straight, turned)
    assert best[0, 0] > best[0, 1] + 0.3
    assert best[1, 1] > best[1, 0] + 0.3


def test_nature_does_not_depend_on_what_else_is_in_the_library() -> None:
    own = Library.own()
    part = own.subset(3, 20, 10, seed=2)
    rows = [own.unreacted_b.index(s) for s in part.unreacted_b]
    columns = [own.unreacted_c.index(s) for s in part.unreacted_c]
    a = own.unreacted_a.index(part.unreacted_a[1])
    np.testing.assert_allclose(
        Activity(part).of_a(1), Activity(own).of_a(a)[np.ix_(rows, columns)], rtol=1e-5
    )


def test_the_rule_works_on_kindels_blocks(kindel_dir: Path) -> None:
    part = Library.from_kindel(kindel_dir / "synthons").subset(60, 200, 40, seed=0)
    rule = Activity(part)
    values = np.stack([rule.of_a(a) for a in range(part.n_a)])
    assert np.isfinite(values).all()
    assert values.std() > 0.3
    best = np.stack([rule.by_pose(a) for a in range(part.n_a)])  # (A, 3, B, C)
    assert (best.max(axis=(0, 2, 3)) > 2.5).all()  # every pose is taken by someone


def test_unreadable_block_is_named() -> None:
    with pytest.raises(LibraryError, match="C1CC"):
        describe_a(["C1CC[Fr]"])
