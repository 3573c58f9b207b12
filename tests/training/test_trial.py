"""The suite for strategies: the kit's own pass it, and each mistake is found and named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import STRATEGIES

from coursekit.checks import from_plain, to_plain
from coursekit.errors import TrainingError
from coursekit.training import FinetuneStrategy, HeadOnlyFinetune, Phase, try_strategy
from coursekit.training.trial import BLOCKS, EPOCHS


# The two that are left out ask for more than any model has, a masked-token head or just three
# blocks; test_families tries them.
@pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - {"held", "scheduled"}))
def test_the_kits_own_pass(name: str) -> None:
    trial = try_strategy(STRATEGIES[name])
    assert [finding for finding in trial.findings if not finding.held] == []
    assert len(trial.findings) == 12
    assert trial.passed


def strategy(phases: Any, **more: Any) -> type[FinetuneStrategy]:
    return type("Own", (FinetuneStrategy,), {"phases": phases, **more})


def two_epochs(self: Any, model: Any, epochs: int) -> list[Phase]:
    return [Phase({"head": self.lr}, epochs=2)]


def of_six_blocks(self: Any, model: Any, epochs: int) -> list[Phase]:
    return [Phase({"head": self.lr, "block.5": self.lr}, epochs=epochs)]


def too_slow(self: Any, model: Any, epochs: int) -> list[Phase]:
    return [Phase({"head": self.lr, "block.1": 1e-13}, epochs=epochs)]


def by_chance(self: Any, model: Any, epochs: int) -> list[Phase]:
    return [Phase({"head": float(torch.rand(1)) + 0.1}, epochs=epochs)]


def meddling(self: Any, model: Any, epochs: int) -> list[Phase]:
    with torch.no_grad():
        model.head[1].weight += 0.1
    return [Phase({"head": self.lr}, epochs=epochs)]


def divides(self: Any, model: Any, epochs: int) -> list[Phase]:
    return [Phase({"head": self.lr / (len(model.blocks) - BLOCKS[0])}, epochs=epochs)]


def head(self: Any, model: Any, epochs: int) -> list[Phase]:
    return [Phase({"head": self.lr}, epochs=epochs)]


def fit_that_trains_more(self: Any, model: Any, task: Any, **settings: Any) -> Any:
    run = FinetuneStrategy.fit(self, model, task, **settings)
    with torch.no_grad():
        model.head[1].weight += 1
    return run


@pytest.mark.parametrize(
    ("own", "promise", "found"),
    [
        (strategy(two_epochs), "takes exactly the epochs", "3 blocks, 3 epochs: the phases take 2"),
        (strategy(of_six_blocks), "has a plan for models", "names the group 'block.5'"),
        (strategy(too_slow), "moves what it opened", "block.1 did not move"),
        (strategy(by_chance), "plans the same", "other phases when asked again"),
        (strategy(meddling), "leaves the model alone", "head changed"),
        (strategy(divides), "has a plan for models", "ZeroDivisionError"),
        (strategy(FinetuneStrategy.phases), "says in phases()", "no method phases"),
        (strategy(head, fit=fit_that_trains_more), "says in phases()", "its own fit()"),
    ],
)
def test_each_mistake_is_found_and_named(own: Any, promise: str, found: str) -> None:
    trial = try_strategy(own)
    assert not trial.passed
    broken = [f for f in trial.findings if not f.held]
    assert any(f.promise.startswith(promise) and found in f.found for f in broken), trial
    assert "no" in str(trial)


def test_what_is_no_strategy() -> None:
    with pytest.raises(TrainingError, match="function is no strategy"):
        try_strategy(two_epochs)  # type: ignore[arg-type]


def test_its_facts_are_plain_and_say_every_plan() -> None:
    trial = try_strategy(HeadOnlyFinetune)
    facts = from_plain(to_plain(trial.facts()))
    assert facts["name"] == "HeadOnlyFinetune"
    assert len(facts["plans"]) == len(BLOCKS) * len(EPOCHS)
    assert {len(p["phases"]) for p in facts["plans"]} == {1}
    assert all(held for _, held, _ in facts["findings"])
    assert "12 of 12" in trial._repr_html_()
