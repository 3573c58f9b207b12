from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, small_classifier

from coursekit.models.classifier import Classifier
from coursekit.models.side_by_side import MOST, side_by_side
from coursekit.training.alive import Alive

SMILES = [f"{'C' * (1 + i % 37)}{'N' * (i % 5)}c1ccccc1" for i in range(400)]


@pytest.fixture(autouse=True)
def _three_threads(_one_thread: None) -> Iterator[None]:
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3


def threads_of(monkeypatch: pytest.MonkeyPatch, several: bool) -> set[str]:
    """Names of the threads that passes run in, from here on; ``several`` are waited for."""
    seen: set[str] = set()
    together = threading.Event()
    original = Classifier.pool

    def pool(self: Classifier, *given: Any) -> torch.Tensor:
        seen.add(threading.current_thread().name)
        if len(seen) > 1:
            together.set()
        if several:
            together.wait(30)
        assert not self.training
        return original(self, *given)

    monkeypatch.setattr(Classifier, "pool", pool)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_are_the_same_bits_as_one_after_the_other(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_classifier(family, pooling="mean")
    torch.set_num_threads(1)
    alone = model.embed(SMILES)
    torch.set_num_threads(3)
    seen = threads_of(monkeypatch, several=True)
    np.testing.assert_array_equal(model.embed(SMILES), alone)
    assert seen <= {"pass_0", "pass_1", "pass_2"}
    assert len(seen) > 1
    assert all(p.grad is None and not p.is_inference() for p in model.parameters())
    assert model.training


def test_results_come_in_the_order_of_the_items() -> None:
    model = small_classifier("bert")
    second = threading.Event()

    def work(_: Classifier, item: int) -> int:
        if item == 0:
            assert second.wait(30)  # another item is done before the first
        elif item == 1:
            second.set()
        return item

    assert list(side_by_side(model, work, range(20))) == list(range(20))


def test_models_share_their_weights_and_nothing_else() -> None:
    model = small_classifier("esm")
    found = list(side_by_side(model, lambda own, _: own, range(30)))
    twins = {id(twin): twin for twin in found}
    assert 1 <= len(twins) <= min(3, MOST)
    for twin in twins.values():
        assert twin is not model
        assert twin.tokenizer is model.tokenizer
        assert all(a is b for a, b in zip(twin.parameters(), model.parameters(), strict=True))
        assert not {id(m) for m in twin.modules()} & {id(m) for m in model.modules()}


def test_an_error_is_that_of_the_first_item_and_ends_the_rest() -> None:
    def work(_: Classifier, item: int) -> None:
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        list(side_by_side(small_classifier("bert"), work, range(1000)))
    assert not [t for t in threading.enumerate() if t.name.startswith("pass_")]


def test_who_stops_reading_stops_the_work() -> None:
    begun: list[int] = []
    never = threading.Event()

    def work(_: Classifier, item: int) -> None:
        begun.append(item)
        if item:
            never.wait(0.2)

    found = side_by_side(small_classifier("bert"), work, range(500))
    next(found)
    found.close()
    assert len(begun) < 100


def test_each_thread_has_its_share_of_threads_and_the_callers_autocast() -> None:
    model = small_classifier("bert")
    torch.set_num_threads(2 * MOST)

    def work(_: Classifier, item: int) -> tuple[int, torch.dtype]:
        ones = torch.ones(2, 2)
        return torch.get_num_threads(), (ones @ ones).dtype

    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert set(side_by_side(model, work, range(20))) == {(2, torch.bfloat16)}
        assert set(side_by_side(model, work, range(20))) == {(2, torch.float32)}
        assert torch.get_num_threads() == 2 * MOST
    finally:
        torch.set_num_threads(3)


def test_where_memory_runs_out_batches_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_classifier("bert")
    expected = model.embed(SMILES)
    original, sizes = Classifier.pool, []

    def pool(self: Classifier, ids: torch.Tensor, *given: Any) -> torch.Tensor:
        sizes.append(len(ids))
        if len(ids) > 9:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return original(self, ids, *given)

    monkeypatch.setattr(Classifier, "pool", pool)
    np.testing.assert_allclose(model.embed(SMILES), expected, atol=1e-6)
    assert {size for size in sizes if size <= 9} == {8}


@pytest.mark.parametrize("kind", ["forward", "forward_pre"])
def test_who_looks_into_the_passes_sees_one_after_the_other(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_classifier("bert")
    seen, looked = threads_of(monkeypatch, several=False), []
    getattr(model.blocks[1], f"register_{kind}_hook")(lambda *given: looked.append(1))
    model.embed(SMILES)
    assert seen == {"MainThread"}
    assert len(looked) > 1


def test_what_counts_tensors_counts_those_of_all_threads() -> None:
    model = small_classifier("bert")
    alive = Alive(torch.device("cpu"))
    gc.collect()
    with alive:
        kept = list(side_by_side(model, lambda _, item: torch.ones(100 + item), range(50)))
    assert alive.now == sum(4 * len(tensor) for tensor in kept)
    del kept
    assert alive.now == 0
