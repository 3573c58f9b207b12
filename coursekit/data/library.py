"""A three-cycle DNA-encoded library: from three tables of building blocks to its members."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coursekit.bars import track
from coursekit.data.chemistry import parse, require_rdkit
from coursekit.data.paths import bundled
from coursekit.data.reactions import react_a, react_b, react_c
from coursekit.errors import LibraryError

# Ring-closure numbers for the bonds A-C and C-B; no building block has ninety rings of its own.
_FR_BOND, _AT_BOND, _SECOND_AT_BOND = "%90", "%91", "%92"


class Library:
    """All combinations of the blocks of three cycles, built on demand.

    A member is ``(a, b, c)``: the positions of its blocks in the three tables. In the molecule C
    stands in the middle, A (with the bond to DNA) and B at its ends.

    Args:
        name: shown in messages and datasheets.
        unreacted: SMILES of the reagents, for cycles A, B and C.
        reacted: the same blocks in the product, with [Fr] on A and C for the bond between them and
            [At] on C and B for theirs.

    Raises:
        LibraryError: tables of different lengths, or a block without its markers.
    """

    def __init__(
        self,
        name: str,
        unreacted: tuple[Sequence[str], Sequence[str], Sequence[str]],
        reacted: tuple[Sequence[str], Sequence[str], Sequence[str]],
    ) -> None:
        for cycle, reagents, products in zip("abc", unreacted, reacted, strict=True):
            if len(reagents) != len(products) or not len(products):
                raise LibraryError(
                    f"library {name}, cycle {cycle}: {len(reagents)} reagents and "
                    f"{len(products)} reacted blocks; expected as many of both, at least one"
                )
        self.name = name
        self.unreacted_a, self.unreacted_b, self.unreacted_c = map(list, unreacted)
        self.reacted_a, self.reacted_b, self.reacted_c = map(list, reacted)

    @classmethod
    def own(cls) -> Library:
        """The library that comes with coursekit, reacted from the reagents in ``data/blocks``.

        Raises:
            LibraryError: a table is missing its columns or holds a reagent that cannot react.
        """
        reagents = tuple(
            _column(bundled(f"blocks/{cycle}.csv"), "smiles").tolist() for cycle in "abc"
        )
        a, b, c = reagents
        reacted = ([*map(react_a, a)], [*map(react_b, b)], [*map(react_c, c)])
        return cls("coursekit", (a, b, c), reacted)

    @classmethod
    def from_kindel(cls, folder: str | Path) -> Library:
        """KinDEL's 80,727,010 members, from its three synthon tables.

        Args:
            folder: holds ``reacted_a.csv``, ``reacted_b.csv`` and ``reacted_c.csv``.

        Raises:
            LibraryError: a table or one of its columns is missing.

        Source: KinDEL, https://github.com/insitro/kindel, folder data/synthons of its bucket.
        """
        paths = {cycle: Path(folder) / f"reacted_{cycle}.csv" for cycle in "abc"}
        unreacted = [_column(path, f"smiles_{cycle}").tolist() for cycle, path in paths.items()]
        reacted = [_column(path, f"reacted_{cycle}").tolist() for cycle, path in paths.items()]
        return cls("KinDEL", tuple(unreacted), tuple(reacted))  # type: ignore[arg-type]

    @property
    def n_a(self) -> int:
        """Blocks in cycle A."""
        return len(self.unreacted_a)

    @property
    def n_b(self) -> int:
        """Blocks in cycle B."""
        return len(self.unreacted_b)

    @property
    def n_c(self) -> int:
        """Blocks in cycle C."""
        return len(self.unreacted_c)

    @property
    def size(self) -> int:
        """Members of the library."""
        return self.n_a * self.n_b * self.n_c

    def __repr__(self) -> str:
        return f"Library {self.name}: {self.n_a} A x {self.n_b} B x {self.n_c} C = {self.size:,}"

    def smiles(self, a: int, b: int, c: int, double: bool = False) -> str:
        """Canonical SMILES of one member.

        Args:
            a: position in cycle A.
            b: position in cycle B.
            c: position in cycle C.
            double: the by-product of a reductive amination in which a primary amine took up the
                aldehyde twice, as in some of KinDEL's off-DNA compounds.

        Raises:
            LibraryError: no such member, or ``double`` where C's amine or B does not allow it.
        """
        self._inside(np.array([[a, b, c]]))
        piece_a, piece_c, piece_b = self._pieces_a[a], self._pieces_c[c], self._pieces_b[b]
        if double:
            if not (_has(self.reacted_b[b], "[CH2][At]") and _has(self.reacted_c[c], "[NH][At]")):
                raise LibraryError(
                    f"member ({a}, {b}, {c}) cannot be alkylated twice: that needs an aldehyde in "
                    f"cycle B and a primary amine in C, found {self.unreacted_b[b]} and "
                    f"{self.unreacted_c[c]}"
                )
            piece_c = piece_c.replace(f"N{_AT_BOND}", f"N{_AT_BOND}{_SECOND_AT_BOND}")
            piece_b = f"{piece_b}.{piece_b.replace(_AT_BOND, _SECOND_AT_BOND)}"
        return _join(piece_a, piece_c, piece_b)

    def members(self, indices: ArrayLike) -> list[str]:
        """Canonical SMILES of many members.

        Args:
            indices: integers (N, 3): positions in cycles A, B and C.

        Returns:
            N SMILES, in the same order.

        Raises:
            LibraryError: indices of another shape, or no such member.
        """
        chosen = np.asarray(indices)
        self._inside(chosen)
        pieces = (self._pieces_a, self._pieces_b, self._pieces_c)
        rows = track(chosen.tolist(), "Building molecules", unit="molecule")
        return [_join(pieces[0][a], pieces[2][c], pieces[1][b]) for a, b, c in rows]

    def sample(self, n: int, seed: int) -> NDArray[np.int64]:
        """Distinct members drawn at random, each as likely as any other.

        Args:
            n: how many.
            seed: the same seed draws the same members.

        Returns:
            Positions (n, 3) in cycles A, B and C, in random order; see ``members``.

        Raises:
            LibraryError: more members asked for than there are.
        """
        if not 0 <= n <= self.size:
            raise LibraryError(f"cannot draw {n:,} distinct members from {self!r}")
        flat = np.random.default_rng(seed).choice(self.size, size=n, replace=False)
        return self.positions(flat)

    def subset(self, n_a: int, n_b: int, n_c: int, seed: int) -> Library:
        """A smaller library of blocks drawn at random: all combinations of so many A, B and C.

        Raises:
            LibraryError: more blocks asked for than there are, or none.
        """
        rng = np.random.default_rng(seed)
        unreacted, reacted = [], []
        for cycle, wanted in zip("abc", (n_a, n_b, n_c), strict=True):
            reagents, products = (
                getattr(self, f"unreacted_{cycle}"),
                getattr(self, f"reacted_{cycle}"),
            )
            if not 0 < wanted <= len(reagents):
                raise LibraryError(
                    f"cannot draw {wanted} of {len(reagents)} blocks of cycle {cycle.upper()}"
                )
            kept = np.sort(rng.choice(len(reagents), wanted, replace=False))
            unreacted.append([reagents[i] for i in kept])
            reacted.append([products[i] for i in kept])
        return Library(f"part of {self.name}", tuple(unreacted), tuple(reacted))  # type: ignore[arg-type]

    def positions(self, flat: NDArray[np.int64]) -> NDArray[np.int64]:
        """Turn running numbers 0 to size-1 (A outermost, C innermost) into positions (N, 3)."""
        return np.stack(np.unravel_index(flat, (self.n_a, self.n_b, self.n_c)), axis=1)

    def unreacted(self, a: int, b: int, c: int) -> tuple[str, str, str]:
        """The three reagents of a member: ``smiles_a``, ``smiles_b`` and ``smiles_c``."""
        self._inside(np.array([[a, b, c]]))
        return self.unreacted_a[a], self.unreacted_b[b], self.unreacted_c[c]

    def _inside(self, indices: NDArray[np.int64]) -> None:
        if indices.ndim != 2 or indices.shape[1] != 3:
            raise LibraryError(f"members have shape {indices.shape}; expected (N, 3): a, b, c")
        wrong = ((indices < 0) | (indices >= (self.n_a, self.n_b, self.n_c))).any(axis=1)
        if wrong.any():
            raise LibraryError(f"no member {tuple(indices[wrong][0].tolist())} in {self!r}")

    @cached_property
    def _pieces_a(self) -> list[str]:
        return [_piece(smiles, "[Fr]", _FR_BOND) for smiles in self.reacted_a]

    @cached_property
    def _pieces_b(self) -> list[str]:
        return [_piece(smiles, "[At]", _AT_BOND) for smiles in self.reacted_b]

    @cached_property
    def _pieces_c(self) -> list[str]:
        rooted = (_piece(smiles, "[Fr]", _FR_BOND) for smiles in self.reacted_c)
        return [re.sub(r"\(\[At\]\)|\[At\]", _AT_BOND, smiles) for smiles in rooted]


def molecule_hash(smiles_a: str, smiles_b: str, smiles_c: str) -> str:
    """Identity of a member of a coursekit library: SHA-256 of its reagents joined by ``|``.

    (KinDEL's hashes are also made from the synthons, by an unpublished rule.)
    """
    return hashlib.sha256(f"{smiles_a}|{smiles_b}|{smiles_c}".encode()).hexdigest()


def _piece(reacted: str, marker: str, bond: str) -> str:
    """Spell a reacted block from its marker on, with an open ring bond in the marker's place.

    "CNC(=O)c1ccc(CN[Fr])cc1" becomes "N%90Cc1ccc(...)cc1"; three such pieces written side by side
    close each other's bonds. The atoms next to the markers are N, C=O, CH2 or SO2, never
    stereocenters, so that no chirality depends on the order of bonds around them.
    """
    molecule = parse(reacted)
    marked = (
        []
        if molecule is None
        else [atom.GetIdx() for atom in molecule.GetAtoms() if f"[{atom.GetSymbol()}]" == marker]
    )
    if len(marked) != 1:
        raise LibraryError(
            f"reacted block {reacted!r} has {len(marked)} atoms {marker}; expected exactly one"
        )
    rooted = require_rdkit().MolToSmiles(molecule, rootedAtAtom=marked[0])
    return re.sub(r"^" + re.escape(marker) + r"(\[[^\]]+\]|[A-Z])", rf"\g<1>{bond}", rooted)


def _has(smiles: str, smarts: str) -> bool:
    molecule = parse(smiles)
    pattern = require_rdkit().MolFromSmarts(smarts)
    return molecule is not None and bool(molecule.HasSubstructMatch(pattern))


def _join(piece_a: str, piece_c: str, piece_b: str) -> str:
    chem = require_rdkit()
    molecule = chem.MolFromSmiles(f"{piece_a}.{piece_c}.{piece_b}")
    if molecule is None:
        raise LibraryError(f"blocks do not join: {piece_a} with {piece_c} with {piece_b}")
    return str(chem.MolToSmiles(molecule))


def _column(path: Path, name: str) -> pd.Series:
    try:
        table = pd.read_csv(path, dtype=str)
    except OSError as error:
        raise LibraryError(f"cannot read the building blocks {path}: {error.strerror}") from error
    if name not in table.columns or table[name].isna().any():
        raise LibraryError(
            f"{path}: column {name!r} is missing or has empty cells; found {list(table.columns)}"
        )
    return table[name]
