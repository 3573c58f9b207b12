"""Every strategy on every family of encoders: one suite that all must pass."""

from __future__ import annotations

import pytest
import torch
from families import FAMILIES
from tiny import EPOCHS, STRATEGIES
from torch import nn

from coursekit.data.batches import encode, pad
from coursekit.training import FinetuneStrategy, Phase
from coursekit.training.trial import fit_findings


class TopTwo(FinetuneStrategy):
    """As a student would write it: the last two blocks and the head."""

    def phases(self, model, epochs):
        top = list(model.groups)[-3:]
        return [Phase(dict.fromkeys(top, self.lr), epochs=epochs)]


ALL = STRATEGIES | {"a student's": TopTwo(lr=3e-3, batch_size=8)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strategy", ALL.values(), ids=ALL.keys())
def test_fit(strategy, family, task, make_model):
    """The same suite that a learner's strategy is tried with, on every family."""
    findings = fit_findings(strategy, make_model(family), task, EPOCHS)
    assert [finding for finding in findings if not finding.held] == []
    assert len(findings) == 8


def test_a_frozen_norm_counts_nothing(task, make_model):
    """Batch norm keeps running means of what goes through it, gradients or none."""
    model = make_model()
    norms = []
    for block in model.blocks:
        block.norm = nn.BatchNorm1d(model.width, affine=False)
        norms.append(block.norm)
        block.register_forward_hook(
            lambda block, _, out: (
                (block.norm(out[0].transpose(1, 2)).transpose(1, 2), *out[1:])
                if isinstance(out, tuple)
                else block.norm(out.transpose(1, 2)).transpose(1, 2)
            )
        )
    STRATEGIES["partial"].fit(model, task, epochs=1)
    assert [int(norm.num_batches_tracked) > 0 for norm in norms] == [False, True, True]


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
