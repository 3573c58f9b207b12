"""The Fisher of EWC, against closed forms and a loop that somebody else might write."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny import PRETRAINING
from torch import nn

from coursekit.models.masked_head import MASK_SHARE, masked_model
from coursekit.training.fisher import diagonal_fisher, masked_log_likelihoods


@pytest.fixture
def logistic():
    """A logistic regression on 1,000 points, and its expected labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1_000, 3, generator=generator, dtype=torch.float64)
    linear = nn.Linear(3, 1).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.7, -1.3, 0.2]]))
        linear.bias.fill_(-0.4)
    return linear, x, torch.sigmoid(linear(x)).detach()[:, 0]


def log_likelihoods(linear, x, y):
    for point, label in zip(x, y, strict=True):
        sign = 2 * label - 1
        yield nn.functional.logsigmoid(sign * linear(point)).sum()


def test_of_a_logistic_regression_in_closed_form(logistic):
    linear, x, p = logistic
    y = torch.bernoulli(p, generator=torch.Generator().manual_seed(1))
    found = diagonal_fisher(log_likelihoods(linear, x, y), dict(linear.named_parameters()))
    # The gradient of log p(y|x) is (y - p) x, and (y - p) for the bias.
    exact = ((y - p) ** 2)[:, None] * x**2
    torch.testing.assert_close(found["weight"][0], exact.mean(0).float())
    torch.testing.assert_close(found["bias"][0], ((y - p) ** 2).mean().float())
    # With labels drawn from the model its expectation is p (1 - p) x**2: within sampling error.
    expected = ((p * (1 - p))[:, None] * x**2).mean(0)
    error = exact.std(0) / len(x) ** 0.5
    assert ((found["weight"][0] - expected).abs() < 4 * error).all()


def test_it_is_not_the_square_of_the_mean_gradient(logistic):
    linear, x, p = logistic
    y = torch.bernoulli(p, generator=torch.Generator().manual_seed(1))
    found = diagonal_fisher(log_likelihoods(linear, x, y), dict(linear.named_parameters()))
    mean = torch.stack(list(log_likelihoods(linear, x, y))).mean()
    (gradient,) = torch.autograd.grad(mean, [linear.weight])
    assert (found["weight"] > 30 * gradient.square()).all()


def test_of_an_encoder_against_a_loop_over_molecules(make_model):
    model = make_model(dropout=False)
    whole = masked_model(model).eval()
    chosen = {n: p for n, p in model.named_parameters() if n.startswith("encoder.encoder.layer.1")}
    values = masked_log_likelihoods(whole, model, PRETRAINING, MASK_SHARE, 7)
    found = diagonal_fisher(values, chosen)
    expected = {name: torch.zeros_like(p) for name, p in chosen.items()}
    for value in masked_log_likelihoods(whole, model, PRETRAINING, MASK_SHARE, 7):
        model.zero_grad()
        value.backward()
        for name, parameter in chosen.items():
            expected[name] += parameter.grad**2 / len(PRETRAINING)
    torch.testing.assert_close(found, expected)
    assert all((value >= 0).all() and value.sum() > 0 for value in found.values())


def test_tokens_are_drawn_from_what_the_encoder_expects(make_model):
    """With one molecule, the mean log-likelihood over draws is minus the entropy."""
    model = make_model(dropout=False)
    whole = masked_model(model).eval()
    with torch.no_grad():  # an encoder that is sure of some tokens, so that its draws matter
        for parameter in whole.get_output_embeddings().parameters():
            parameter.mul_(8.0)
        seen, entropies = [], []
        hook = whole.register_forward_hook(lambda *given: seen.append(given[-1].logits))
        for seed in range(300):
            (value,) = masked_log_likelihoods(whole, model, ["C"], 0.9, seed)
            log_shares = seen.pop()[0, 1].log_softmax(-1)  # [CLS] C [SEP]: one token is masked
            entropies.append(float(value) + float((log_shares.exp() * -log_shares).sum()))
        hook.remove()
    error = np.std(entropies) / len(entropies) ** 0.5
    assert abs(np.mean(entropies)) < 4 * error
    assert np.std(entropies) > 0.1


def test_the_same_seed_gives_the_same_fisher_whatever_was_drawn_before(make_model):
    model = make_model(dropout=False)
    whole = masked_model(model).eval()
    chosen = {"w": model.get_parameter(model.groups["block.0"][0])}
    runs = []
    for seed in (1, 1, 2):
        torch.rand(5)
        state = torch.get_rng_state()
        values = masked_log_likelihoods(whole, model, PRETRAINING, MASK_SHARE, seed)
        runs.append(diagonal_fisher(values, chosen)["w"])
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert copy.deepcopy(chosen["w"]).grad is None
