"""A task of 54 molecules and small random models: a strategy can be tried on them in a second."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from coursekit.data.binding_task import TASK_COLUMNS, BindingTask
from coursekit.data.paths import bundled

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from coursekit.models.classifier import Classifier

# Carbon chains of many lengths; what hangs at their end tells binders from negatives.
ENDS = {"": ("N", "C(N)=O", "NC"), "easy": ("Cl", "Br", "F"), "hard": ("O", "C(O)=O", "OC")}
SIZES = {"train": 30, "valid": 12, "test": 12}


def tiny_molecules() -> list[tuple[str, str]]:
    """SMILES and negative set, the three kinds in turn, lengths mixed."""
    return [
        ("C" * (1 + (7 * chain) % 19) + ENDS[kind][chain % 3], kind)
        for chain in range(19)
        for kind in ENDS
    ]


def tiny_task(sizes: dict[str, int] = SIZES, **settings: Any) -> BindingTask:
    """A task that a random encoder learns in a few steps.

    Args:
        sizes: molecules in each part.
        settings: more of them, for the fingerprint.
    """
    parts, rows = {}, iter(tiny_molecules())
    for name, size in sizes.items():
        smiles, kinds = zip(*(next(rows) for _ in range(size)), strict=True) if size else ((), ())
        part = pd.DataFrame({"molecule_id": [f"m-{s}" for s in smiles], "smiles": smiles})
        part["label"] = pd.Series([int(kind == "") for kind in kinds], dtype="int8")
        part["negative_set"] = pd.Series(kinds, dtype="str")
        parts[name] = part.reindex(columns=list(TASK_COLUMNS))
    return BindingTask("tiny", settings={"split": "by hand", **settings}, **parts)


@cache
def _tokenizer() -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(bundled("coursekit-mini"))  # type: ignore[no-any-return]


def tiny_model(blocks: int, seed: int = 0) -> Classifier:
    """A random encoder of so many blocks, 16 wide, with the bundled tokenizer and a head."""
    import torch

    from coursekit.models.classifier import Classifier
    from coursekit.models.small_encoder import build_model

    with torch.random.fork_rng(devices=[]):
        whole = build_model(_tokenizer(), blocks, hidden=16, heads=2, seed=seed)
    return Classifier(whole.model, _tokenizer(), "mean", name=f"{blocks} blocks", seed=seed)
