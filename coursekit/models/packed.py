"""Molecules of unlike length in one call of an encoder, without padding them to the longest.

Only attention looks from one token to another; every other layer of an encoder takes tokens one by
one. So the molecules go in as one row, one behind the other, and for attention alone the row is cut
into groups of like length, each a small batch with little padding. No family is named: whether an
encoder gives the same vectors this way is seen by trying it, and where it does not, it is padded.

Packing: Krell et al. 2021, arXiv 2107.02027. That attention may be somebody else's function is the
attention interface of transformers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from coursekit.data.batches import encode, pad
from coursekit.errors import EncoderError
from coursekit.models.blocks import masked_mean
from coursekit.models.dropout import attention as attention_with_dropout
from coursekit.models.partway import Start, starting
from coursekit.models.precision import even

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

NAME = "coursekit_packed"
REPLACED = "sdpa"
EVEN_ROW = 32  # tokens, in bf16; measured best of 16 to 256
TRIED = ("CC(=O)Nc1ccc(O)cc1", "CCO", "CN1C=NC2=C1C(=O)N(C)C(=O)N2C", "c1ccccc1CN")


@dataclass(frozen=True)
class Group:
    """Molecules that attention sees as one batch.

    Args:
        ids: token ids (B, T).
        mask: 1 for a token, 0 for padding (B, T).
        start: states that the lower blocks have left earlier; of all groups of a row, or of none.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    start: Start | None = None

    @property
    def seen(self) -> torch.Tensor | None:
        """Which tokens may be looked at (B, 1, 1, T); None for all."""
        return None if self.mask.all() else self.mask.bool()[:, None, None, :]


@dataclass(frozen=True)
class _Row:
    """What attention knows of the row that goes through the encoder.

    Args:
        groups: shape (B, T) of each, and which of its tokens may be looked at.
        filling: tokens behind the last group that belong to no molecule.
    """

    groups: list[tuple[torch.Size, torch.Tensor | None]]
    filling: int

    @property
    def sizes(self) -> list[int]:
        """Tokens of each group, and the filling."""
        return [*(shape.numel() for shape, _ in self.groups), self.filling]


_row: ContextVar[_Row] = ContextVar("row")


def first_position(model: Classifier) -> int | None:
    """From where an encoder counts positions, for ``pool_packed``.

    Args:
        model: stays as it is.

    Returns:
        None where packed molecules do not get the vectors that padded ones get (relative positions
        as in DeBERTa, an attention that was chosen on purpose, an older version of transformers),
        and on a GPU, which would rather have one large batch than several small ones.
    """
    encoder = model.encoder
    packs = getattr(encoder, "_supports_attention_backend", False) and model.device.type == "cpu"
    if not packs or encoder.config._attn_implementation != REPLACED or not _registered():
        return None
    with torch.autocast("cpu", enabled=False):
        return _tried(model)


def _tried(model: Classifier) -> int | None:
    with warnings.catch_warnings():
        # An atom that the tokenizer does not know is no matter here.
        warnings.simplefilter("ignore")
        tokens = encode(model.tokenizer, TRIED)
    expected = torch.from_numpy(model.embed_tokens(tokens))
    groups = [tokens[:2], tokens[2:]]
    padding = int(model.tokenizer.pad_token_id)
    for first in (0, padding + 1):  # as RoBERTa counts
        try:
            with model.evaluating(), torch.inference_mode():
                found = pool_packed(model, [Group(*pad(g, padding)) for g in groups], first)
        except Exception:  # whatever an encoder does with a row of several molecules
            return None
        if torch.allclose(found, expected, rtol=0, atol=1e-4 * float(expected.std())):
            return first
    return None


def pool_packed(model: Classifier, groups: Sequence[Group], first: int) -> torch.Tensor:
    """One vector per molecule, in one call of the encoder.

    Args:
        model: its encoder can be packed.
        groups: of N molecules in all.
        first: see ``first_position``.

    Returns:
        (N, H), group after group.
    """
    ids = torch.cat([group.ids.flatten() for group in groups])
    positions = [torch.arange(first, first + t).repeat(b) for b, t in (g.ids.shape for g in groups)]
    row = _Row(
        [(group.ids.shape, group.seen) for group in groups],
        even(len(ids), EVEN_ROW, model.device) - len(ids),
    )
    ids, at = (
        nn.functional.pad(t, (0, row.filling), value=v)[None]
        for t, v in ((ids, model.tokenizer.pad_token_id), (torch.cat(positions), first))
    )
    start = _together([group.start for group in groups if group.start])
    with packing(model), starting(model, start and start.widened(ids.shape[1])):
        _row.set(row)
        hidden = model.encoder(input_ids=ids, position_ids=at, attention_mask=torch.ones_like(ids))
    parts = hidden.last_hidden_state[0].split(row.sizes)
    pooled = []
    for group, part in zip(groups, parts, strict=False):
        states = part.view(*group.ids.shape, -1)  # (B, T, H)
        pooled.append(states[:, 0] if model.pooling == "cls" else masked_mean(states, group.mask))
    return torch.cat(pooled)


def _together(starts: Sequence[Start]) -> Start | None:
    if not starts:
        return None
    return Start(starts[0].depth, torch.cat([start.hidden.flatten(0, 1) for start in starts])[None])


@contextmanager
def packing(model: Classifier, wanted: bool = True) -> Iterator[None]:
    """Inside, the encoder's attention goes by the groups of the last ``pool_packed``.

    ``pool_packed`` is inside by itself. A backward pass must be too, where it computes activations
    again.

    Args:
        model: its encoder can be packed.
        wanted: False changes nothing.
    """
    config = model.encoder.config
    before = config._attn_implementation
    if wanted:
        config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each group, in the form that transformers asks for.

    Args:
        module: the attention layer.
        query: (1, heads, tokens, D), as are ``key`` and ``value``.
        key: see there.
        value: see there.
        attention_mask: None, as nothing else is known about this row.
        dropout: share of attention weights.
        scaling: of the products.
        sliding_window: tokens that far apart, or farther, do not see each other.
        more: settings of other implementations.

    Returns:
        (1, tokens, heads, D), and no weights.

    Raises:
        EncoderError: if the encoder wants more of attention than this.
    """
    row = _row.get()
    biased = [n for n, v in more.items() if isinstance(v, torch.Tensor) and n != "position_ids"]
    if attention_mask is not None or biased or query.shape[2] != sum(row.sizes):
        raise EncoderError(
            f"{type(module).__name__}: attention over {tuple(query.shape)} with "
            f"{biased or 'a mask'} cannot be packed into {sum(row.sizes)} tokens"
        )
    dtype = query.dtype
    # On a processor many small products take several times as long in bf16 as in fp32.
    query, key, value = (
        (tensor.float() if dtype == torch.bfloat16 else tensor)[0].transpose(0, 1)
        for tensor in (query, key, value)
    )
    with torch.autocast("cpu", enabled=False):
        output = _in_groups(row, query, key, value, dropout, scaling, sliding_window)
    return output.to(dtype)[None], None


def _in_groups(
    row: _Row,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    scaling: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    """The same (tokens, heads, D), from (tokens, heads, D) each."""
    cut = (tensor.split(row.sizes) for tensor in (query, key, value))
    outputs = []
    for (shape, seen), *parts in zip(row.groups, *cut, strict=False):
        # Each (B, heads, T, D).
        q, k, v = (part.reshape(*shape, *part.shape[1:]).transpose(1, 2) for part in parts)
        near = _near(seen, shape[1], sliding_window, query.device)
        if dropout:
            output = attention_with_dropout(q, k, v, near, dropout, scaling)
        else:
            output = nn.functional.scaled_dot_product_attention(q, k, v, near, scale=scaling)
        outputs.append(output.transpose(1, 2).flatten(0, 1))  # (B * T, heads, D)
    return torch.cat([*outputs, query.new_zeros(row.filling, *query.shape[1:])])


def _near(
    seen: torch.Tensor | None, length: int, window: int | None, device: torch.device
) -> torch.Tensor | None:
    if window is None or length <= window:
        return seen
    at = torch.arange(length, device=device)
    apart = (at[:, None] - at[None, :]).abs()  # (T, T)
    near = apart < window
    # Padding far behind a molecule's end sees itself: a row with nothing in it is not a number.
    return near if seen is None else (near & seen) | (apart == 0)


def _registered() -> bool:
    try:
        from transformers import AttentionInterface
    except ImportError:
        return False
    AttentionInterface.register(NAME, _attend)
    return True
