"""A folder of an encoder as DeepChem/ChemBERTa-77M-MLM is published, but small."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from families import BLOCKS
from transformers import PreTrainedModel, RobertaConfig

TOKENS = [
    "[PAD]", *(f"[unused{i}]" for i in range(1, 11)), "[UNK]", "[CLS]", "[SEP]", "[MASK]",
    *"cC()O12=N.n3F", "Cl", ">>", "~", "-", "4", "[C@H]", "S", "[C@@H]", "[O-]", "Br", "#", "/",
    "[nH]", "[N+]", "s", "5", "o", "P", "[Na+]", "%10", *"BH@[]+%airlt",
]  # fmt: skip


def write_chemberta(folder: Path, width: int, architecture: type[PreTrainedModel]) -> Path:
    """Weights by chance, and the tokenizer files of ChemBERTa, their defect included.

    A RoBERTa byte-pair tokenizer whose merges file has nothing but its header (deepchem issue
    4253); the vocabulary is an excerpt. The pooler is missing in the weights, as it is there.

    Args:
        folder: is filled.
        width: of the hidden states.
        architecture: RobertaModel, or RobertaForMaskedLM.
    """
    config = RobertaConfig(
        vocab_size=len(TOKENS) + 3,
        hidden_size=width,
        num_hidden_layers=BLOCKS,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=515,
        type_vocab_size=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    bare = {"add_pooling_layer": False} if architecture.__name__ == "RobertaModel" else {}
    architecture(config, **bare).save_pretrained(folder)
    vocabulary = {token: index for index, token in enumerate(TOKENS)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2 - Trained by `huggingface/tokenizers`\n")
    special = {
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    settings = {"model_max_length": 512, "tokenizer_class": "RobertaTokenizer", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
