"""Molecules that the bundled encoder was pretrained on, and others that were held out of it.

None of them lies in a file: half of coursekit-mini's pretraining were members of coursekit's own
library, drawn and set aside by seed, so the same seeds name them again (the other half, ZINC, has
terms of its own and is not part of this project). ``data/coursekit-mini/README.md`` has the
command and the scores on the held-out molecules, which these reproduce to the last digit.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from coursekit.data.library import Library
from coursekit.data.paths import bundled
from coursekit.errors import EncoderError

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

# `coursekit data enumerate -n 120000 --seed 20`, then `coursekit pretrain --seed 0` with 2,000
# molecules held out of the file.
MEMBERS, MEMBERS_SEED = 120_000, 20
HELDOUT, HELDOUT_SEED = 2_000, (0, 1)


def knows_its_molecules(model: Classifier) -> bool:
    """Whether the encoder is the bundled one, whose pretraining molecules can be named."""
    return model.source == str(bundled("coursekit-mini"))


def heldout_molecules(number: int = HELDOUT) -> list[str]:
    """SMILES that were kept out of coursekit-mini's pretraining, to measure on.

    Args:
        number: the first so many, at most 2,000.

    Raises:
        EncoderError: if more are asked for.
    """
    if not 1 <= number <= HELDOUT:
        raise EncoderError(f"heldout_molecules: number is {number}; 1 to {HELDOUT:,} are there")
    return list(_members(0, number))


def pretraining_molecules(number: int) -> list[str]:
    """SMILES that coursekit-mini was pretrained on, of its own library, in random order.

    Args:
        number: the first so many, at most 118,000; a thousand take about half a second.

    Raises:
        EncoderError: if more are asked for.
    """
    most = MEMBERS - HELDOUT
    if not 1 <= number <= most:
        raise EncoderError(f"pretraining_molecules: number is {number}; 1 to {most:,} are there")
    return list(_members(HELDOUT, HELDOUT + number))


@cache
def _members(first: int, last: int) -> tuple[str, ...]:
    library = Library.own()
    order = np.random.default_rng(HELDOUT_SEED).permutation(MEMBERS)
    return tuple(library.members(library.sample(MEMBERS, MEMBERS_SEED)[order[first:last]]))
