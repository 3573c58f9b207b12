"""Tasks of one's own from the same library: a name such as ``sample@1f0c22d5a8e94b37``.

What stands behind the ``@`` seeds the draw and the split; the selection is the same. An instructor
gives every student another one (``coursekit assign --seed-from student``).
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

_VARIANT = re.compile(r"([^@]+)@([0-9a-f]{16})")


def variant_of(name: str | Path) -> tuple[str, int] | None:
    """Name of the selection and seed, where a name is a variant's; else None."""
    found = _VARIANT.fullmatch(str(name))
    if found is None:
        return None
    # Half of 32 bits: every random generator takes such a seed.
    return found[1], int.from_bytes(sha256(found[2].encode()).digest()[:4], "big") >> 1
