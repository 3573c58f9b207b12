from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import EPOCHS, STRATEGIES
from tokenizers import normalizers
from torch.nn.functional import binary_cross_entropy_with_logits

from coursekit.data.paths import cache_dir
from coursekit.training import FinetuneStrategy, Phase, embeddings
from coursekit.training.embeddings import KEPT_IN_MEMORY, frozen_embeddings

SMILES = ["CCN", "CCCCO", "c1ccccc1", "CC(=O)N", "C"]


@pytest.fixture
def watched(make_model):
    """A model and the number of molecules that went through its encoder."""

    def make(**more):
        model, seen = make_model(**more), []
        model.encoder.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
        )
        return model, seen

    return make


def test_vectors_are_those_of_the_model(watched):
    model, seen = watched()
    vectors, seconds = frozen_embeddings(model, SMILES)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, model.embed(SMILES))
    assert seconds > 0
    assert sum(seen) == 2 * len(SMILES)


def test_computed_once_and_found_again_without_memory(watched):
    model, seen = watched()
    first = frozen_embeddings(model, SMILES)
    assert sum(seen) == 5
    assert frozen_embeddings(model, SMILES) is first
    embeddings._memory.clear()
    again, seconds = frozen_embeddings(model, SMILES)
    assert sum(seen) == 5
    assert np.array_equal(again, first[0])
    assert seconds == first[1]
    # The head plays no part.
    with torch.no_grad():
        model.head[1].weight.add_(1.0)
    assert frozen_embeddings(model, SMILES)[0] is again


def _weight(model):
    with torch.no_grad():
        next(model.encoder.parameters()).view(-1)[7] += 1e-3


def _pooling(model):
    model.pooling = "mean"


def _tokenizer(model):
    model.tokenizer = deepcopy(model.tokenizer)
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("N", "O")


def _length(model):
    model.tokenizer = deepcopy(model.tokenizer)
    model.tokenizer.model_max_length = 4


def _configuration(model):
    model.encoder.config.layer_norm_eps *= 2


@pytest.mark.parametrize("change", [_weight, _pooling, _tokenizer, _length, _configuration])
@pytest.mark.filterwarnings("ignore:.*tokens and are cut")
def test_a_changed_model_meets_no_stale_vector(change, watched):
    model, seen = watched()
    before, _ = frozen_embeddings(model, SMILES)
    change(model)
    frozen_embeddings(model, SMILES)
    assert sum(seen) == 10
    assert len(list((cache_dir() / "embeddings").iterdir())) == 2
    assert before is frozen_embeddings(watched()[0], SMILES)[0]


@pytest.mark.parametrize(
    "smiles", [[*SMILES[:-1], "CC"], SMILES[::-1], SMILES[:-1], [*SMILES[:-2], "CC(=O)NC"]]
)
def test_other_molecules_meet_no_stale_vector(smiles, watched):
    model, seen = watched()
    frozen_embeddings(model, SMILES)
    vectors, _ = frozen_embeddings(model, smiles)
    assert sum(seen) == 5 + len(smiles)
    assert np.array_equal(vectors, model.embed(smiles))


DAMAGES = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a cache"),
    "shape": lambda path: np.savez(path, vectors=np.zeros((5, 3), np.float32), seconds=1.0),
    "type": lambda path: np.savez(path, vectors=np.zeros((5, 32)), seconds=1.0),
    "lacking": lambda path: np.savez(path, vectors=np.zeros((5, 32), np.float32)),
    "pickled": lambda path: np.savez(path, vectors=np.array([{}], object), seconds=1.0),
    "flipped": lambda path: path.write_bytes(
        path.read_bytes()[:300] + bytes([path.read_bytes()[300] ^ 255]) + path.read_bytes()[301:]
    ),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_cache_is_computed_again(damage, watched):
    model, seen = watched()
    first, _ = frozen_embeddings(model, SMILES)
    (path,) = (cache_dir() / "embeddings").iterdir()
    damage(path)
    embeddings._memory.clear()
    again, _ = frozen_embeddings(model, SMILES)
    assert sum(seen) == 10
    assert np.array_equal(again, first)
    if path.is_file():  # and it is whole again
        embeddings._memory.clear()
        frozen_embeddings(model, SMILES)
        assert sum(seen) == 10


def test_a_cache_that_cannot_be_written_costs_no_run(watched, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "file"))
    model, _ = watched()
    assert np.array_equal(frozen_embeddings(model, SMILES)[0], model.embed(SMILES))


def test_memory_holds_only_so_many(watched):
    model, _ = watched()
    for length in range(KEPT_IN_MEMORY + 3):
        frozen_embeddings(model, ["C" * (1 + length)])
    assert len(embeddings._memory) == KEPT_IN_MEMORY


# ---------------------------------------------------------------- what strategies make of it


def test_head_only_runs_the_encoder_once_over_each_molecule(watched, task):
    model, seen = watched()
    run = STRATEGIES["head"].fit(model, task, epochs=20)
    assert sum(seen) == 30 + 12 + 12
    assert run.cost["molecules_per_second"] > 0
    # The same again, from the cache, is the same run, and costs what it cost.
    model, seen = watched()
    again = STRATEGIES["head"].fit(model, task, epochs=20)
    assert sum(seen) == 0
    assert again.predictions.equals(run.predictions)
    vectors_took = frozen_embeddings(model, list(task.train["smiles"]))[1]
    assert again.cost["seconds"] >= round(vectors_took, 3)


def test_frozen_predictions_are_the_models(make_model, task, scores_of):
    model = make_model(pooling="mean")
    run = STRATEGIES["head"].fit(model, task, epochs=EPOCHS)
    for part in ("valid", "test"):
        predicted = model.predict(list(task.part(part)["smiles"]))
        assert scores_of(run, part) == pytest.approx(predicted, abs=1e-5)


def test_the_head_learns_the_same_without_a_cache(make_model, task, scores_of):
    """The head on cached vectors against the head on top of the whole model, batch by batch."""
    runs, heads = [], []
    for cache in ("auto", "off"):
        model = make_model()
        runs.append(replace(STRATEGIES["head"], cache=cache).fit(model, task, epochs=8))
        heads.append(model.head[1].weight)
    for part in ("valid", "test"):
        assert scores_of(runs[0], part) == pytest.approx(scores_of(runs[1], part), abs=1e-5)
    assert torch.allclose(*heads, atol=1e-5)


def test_the_head_learns_logistic_regression(make_model, task):
    """Without dropout, clipping and decay it is a convex problem with one known answer."""
    from sklearn.linear_model import LogisticRegression

    model = make_model(pooling="mean")
    model.head[0].p = 0.0
    vectors, _ = frozen_embeddings(model, list(task.train["smiles"]))
    labels = task.train["label"].to_numpy()

    class Exact(FinetuneStrategy):
        def phases(self, model, epochs):
            return [Phase({"head": self.lr}, epochs)]

    strategy = Exact(lr=1.0, batch_size=30, weight_decay=0.0, clip=1e9, warmup=0, decay="cosine")
    run = strategy.fit(model, task, epochs=300)
    reached = run.history.query("split == 'train'")["loss"].iloc[-1]
    oracle = LogisticRegression(C=1e9, max_iter=10_000).fit(vectors, labels)
    logits = torch.tensor(oracle.decision_function(vectors))
    least = binary_cross_entropy_with_logits(logits, torch.tensor(labels).double()).item()
    start = run.history.query("split == 'train'")["loss"].iloc[0]
    assert least - 1e-6 <= reached < least + 0.1 * (start - least)
