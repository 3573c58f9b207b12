"""sentence-transformers: ``SentenceTransformer.encode`` at its defaults."""

from __future__ import annotations

import tempfile
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers import models as modules

from contestants.work import BATCH, Work


def embed(work: Work, half: bool = False) -> dict[str, Any]:
    """Pooled vectors of the train part, of the same encoder with the same pooling."""
    model, molecules = work.model(), list(work.task().train["smiles"])
    with tempfile.TemporaryDirectory() as folder:
        model.encoder.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        word = modules.Transformer(folder)
        pooling = modules.Pooling(word.get_word_embedding_dimension(), pooling_mode="mean")
        encoder = SentenceTransformer(modules=[word, pooling], device="cpu")
        if half:
            encoder.bfloat16()
        encoder.encode(molecules[:BATCH])
        with work.timed():
            vectors = encoder.encode(molecules)
    return {"first": vectors[0, :4].tolist(), "molecules": len(molecules)}


def embed_bf16(work: Work) -> dict[str, Any]:
    """The same with weights in bf16, as its documentation advises for speed."""
    return embed(work, half=True)
