"""What the tests of models share besides fixtures."""

from __future__ import annotations

import random
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def made_up_smiles(n: int, seed: int = 0) -> list[str]:
    """Distinct strings with a grammar to learn: a ring, an amide, a tail."""
    rng = random.Random(seed)
    rings = ["c1ccccc1", "c1ccncc1", "C1CCNCC1", "c1cc[nH]c1", "C1CCOCC1"]
    tails = ["C", "CC", "Br", "Cl", "[C@@H](C)O", "[C@H](N)C", "[N+](=O)[O-]", "OC", "C#N"]
    found: dict[str, None] = {}
    while len(found) < n:
        middle = "".join(rng.choice(["C", "CC", "C(=O)N", "NC(=O)", "O"]) for _ in range(3))
        found[rng.choice(tails) + middle + rng.choice(rings) + rng.choice(["", "C", "F"])] = None
    return list(found)
