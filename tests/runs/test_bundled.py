from __future__ import annotations

import pytest

import coursekit as ck
from coursekit.errors import RecordError
from coursekit.runs.bundled import bundled_embeddings, bundled_names


def test_a_bundled_run_is_a_whole_run_on_the_sample() -> None:
    run = ck.bundled_run("frozen", seed=1)
    assert run.seed == 1
    assert run.task["name"] == "sample"
    assert 0.5 < run.scores(n_boot=0).auroc_hard.value < 1
    assert (run.history["split"] == "valid").sum() == run.cost["epochs"]


@pytest.mark.parametrize(("name", "seed"), [("frozn", 0), ("frozen", 99), ("../frozen", 0), (3, 0)])
def test_what_is_not_there_is_named_with_what_is(name: str, seed: int) -> None:
    with pytest.raises(RecordError, match=r"no run .*'frozen' \(seeds 0, 1, 2\)"):
        ck.bundled_run(name, seed)


def test_vectors_come_with_their_molecules_or_it_is_said_which_have_some() -> None:
    stages, molecules = bundled_embeddings("contrastive")
    assert list(stages) == ["before", "after contrastive training"]
    assert {vectors.shape for vectors in stages.values()} == {(len(molecules), 128)}
    assert set(molecules["negative_set"]) == {"", "easy", "hard"}
    with pytest.raises(RecordError, match=r"'frozen' of seed 0 comes without .* contrastive-0"):
        bundled_embeddings("frozen")


def test_names_and_seeds() -> None:
    assert bundled_names()["frozen"] == [0, 1, 2]
