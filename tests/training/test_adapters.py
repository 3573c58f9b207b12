"""LoRA and partial fine-tuning: what is adapted, what it costs, and that it can be taken out."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from families import FAMILIES
from torch import nn

from coursekit.errors import TrainingError
from coursekit.training import FullFinetune, LoRAFinetune, PartialFinetune
from coursekit.training.adapters import GROUP, merge_adapters, targets, unmerge_adapters

SMILES = ["CCO", "c1ccccc1C(=O)N", "CCCCCCN", "CC(C)Cl"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_layer_of_the_blocks_and_none_else(family, make_model):
    model = make_model(family)
    named = targets(model)
    layers = {id(m) for block in model.blocks for m in block.modules() if isinstance(m, nn.Linear)}
    assert {id(model.encoder.get_submodule(name)) for name in named} == layers
    shapes = [tuple(model.encoder.get_submodule(name).weight.shape) for name in named]
    strategy = LoRAFinetune(rank=4)
    (row,) = strategy.plan(model, 3).table().to_dict("records")
    # Rank times inputs and outputs of each layer, and the head: in closed form.
    expected = sum(4 * (n_out + n_in) for n_out, n_in in shapes) + model.count(["head"])
    assert row["trainable parameters"] == expected
    assert model.adapted is None  # a plan leaves the model as it is
    assert not [name for name, _ in model.named_parameters() if "lora" in name]


@pytest.mark.parametrize("family", FAMILIES)
def test_untrained_adapters_change_nothing_and_merged_ones_stay(family, task, make_model):
    model = make_model(family)
    before = model.predict(SMILES)
    strategy = LoRAFinetune(rank=4, lr=1e-2, batch_size=8)
    strategy.prepare(model)
    np.testing.assert_array_equal(model.predict(SMILES), before)
    strategy.fit(model, task, epochs=2)
    adapted = model.predict(SMILES)
    assert np.abs(adapted - before).max() > 1e-3
    weight = model.encoder.get_submodule(targets_of(model)[0]).base_layer.weight
    apart = weight.detach().clone()
    merge_adapters(model)
    assert not torch.equal(weight, apart)
    np.testing.assert_allclose(model.predict(SMILES), adapted, atol=1e-6)
    merge_adapters(model)  # once is enough
    np.testing.assert_allclose(model.predict(SMILES), adapted, atol=1e-6)
    unmerge_adapters(model)
    torch.testing.assert_close(weight, apart)
    np.testing.assert_allclose(model.predict(SMILES), adapted, atol=1e-6)


def targets_of(model):
    return [name for name, m in model.encoder.named_modules() if hasattr(m, "base_layer")]


def test_a_merged_pair_is_alpha_over_rank_times_their_product(task, make_model):
    model = make_model()
    strategy = LoRAFinetune(rank=2, alpha=6.0, lr=1e-2, batch_size=8)
    strategy.fit(model, task, epochs=1)
    layer = model.encoder.get_submodule(targets_of(model)[0])
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = layer.base_layer.weight + 6.0 / 2 * b @ a
    merge_adapters(model)
    torch.testing.assert_close(layer.base_layer.weight, expected)


@pytest.mark.parametrize("strategy", [LoRAFinetune(rank=2, lr=1e-2, batch_size=8), FullFinetune()])
def test_merged_adapters_are_taken_out_to_train_on(strategy, task, make_model, weights, moved):
    model = make_model()
    LoRAFinetune(rank=2, lr=1e-2, batch_size=8).fit(model, task, epochs=1)
    merge_adapters(model)
    before = weights(model)
    strategy.fit(model, task, epochs=1)
    assert {GROUP, "head"} <= moved(model, before, weights(model))
    assert not any(layer.merged for layer in model.encoder.modules() if hasattr(layer, "lora_A"))


def test_a_finished_run_of_merged_adapters_is_given_back(
    task, make_model, tmp_path, assert_same_bits
):
    model, strategy = make_model(), LoRAFinetune(rank=2, lr=1e-2, batch_size=8)
    run = strategy.fit(model, task, epochs=2, checkpoint_dir=tmp_path)
    adapted = model.predict(SMILES)
    merge_adapters(model)
    assert_same_bits(strategy.fit(model, task, epochs=2, checkpoint_dir=tmp_path), run)
    np.testing.assert_array_equal(model.predict(SMILES), adapted)


def test_only_the_upper_blocks(make_model):
    model = make_model()
    LoRAFinetune(blocks=1).prepare(model)
    names = model.groups[GROUP]
    assert names
    assert all(name.startswith("encoder.encoder.layer.2.") for name in names)
    assert list(model.groups)[-2:] == [GROUP, "head"]
    assert sum(map(len, model.groups.values())) == len(
        [name for name, _ in model.named_parameters() if "pooler" not in name]
    )


def test_two_models_of_one_seed_have_the_same_adapters(make_model):
    weights = []
    for _ in range(2):
        torch.rand(7)
        model = make_model()
        state = torch.get_rng_state()
        LoRAFinetune().prepare(model)
        assert torch.equal(torch.get_rng_state(), state)
        weights.append(model.get_parameter(model.groups[GROUP][0]).detach())
    assert torch.equal(*weights)


def test_other_adapters_on_the_same_model_are_refused(make_model):
    model = make_model()
    LoRAFinetune(rank=4).prepare(model)
    with pytest.raises(TrainingError, match="adapters of rank 4 and alpha 16 already; load a fres"):
        LoRAFinetune(rank=8).prepare(model)


@pytest.mark.parametrize("strategy", [LoRAFinetune(blocks=9), PartialFinetune(blocks=9)])
def test_more_blocks_than_there_are(strategy, make_model):
    with pytest.raises(TrainingError, match=r"blocks is 9; .* has 3 blocks"):
        strategy.plan(make_model(), 2)


def test_merging_what_is_not_there(make_model):
    with pytest.raises(TrainingError, match="has no adapters; LoRAFinetune puts them in"):
        merge_adapters(make_model())


def test_without_peft_it_says_what_to_install(make_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(TrainingError, match="pip install peft"):
        LoRAFinetune().plan(make_model(), 2)


def test_blocks_without_a_linear_layer(make_model):
    model = make_model()
    for block in model.blocks:
        for name, _ in list(block.named_children()):
            setattr(block, name, nn.Identity())
    with pytest.raises(TrainingError, match="have no linear layer"):
        targets(model)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_partial_opens_the_last_blocks_at_the_rates_of_full_fine_tuning(blocks, make_model):
    plan = PartialFinetune(blocks=blocks, lr=1e-3, layer_lr_decay=0.5).plan(make_model(), 4)
    (phase,) = plan.phases
    top = [f"block.{i}" for i in range(3 - blocks, 3)]
    assert list(phase.learning_rates) == [*top, "head"]
    assert [phase.learning_rates[g] for g in reversed(top)] == [
        1e-3 * 0.5**i for i in range(blocks)
    ]
    assert phase.epochs == 4


@pytest.mark.parametrize(
    ("strategy", "arguments", "words"),
    [
        (LoRAFinetune, {"rank": 0}, "rank is 0; a whole number from 1 on"),
        (LoRAFinetune, {"alpha": -1}, "alpha is -1; a positive number"),
        (LoRAFinetune, {"dropout": 1}, "dropout is 1; a share from 0 to less than 1"),
        (LoRAFinetune, {"blocks": 0}, "blocks is 0; None, or a whole number from 1 on"),
        (PartialFinetune, {"blocks": 0}, "blocks is 0; a whole number from 1 on"),
    ],
)
def test_settings_out_of_range(strategy, arguments, words):
    with pytest.raises(TrainingError, match=words):
        strategy(**arguments)
