"""A made-up kinase: which members of a library bind it, judged by structure.

The rule stands on what the building blocks look like (rings, hydrogen-bond motifs, handedness,
distances), never on their names, so that it applies to any three-cycle library with reacted blocks.
It is invented: it borrows the vocabulary of kinase inhibitors (a *hinge* that wants a donor beside
an acceptor, a greasy back pocket), not their data, and says nothing about the real MAPK14.

A ligand can bind in one of three **poses**, and each pose asks something else of every block:

======== ============================== ============================= ==========================
pose     A (amine, DNA side)            C (middle)                    B (cap)
======== ============================== ============================= ==========================
straight donor-acceptor heteroaryl      ring amine, left-handed       *meta*-substituted aryl amide
long     lone acceptor (pyridine)       open-chain amine, far reach   *para*-substituted aryl, urea
turned   greasy aryl without a hinge    right-handed, close           hinge-binding heteroaryl
======== ============================== ============================= ==========================

(Left-handed is S, right-handed R, as labeled on the reacted block.) Each block fits its column to
some degree between 0 and 1, and a pose is worth three times the geometric mean of the three: one
block that does not fit spoils it, however good the other two. So the same cap is right beside one
amine and wrong beside another, and the hand that helps in one pose hurts in the next. On top, the
ligand's whole length must fit the pose's pocket, which depends on all three blocks at once. What is
left is the rest of nature: modest effects of single blocks and of pairs that follow from no feature
here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coursekit.data.chemistry import parse, require_rdkit
from coursekit.data.library import Library
from coursekit.errors import LibraryError

Floats = NDArray[np.float32]

# Donor and acceptor side by side: pyrazole and indazole, azaindole and benzimidazole, aminoazine.
_PAIR = "[$([nH]n),$([nH]c[nX2]),$([nX2]c[NH2])]"
_ACCEPTOR = "[nX2;r6]"
_GREASY = "[$([F,Cl,Br][c]),$(C(F)(F)F),$([CX4;!$(C[O,N,S])]c),$(OC(F)(F)F),$(c1ccccc1-c)]"
_META = f"[At]~[#6,#16]!@c:a:c-{_GREASY}"
_PARA = f"[At]~[#6,#16]!@c:a:a:c-{_GREASY}"
_FUSED = "c(:a)(:a):a"

# Strengths in arbitrary units.
_POSE = 3.0  # a pose which all three blocks fit
_LENGTH = 0.8  # a ligand of the ideal length
_SINGLE_EFFECT = 0.15  # standard deviation of what a block does beyond the poses
_PAIR_EFFECT = 0.15  # ... and of what each pair of blocks does


def describe_a(reacted: Sequence[str]) -> pd.DataFrame:
    """Features of amines: ``hinge`` (0 none, 1 acceptor, 2 pair), ``aryl``, ``reach``.

    ``reach`` is the number of bonds from [Fr] to the hinge's nearest atom (else to the nearest
    aromatic atom; 0 without either).
    """
    return pd.DataFrame([_hinge(molecule, "Fr") for molecule in _molecules(reacted)])


def describe_b(reacted: Sequence[str]) -> pd.DataFrame:
    """Features of caps: those of amines, from [At], and how the aryl is bound and substituted.

    ``amide``, ``urea``, ``sulfonyl`` and ``alkyl`` (bools) tell the bond to C; ``meta``, ``para``
    and ``fused`` the aryl; ``length`` is the number of bonds from [At] to the farthest atom.
    """
    rows = []
    for molecule in _molecules(reacted):
        urea = _has(molecule, "[At]C(=O)N")
        rows.append(
            {
                **_hinge(molecule, "At"),
                "amide": _has(molecule, "[At]C(=O)") and not urea,
                "urea": urea,
                "sulfonyl": _has(molecule, "[At]S(=O)(=O)"),
                "alkyl": _has(molecule, "[At][CX4]"),
                "meta": _has(molecule, _META),
                "para": _has(molecule, _PARA),
                "fused": _has(molecule, _FUSED),
                "length": int(_distances(molecule, "At").max()),
            }
        )
    return pd.DataFrame(rows)


def describe_c(reacted: Sequence[str]) -> pd.DataFrame:
    """Features of the middle: ``ring_amine``, ``aryl``, ``hand`` and ``reach``.

    ``hand`` is +1 (S), -1 (R) or 0 by the CIP label of the stereocenter nearest to [Fr]; ``reach``
    the number of bonds from [Fr] to [At].
    """
    rows = []
    for molecule in _molecules(reacted):
        distance = _distances(molecule, "Fr")
        centers = require_rdkit().FindMolChiralCenters(molecule, useLegacyImplementation=True)
        labels = [label for _, label in sorted(centers, key=lambda c: (distance[c[0]], c[0]))]
        (astatine,) = (a.GetIdx() for a in molecule.GetAtoms() if a.GetSymbol() == "At")
        rows.append(
            {
                "ring_amine": _has(molecule, "[At][N;R]"),
                "aryl": _has(molecule, "c"),
                "hand": {"S": 1, "R": -1}.get(labels[0], 0) if labels else 0,
                "reach": int(distance[astatine]),
            }
        )
    return pd.DataFrame(rows)


class Activity:
    """How well each member of a library would bind, higher is better, in arbitrary units.

    Nature is the same in every simulation: the effects that no feature explains are drawn from a
    hash of each block, not from the simulation's seed. What holds for one set of counts holds for
    the next, so a model trained on one can be judged on another.

    Args:
        library: any library with reacted blocks.
    """

    def __init__(self, library: Library) -> None:
        a = describe_a(library.reacted_a)
        b = describe_b(library.reacted_b)
        c = describe_c(library.reacted_c)
        self._poses = [_straight(a, b, c), _long(a, b, c), _turned(a, b, c)]
        self._spans = (a["reach"].to_numpy(), b["length"].to_numpy(), c["reach"].to_numpy())
        hidden = [
            _hidden(blocks) for blocks in (library.reacted_a, library.reacted_b, library.reacted_c)
        ]
        self._single = [_SINGLE_EFFECT * h[:, 0] for h in hidden]
        self._ab = _pair_effect(hidden[0][:, 1:5], hidden[1][:, 1:5])
        self._ac = _pair_effect(hidden[0][:, 5:9], hidden[2][:, 1:5])
        self._bc = _pair_effect(hidden[1][:, 5:9], hidden[2][:, 5:9])

    def of_a(self, a: int) -> Floats:
        """Activities of all members with one A block, (B, C)."""
        return self.by_pose(a).max(axis=0) + (  # (B, C)
            self._single[0][a]
            + (self._single[1] + self._ab[a])[:, None]
            + (self._single[2] + self._ac[a])[None, :]
            + self._bc
        )

    def by_pose(self, a: int) -> Floats:
        """What each pose would give, without nature's rest, (3, B, C)."""
        reach_a, length_b, reach_c = self._spans
        span = reach_a[a] + length_b[:, None] + reach_c[None, :]
        values = [
            _POSE * np.cbrt(fit_a[a] * fit_b[:, None] * fit_c[None, :])
            + _LENGTH * _near(span, ideal)
            for fit_a, fit_b, fit_c, ideal in self._poses
        ]
        return np.stack(values).astype(np.float32)


Pose = tuple[Floats, Floats, Floats, float]  # what A, B and C bring, and the ideal length in bonds


def _straight(a: pd.DataFrame, b: pd.DataFrame, c: pd.DataFrame) -> Pose:
    hinge = _levels(a["hinge"], {2: 1.0, 1: 0.35, 0: 0.0})
    cap = _first([b["meta"] & b["amide"], b["meta"], b["para"] & b["amide"]], [1.0, 0.6, 0.35])
    turn = _first([c["ring_amine"] & (c["hand"] == hand) for hand in (1, 0, -1)], [1.0, 0.5, 0.25])
    return hinge, cap, turn, 15.0


def _long(a: pd.DataFrame, b: pd.DataFrame, c: pd.DataFrame) -> Pose:
    hinge = _levels(a["hinge"], {1: 1.0, 2: 0.35, 0: 0.0})
    cap = _first([b["para"] & b["urea"], b["para"], b["urea"], b["meta"]], [1.0, 0.8, 0.5, 0.3])
    turn = _first(
        [~c["ring_amine"] & (c["reach"] >= 6), c["reach"] >= 6, ~c["ring_amine"]], [1.0, 0.6, 0.3]
    )
    return hinge, cap, turn, 19.0


def _turned(a: pd.DataFrame, b: pd.DataFrame, c: pd.DataFrame) -> Pose:
    grease = _first([(a["hinge"] == 0) & a["aryl"], a["aryl"]], [1.0, 0.3])
    near = b["reach"] <= 4
    cap = _first([(b["hinge"] == 2) & near, b["hinge"] == 2, b["hinge"] == 1], [1.0, 0.5, 0.4])
    close = c["reach"] <= 5
    turn = _first(
        [(c["hand"] == -1) & close, (c["hand"] == 0) & close, c["hand"] == -1], [1.0, 0.5, 0.4]
    )
    return grease, cap, turn, 14.0


def _levels(values: pd.Series, levels: dict[int, float]) -> Floats:
    return values.map(levels).to_numpy(np.float32)


def _first(conditions: Sequence[pd.Series], values: Sequence[float]) -> Floats:
    """The value of the first condition that holds; 0 where none does."""
    return np.select([c.to_numpy(bool) for c in conditions], values, 0.0).astype(np.float32)


def _near(span: NDArray[np.int64], ideal: float) -> NDArray[np.float64]:
    return np.exp(-(((span - ideal) / 2.0) ** 2))


def _hidden(blocks: Sequence[str]) -> Floats:
    """Nine standard normal numbers for each block, drawn from a hash of its SMILES, (n, 9)."""
    rows = [
        np.random.default_rng(list(hashlib.sha256(smiles.encode()).digest())).normal(size=9)
        for smiles in blocks
    ]
    return np.asarray(rows, dtype=np.float32)


def _pair_effect(left: Floats, right: Floats) -> Floats:
    return _PAIR_EFFECT / np.sqrt(left.shape[1], dtype=np.float32) * (left @ right.T)


def _molecules(reacted: Sequence[str]) -> Iterator[Any]:
    for smiles in reacted:
        molecule = parse(smiles)
        if molecule is None:
            raise LibraryError(f"cannot read the reacted block {smiles!r}; expected a SMILES")
        yield molecule


def _hinge(molecule: Any, marker: str) -> dict[str, Any]:
    distance = _distances(molecule, marker)
    pair, acceptor, aromatic = (_matches(molecule, s) for s in (_PAIR, _ACCEPTOR, "a"))
    nearest = pair or acceptor or aromatic
    return {
        "hinge": 2 if pair else 1 if acceptor else 0,
        "aryl": bool(aromatic),
        "reach": int(min((distance[atom] for atom in nearest), default=0)),
    }


def _matches(molecule: Any, smarts: str) -> list[int]:
    return [match[0] for match in molecule.GetSubstructMatches(_pattern(smarts))]


def _has(molecule: Any, smarts: str) -> bool:
    return bool(molecule.HasSubstructMatch(_pattern(smarts)))


@cache
def _pattern(smarts: str) -> Any:
    return require_rdkit().MolFromSmarts(smarts)


def _distances(molecule: Any, marker: str) -> NDArray[np.float64]:
    """Bonds from the marker atom to every atom."""
    (start,) = (a.GetIdx() for a in molecule.GetAtoms() if a.GetSymbol() == marker)
    return np.asarray(require_rdkit().GetDistanceMatrix(molecule)[start])
