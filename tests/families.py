"""Small random encoders of the families that the kit promises to take apart.

Real architectures of Hugging Face, built from their configurations with three blocks and the
bundled tokenizer; dropout and everything else not named here is at the configuration's default.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_model

from coursekit.data.paths import bundled
from coursekit.models.classifier import Classifier

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

BLOCKS = 3
HIDDEN = 32
LONGEST = 160


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """The bundled encoder's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(bundled("coursekit-mini"))


def _sizes(longest: int = LONGEST) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer()),
        "hidden_size": HIDDEN,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 2,
        "intermediate_size": 2 * HIDDEN,
        "max_position_embeddings": longest,
        "pad_token_id": tokenizer().pad_token_id,
    }


def bert() -> PreTrainedModel:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**_sizes()))


def roberta() -> PreTrainedModel:
    from transformers import RobertaConfig, RobertaModel

    # RoBERTa counts positions from the padding id on.
    return RobertaModel(RobertaConfig(**_sizes(LONGEST + 2), type_vocab_size=1))


def distilbert() -> PreTrainedModel:
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(
        vocab_size=len(tokenizer()),
        dim=HIDDEN,
        n_layers=BLOCKS,
        n_heads=2,
        hidden_dim=2 * HIDDEN,
        max_position_embeddings=LONGEST,
        pad_token_id=tokenizer().pad_token_id,
    )
    return DistilBertModel(config)


def electra() -> PreTrainedModel:
    from transformers import ElectraConfig, ElectraModel

    # Embeddings narrower than the blocks, and a projection between them, as in ELECTRA-small.
    return ElectraModel(ElectraConfig(**_sizes(), embedding_size=HIDDEN // 2))


def esm() -> PreTrainedModel:
    from transformers import EsmConfig, EsmModel

    # ESM-2's settings; its pooler and contact head are there but do not touch the hidden states.
    config = EsmConfig(
        **_sizes(),
        mask_token_id=tokenizer().mask_token_id,
        position_embedding_type="rotary",
        token_dropout=True,
    )
    return EsmModel(config)


def modernbert() -> PreTrainedModel:
    from transformers import ModernBertConfig, ModernBertModel

    # Two of three blocks with local attention; a window of 16 is shorter than most molecules.
    config = ModernBertConfig(
        **_sizes(),
        local_attention=16,
        bos_token_id=tokenizer().cls_token_id,
        eos_token_id=tokenizer().sep_token_id,
        cls_token_id=tokenizer().cls_token_id,
        sep_token_id=tokenizer().sep_token_id,
    )
    return ModernBertModel(config)


def deberta_v2() -> PreTrainedModel:
    from transformers import DebertaV2Config, DebertaV2Model

    # DeBERTa-v3's settings: relative positions shared by all blocks, no absolute ones.
    config = DebertaV2Config(
        **_sizes(),
        relative_attention=True,
        position_buckets=32,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
    )
    return DebertaV2Model(config)


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": bert,
    "roberta": roberta,
    "distilbert": distilbert,
    "electra": electra,
    "esm": esm,
    "modernbert": modernbert,
    "deberta-v2": deberta_v2,
}
PACKED = [family for family in FAMILIES if family != "deberta-v2"]


def small_encoder(family: str, seed: int = 0) -> PreTrainedModel:
    """A random encoder of a family; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FAMILIES[family]()


@cache
def _masked_folder(family: str) -> TemporaryDirectory[str]:
    """An encoder of the family with its masked-token head, as it would be published."""
    from transformers import AutoModelForMaskedLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = AutoModelForMaskedLM.from_config(FAMILIES[family]().config)
    folder = TemporaryDirectory()
    # Not by save_pretrained, which of several processes lets only the first one write.
    whole.config.save_pretrained(folder.name)
    save_model(whole, f"{folder.name}/model.safetensors", metadata={"format": "pt"})
    return folder


def small_classifier(family: str, seed: int = 0, pooling: str = "cls") -> Classifier:
    """A random encoder of a family with the bundled tokenizer, a head, and a masked-token head."""
    encoder = small_encoder(family, seed)
    model = Classifier(encoder, tokenizer(), pooling, name=family, seed=seed)  # type: ignore[arg-type]
    model.source = _masked_folder(family).name
    return model
