from __future__ import annotations

import pytest
import torch
from families import BLOCKS, FAMILIES, HIDDEN, small_encoder, tokenizer
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel

from coursekit.errors import EncoderError
from coursekit.models.blocks import find_parts, masked_mean

each_family = pytest.mark.parametrize("family", FAMILIES)

# Where a family's source code has its blocks and what no hidden state depends on.
PATHS = {"distilbert": "transformer.layer", "modernbert": "layers"}
UNUSED = {
    "bert": {"pooler.dense.weight", "pooler.dense.bias"},
    "roberta": {"pooler.dense.weight", "pooler.dense.bias"},
    "esm": {
        "pooler.dense.weight",
        "pooler.dense.bias",
        "contact_head.regression.weight",
        "contact_head.regression.bias",
    },
}


@each_family
def test_blocks_are_found_in_order(family: str) -> None:
    encoder = small_encoder(family)
    parts = find_parts(encoder)
    assert len(parts.blocks) == encoder.config.num_hidden_layers == BLOCKS
    assert parts.path == PATHS.get(family, "encoder.layer")
    for index, names in enumerate(parts.blocks):
        place = f"{parts.path}.{index}."
        own = [name for name, _ in encoder.named_parameters() if name.startswith(place)]
        # Only what follows the last block, such as a final norm, may come from elsewhere.
        assert [name for name in names if name.startswith(place)] == own
        assert list(names) == own or index == BLOCKS - 1


@each_family
def test_every_parameter_has_one_place(family: str) -> None:
    encoder = small_encoder(family)
    parts = find_parts(encoder)
    placed = [*parts.embeddings, *(n for names in parts.blocks for n in names), *parts.unused]
    assert sorted(placed) == sorted(name for name, _ in encoder.named_parameters())
    assert set(parts.unused) == UNUSED.get(family, set())


@each_family
def test_unused_parameters_and_no_others_leave_the_output_as_it_is(family: str) -> None:
    encoder = small_encoder(family).eval()
    parts = find_parts(encoder)
    ids = torch.tensor([tokenizer()("CC(=O)N[C@@H](C)Br")["input_ids"]])

    def output() -> torch.Tensor:
        with torch.inference_mode():
            return encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state

    before = output()
    places = {"embeddings": parts.embeddings, "unused": parts.unused}
    places |= {f"block.{i}": names for i, names in enumerate(parts.blocks)}
    for place, names in places.items():
        kept = {name: encoder.get_parameter(name).data.clone() for name in names}
        for name in names:
            encoder.get_parameter(name).data += torch.randn_like(kept[name])
        assert torch.equal(output(), before) == (place == "unused" or not names)
        for name in names:
            encoder.get_parameter(name).data = kept[name]


@pytest.mark.parametrize(
    ("family", "name"),
    [("modernbert", "final_norm.weight"), ("esm", "encoder.emb_layer_norm_after.weight")],
)
def test_a_final_norm_belongs_to_the_last_block(family: str, name: str) -> None:
    assert name in find_parts(small_encoder(family)).blocks[-1]


def test_a_projection_before_the_blocks_belongs_to_the_embeddings() -> None:
    assert "embeddings_project.weight" in find_parts(small_encoder("electra")).embeddings


def test_relative_positions_shared_by_all_blocks_belong_to_the_embeddings() -> None:
    assert "encoder.rel_embeddings.weight" in find_parts(small_encoder("deberta-v2")).embeddings


def test_looking_leaves_no_trace() -> None:
    encoder = small_encoder("bert").train()
    encoder.embeddings.requires_grad_(False)
    kept = torch.ones_like(encoder.pooler.dense.bias)
    encoder.pooler.dense.bias.grad = kept
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    random_state = torch.get_rng_state()
    find_parts(encoder)
    assert encoder.training
    assert encoder.pooler.dense.bias.grad is kept
    assert [n for n, p in encoder.named_parameters() if p.grad is not None] == ["pooler.dense.bias"]
    assert {n.split(".")[0] for n, p in encoder.named_parameters() if not p.requires_grad} == {
        "embeddings"
    }
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in encoder.modules())


def test_a_single_block_will_do() -> None:
    config = BertConfig(
        vocab_size=20,
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=HIDDEN,
    )
    assert len(find_parts(BertModel(config)).blocks) == 1


def test_albert_is_refused_because_its_blocks_share_weights() -> None:
    config = AlbertConfig(
        vocab_size=20,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
    )
    message = "AlbertModel runs 3 blocks but holds 1 in .*share weights.*choose another encoder"
    with pytest.raises(EncoderError, match=message):
        find_parts(AlbertModel(config))


def test_a_network_without_a_list_of_blocks_is_refused() -> None:
    with pytest.raises(EncoderError, match="has no list of equal blocks; an encoder"):
        find_parts(torch.nn.Sequential(torch.nn.Linear(2, 2)))  # type: ignore[arg-type]


def test_masked_mean_is_the_mean_over_real_tokens() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, -100.0]], [[5.0, 6.0]] * 3])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert masked_mean(hidden, mask).tolist() == [[2.0, 3.0], [5.0, 6.0]]
    # A row of padding only, as in a filled-up last batch, is zero and not NaN.
    assert masked_mean(hidden, torch.zeros_like(mask)).tolist() == [[0.0, 0.0]] * 2
