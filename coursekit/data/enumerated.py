"""Easy negatives out of a library, where the file at hand holds only enriched molecules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from coursekit.data.chemistry import parse, require_rdkit
from coursekit.data.draw import Integers
from coursekit.data.library import Library, molecule_hash
from coursekit.data.passes import Binders
from coursekit.errors import TaskError


@dataclass(frozen=True)
class Enumerated:
    """Members of a library that may become easy negatives.

    Args:
        library: where they come from.
        members: (m, 3) positions in its cycles A, B and C.
        codes: (3, m) codes of the same blocks in the selection, -1 for blocks it does not have.
    """

    library: Library
    members: Integers
    codes: Integers

    @classmethod
    def draw(cls, library: Library, n: int, seed: int, binders: Binders) -> Enumerated:
        """Draw up to ``n`` members which share no disynthon with any binder of the selection.

        Blocks are matched by canonical SMILES, as file and library may spell them differently.

        Raises:
            TaskError: the library has no block of the selection, so it must be another one.
        """
        tables = (library.unreacted_a, library.unreacted_b, library.unreacted_c)
        translation, matched = [], 0
        for x, unreacted in zip("abc", tables, strict=True):
            code = {_spelled(block): i for i, block in enumerate(binders.blocks[x])}
            translation.append(np.array([code.get(_spelled(block), -1) for block in unreacted]))
            matched += int((translation[-1] >= 0).sum())
        if matched == 0:
            raise TaskError(
                f"not one building block of the selection is in {library!r}. Give the library that "
                "was screened, e.g. Library.from_kindel(folder) for KinDEL's files."
            )
        # Half of the library may be related to binders, so draw more than what is asked for.
        members = library.sample(min(library.size, 4 * n + 1000), seed)
        codes = np.stack([translation[i][members[:, i]] for i in range(3)])
        stranger = ~binders.of_all.shares_pair(dict(zip("abc", codes, strict=True)))
        return cls(library, members[stranger][:n], codes[:, stranger][:, :n])

    def rows(self, keep: npt.NDArray[np.bool_], n: int) -> pd.DataFrame:
        """The first ``n`` members where ``keep`` is true, with SMILES, blocks and codes."""
        members = self.members[keep][: max(0, n)]
        blocks = [self.library.unreacted(*member) for member in members.tolist()]
        frame = pd.DataFrame(blocks, columns=[f"smiles_{x}" for x in "abc"], dtype=object)
        frame["molecule_id"] = [molecule_hash(*block) for block in blocks]
        frame["smiles"] = self.library.members(members)
        frame[["a", "b", "c"]] = self.codes[:, keep][:, : len(members)].T
        return frame.assign(row=-1)


def _spelled(block: str) -> str:
    """Canonical spelling of a block; two reagents of one cycle are joined by a comma."""
    to_smiles = require_rdkit().MolToSmiles
    molecules = [parse(part) for part in block.split(", ")]
    return ", ".join(
        part if molecule is None else to_smiles(molecule)
        for part, molecule in zip(block.split(", "), molecules, strict=True)
    )
