"""Lesson 02, full fine-tuning: setup and loop by hand, a run, scores, the table, reflections."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from coursekit.checks import expect
from coursekit.checks.exercise import Wrong
from coursekit.checks.registry import exercise, reflection
from coursekit.checks.truth import TABLE_TOLERANCE, is_bundled, judged
from coursekit.evaluation.metrics import METRICS
from coursekit.runs import Run

# --- 02.1

STEPS, LR, WIDTH = 3, 0.5, 3


def _small_encoder() -> Any:
    """An encoder without blocks: each of five tokens has its vector."""
    import torch

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(hidden_size=WIDTH)
            self.device = torch.device("cpu")
            start = torch.linspace(-1, 1, 5 * WIDTH).reshape(5, WIDTH).sin()
            self.vectors = torch.nn.Parameter(start)

        def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
            return SimpleNamespace(last_hidden_state=self.vectors[input_ids])

    return Small()


def _built(function: Any) -> dict[str, Any] | None:
    """What a learner's ``build`` gives for the small encoder."""
    encoder = _small_encoder()
    found = function(encoder, 0.01)
    if found is None or found is ...:
        return None
    if not isinstance(found, tuple | list) or len(found) != 2:
        return {"pair": False}
    head, optimizer = found
    groups = optimizer.param_groups
    held = {id(p) for group in groups for p in group["params"]}
    return {
        "pair": True,
        "inputs": getattr(head, "in_features", -1),
        "outputs": getattr(head, "out_features", -1),
        "encoder": all(id(p) in held for p in encoder.parameters()),
        "head": all(id(p) in held for p in head.parameters()),
        "lr": [float(group["lr"]) for group in groups],
    }


def _batch() -> Any:
    import torch

    ids = torch.tensor([[1, 2, 3], [2, 2, 0], [3, 1, 0], [4, 0, 0]])
    return ids, (ids > 0).long(), torch.tensor([1.0, 0.0, 1.0, 0.0])


def _parts() -> Any:
    """Encoder, head and optimizer, the same each time."""
    import torch

    encoder, head = _small_encoder(), torch.nn.Linear(WIDTH, 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.5, -0.25, 1.0]]))
        head.bias.zero_()
    return encoder, head, torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=LR)


def _steps_of(function: Any) -> dict[str, Any] | None:
    """Losses and weights of three steps of a function, from one beginning."""
    import torch

    encoder, head, optimizer = _parts()
    losses, weights = [], []
    start = encoder.vectors.detach().clone()
    for _ in range(STEPS):
        loss = function(encoder, head, optimizer, *_batch())
        losses.append(float(loss.detach()) if isinstance(loss, torch.Tensor) else loss)
        flat = [encoder.vectors.flatten(), head.weight.flatten(), head.bias]
        weights.append(torch.cat([x.detach() for x in flat]).clone())
    if all(x is None or x is ... for x in losses) and torch.equal(start, encoder.vectors):
        return None
    return {"losses": losses, "weights": torch.stack(weights).numpy()}


def _reference(
    clear: bool = True, mean: bool = True, sigmoid: bool = False, pool: str = "mean"
) -> np.ndarray:
    """The weights after each step; the switches are known mistakes."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    def step(encoder: Any, head: Any, optimizer: Any, ids: Any, mask: Any, labels: Any) -> Any:
        hidden, real = encoder(ids).last_hidden_state, mask.unsqueeze(-1)
        pooled = {
            "mean": (hidden * real).sum(1) / real.sum(1),
            "padding": hidden.mean(1),
            "first": hidden[:, 0],
        }[pool]
        logits = head(pooled).squeeze(-1)
        logits = logits.sigmoid() if sigmoid else logits
        reduction = "mean" if mean else "sum"
        loss = binary_cross_entropy_with_logits(logits, labels, reduction=reduction)
        if clear:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    with torch.enable_grad():
        found = _steps_of(step)
    assert found is not None
    return np.asarray(found["weights"])


MISTAKES: tuple[tuple[dict[str, Any], str], ...] = (
    (
        {"clear": False},
        "In `training_step` the gradients of earlier steps are still there and add up: call "
        "`optimizer.zero_grad()` in each step, before `backward`.",
    ),
    (
        {"mean": False},
        "`training_step` sums the loss over the batch; with its mean, a step does not grow with "
        "the batch.",
    ),
    (
        {"sigmoid": True},
        "`training_step` puts a sigmoid before the loss, which has one inside: hand it the logits.",
    ),
    (
        {"pool": "padding"},
        "`training_step` averages over padding too; `masked_mean(hidden, mask)` leaves it out.",
    ),
    (
        {"pool": "first"},
        "`training_step` takes the first token's vector; here it is the mean over real tokens, "
        "`masked_mean(hidden, mask)`.",
    ),
)


@exercise(
    "02.1",
    "Setup and loop by hand",
    6,
    ("build", "training_step", "losses"),
    {"build": _built, "training_step": _steps_of},
)
def _(build: Any, training_step: Any, losses: Any) -> str:
    _judge_build(build)
    _judge_steps(training_step)
    values = expect.numbers("losses", losses).ravel()
    if len(values) < 5:
        raise Wrong(f"`losses` has {len(values)} numbers; let the loop go over all batches.", 0.8)
    if np.ptp(values) < 1e-6:
        raise Wrong("`losses` are all the same; is `training_step` called in the loop?", 0.8)
    third = len(values) // 3
    first, last = values[:third].mean(), values[-third:].mean()
    return (
        f"It is a training loop: the mean loss of the first third of {len(values)} steps is "
        f"{first:.3f}, of the last {last:.3f}; guessing has 0.693 if half are binders, "
        "0.637 if a third are."
    )


def _judge_build(found: Any) -> None:
    facts = expect.kind("build", found, dict)
    if not facts.get("pair"):
        raise Wrong("`build` returns something else than two things: `return head, optimizer`.")
    if (facts.get("inputs"), facts.get("outputs")) != (WIDTH, 1):
        raise Wrong(
            f"The head of `build` has {facts.get('inputs')} inputs and {facts.get('outputs')} "
            f"outputs for an encoder {WIDTH} wide; a linear layer from "
            "`encoder.config.hidden_size` numbers to one logit is wanted."
        )
    for part in ("encoder", "head"):
        if not facts.get(part):
            raise Wrong(
                f"The optimizer of `build` does not know the {part}'s weights, so they stay as "
                "they are: give it `[*encoder.parameters(), *head.parameters()]`.",
                share=0.2,
            )
    if not np.allclose(expect.numbers("build", facts.get("lr")), 0.01):
        raise Wrong("The optimizer of `build` has another learning rate than `lr`.", share=0.3)


def _judge_steps(found: Any) -> None:
    facts = expect.kind("training_step", found, dict)
    weights = expect.numbers("training_step", facts.get("weights"), (STEPS, 6 * WIDTH + 1))
    start = np.concatenate([np.sin(np.linspace(-1, 1, 5 * WIDTH)), [0.5, -0.25, 1.0, 0.0]])
    if np.allclose(weights, start, atol=1e-5):
        raise Wrong(
            "After `training_step` the weights are what they were: is `loss.backward()` called, "
            "and `optimizer.step()` after it?",
            share=0.4,
        )
    if not np.allclose(weights, _reference(), atol=1e-4):
        for switches, message in MISTAKES:
            if np.allclose(weights, _reference(**switches), atol=1e-4):
                raise Wrong(message, share=0.6)
        raise Wrong(
            "The steps of `training_step` lead somewhere else. In order: hidden states, "
            "`masked_mean`, `head`, `binary_cross_entropy_with_logits`, gradients, step.",
            share=0.4,
        )
    losses = facts.get("losses")
    if not isinstance(losses, np.ndarray):
        raise Wrong("`training_step` trains as it should; let it return the loss.", share=0.7)


# --- 02.2


@exercise("02.2", "Train everything", 5, ("fine_tuned",))
def _(fine_tuned: Any) -> str:
    run = expect.kind("fine_tuned", fine_tuned, Run)
    if is_bundled(run):
        raise Wrong(
            "`fine_tuned` is the run that came with the course; read it by all means, but here "
            "one of your own is asked for."
        )
    cost = run.cost
    if cost["trainable_parameters"] != cost["total_parameters"]:
        raise Wrong(
            f"In `fine_tuned`, {cost['trainable_parameters']:,} of {cost['total_parameters']:,} "
            "parameters trained; full fine-tuning trains all: `ck.FullFinetune(...)`.",
            share=0.2,
        )
    if run.interrupted:
        raise Wrong(
            "`fine_tuned` was stopped before its end; run the cell again, and it goes on where it "
            "stopped.",
            share=0.6,
        )
    train = run.history[run.history["split"] == "train"]
    means = train.groupby("epoch")["loss"].mean()
    if len(means) < 2:
        raise Wrong("`fine_tuned` has fewer than two epochs; let it train longer.", share=0.4)
    first, last = float(means.iloc[0]), float(means.iloc[-1])
    if not last < 0.98 * first:
        raise Wrong(
            f"The mean training loss of `fine_tuned` is {first:.3f} in its first epoch and "
            f"{last:.3f} in its last: it hardly learns. Is the learning rate too small, or so "
            "large that the loss jumps about?",
            share=0.6,
        )
    judged("fine_tuned", run)
    return (
        f"{cost['epochs']:g} epochs, {cost['seconds'] / cost['epochs']:,.1f} seconds each; the "
        f"training loss fell from {first:.3f} in the first to {last:.3f} in the last."
    )


# --- 02.3


@exercise("02.3", "Evaluate it", 3, ("fine_tuned", "scores"))
def _(fine_tuned: Any, scores: Any) -> str:
    right = judged("fine_tuned", fine_tuned)
    found = expect.kind("scores", scores, dict)
    missing = [name for name in METRICS if name not in found]
    if missing:
        raise Wrong(f"`scores` lacks {missing[0]!r}; `fine_tuned.scores()` has all four.")
    values = {name: expect.number(f"scores['{name}']", found[name]) for name in METRICS}
    bad = [name for name in METRICS if abs(values[name] - right[name]) > TABLE_TOLERANCE]
    if bad:
        valid = judged("fine_tuned", fine_tuned, "valid")
        if all(abs(values[name] - valid[name]) <= TABLE_TOLERANCE for name in METRICS):
            raise Wrong("`scores` is of the validation part; the test part is asked for.", 0.5)
        raise Wrong(
            f"`scores` says {bad[0]} is {values[bad[0]]:.3f}; the predictions of `fine_tuned` give "
            f"{right[bad[0]]:.3f}. Was it made from another run?",
            share=(len(METRICS) - len(bad)) / (2 * len(METRICS)),
        )
    return f"Hard AUROC {right['auroc_hard']:.3f}, hard AU-PRC {right['au_prc_hard']:.3f}."


# --- 02.4


@exercise("02.4", "Frozen against fine-tuned", 6, ("frozen", "fine_tuned", "table"))
def _(frozen: Any, fine_tuned: Any, table: Any) -> str:
    scores = {"frozen": judged("frozen", frozen), "fine-tuned": judged("fine_tuned", fine_tuned)}
    expect.head_only("frozen", frozen, share=0.2)
    if frozen.task["fingerprint"] != fine_tuned.task["fingerprint"]:
        raise Wrong("`frozen` and `fine_tuned` were fitted on different tasks.", share=0.2)
    if frozen.strategy.get("encoder", {}).get("fitted"):
        raise Wrong(
            "`frozen` used a model that had been trained before, so its vectors are not the "
            "pretrained ones: load a fresh one with `ck.load_classifier`.",
            share=0.4,
        )
    _judge_table(expect.kind("table", table, pd.DataFrame), scores)
    gain = scores["fine-tuned"]["auroc_hard"] - scores["frozen"]["auroc_hard"]
    return f"The table stands. On hard negatives fine-tuning changes AUROC by {gain:+.3f}."


def _judge_table(table: pd.DataFrame, scores: dict[str, dict[str, float]]) -> None:
    """Two named rows, exactly four columns, and in them what the records give."""
    wanted = list(METRICS.values())
    found = expect.columns("table", table, wanted)
    extra = [column for column in found.columns if column not in wanted]
    if extra:
        raise Wrong(
            f"`table` has {len(found.columns)} columns, {extra[0]!r} among them; exactly these "
            f"four are wanted: `comparison.table[{wanted}]`.",
            share=0.6,
        )
    if sorted(found.index) != sorted(scores):
        raise Wrong(
            f"`table` has the rows {', '.join(map(repr, found.index[:6]))}; 'frozen' and "
            "'fine-tuned' are wanted.",
            share=0.5,
        )
    for name, right in scores.items():
        for metric, title in METRICS.items():
            value = expect.number(f"table.loc['{name}', '{title}']", found.loc[name, title])
            if abs(value - right[metric]) > TABLE_TOLERANCE:
                other = next(one for one in scores if one != name)
                swapped = abs(value - scores[other][metric]) <= TABLE_TOLERANCE
                why = (
                    f"that is the score of {other!r}: the rows are swapped."
                    if swapped
                    else "did you fit again after you made the table? Then make it again."
                )
                raise Wrong(
                    f"`table` says {value:.3f} for the {title} of {name!r}, its run's record gives "
                    f"{right[metric]:.3f}; {why}",
                    share=0.5,
                )


# --- 02.5

reflection(
    "02.5",
    "Five short answers",
    10,
    *("how_much_better", "worth_it", "easy_or_hard", "small_set", "contrastive"),
    least_words=12,
)
