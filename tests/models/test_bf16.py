"""bf16 on a processor: shapes that repeat, attention in fp32, and the numbers of fp32 nearly."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from families import PACKED, small_classifier
from torch import nn

from coursekit.data.batches import encode, pad
from coursekit.models.classifier import EVEN_WIDTH, Classifier
from coursekit.models.packed import EVEN_ROW, Group, first_position, packing, pool_packed
from coursekit.models.partway import Start, noting
from coursekit.models.precision import autocast, even, is_half
from coursekit.training.recompute import gradient_checkpointing

CPU = torch.device("cpu")
SMILES = [f"{'C' * (1 + 5 * i % 41)}{'N' * (i % 3)}c1ccccc1" for i in range(12)]
Way = Callable[[Classifier], torch.Tensor]


def groups(model: Classifier) -> list[Group]:
    tokens = encode(model.tokenizer, SMILES)
    return [Group(*pad(tokens[i::3], model.tokenizer.pad_token_id)) for i in range(3)]


def packed(model: Classifier) -> torch.Tensor:
    """Vectors of three groups of molecules, with a graph."""
    first = first_position(model)
    assert first is not None
    return pool_packed(model, groups(model), first)


def padded(model: Classifier) -> torch.Tensor:
    return model.pool(*model.batch(encode(model.tokenizer, SMILES)))


def test_sizes_are_even_in_bf16_on_a_processor_only() -> None:
    assert (even(9, 8, CPU), is_half(CPU)) == (9, False)
    with autocast("bf16", CPU):
        assert [even(n, 8, CPU) for n in (1, 8, 9)] == [8, 8, 16]
        assert is_half(CPU)
        assert not is_half(torch.device("cuda"))
        with autocast("fp32", CPU):
            assert not is_half(CPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("way", "step"), [(packed, EVEN_ROW), (padded, EVEN_WIDTH)])
def test_matrix_products_see_few_shapes(way: Way, step: int, precision: str) -> None:
    """In bf16 each shape that is new is translated first, which would cost more than it gains."""
    model, widths = small_classifier("modernbert").eval(), set()
    for layer in nn.ModuleList(model.blocks).modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(lambda _, given: widths.add(given[0].shape[-2]))
    first_position(model)
    widths.clear()
    with autocast(precision, CPU):
        pool_packed(model, groups(model), 0) if way is packed else way(model)
    assert len(widths) == 1
    assert (widths.pop() % step == 0) == (precision == "bf16")


@pytest.mark.parametrize("way", [packed, padded])
@pytest.mark.parametrize("family", PACKED)
def test_vectors_and_gradients_are_nearly_those_of_fp32(family: str, way: Way) -> None:
    """Nothing of what fills a row or a batch up comes through."""
    found = []
    for precision in ("fp32", "bf16"):
        model = small_classifier(family).eval()
        with autocast(precision, CPU):
            vectors = way(model)
        (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append((vectors.detach().float(), gradients))
    (expected, others), (vectors, gradients) = found
    assert not torch.equal(vectors, expected)
    assert torch.allclose(vectors, expected, atol=0.03 * float(expected.std()), rtol=0.01)
    assert set(gradients) == set(others)
    for name, gradient in gradients.items():
        apart = (gradient - others[name]).norm() / others[name].norm().clamp(min=1e-3)
        assert apart < 0.05, name


@pytest.mark.parametrize("dropout", [False, True])
def test_packed_attention_computes_in_fp32(dropout: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[torch.dtype] = set()
    own = nn.functional.scaled_dot_product_attention

    def spy(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any) -> torch.Tensor:
        seen.add((query @ key.transpose(-1, -2)).dtype)
        return own(query, key, value)

    model = small_classifier("bert").train(dropout)
    assert first_position(model) == 0
    if dropout:
        monkeypatch.setattr("coursekit.models.packed.attention_with_dropout", spy)
    else:
        monkeypatch.setattr(
            nn.functional, "scaled_dot_product_attention", lambda *a, scale: spy(*a)
        )
    with autocast("bf16", CPU):
        vectors = pool_packed(model, groups(model), 0)
    assert seen == {torch.float32}
    assert vectors.isfinite().all()


def test_whether_an_encoder_can_be_packed_is_tried_in_fp32() -> None:
    model = small_classifier("bert")
    with autocast("bf16", CPU):
        assert first_position(model) == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("way", ["packed", "padded"])
def test_from_states_that_lower_blocks_have_left(way: str, precision: str) -> None:
    """They are as wide as the longest molecule; what is filled up lies behind."""
    model = small_classifier("modernbert").eval()
    tokens = encode(model.tokenizer, SMILES)
    ids, mask = pad(tokens, model.tokenizer.pad_token_id)
    with torch.inference_mode(), autocast(precision, CPU):
        with noting(model, (2,), whole=False) as found:
            model.pool(ids, mask)
        expected = model.pool(ids, mask)
        start = Start(2, found[2])
        assert start.hidden.shape[1] == ids.shape[1]
        if way == "packed":
            vectors = pool_packed(model, [Group(ids, mask, start)], 0)
        else:
            vectors = model.pool(*model.batch(tokens), start)
    near = 1e-5 if precision == "fp32" else 0.02
    assert torch.allclose(vectors.float(), expected.float(), atol=near, rtol=near)


def test_a_batch_is_no_wider_than_the_encoder_has_positions() -> None:
    model = small_classifier("bert").eval()
    most = model.encoder.config.max_position_embeddings
    model.encoder.config.max_position_embeddings = 13
    rows = [np.full(length, 5) for length in (3, 11)]
    with autocast("bf16", CPU):
        assert model.batch(rows)[0].shape == (2, 11)
        model.encoder.config.max_position_embeddings = most
        assert model.batch(rows)[0].shape == (2, 16)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_embeddings_go_by_the_callers_precision(precision: str) -> None:
    model = small_classifier("roberta")
    expected = model.embed(SMILES)
    with autocast(precision, CPU) if precision == "bf16" else nullcontext():
        found = model.embed(SMILES)
    assert np.array_equal(found, expected) == (precision == "fp32")
    assert found == pytest.approx(expected, abs=0.03 * float(expected.std()), rel=0.01)


def test_computing_again_in_the_backward_pass_fills_up_as_before() -> None:
    found = []
    for again in (False, True):
        model = small_classifier("bert").train()
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        assert first_position(model) == 0
        with (
            gradient_checkpointing(model, again),
            packing(model),
            autocast("bf16", CPU),
        ):
            pool_packed(model, groups(model), 0).sum().backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    plain, computed_again = found
    assert plain
    assert set(plain) == set(computed_again)
    for name, gradient in plain.items():
        assert torch.equal(gradient, computed_again[name]), name
