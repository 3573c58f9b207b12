"""Bytes of tensors alive, beside torch's own accounts of its allocator."""

from __future__ import annotations

import gc

import pytest
import torch
from families import FAMILIES
from tiny import STRATEGIES
from torch.profiler import ProfilerActivity, profile

from coursekit.training.alive import Alive

CPU = torch.device("cpu")


def allocated(events) -> tuple[int, int]:
    """What was alive at the end, and at the height, by the profiler's allocations and frees."""
    now = most = 0
    for event in events:
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return now, most


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_every_family(family, make_model):
    model = make_model(family)
    ids = torch.randint(5, 20, (6, 24))

    def steps() -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        for _ in range(2):
            model(ids, torch.ones_like(ids)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        with torch.inference_mode():
            model(ids, torch.ones_like(ids))
        return optimizer

    steps()  # what is computed once in a model's life
    gc.collect()  # what goes meanwhile and was made before would be taken off
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        alive = Alive(CPU)
        with alive:
            optimizer = steps()
        now, most = alive.now, alive.most
    kept, height = allocated(profiler.profiler.kineto_results.events())
    moments = sum(v.nbytes for state in optimizer.state.values() for v in state.values())
    assert now == kept >= moments > 0
    assert most == pytest.approx(height, rel=0.01)
    del optimizer
    assert alive.now == 0


@pytest.mark.parametrize("name", ["full", "progressive", "adapters", "scheduled"])
def test_a_whole_run(name, task, make_model):
    model, alive = make_model(), Alive(CPU)
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler, alive:
        STRATEGIES[name].fit(model, task, epochs=3)
    _, height = allocated(profiler.profiler.kineto_results.events())
    assert alive.most == pytest.approx(height, rel=0.01)


def test_what_goes_while_nobody_counts_is_gone():
    alive = Alive(CPU)
    with alive:
        first = torch.ones(1000)
        seen = first[10:]
        torch.ones(5000)
    assert alive.now == 4000
    assert alive.most >= 24_000
    alive.most = alive.now
    torch.ones(9000)
    del first
    assert alive.now == 4000  # a view holds the whole
    del seen
    with alive:
        assert torch.ones(10).sum() == 10
    assert alive.now == 0
    assert alive.most == 4000
