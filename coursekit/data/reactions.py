"""From the bottle to the bond: what each building block looks like once it has reacted.

A library member is made on DNA in three steps: an amine A takes up an amino acid C (amide), C loses
its protecting group, and its amine takes up a cap B. Every one of these reactions changes only the
atoms at the new bond, so each block is reacted once, on paper, with a marker atom standing for the
neighbor to come: francium for the bond A-C, astatine for the bond C-B (KinDEL's own tables use the
same two). Joining three reacted blocks is then a matter of writing, millions of times over.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from coursekit.data.chemistry import canonical, parse, require_rdkit
from coursekit.errors import LibraryError

# In order of nucleophilicity: the first that occurs in a block is the one that reacts. "[CX4]"
# leaves out amides, ureas, sulfonamides and guanidines; heteroaromatic amines are too weak.
AMINES = {
    "primary or secondary alkyl amine": (
        "[NX3;H1,H2;$(N[CX4]);!$(N[CX3]);!$(NS);!$(N[a]):1]>>[NX3:1][Fr]"
    ),
    "aniline": "[NX3;H2;$(Nc1ccccc1),$(Nc1ccc2aaac2c1):1]>>[NX3:1][Fr]",
}
PROTECTED = {
    "Fmoc amine": "[N:1]C(=O)OCC1c2ccccc2-c2ccccc21>>[N:1][At]",
    "Boc amine": "[N:1]C(=O)OC(C)(C)C>>[N:1][At]",
}
AMIDE = {"carboxylic acid": "[CX3:1](=[O:2])[OX2H1]>>[C:1](=[O:2])[Fr]"}
CAPS = {
    "carboxylic acid (amide)": "[CX3:1](=[O:2])[OX2H1]>>[C:1](=[O:2])[At]",
    "sulfonyl chloride (sulfonamide)": "[SX4:1](=[O:2])(=[O:3])Cl>>[S:1](=[O:2])(=[O:3])[At]",
    "isocyanate (urea)": "[NX2:1]=[CX2:2]=[O:3]>>[N:1][C:2](=[O:3])[At]",
    "aldehyde (reductive amination)": "[CX3H1:1](=O)[#6:2]>>[CH2:1]([At])[#6:2]",
}


def react_a(smiles: str) -> str:
    """An amine as it stands in the product: its nitrogen marked [Fr].

    Raises:
        LibraryError: no amine that reacts, or more than one.
    """
    return _react(smiles, AMINES)


def react_b(smiles: str) -> str:
    """A cap as it stands in the product: the atom that meets C's amine marked [At].

    Raises:
        LibraryError: no group that reacts, or more than one.
    """
    return _react(smiles, CAPS)


def react_c(smiles: str) -> str:
    """An amino acid in the middle: its carbonyl marked [Fr], its deprotected amine [At].

    Raises:
        LibraryError: no carboxylic acid or protected amine, or more than one.
    """
    return _react(_react(smiles, AMIDE), PROTECTED)


def _react(smiles: str, reactions: dict[str, str]) -> str:
    molecule = parse(smiles)
    if molecule is None:
        raise LibraryError(f"cannot read the building block {smiles!r}; expected a SMILES")
    for name, smarts in reactions.items():
        products = {
            canonical(require_rdkit().MolToSmiles(product))
            for (product,) in _reaction(smarts).RunReactants((molecule,))
        }
        if len(products) > 1:
            raise LibraryError(
                f"{smiles!r} can react in {len(products)} places as {name}; "
                "a building block must have one only: protect the others"
            )
        if products:
            return products.pop()
    raise LibraryError(
        f"{smiles!r} has nothing that reacts; expected one of: {', '.join(reactions)}"
    )


@cache
def _reaction(smarts: str) -> Any:
    require_rdkit()
    from rdkit.Chem import rdChemReactions

    return rdChemReactions.ReactionFromSmarts(smarts)
