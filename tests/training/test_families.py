"""Every strategy on every family of encoders: one suite that all must pass."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from families import FAMILIES
from tiny import EPOCHS, STRATEGIES

from coursekit.data.batches import encode, pad
from coursekit.runs import Run
from coursekit.training import FinetuneStrategy, Phase, rebuild


class TopTwo(FinetuneStrategy):
    """As a student would write it: the last two blocks and the head."""

    def phases(self, model, epochs):
        top = list(model.groups)[-3:]
        return [Phase(dict.fromkeys(top, self.lr), epochs=epochs)]


ALL = STRATEGIES | {"a student's": TopTwo(lr=3e-3, batch_size=8)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strategy", ALL.values(), ids=ALL.keys())
def test_fit(strategy, family, task, make_model, weights, moved):
    model = make_model(family)
    plan = strategy.plan(model, EPOCHS)
    strategy.prepare(model)  # as fit does first; a second time it changes nothing
    epochs: list[tuple[dict, dict]] = []
    modes: set[tuple[bool, bool]] = set()

    def watch(row):
        if row["split"] == "valid":
            epochs.append((row, weights(model)))

    for module in model.modules():
        parameters = list(module.parameters(recurse=False))
        if parameters:
            module.register_forward_hook(
                lambda m, *_, ps=parameters: modes.add(
                    (m.training, any(p.requires_grad for p in ps))
                )
            )
    before = weights(model)
    run = strategy.fit(model, task, epochs=EPOCHS, seed=1, tracker=watch)

    # In each epoch exactly the groups of its phase move; all others keep every bit.
    assert len(epochs) == plan.epochs == EPOCHS
    for row, after in epochs:
        opened = set(plan.phases[row["phase"]].learning_rates)
        assert moved(model, before, after) == opened, f"epoch {row['epoch']}"
        before = after
    assert (True, True) in modes
    assert (True, False) not in modes  # nothing frozen is ever in training mode

    expected = {(m, p) for p in ("valid", "test") for m in task.part(p)["molecule_id"]}
    assert (
        set(zip(run.predictions["molecule_id"], run.predictions["part"], strict=True)) == expected
    )
    assert len(run.predictions) == len(expected)
    assert np.isfinite(run.predictions["score"]).all()
    assert run.predictions["score"].between(0, 1).all()

    again = Run.from_record(json.loads(json.dumps(run.record())))
    assert again.scores().table.equals(run.scores().table)
    assert rebuild(strategy.describe()) == strategy
    assert rebuild(dict(again.strategy)) == strategy
    assert not model.training
    assert torch.isfinite(torch.from_numpy(model.predict(["CCN", "CCO"]))).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_lies_below_an_open_block_has_no_dropout(family, task, make_model):
    model = make_model(family)
    *_, block, head = model.groups
    model.open_groups([block, head])
    model.train()
    reached: list[torch.Tensor] = []
    model.blocks[-1].register_forward_pre_hook(lambda _, given: reached.append(given[0]))
    ids, mask = pad(encode(model.tokenizer, list(task.train["smiles"])), 0)
    for _ in range(2):
        model(ids, mask)
    assert torch.equal(*reached)
