from __future__ import annotations

import numpy as np
import pytest
import torch
from families import BLOCKS, FAMILIES, small_classifier
from torch import nn

from coursekit.data.batches import encode, pad
from coursekit.models.partway import (
    Start,
    digests_below,
    frozen_depth,
    is_still,
    noting,
)

SMILES = ["CCN", "CC(=O)Nc1ccccc1", "C" * 40, "OCCO", "CCCCCCCC(F)(F)F"]
DEPTHS = range(1, BLOCKS)
pytestmark = pytest.mark.filterwarnings("ignore:.*atoms that the tokenizer")


@pytest.fixture(params=FAMILIES)
def model(request):
    return small_classifier(request.param, pooling="mean")


def batch(model, smiles=SMILES):
    return pad(encode(model.tokenizer, smiles), model.tokenizer.pad_token_id)


def states(model, depth, ids, mask):
    """What the lowest blocks leave, with nothing kept of the padding."""
    with torch.no_grad(), noting(model, [depth], whole=False) as found:
        model.pool(ids, mask)
    return found[depth] * mask.unsqueeze(-1)


def opened(model):
    return {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize("depth", DEPTHS)
def test_from_a_depth_on_it_is_the_same_encoder(model, depth):
    model.eval()
    ids, mask = batch(model)
    start = Start(depth, states(model, depth, ids, mask))
    with torch.no_grad():
        assert torch.equal(model(ids, mask, start), model(ids, mask))


@pytest.mark.parametrize("depth", DEPTHS)
def test_states_of_other_batches_do_as_well(model, depth):
    """The states do not depend on the padding beside which they were computed."""
    model.eval()
    ids, mask = batch(model)
    hidden = torch.zeros(*ids.shape, model.width)
    for row, smiles in enumerate(SMILES):
        alone = states(model, depth, *batch(model, [smiles]))[0]
        hidden[row, : len(alone)] = alone
    with torch.no_grad():
        expected = model(ids, mask)
        assert torch.allclose(model(ids, mask, Start(depth, hidden)), expected, atol=1e-6)


@pytest.mark.parametrize("depth", DEPTHS)
def test_dropout_and_gradients_above_are_the_same(model, depth):
    model.open_groups(list(model.groups)[1 + depth :])
    model.train()
    ids, mask = batch(model)
    start = Start(depth, states(model, depth, ids, mask))
    found = []
    for given in (None, start):
        torch.manual_seed(5)
        logits = model(ids, mask, given)
        logits.sum().backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        found.append((logits.detach(), gradients, torch.get_rng_state()))
    (logits, gradients, drawn), (cached, others, drawn_cached) = found
    assert torch.equal(drawn, drawn_cached)
    assert torch.allclose(cached, logits, atol=1e-6)
    assert len(gradients) == len(others) > 2
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(gradients, others, strict=True))


@pytest.mark.parametrize("depth", DEPTHS)
def test_only_the_blocks_asked_for_are_run(model, depth):
    runs = []
    for index, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, index=index: runs.append(index))
    ids, mask = batch(model)
    hidden = states(model, depth, ids, mask)
    assert runs == list(range(depth))
    runs.clear()
    model(ids, mask, Start(depth, hidden))
    assert runs == list(range(depth, BLOCKS))
    runs.clear()
    model(ids, mask)
    assert runs == list(range(BLOCKS))


def test_several_depths_and_the_whole_in_one_run(model):
    model.eval()
    ids, mask = batch(model)
    with torch.no_grad():
        with noting(model, DEPTHS, whole=True) as found:
            pooled = model.pool(ids, mask)
        assert torch.equal(pooled, model.pool(ids, mask))
        for depth in DEPTHS:
            alone = states(model, depth, ids, mask)
            assert torch.equal(found[depth] * mask.unsqueeze(-1), alone)


def test_blocks_are_back_after_an_error(model):
    blocks = model.blocks
    ids, mask = batch(model)
    with pytest.raises((TypeError, AttributeError)):
        model(ids, mask, Start(1, "no states"))
    with pytest.raises(ZeroDivisionError), noting(model, [1], whole=False):
        1 / 0  # noqa: B018
    assert all(a is b for a, b in zip(model.blocks, blocks, strict=True))
    assert not any(block._forward_hooks for block in blocks)
    assert torch.isfinite(model(ids, mask)).all()


# ---------------------------------------------------------------- how deep it is frozen


def test_frozen_depth_by_group(model):
    groups = list(model.groups)
    for number, group in enumerate(groups):
        model.open_groups([group, "head"])
        expected = BLOCKS if group == "head" else max(0, number - 1)
        assert frozen_depth(model, opened(model)) == expected
    model.open_groups(groups)
    assert frozen_depth(model, opened(model)) == 0


def test_frozen_depth_by_single_parameters(model):
    """A schedule may open what it likes: only what trains counts, not whole groups."""
    *_, first_block, second, last = (model.groups[f"block.{i}"] for i in range(BLOCKS))
    model.open_parameters([second[-1], last[0]])
    assert frozen_depth(model, opened(model)) == 1
    model.open_parameters([first_block[0], "head.1.bias"])
    assert frozen_depth(model, opened(model)) == 0
    model.open_parameters([model.groups["embeddings"][-1]])
    assert frozen_depth(model, opened(model)) == 0
    model.open_parameters([last[-1]])  # the final norm, where there is one
    assert frozen_depth(model, opened(model)) == BLOCKS - 1


@pytest.mark.parametrize("blocks", [1, 2, None])
def test_frozen_depth_ends_at_the_first_adapted_block(model, blocks):
    pytest.importorskip("peft")
    from coursekit.training.adapters import add_adapters

    add_adapters(model, rank=2, alpha=4.0, dropout=0.0, blocks=blocks)
    model.open_groups(["adapters", "head"])
    assert frozen_depth(model, opened(model)) == (BLOCKS - blocks if blocks else 0)


def test_what_is_frozen_stands_still(model):
    for depth in (*DEPTHS, BLOCKS):
        model.open_groups(list(model.groups)[1 + depth :])
        model.train()
        modes = [module.training for module in model.modules()]
        drawn = torch.get_rng_state()
        assert is_still(model, depth)
        assert torch.equal(torch.get_rng_state(), drawn)
        assert [module.training for module in model.modules()] == modes


def test_a_dropout_below_is_seen():
    model = small_classifier("bert")
    model.open_groups(["block.2", "head"])
    model.train()
    assert is_still(model, 2)
    model.blocks[1].train()
    assert is_still(model, 1)
    assert not is_still(model, 2)
    model.train()
    # One that belongs to no frozen part, as an encoder of somebody's own may have it.
    dropout = nn.Dropout(0.5).train()
    model.blocks[0].register_forward_pre_hook(lambda _, args: (dropout(args[0]), *args[1:]))
    assert not is_still(model, 1)


# ---------------------------------------------------------------- digests


def changed_at(model, before):
    """The depths at which the digests differ."""
    after = digests_below(model)
    return [depth for depth in range(BLOCKS + 1) if after[depth] != before[depth]]


def nudge(model, name):
    with torch.no_grad():
        model.get_parameter(name).view(-1)[0] += 1e-3


def test_a_digest_covers_all_below_and_nothing_above(model):
    before = digests_below(model)
    assert len(set(before)) == BLOCKS + 1
    assert digests_below(model, 1) == before[:2]
    assert changed_at(model, before) == []
    for group, expected in {
        "head": [],
        "block.1": [2, 3],
        "block.0": [1, 2, 3],
        "embeddings": [0, 1, 2, 3],
    }.items():
        nudge(model, model.groups[group][0])
        assert changed_at(model, before) == expected
        before = digests_below(model)
    nudge(model, model.groups[f"block.{BLOCKS - 1}"][-1])
    assert changed_at(model, before) == [BLOCKS]
    before = digests_below(model)
    model.pooling = "cls"
    assert changed_at(model, before) == [BLOCKS]
    before = digests_below(model)
    model.encoder.config.hidden_act = "relu"
    assert changed_at(model, before) == [0, 1, 2, 3]
    assert np.unique(digests_below(model, 2, "bf16") + digests_below(model, 2)).size == 6
