"""The diagonal of the Fisher information, from the gradient of one sample at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from coursekit.data.batches import encode, pad
from coursekit.models.masking import IGNORED, mask_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from coursekit.models.classifier import Classifier

DRAWS = 3_999_971  # keeps the seeds of masks apart from those of pretraining


def diagonal_fisher(
    log_likelihoods: Iterable[torch.Tensor], parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Mean over samples of the squared gradient of each one's log-likelihood.

    Args:
        log_likelihoods: a scalar per sample, with its graph, of labels drawn from the model
            (those of the data give the empirical Fisher).
        parameters: by name; a sample that does not touch one adds zero to it.

    Returns:
        float32, by name, each shaped as its parameter.

    Source: Kirkpatrick et al. 2017, doi 10.1073/pnas.1611835114.
    """
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    count = 0
    for value in log_likelihoods:
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            if gradient is not None:
                total.add_(gradient.float().square())
        count += 1
    return {name: total / max(count, 1) for name, total in sums.items()}


def masked_log_likelihoods(
    whole: PreTrainedModel, model: Classifier, smiles: Sequence[str], mask_share: float, seed: int
) -> Iterator[torch.Tensor]:
    """Log-likelihood of each molecule's masked tokens, drawn from what the encoder expects there.

    Args:
        whole: the encoder with its masked-token head, in eval mode.
        model: has the tokenizer.
        smiles: one molecule each.
        mask_share: share of the tokens to be guessed.
        seed: of masks and draws.
    """
    tokenizer = model.tokenizer
    special = torch.tensor(sorted(tokenizer.all_special_ids))
    for number, tokens in enumerate(encode(tokenizer, list(smiles))):
        ids, mask = pad([tokens], tokenizer.pad_token_id)  # (1, T)
        own = int(np.random.default_rng([seed, DRAWS, number]).integers(2**62))
        corrupted, labels = mask_tokens(
            ids, torch.isin(ids, special), mask_share, tokenizer.mask_token_id, len(tokenizer), own
        )
        logits = whole(
            input_ids=corrupted.to(model.device), attention_mask=mask.to(model.device)
        ).logits.float()  # (1, T, V)
        log_shares = logits[labels.to(model.device) != IGNORED].log_softmax(-1)  # (M, V)
        # Drawn on the CPU, so that a seed means the same on every device.
        generator = torch.Generator().manual_seed(own)
        drawn = torch.multinomial(log_shares.detach().cpu().exp(), 1, generator=generator)  # (M, 1)
        yield log_shares.gather(1, drawn.to(model.device)).sum()
