from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from families import tokenizer
from made_up import made_up_smiles

from coursekit.models.masking import IGNORED, mask_tokens, masked_token_scores
from coursekit.models.small_encoder import build_model

MASK = 3
VOCABULARY = 1_000


def within(successes: int, trials: int, share: float) -> bool:
    """Whether a count lies within five standard deviations of a binomial's mean."""
    return abs(successes - trials * share) < 5 * math.sqrt(trials * share * (1 - share))


def test_shares_are_those_of_bert() -> None:
    ids = torch.randint(10, VOCABULARY, (400, 500), generator=torch.Generator().manual_seed(0))
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, ::10] = True
    corrupted, labels = mask_tokens(ids, special, 0.3, MASK, VOCABULARY, seed=1)
    chosen = labels != IGNORED
    assert not (chosen & special).any()
    assert torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(corrupted[~chosen], ids[~chosen])
    n = int(chosen.sum())
    assert within(n, int((~special).sum()), 0.3)
    masked = corrupted == MASK
    same = (corrupted == ids) & chosen
    # One random token in a thousand is the mask's, and one is the right one.
    assert within(int(masked.sum()), n, 0.8 + 0.1 / VOCABULARY)
    assert within(int(same.sum()), n, 0.1 + 0.1 / VOCABULARY)
    drawn = corrupted[chosen & ~masked & ~same]
    assert drawn.min() < 10  # from the whole vocabulary
    assert drawn.max() > VOCABULARY - 10


def test_masks_depend_on_the_seed_alone() -> None:
    ids = torch.arange(10, 210).reshape(4, 50)
    special = torch.zeros_like(ids, dtype=torch.bool)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = mask_tokens(ids, special, 0.3, MASK, VOCABULARY, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    again = mask_tokens(ids, special, 0.3, MASK, VOCABULARY, seed=5)
    other = mask_tokens(ids, special, 0.3, MASK, VOCABULARY, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_batch_has_something_to_guess(seed: int) -> None:
    """A mean loss over nothing would be NaN, and every weight with it."""
    ids = torch.tensor([[1, 42, 2, 0]])
    special = torch.tensor([[True, False, True, True]])
    _, labels = mask_tokens(ids, special, 0.3, MASK, VOCABULARY, seed)
    assert labels.tolist() == [[IGNORED, 42, IGNORED, IGNORED]]


def test_scores_do_not_depend_on_the_batch_or_on_the_mode() -> None:
    model = build_model(tokenizer(), blocks=2, hidden=16, heads=2, seed=0).train()
    smiles = made_up_smiles(30)
    once = masked_token_scores(model, tokenizer(), smiles)
    assert masked_token_scores(model.eval(), tokenizer(), smiles) == once
    # An untrained network knows nothing: about the entropy of the whole vocabulary.
    assert once["loss"] == pytest.approx(np.log(model.config.vocab_size), rel=0.1)
    assert once["accuracy"] < 0.1
    tokens = sum(len(tokenizer().tokenize(s)) for s in smiles)
    assert within(once["masked_tokens"], tokens, 0.3)


def test_loss_is_the_mean_over_masked_tokens_of_all_batches() -> None:
    model = build_model(tokenizer(), blocks=2, hidden=16, heads=2, seed=0).eval()
    smiles = sorted(made_up_smiles(24), key=lambda s: -len(tokenizer().tokenize(s)))
    # Batches go from long to short with masks by their number: score each one by itself.
    parts = [smiles[:8], smiles[8:16], smiles[16:]]
    together = masked_token_scores(model, tokenizer(), smiles, seed=0, batch_size=8)
    sums = np.zeros(3)
    for number, part in enumerate(parts):
        ids = tokenizer()(part, padding=True, return_tensors="pt")
        special = torch.isin(ids["input_ids"], torch.tensor(tokenizer().all_special_ids))
        corrupted, labels = mask_tokens(
            ids["input_ids"], special, 0.3, tokenizer().mask_token_id, len(tokenizer()), number
        )
        with torch.inference_mode():
            logits = model(input_ids=corrupted, attention_mask=ids["attention_mask"]).logits
        chance = logits.log_softmax(-1)
        for row, column in zip(*torch.nonzero(labels != IGNORED, as_tuple=True), strict=True):
            wanted = labels[row, column]
            right = int(chance[row, column].argmax() == wanted)
            sums += [-float(chance[row, column, wanted]), right, 1]
    assert together["masked_tokens"] == sums[2]
    assert together["loss"] == pytest.approx(sums[0] / sums[2], rel=1e-5)
    assert together["accuracy"] == pytest.approx(sums[1] / sums[2])
