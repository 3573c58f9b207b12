"""Run an encoder's blocks in part: those below once, those above from what the lower ones left.

No family is named here either. The encoder is called as always, so that it builds its own masks,
positions and whatever else its blocks want; only some places in its list of blocks are taken, for
the time of one call, by modules that compute nothing. A depth of k means the states that the
lowest k blocks leave.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from coursekit.models.generators import generators

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier


@dataclass(frozen=True)
class Start:
    """Where to start from, in place of running the blocks below.

    Args:
        depth: so many blocks are not run; at least 1.
        hidden: what they left (B, T, H); padding may hold anything finite.
    """

    depth: int
    hidden: torch.Tensor

    def widened(self, width: int) -> Start:
        """The same, padded to (B, ``width``, H)."""
        behind = width - self.hidden.shape[1]
        return Start(self.depth, nn.functional.pad(self.hidden, (0, 0, 0, behind)))


class _Instead(nn.Module):
    """In a block's place: gives ``hidden`` back, or else what it was given."""

    def __init__(self, block: nn.Module, outputs: int, hidden: torch.Tensor | None = None) -> None:
        super().__init__()
        # Not as a submodule: nothing that walks through the encoder meets the block here.
        self.__dict__.update(block=block, outputs=outputs, hidden=hidden)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        hidden = given if self.hidden is None else self.hidden
        return (hidden, *[None] * (self.outputs - 1)) if self.outputs else hidden

    def __getattr__(self, name: str) -> Any:
        # Encoders read attributes off their blocks: ModernBERT asks for the kind of attention.
        return getattr(self.__dict__["block"], name)


@contextmanager
def starting(model: Classifier, start: Start | None) -> Iterator[None]:
    """Inside, the encoder runs from ``start`` on; without one, all of it."""
    if start is None:
        yield
        return
    blocks = model.blocks[: start.depth]
    stand_ins: dict[int, nn.Module] = {
        index: _Instead(block, model.block_outputs) for index, block in enumerate(blocks)
    }
    last = start.depth - 1
    stand_ins[last] = _Instead(blocks[last], model.block_outputs, start.hidden)
    with _replaced(model, stand_ins):
        yield


@contextmanager
def noting(
    model: Classifier, depths: Collection[int], whole: bool
) -> Iterator[Mapping[int, torch.Tensor]]:
    """Inside, each call of the encoder leaves its states at ``depths`` in the mapping.

    Args:
        model: its encoder is watched.
        depths: from 1 to the number of blocks less one.
        whole: whether blocks above the highest depth are run too; without them the encoder's
            output means nothing.
    """
    found: dict[int, torch.Tensor] = {}

    def note(depth: int, output: Any) -> None:
        found[depth] = output[0] if model.block_outputs else output

    blocks = model.blocks
    hooks = [
        blocks[depth - 1].register_forward_hook(lambda _, __, out, depth=depth: note(depth, out))
        for depth in depths
    ]
    above = range(len(blocks), len(blocks)) if whole else range(max(depths), len(blocks))
    try:
        with _replaced(model, {i: _Instead(blocks[i], model.block_outputs) for i in above}):
            yield found
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _replaced(model: Classifier, stand_ins: Mapping[int, nn.Module]) -> Iterator[None]:
    places = model.block_list
    originals = {index: places[index] for index in stand_ins}
    try:
        for index, stand_in in stand_ins.items():
            places[index] = stand_in
        yield
    finally:
        for index, block in originals.items():
            places[index] = block


def frozen_depth(model: Classifier, trains: Container[int]) -> int:
    """How many blocks, counted from below, can be computed once because nothing there trains.

    Args:
        model: a classifier, with or without adapters in its blocks.
        trains: ``id`` of each parameter that trains.

    Returns:
        0 where the embeddings or the lowest block train; the number of blocks where the whole
        encoder stays as it is. What runs after the last block counts as part of it.
    """
    blocks = model.blocks
    depth = len(blocks)
    inside: set[int] = set()
    for index, block in enumerate(blocks):
        ids = {id(p) for p in block.parameters()}
        inside |= ids
        if any(i in trains for i in ids):
            depth = min(depth, index)
    after = {id(model.get_parameter(name)) for name in model.groups[f"block.{len(blocks) - 1}"]}
    for parameter in model.encoder.parameters():
        if id(parameter) in trains and id(parameter) not in inside:
            depth = min(depth, len(blocks) - 1 if id(parameter) in after else 0)
    return depth


def digests_below(model: Classifier, depth: int | None = None, *more: str) -> list[str]:
    """What decides on the states at each depth, as digests.

    Args:
        model: a classifier; its head plays no part.
        depth: the highest; all blocks, what follows them and the pooling by default.
        more: anything else that the states depend on.

    Returns:
        One digest for each depth from 0 on: over weights, configuration and tokenizer.
    """
    state = model.encoder.state_dict()
    inside = [f"{model.blocks_path}.{index}." for index in range(len(model.blocks))]
    last = set(model.groups[f"block.{len(inside) - 1}"])
    outside = {n: t for n, t in state.items() if not n.startswith(tuple(inside))}
    after = {n: t for n, t in outside.items() if f"encoder.{n}" in last}
    before = {n: t for n, t in outside.items() if n not in after}
    config = model.encoder.config.to_dict()
    # The same encoder from elsewhere; and what recomputing activations turns off.
    for name in ("_name_or_path", "transformers_version", "use_cache"):
        config.pop(name, None)
    digests = [
        weights_digest(
            before,
            type(model.encoder).__name__,
            json.dumps(config, sort_keys=True, default=str),
            model.tokenizer.backend_tokenizer.to_str(),
            str(model.tokenizer.model_max_length),
            *more,
        )
    ]
    for prefix in inside if depth is None else inside[:depth]:
        block = {n: t for n, t in state.items() if n.startswith(prefix)}
        digests.append(weights_digest(block, digests[-1]))
    if depth is None or depth == len(inside):
        digests[-1] = weights_digest(after, digests[-1], model.pooling)
    return digests


def weights_digest(tensors: Mapping[str, torch.Tensor], *more: str) -> str:
    """sha256 over names, shapes and bytes of tensors, and over more strings."""
    digest = hashlib.sha256("\n".join(more).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def is_still(model: Classifier, depth: int) -> bool:
    """Whether the lowest blocks compute now, in training, what they compute in eval mode.

    Seen by trying it: a dropout anywhere below draws random numbers. What is frozen is in eval
    mode with all its parts, but an encoder may have a dropout that belongs to no frozen part.
    """
    if not model.encoder.training:
        return True
    device = model.device
    ids = torch.arange(4, 36, device=device).remainder(model.encoder.config.vocab_size).view(4, 8)
    mask = torch.ones_like(ids)
    was_training = [(module, module.training) for module in model.modules()]
    devices = [device] if device.type == "cuda" else []
    whole = depth == len(model.blocks)
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        before = generators(device)
        with noting(model, () if whole else (depth,), whole) as found:
            output = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            training = output if whole else found[depth]
            now = generators(device)
            drew = any(not torch.equal(before[kind], now[kind]) for kind in now)
            try:
                model.eval()
                output = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                still = output if whole else found[depth]
            finally:
                for module, mode in was_training:
                    module.training = mode
    return not drew and torch.allclose(training, still)
