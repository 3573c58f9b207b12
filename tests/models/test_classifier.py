from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from families import BLOCKS, FAMILIES, HIDDEN, small_classifier, small_encoder, tokenizer
from torch import nn

from coursekit.errors import EncoderError
from coursekit.models.blocks import find_parts
from coursekit.models.classifier import Classifier
from coursekit.models.partway import weights_digest

SMILES = ["CCO", "c1ccccc1C(=O)NCC[C@@H](Br)Cl", "C" * 60, "N#C[C@H](F)c1cc[nH]c1"]

each_family = pytest.mark.parametrize("family", FAMILIES)


@each_family
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_does_not_change_an_embedding(family: str, pooling: str) -> None:
    model = small_classifier(family, pooling=pooling)
    together = model.embed(SMILES)
    alone = np.concatenate([model.embed([s]) for s in SMILES])
    assert together.shape == (4, HIDDEN)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3  # and yet it depends on the molecule


@each_family
def test_embeddings_are_pooled_from_the_last_hidden_states(family: str) -> None:
    model = small_classifier(family, pooling="mean").eval()
    ids = torch.tensor([tokenizer()(SMILES[1])["input_ids"]])
    with torch.inference_mode():
        hidden = model.encoder(input_ids=ids).last_hidden_state[0].numpy()
    np.testing.assert_allclose(model.embed([SMILES[1]])[0], hidden.mean(0), atol=1e-5)
    model.pooling = "cls"
    np.testing.assert_allclose(model.embed([SMILES[1]])[0], hidden[0], atol=1e-5)


@each_family
def test_groups_hold_every_trainable_parameter_once(family: str) -> None:
    model = small_classifier(family)
    assert list(model.groups) == [
        "embeddings",
        *(f"block.{i}" for i in range(BLOCKS)),
        "head",
    ]
    grouped = [name for names in model.groups.values() for name in names]
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert sorted(grouped) == sorted(trainable)
    assert not {f"encoder.{n}" for n in find_parts(model.encoder).unused} & set(grouped)


@each_family
def test_every_grouped_parameter_gets_a_gradient(family: str) -> None:
    model = small_classifier(family, pooling="mean")
    ids = torch.tensor([tokenizer()(SMILES[1])["input_ids"]])
    model(ids, torch.ones_like(ids)).sum().backward()
    without = [n for ns in model.groups.values() for n in ns if model.get_parameter(n).grad is None]
    assert without == []


@each_family
def test_what_is_frozen_stays_in_eval(family: str) -> None:
    model = small_classifier(family)
    model.open_groups(["block.2", "head"])
    model.train()
    for index, block in enumerate(model.blocks):
        assert {m.training for m in block.modules()} == {index == 2}
    frozen = {"embeddings", "block.0", "block.1"}
    for group, names in model.groups.items():
        for name in names:
            assert model.get_parameter(name).requires_grad == (group not in frozen)
            if group in frozen:
                assert not model.get_submodule(name.rpartition(".")[0]).training
    assert model.head.training
    # Dropout in the frozen part is off: its output is the same twice, in training.
    first, second = (_states_below(model, 2) for _ in range(2))
    assert torch.equal(first, second)
    model.eval()
    assert not any(m.training for m in model.modules())


def _states_below(model: Classifier, block: int) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    hook = model.blocks[block - 1].register_forward_hook(
        lambda _module, _inputs, output: seen.append(
            output if isinstance(output, torch.Tensor) else output[0]
        )
    )
    ids = torch.tensor([tokenizer()(SMILES[1])["input_ids"]])
    model(ids, torch.ones_like(ids))
    hook.remove()
    return seen[0].detach()


def test_opening_groups_freezes_the_others_and_drops_their_gradients() -> None:
    model = small_classifier("bert")
    ids = torch.tensor([[1, 6, 7, 2]])
    model(ids, torch.ones_like(ids)).sum().backward()
    model.open_groups(["head"])
    with_gradient = [n for n, p in model.named_parameters() if p.grad is not None]
    assert with_gradient == list(model.groups["head"]) == ["head.1.weight", "head.1.bias"]
    with pytest.raises(EncoderError, match=r"\['block.9'\] are no groups of bert; it has \['emb"):
        model.open_groups(["head", "block.9"])


def test_count_is_the_number_of_parameters_that_could_train() -> None:
    model = small_classifier("distilbert")
    assert model.count() == sum(p.numel() for p in model.parameters())
    assert model.count(["head"]) == HIDDEN + 1
    assert f"head {HIDDEN + 1}" in repr(model)
    roberta = small_classifier("roberta")  # its pooler is not counted
    everything = sum(p.numel() for p in roberta.parameters())
    assert roberta.count() == everything - (HIDDEN * HIDDEN + HIDDEN)


def test_head_depends_on_the_seed_alone() -> None:
    weights = []
    for global_seed, seed in ((0, 3), (1, 3), (1, 4)):
        encoder = small_encoder("bert")
        torch.manual_seed(global_seed)
        weights.append(Classifier(encoder, tokenizer(), seed=seed).head[1].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert weights[0].std().item() == pytest.approx(0.02, rel=0.5)


def test_making_a_head_leaves_the_global_random_numbers_alone() -> None:
    encoder = small_encoder("bert")
    torch.manual_seed(11)
    before = torch.get_rng_state()
    Classifier(encoder, tokenizer(), seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_pooling_is_refused() -> None:
    with pytest.raises(EncoderError, match="pooling is 'max'; 'cls' or 'mean' is expected"):
        Classifier(small_encoder("bert"), tokenizer(), pooling="max")  # type: ignore[arg-type]


def test_predictions_are_the_sigmoid_of_the_logits() -> None:
    model = small_classifier("electra").eval()
    model.head[1].bias.data.fill_(0.7)
    ids = torch.tensor([tokenizer()(SMILES[0])["input_ids"]])
    with torch.inference_mode():
        logit = model(ids, torch.ones_like(ids))
    assert logit.shape == (1,)
    assert model.predict([SMILES[0]])[0] == pytest.approx(1 / (1 + np.exp(-logit.item())), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 128])
def test_embedding_gives_the_order_that_was_asked_for(batch_size: int) -> None:
    model = small_classifier("modernbert", pooling="mean")
    once = model.embed(SMILES, batch_size)
    np.testing.assert_allclose(model.embed(SMILES[::-1], batch_size)[::-1], once, atol=1e-5)
    table = pd.Series(SMILES, index=[7, 5, 3, 1])
    np.testing.assert_allclose(model.embed(table, batch_size), once, atol=1e-5)
    assert model.embed([]).shape == (0, HIDDEN)


def test_embedding_ignores_dropout_and_puts_the_mode_back() -> None:
    model = small_classifier("bert").train()
    np.testing.assert_array_equal(model.embed(SMILES), model.embed(SMILES))
    assert model.training
    model.eval()
    model.embed(SMILES)
    assert not model.training


def test_embedding_refuses_a_single_string() -> None:
    with pytest.raises(EncoderError, match=r"not one string; give \['CCO'\]"):
        small_classifier("bert").embed("CCO")


def test_digest_changes_with_any_weight_and_with_the_pooling() -> None:
    model, same = small_classifier("bert"), small_classifier("bert")
    assert model.digest() == same.digest() == model.origin
    assert small_classifier("bert", pooling="mean").digest() != model.digest()
    same.head[1].bias.data += 1e-7
    assert same.digest() != model.digest()
    assert same.origin == model.origin  # as it was when it was made


def test_digest_reads_scalars_and_half_precision() -> None:
    one = weights_digest({"a": torch.tensor(1.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)})
    assert one != weights_digest({"a": torch.tensor(1.0), "b": torch.ones(2, 2)})
    assert one != weights_digest({"a": torch.tensor(1.0), "b": torch.ones(4, dtype=torch.bfloat16)})


def test_width_and_device_are_those_of_the_encoder() -> None:
    model = small_classifier("electra")
    assert model.width == HIDDEN
    assert model.device == torch.device("cpu")
    assert all(isinstance(block, nn.Module) for block in model.blocks)


def test_a_model_in_training_predicts_without_dropout():
    model = small_classifier("bert").train()
    model.head[0].p = 0.5
    first, second = (model.predict(["CCO", "c1ccccc1", "CCN"]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert model.training
