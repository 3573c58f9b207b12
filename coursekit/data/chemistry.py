"""What the rest of the package needs from RDKit: reading, identity, similarity."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coursekit.errors import CourseKitError

if TYPE_CHECKING:
    from rdkit.Chem import Mol


def require_rdkit() -> ModuleType:
    """Give ``rdkit.Chem``, or say how to get it (a stock Colab has no RDKit).

    Raises:
        CourseKitError: rdkit is not installed.
    """
    try:
        from rdkit import Chem
    except ImportError as error:
        raise CourseKitError(
            "this step reads molecules with RDKit, which is not installed; "
            "run `pip install rdkit` (in a notebook: `%pip install rdkit`) and try again"
        ) from error
    return Chem  # type: ignore[no-any-return]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep RDKit's parser messages off the screen: coursekit reports bad molecules itself."""
    require_rdkit()
    from rdkit import rdBase

    block = rdBase.BlockLogs()
    try:
        yield
    finally:
        del block


def parse(smiles: str) -> Mol | None:
    """Read a SMILES; None where RDKit cannot.

    Raises:
        CourseKitError: rdkit is not installed.
    """
    if not smiles:  # RDKit reads "" as a molecule without atoms
        return None
    chem = require_rdkit()
    with quiet():
        return chem.MolFromSmiles(smiles)


def _parse_or_raise(smiles: str) -> Any:
    molecule = parse(smiles)
    if molecule is None:
        raise CourseKitError(
            f"cannot read {smiles!r} as a molecule; expected a SMILES, as in 'CC(=O)Nc1ccccc1'"
        )
    return molecule


def canonical(smiles: str) -> str:
    """RDKit's canonical SMILES, with stereo and isotopes.

    Raises:
        CourseKitError: the SMILES cannot be read.
    """
    return str(require_rdkit().MolToSmiles(_parse_or_raise(smiles)))


def parent_key(smiles: str) -> str:
    """The identity by which molecules are kept from leaking across the parts of a task.

    The largest fragment, uncharged, without stereo and isotopes, as canonical SMILES. A salt, a
    respelling, a stereoisomer and a deuterated copy of one compound all have the same key;
    tautomers do not.

    Raises:
        CourseKitError: the SMILES cannot be read.
    """
    chem = require_rdkit()
    molecule = _parse_or_raise(smiles)
    if "." in smiles:
        # The SMILES breaks ties of size, so that the order of the fragments cannot matter.
        molecule = max(
            chem.GetMolFrags(molecule, asMols=True),
            key=lambda part: (part.GetNumHeavyAtoms(), chem.MolToSmiles(part)),
        )
    if re.search(r"\[\d", smiles):
        for atom in molecule.GetAtoms():
            atom.SetIsotope(0)
        molecule = chem.RemoveHs(molecule)  # a former [2H] is an ordinary hydrogen now
    if molecule.HasSubstructMatch(_charged()):
        with quiet():
            molecule = _uncharger().uncharge(molecule)
    return str(chem.MolToSmiles(molecule, isomericSmiles=False))


@lru_cache(maxsize=1)
def _charged() -> Any:
    return require_rdkit().MolFromSmarts("[!+0]")


@lru_cache(maxsize=1)
def _uncharger() -> Any:
    from rdkit.Chem.MolStandardize import rdMolStandardize

    return rdMolStandardize.Uncharger()


def scaffold(smiles: str) -> str:
    """Bemis-Murcko scaffold without stereo; an empty string for a molecule without a ring.

    Source: Bemis and Murcko, J. Med. Chem. 1996, 39, 2887.

    Raises:
        CourseKitError: the SMILES cannot be read.
    """
    molecule = _parse_or_raise(smiles)
    from rdkit.Chem.Scaffolds import MurckoScaffold

    chem = require_rdkit()
    core = MurckoScaffold.GetScaffoldForMol(molecule)
    return str(chem.MolToSmiles(core, isomericSmiles=False))


def fingerprints(smiles: Sequence[str], radius: int = 2, n_bits: int = 2048) -> NDArray[np.uint8]:
    """Morgan fingerprints folded to bits.

    Args:
        smiles: N molecules.
        radius: bonds around each atom; 2 is often called ECFP4.
        n_bits: length of a fingerprint.

    Returns:
        Array (N, n_bits) of 0 and 1.

    Raises:
        CourseKitError: a SMILES cannot be read; its position is named.

    Source: Rogers and Hahn, J. Chem. Inf. Model. 2010, 50, 742.
    """
    require_rdkit()
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=n_bits)
    bits = np.zeros((len(smiles), n_bits), dtype=np.uint8)
    for row, text in enumerate(smiles):
        molecule = parse(text)
        if molecule is None:
            raise CourseKitError(f"molecule {row}: cannot read {text!r}; expected a SMILES")
        bits[row] = generator.GetFingerprintAsNumPy(molecule)
    return bits


def nearest(
    query: NDArray[np.uint8], reference: NDArray[np.uint8], chunk: int = 2048
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The most similar reference of each query, by Tanimoto similarity.

    Args:
        query: fingerprints (N, bits) of 0 and 1.
        reference: fingerprints (M, bits), M at least 1.
        chunk: rows compared at once; bounds the memory, not the result.

    Returns:
        Similarity (N,), between 0 and 1, and the reference's index (N,); the first where several
        are equally near. Two empty fingerprints have similarity 0.

    Raises:
        CourseKitError: no reference, or fingerprints of two lengths.
    """
    if len(reference) == 0 or query.shape[1:] != reference.shape[1:]:
        raise CourseKitError(
            f"cannot compare fingerprints of shape {query.shape} with {reference.shape}; "
            "expected (N, bits) and (M, bits) with M at least 1"
        )
    best = np.full(len(query), -1.0)
    where = np.zeros(len(query), dtype=np.int64)
    for start in range(0, len(query), chunk):
        rows = slice(start, start + chunk)
        left = query[rows].astype(np.float32)  # counts up to 2**24 are exact in float32
        on_left = left.sum(axis=1, dtype=np.float64)
        for first in range(0, len(reference), chunk):
            right = reference[first : first + chunk].astype(np.float32)
            on_right = right.sum(axis=1, dtype=np.float64)
            shared = (left @ right.T).astype(np.float64)  # (rows, references)
            either = on_left[:, None] + on_right[None, :] - shared
            similarity = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
            index = similarity.argmax(axis=1)
            value = similarity[np.arange(len(left)), index]
            better = value > best[rows]
            best[rows] = np.where(better, value, best[rows])
            where[rows] = np.where(better, index + first, where[rows])
    return best, where
