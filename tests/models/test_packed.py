"""Molecules of unlike length in one row: the same vectors and gradients, whatever the encoder."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from families import FAMILIES, PACKED, small_classifier

from coursekit.data.batches import encode, groups_of_like_length, pad
from coursekit.errors import EncoderError
from coursekit.models.classifier import Classifier
from coursekit.models.packed import Group, first_position, packing, pool_packed
from coursekit.models.partway import Start, noting

# ModernBERT's local attention sees 16 tokens there; many are longer, some much shorter than others.
SMILES = [f"{'C' * (1 + 5 * i % 41)}{'N' * (i % 3)}c1ccccc1" for i in range(12)]


def groups_of(model: Classifier, overhead: int = 5) -> tuple[list[Group], np.ndarray]:
    """The molecules in groups, and which molecule is where."""
    tokens = encode(model.tokenizer, SMILES)
    parts = groups_of_like_length(np.array([len(t) for t in tokens]), overhead)
    padding = model.tokenizer.pad_token_id
    groups = [Group(*pad([tokens[i] for i in part], padding)) for part in parts]
    assert len(groups) > 2
    assert any(not group.mask.all() for group in groups)
    return groups, np.concatenate(parts)


def padded(model: Classifier) -> torch.Tensor:
    """Vectors of all molecules (N, H), padded to the longest, with a graph."""
    return model.pool(*pad(encode(model.tokenizer, SMILES), model.tokenizer.pad_token_id))


def packed(model: Classifier) -> torch.Tensor:
    """The same, packed."""
    first = first_position(model)
    assert first is not None
    groups, order = groups_of(model)
    return pool_packed(model, groups, first)[np.argsort(order)]


def test_which_families_can_be_packed() -> None:
    found = {family: first_position(small_classifier(family)) for family in FAMILIES}
    assert [family for family, first in found.items() if first is not None] == PACKED
    assert found["roberta"] == 1  # behind the padding's id, which is 0 here


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("family", PACKED)
def test_vectors_and_gradients_are_those_of_padded_molecules(family: str, pooling: str) -> None:
    found = []
    for way in (padded, packed):
        model = small_classifier(family, pooling=pooling).eval()
        vectors = way(model)
        (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append((vectors.detach(), gradients))
    (expected, others), (vectors, gradients) = found
    assert torch.allclose(vectors, expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.01
    assert set(gradients) == set(others)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, others[name], atol=1e-5, rtol=1e-4), name


@pytest.mark.parametrize("family", PACKED)
def test_from_states_that_lower_blocks_have_left(family: str) -> None:
    model = small_classifier(family).eval()
    groups, order = groups_of(model)
    first = first_position(model)
    assert first is not None
    with torch.inference_mode():
        expected = padded(model)
        started = []
        for group in groups:
            with noting(model, (2,), whole=False) as found:
                model.pool(group.ids, group.mask)
            started.append(Group(group.ids, group.mask, Start(2, found[2])))
        model.blocks[0].register_forward_hook(lambda *_: pytest.fail("the lowest block ran"))
        vectors = pool_packed(model, started, first)[np.argsort(order)]
    assert torch.allclose(vectors, expected, atol=1e-5, rtol=0)


def test_dropout_is_on_in_training() -> None:
    """In attention as well: with the others off, two passes differ."""
    model = small_classifier("bert").train()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and "attention.self" not in name:
            module.p = 0.0
    first, second = packed(model), packed(model)
    assert not torch.allclose(first, second, atol=1e-4)
    assert not torch.allclose(first, padded(model.eval()), atol=1e-4)


def test_asking_leaves_everything_as_it_was() -> None:
    model = small_classifier("roberta").train()
    model.open_groups(["head", "block.2"])
    model.train()
    before, modes = model.digest(), [module.training for module in model.modules()]
    config = copy.deepcopy(model.encoder.config.to_dict())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert first_position(model) == 1
    assert torch.equal(torch.rand(2), expected)
    assert model.digest() == before
    assert [module.training for module in model.modules()] == modes
    assert model.encoder.config.to_dict() == config
    assert model.encoder.config._attn_implementation == "sdpa"


def test_attention_that_was_chosen_stays_chosen() -> None:
    model = small_classifier("bert")
    model.encoder.set_attn_implementation("eager")
    assert first_position(model) is None
    assert model.encoder.config._attn_implementation == "eager"


def mixing(model: Classifier) -> None:
    """Each token gets something of the one before, as a convolution would."""
    model.blocks[1].register_forward_hook(
        lambda _, __, out: (
            (out[0] + out[0].roll(1, dims=1), *out[1:])
            if isinstance(out, tuple)
            else out + out.roll(1, dims=1)
        )
    )


def failing(model: Classifier) -> None:
    """It asks for batches of at least two rows."""

    def refuse(_: object, given: tuple[torch.Tensor, ...]) -> None:
        if len(given[0]) < 2:
            raise ValueError("one row")

    model.blocks[0].register_forward_pre_hook(refuse)


@pytest.mark.parametrize("change", [mixing, failing])
def test_an_encoder_with_something_of_its_own_is_padded(
    change: Callable[[Classifier], None],
) -> None:
    model = small_classifier("bert")
    change(model)
    assert first_position(model) is None
    assert model.encoder.config._attn_implementation == "sdpa"


def test_padded_molecules_inside_are_an_error() -> None:
    """Their attention would go by the groups of others."""
    model = small_classifier("bert").eval()
    packed(model)
    with packing(model), pytest.raises(EncoderError, match=r"cannot be packed into \d+ tokens"):
        padded(model)
    assert model.encoder.config._attn_implementation == "sdpa"
    assert padded(model).isfinite().all()
