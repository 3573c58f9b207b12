"""Find embeddings, blocks and what follows them in any Hugging Face encoder.

No family is named here. The blocks are the largest list of equal modules; one small forward and
backward pass then shows which parameters run before them, which after, and which not at all (a
pooler that nobody reads, a contact head).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coursekit.errors import EncoderError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class EncoderParts:
    """The parameters of an encoder, in the order in which a molecule meets them.

    Args:
        path: dotted name of the list of blocks inside the encoder, for example ``encoder.layer``.
        embeddings: names of the parameters that work before or beside the blocks.
        blocks: names of the parameters of each block, input side first. What runs after the last
            block (a final norm) belongs to the last block.
        unused: names of parameters that do not touch the encoder's output.
        outputs: 0 where a block gives hidden states as they are, else the length of the tuple
            that they come first in.
    """

    path: str
    embeddings: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    unused: tuple[str, ...]
    outputs: int = 0


def find_parts(encoder: PreTrainedModel) -> EncoderParts:
    """Take an encoder apart.

    Args:
        encoder: what ``AutoModel.from_pretrained`` gives.

    Raises:
        EncoderError: if there is no list of blocks, or if blocks share weights (ALBERT).
    """
    path, blocks = _block_list(encoder)
    used, after, outputs = _probe(encoder, blocks[-1])
    inside = [{id(p) for p in block.parameters()} for block in blocks]
    embeddings: list[str] = []
    unused: list[str] = []
    of_block: list[list[str]] = [[] for _ in blocks]
    for name, parameter in encoder.named_parameters():
        homes = [index for index, ids in enumerate(inside) if id(parameter) in ids]
        if id(parameter) not in used:
            unused.append(name)
        elif homes:
            of_block[homes[0]].append(name)
        elif id(parameter) in after:
            of_block[-1].append(name)
        else:
            embeddings.append(name)
    return EncoderParts(
        path, tuple(embeddings), tuple(map(tuple, of_block)), tuple(unused), outputs
    )


def _block_list(encoder: PreTrainedModel) -> tuple[str, list[nn.Module]]:
    from torch import nn

    lists = {
        name: list(module)
        for name, module in encoder.named_modules()
        if isinstance(module, nn.ModuleList) and len({type(m) for m in module}) == 1
    }
    if not lists:
        raise EncoderError(
            f"find_parts: {type(encoder).__name__} has no list of equal blocks; an encoder such as "
            "BERT, RoBERTa, DistilBERT, ELECTRA, ESM, ModernBERT or DeBERTa is expected"
        )
    weight = {n: sum(p.numel() for m in ms for p in m.parameters()) for n, ms in lists.items()}
    name = max(weight, key=lambda n: weight[n])
    depth = getattr(getattr(encoder, "config", None), "num_hidden_layers", len(lists[name]))
    if depth != len(lists[name]):
        raise EncoderError(
            f"find_parts: {type(encoder).__name__} runs {depth} blocks but holds "
            f"{len(lists[name])} in {name!r}. Blocks that share weights (ALBERT) cannot be "
            "unfrozen one by one: choose another encoder."
        )
    return name, lists[name]


def _probe(encoder: PreTrainedModel, last_block: nn.Module) -> tuple[set[int], set[int], int]:
    """Run four tokens through, forward and backward.

    Returns:
        Ids of parameters used, of those used last, and how a block's output comes.
    """
    import torch

    passed = False
    after: set[int] = set()
    outputs = 0

    def note_block(_: object, __: object, output: object) -> None:
        nonlocal passed, outputs
        passed = True
        outputs = len(output) if isinstance(output, tuple) else 0

    def note_call(module: nn.Module, *_: object) -> None:
        if passed:
            after.update(id(p) for p in module.parameters(recurse=False))

    hooks = [last_block.register_forward_hook(note_block)]
    hooks += [module.register_forward_pre_hook(note_call) for module in encoder.modules()]
    was_training = encoder.training
    flags = [(p, p.requires_grad, p.grad) for p in encoder.parameters()]
    ids = torch.arange(4, 8, device=flags[0][0].device).remainder(encoder.config.vocab_size)
    try:
        encoder.eval()
        for parameter, _, _ in flags:
            parameter.requires_grad_(True)
            parameter.grad = None
        with torch.enable_grad():
            output = encoder(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None])
            output.last_hidden_state.sum().backward()
        used = {id(p) for p, _, _ in flags if p.grad is not None}
    finally:
        encoder.train(was_training)
        for parameter, flag, gradient in flags:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        for hook in hooks:
            hook.remove()
    return used, after, outputs


def masked_mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the real tokens only; padding does not count.

    Args:
        hidden: (B, T, H).
        mask: 1 for a token, 0 for padding (B, T).

    Returns:
        (B, H).
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
