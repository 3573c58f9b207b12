"""Weights that were handed in, run again on a sample of molecules, and held against the claim.

Only safetensors are read, only into a model that the instructor's own files define, and only where
every name and shape is what that model has.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from coursekit.data.binding_task import BindingTask
from coursekit.errors import CourseKitError
from coursekit.grading.verify import Layer
from coursekit.runs import Run

if TYPE_CHECKING:
    import torch

ENCODERS = ("coursekit-mini",)
"""Encoders that are loaded by the name in a record: only what is on this machine anyway."""
TOLERANCE = 5e-3
"""Of a probability: half precision on another device, with nothing to spare for another model."""
SAMPLE = 48
MAX_HEADER = 1_000_000
MAX_TENSORS = 5_000


def verify_weights(run: Run, weights: Mapping[str, bytes], task: BindingTask) -> Layer:
    """Predict a sample of the task's molecules with the weights, and compare.

    Args:
        run: what is claimed.
        weights: content of the ``.safetensors`` by name; the first that fits the run counts.
        task: the instructor's.

    Returns:
        Holds if one of the files gives the claimed predictions, and differs from the pretrained
        weights in those groups, and only those, that the strategy trains.
    """
    if not weights:
        return Layer("weights", run.name, "not verified", "no weights were handed in")
    encoder = run.strategy.get("encoder")
    encoder = encoder if isinstance(encoder, Mapping) else {}
    name, pooling = encoder.get("name"), encoder.get("pooling")
    if name not in ENCODERS or pooling not in ("cls", "mean"):
        text = f"weights of {name!a:.40} are not loaded; only of {', '.join(ENCODERS)}"
        return Layer("weights", run.name, "not verified", text)
    reasons = []
    for place, content in sorted(weights.items()):
        try:
            faults = _compare(run, content, task, str(name), str(pooling))
        except (CourseKitError, ValueError, KeyError) as error:
            reasons.append(f"{place!a:.60}: {error}"[:300])
            continue
        if not faults:
            text = f"{place!a:.60} gives the claimed predictions for {SAMPLE} drawn molecules"
            return Layer("weights", run.name, "holds", text)
        reasons.append(f"{place!a:.60}: {'; '.join(faults)}")
    unread = all("of this encoder" in reason or "no safetensors" in reason for reason in reasons)
    state = "not verified" if unread else "fails"
    return Layer("weights", run.name, state, " / ".join(reasons)[:1000])  # type: ignore[arg-type]


def _compare(run: Run, content: bytes, task: BindingTask, encoder: str, pooling: str) -> list[str]:
    from coursekit.models import load_classifier

    tensors = _read(content)
    model = load_classifier(encoder, pooling, device="cpu")  # type: ignore[arg-type]
    pretrained = {name: value.clone() for name, value in model.state_dict().items()}
    # A checkpoint of a run holds its last and its best weights; the best ones predicted.
    for prefix in ("best.", "model.", ""):
        found = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        shapes = {name: tuple(value.shape) for name, value in found.items()}
        if shapes == {name: tuple(value.shape) for name, value in pretrained.items()}:
            break
    else:
        raise ValueError("its tensors are not those of this encoder with a head")
    model.load_state_dict(found)
    molecules = pd.concat([task.valid, task.test]).drop_duplicates("molecule_id")
    claimed = run.predictions.set_index("molecule_id")["score"]
    molecules = molecules[molecules["molecule_id"].isin(claimed.index)]
    seed = int.from_bytes(sha256(content).digest()[:8], "big")
    drawn = molecules.sample(min(SAMPLE, len(molecules)), random_state=np.random.default_rng(seed))
    predicted = model.predict(list(drawn["smiles"]))
    gaps = np.abs(predicted - claimed.loc[drawn["molecule_id"]].to_numpy(dtype=float))
    faults = []
    if drawn.empty or not np.isfinite(gaps).all() or gaps.max(initial=0.0) > TOLERANCE:
        worst = float(np.max(gaps, initial=0.0))
        faults.append(
            f"{int((gaps > TOLERANCE).sum())} of {len(drawn)} drawn molecules are predicted "
            f"differently, by up to {worst:.3f}"
        )
    return [*faults, *_other_groups(run, model.groups, pretrained, found)]


def _other_groups(
    run: Run,
    groups: Mapping[str, tuple[str, ...]],
    before: Mapping[str, torch.Tensor],
    after: Mapping[str, torch.Tensor],
) -> list[str]:
    phases = run.strategy.get("phases")
    if not isinstance(phases, list):
        return []
    trained = {
        group
        for phase in phases
        if isinstance(phase, Mapping) and isinstance(phase.get("learning_rates"), Mapping)
        for group in phase["learning_rates"]
    }
    if not trained <= set(groups):
        return []  # a strategy with groups of its own
    moved = {
        group
        for group, names in groups.items()
        if group != "head" and any(not before[n].equal(after[n].to(before[n].dtype)) for n in names)
    }
    wrong = sorted(moved - trained)
    return [f"{', '.join(wrong)} changed, though the strategy keeps it frozen"] if wrong else []


def _read(content: bytes) -> dict[str, torch.Tensor]:
    """Tensors out of bytes that nobody vouches for.

    Raises:
        ValueError: no safetensors, or a header that is too large to be one of ours.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    if len(content) < 8:
        raise ValueError("it is no safetensors file")
    (header,) = struct.unpack("<Q", content[:8])
    if header > min(MAX_HEADER, len(content) - 8):
        raise ValueError("it is no safetensors file (its header is longer than it may be)")
    try:
        entries = json.loads(content[8 : 8 + header])
        if not isinstance(entries, dict) or len(entries) > MAX_TENSORS:
            raise ValueError("it is no safetensors file")
        tensors: dict[str, torch.Tensor] = load(content)
    except (SafetensorError, ValueError, RecursionError, KeyError, OverflowError) as error:
        raise ValueError(f"it is no safetensors file ({type(error).__name__})") from error
    return tensors
