"""The pretraining task: hide tokens, guess them, and count how often the guess is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from coursekit.data.batches import bucketed_batches, encode, pad, passes

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

IGNORED = -100
TOKENS_AT_ONCE = {"cpu": 1536}  # measured where molecules are embedded; a GPU takes a whole batch


def mask_tokens(
    ids: torch.Tensor, special: torch.Tensor, share: float, mask_id: int, vocabulary: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide tokens and say which to guess (BERT's rule: 80% [MASK], 10% random, 10% left as is).

    Args:
        ids: token ids (B, T).
        special: True where a token is never masked (B, T).
        share: of the other tokens, how many are to be guessed; at least one is.
        mask_id: id of [MASK].
        vocabulary: number of tokens to draw random ones from.
        seed: same seed, same masks.

    Returns:
        Corrupted ids (B, T) and labels (B, T), the latter -100 where nothing is to be guessed.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(ids.shape, generator=generator)
    chosen = (draw < share) & ~special
    if not chosen.any():  # a few tiny molecules; a mean loss over nothing is not a number
        chosen.view(-1)[draw.masked_fill(special, 2.0).argmin()] = True
    labels = torch.where(chosen, ids, IGNORED)
    fate = torch.rand(ids.shape, generator=generator)
    random_ids = torch.randint(vocabulary, ids.shape, generator=generator)
    corrupted = torch.where(chosen & (fate < 0.8), mask_id, ids)
    corrupted = torch.where(chosen & (fate >= 0.9), random_ids, corrupted)
    return corrupted, labels


def masked_token_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    smiles: Sequence[str],
    mask_share: float = 0.3,
    seed: int = 0,
    batch_size: int = 256,
) -> dict[str, float]:
    """Loss (nats per masked token) and accuracy on held-out molecules, with fixed masks."""
    import torch

    device = next(model.parameters()).device
    tokens = encode(tokenizer, smiles)
    lengths = np.array([len(t) for t in tokens])
    special = torch.tensor(sorted(tokenizer.all_special_ids))
    tokens_at_once = TOKENS_AT_ONCE.get(device.type)
    loss, right, count = 0.0, 0, 0
    model.eval()
    with torch.inference_mode():
        for number, rows in enumerate(bucketed_batches(lengths, batch_size)):
            ids, mask = pad([tokens[i] for i in rows], tokenizer.pad_token_id)
            corrupted, labels = mask_tokens(
                ids,
                torch.isin(ids, special),
                mask_share,
                tokenizer.mask_token_id,
                len(tokenizer),
                seed * 1_000_003 + number,
            )
            # Masks are drawn for a whole batch; the model sees parts of it, as logits take room.
            for part in passes(np.arange(len(rows)), lengths[rows], batch_size, tokens_at_once):
                width = int(lengths[rows[part]].max())
                seen = corrupted[part, :width].to(device)
                logits = model(input_ids=seen, attention_mask=mask[part, :width].to(device)).logits
                wanted = labels[part, :width]
                chosen = wanted != IGNORED
                guessed, wanted = logits.cpu()[chosen].float(), wanted[chosen]
                loss += float(torch.nn.functional.cross_entropy(guessed, wanted, reduction="sum"))
                right += int((guessed.argmax(-1) == wanted).sum())
                count += len(wanted)
    return {"loss": loss / count, "accuracy": right / count, "masked_tokens": count}
