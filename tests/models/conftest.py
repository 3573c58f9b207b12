"""Corpora and folders of encoders, small enough to make in a test."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from chemberta import write_chemberta
from families import tokenizer
from made_up import made_up_smiles
from transformers import PreTrainedTokenizerFast, RobertaModel


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


@pytest.fixture(scope="session")
def chemberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chemberta(tmp_path_factory.mktemp("chemberta"), 24, RobertaModel)
