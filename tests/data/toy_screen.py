"""A library of 1,080 members that can be screened, and labelled by brute force, in a test."""

from __future__ import annotations

import numpy as np
import pandas as pd

from coursekit.data.library import Library, molecule_hash
from coursekit.data.schema import COLUMNS, MATRIX_COLUMNS, TARGET_COLUMNS, enrichment

RINGS = ("c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccsc1", "c1ccoc1", "C1CCOCC1")
TAILS = ("", "C", "CC", "CCC", "OC", "NC")


def toy_library() -> Library:
    """10 A x 18 B x 6 C."""
    a = [f"NC{tail}{ring}" for ring in RINGS[:5] for tail in TAILS[:2]]
    b = [f"OC(=O){tail}{ring}" for ring in RINGS for tail in ("", "C", "CC")]
    c = [f"OC(=O)C(C{tail})N" for tail in TAILS]
    reacted_a = ["[Fr]" + block for block in a]
    reacted_b = ["[At]C(=O)" + block[6:] for block in b]
    reacted_c = ["[Fr]" + block[1:] + "[At]" for block in c]
    return Library("toy", (a, b, c), (reacted_a, reacted_b, reacted_c))


def toy_screen(seed: int = 0) -> pd.DataFrame:
    """All members with counts: some AB and AC pairs bind, a few members stick to the matrix."""
    library, random = toy_library(), np.random.default_rng(seed)
    members = library.positions(random.permutation(library.size))
    a, b, c = members.T
    n = len(members)
    active = (np.isin(a, (0, 3)) & (b < 9)) | ((a == 1) & (c == 2))
    binds = active & (random.random(n) < 0.6)
    sticks = (random.random(n) < 0.02) * random.poisson(40, (2, n))
    target = random.poisson(np.where(binds, 14, 0.5)) + sticks[0]
    matrix = random.poisson(np.where(binds, 0.7, 1.2)) + sticks[1]
    load = random.poisson(random.gamma(2, 9, n))
    return screen_of(library, members, target, matrix, load)


def screen_of(
    library: Library, members: np.ndarray, target: np.ndarray, matrix: np.ndarray, load: np.ndarray
) -> pd.DataFrame:
    """A selection of these members (n, 3), with these summed counts."""
    blocks = [library.unreacted(*member) for member in members.tolist()]
    frame = pd.DataFrame(blocks, columns=["smiles_a", "smiles_b", "smiles_c"])
    frame["smiles"] = library.members(members)
    frame["molecule_hash"] = [molecule_hash(*block) for block in blocks]
    random = np.random.default_rng(0)
    for columns, total in ((TARGET_COLUMNS, target), (MATRIX_COLUMNS, matrix)):
        frame[list(columns)] = random.multinomial(total, (0.6, 0.25, 0.15)).astype("float64")
    frame["seq_load"] = load.astype("int64")
    frame["target_enrichment"] = enrichment(target, matrix)
    return frame[list(COLUMNS)]
