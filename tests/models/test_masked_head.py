from __future__ import annotations

import pytest
import torch
from families import FAMILIES, small_classifier, small_encoder, tokenizer

from coursekit.errors import EncoderError
from coursekit.models import load_classifier
from coursekit.models.masked_head import masked_model, masked_token_loss

SMILES = ["CCO", "c1ccccc1C(=O)N", "CCCCCCN", "CC(C)Cl"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_of_the_file_on_the_encoder_that_trains(family):
    from transformers import AutoModelForMaskedLM

    model = small_classifier(family)
    names = set(model.state_dict())
    published = AutoModelForMaskedLM.from_pretrained(model.source).eval()
    whole = masked_model(model).eval()
    ids = torch.tensor([tokenizer()("CC(=O)Nc1ccc(O)cc1")["input_ids"]])
    mask = torch.ones_like(ids)
    # With the published weights in the classifier's encoder, the published logits come out.
    model.encoder.load_state_dict(published.base_model.state_dict(), strict=False)
    torch.testing.assert_close(whole(ids, mask).logits, published(ids, mask).logits)
    # What they share is shared still, and trains with the encoder; the rest of the head is frozen.
    assert whole.get_output_embeddings().weight is model.encoder.get_input_embeddings().weight
    assert any(p.requires_grad for p in model.encoder.parameters())
    inside = {id(p) for p in model.encoder.parameters()}
    own = [p for p in whole.parameters() if id(p) not in inside]
    assert own
    assert not any(p.requires_grad for p in own)
    assert set(model.state_dict()) == names


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_without_its_head(family, tmp_path):
    small_encoder(family).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    model = load_classifier(tmp_path)
    with pytest.raises(EncoderError, match=r"has no masked-token head: .* not among its weights"):
        masked_model(model)


def test_an_encoder_that_came_from_no_file():
    model = small_classifier("bert")
    model.source = None
    with pytest.raises(EncoderError, match="was not loaded from a file"):
        masked_token_loss(model, SMILES)


def test_an_encoder_of_a_family_that_has_no_such_head(tmp_path):
    model = small_classifier("bert")
    model.source = str(tmp_path)  # nothing there
    with pytest.raises(EncoderError, match="has no masked-token head that can be loaded"):
        masked_model(model)


def test_measuring_leaves_everything_as_it_is():
    model = small_classifier("bert")
    model.open_groups(["block.2", "head"])
    model.train()
    modes = [m.training for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    digest, state = model.digest(), torch.get_rng_state()
    first = masked_token_loss(model, SMILES)
    assert masked_token_loss(model, SMILES) == first  # fixed masks, no dropout
    assert masked_token_loss(model, SMILES, seed=1) != first
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == flags
    assert model.digest() == digest
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(EncoderError, match="there are no molecules"):
        masked_token_loss(model, [])
