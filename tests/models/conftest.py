"""Corpora and folders of encoders, small enough to make in a test."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from families import BLOCKS, tokenizer
from made_up import made_up_smiles
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel


@pytest.fixture(autouse=True)
def _one_thread():
    """Small matrices gain nothing from more threads, and neighbors need the other core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def bundled_tokenizer() -> PreTrainedTokenizerFast:
    return tokenizer()


@pytest.fixture(scope="session")
def corpus_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files that share a quarter of their molecules."""
    folder = tmp_path_factory.mktemp("corpus")
    smiles = made_up_smiles(400)
    one, two = folder / "one.smi.gz", folder / "two.csv"
    one.write_bytes(gzip.compress("\n".join(smiles[:250]).encode(), mtime=0))
    two.write_text("name,smiles\n" + "".join(f"m{i},{s}\n" for i, s in enumerate(smiles[150:])))
    return [one, two]


CHEMBERTA_TOKENS = [
    "[PAD]", *(f"[unused{i}]" for i in range(1, 11)), "[UNK]", "[CLS]", "[SEP]", "[MASK]",
    *"cC()O12=N.n3F", "Cl", ">>", "~", "-", "4", "[C@H]", "S", "[C@@H]", "[O-]", "Br", "#", "/",
    "[nH]", "[N+]", "s", "5", "o", "P", "[Na+]", "%10", *"BH@[]+%airlt",
]  # fmt: skip


@pytest.fixture(scope="session")
def chemberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer files of DeepChem/ChemBERTa-77M-MLM, their defect included.

    A RoBERTa byte-pair tokenizer whose merges file has nothing but its header (deepchem issue
    4253); the vocabulary is an excerpt. The pooler is missing in the weights, as it is there.
    """
    folder = tmp_path_factory.mktemp("chemberta")
    config = RobertaConfig(
        vocab_size=len(CHEMBERTA_TOKENS) + 3,
        hidden_size=24,
        num_hidden_layers=BLOCKS,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=515,
        type_vocab_size=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    vocabulary = {token: index for index, token in enumerate(CHEMBERTA_TOKENS)}
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
