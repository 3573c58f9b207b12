"""Write docs/strategies.md and its pictures out of the strategies' own plans.

python docs/make_strategies_page.py
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import coursekit as ck
from coursekit.models.classifier import Classifier
from coursekit.models.partway import frozen_depth
from coursekit.training.plan import Plan

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 8


class Entry(NamedTuple):
    """What the page says of a strategy that its plan does not."""

    strategy: ck.FinetuneStrategy
    written: str
    what: str
    when: str


ENTRIES = [
    Entry(
        ck.HeadOnlyFinetune(),
        "HeadOnlyFinetune()",
        "The encoder stays as it was pretrained. It is run once over the molecules, and the head, a "
        "logistic regression on the pooled vectors, learns from the kept vectors. After the one pass "
        "an epoch costs next to nothing, and nothing can be forgotten.",
        "First, always: it is the row that every other one must beat. It is also the choice where "
        "there are too few molecules to move a million weights, or no time. It cannot see what "
        "pretraining did not need to tell apart: look at its hard negatives.",
    ),
    Entry(
        ck.PartialFinetune(blocks=2, lr=1e-3),
        "PartialFinetune(blocks=2, lr=1e-3)",
        "The last blocks and the head train together; everything below stays as it was. The frozen "
        "part is computed once and kept (the frozen-prefix cache), so an epoch costs what the open "
        "blocks cost.",
        "When full fine-tuning takes too long or too much memory, or overfits a small set. Try how "
        "many blocks: the lower ones know atoms and rings, the upper ones what pretraining made of "
        "them.",
    ),
    Entry(
        ck.LoRAFinetune(),
        "LoRAFinetune(rank=8)",
        "Beside every linear layer of the blocks a pair of narrow matrices learns a correction of "
        "low rank; the layer itself stays frozen (Hu et al. 2021, arXiv 2106.09685; library peft). "
        "Few weights train, which saves the optimizer's memory, but the whole network still runs "
        "forward and backward. `blocks=n` adapts the last blocks only, and then the rest is cached.",
        "When weights must not move far from pretraining; with large encoders on a small GPU, where "
        "the optimizer's memory counts. It wants a higher learning rate than full fine-tuning. "
        "Adapters alone are neither written nor read here: a checkpoint holds the whole model.",
    ),
    Entry(
        ck.FullFinetune(lr=1e-3),
        "FullFinetune(lr=1e-3)",
        "Everything trains from the first step, lower blocks slower: each learns at "
        "`layer_lr_decay` of the rate of the block above it.",
        "When there are molecules enough to move every weight, and the time for it. On the bundled sample it "
        "gains most where frozen embeddings fail, on hard negatives (see [](benchmarks.md)). It can "
        "forget what pretraining taught: penalties and replay hold it ({doc}`training`).",
    ),
    Entry(
        ck.ProgressiveUnfreeze(lr=1e-3),
        "ProgressiveUnfreeze(lr=1e-3)",
        "The head learns first; then one block after the other opens from the top, each at a lower "
        "rate than the one above it, and the embeddings last (ULMFiT: Howard and Ruder 2018, arXiv "
        "1801.06146). No block moves before those above it make sense, so the first, random "
        "gradients of the head do not reach the pretrained weights. What is still frozen is computed "
        "once for all phases.",
        "When full fine-tuning is unstable or forgets, and the phases can be given their time. With "
        "the same number of epochs it sees fewer updates of the lower blocks; compare at equal time.",
    ),
    Entry(
        ck.ContrastiveFinetune(lr=1e-3),
        "ContrastiveFinetune(lr=1e-3)",
        "First the encoder learns without a classifier: in each batch binders are pulled together and "
        "pushed away from negatives, in a projection that is thrown away afterwards (Khosla et al. "
        "2020, arXiv 2004.11362). Then the head learns on the encoder as that has left it, or all of "
        'it goes on with `then="full"`.',
        "When the question is whether a space in which binders lie together serves better than one "
        "made by the label alone; each batch needs binders enough to compare. It is a row of the "
        "table to be measured, not a promise.",
    ),
    Entry(
        ck.ScheduledFinetune(
            {
                0: {"params": ["head"], "max_transition_epoch": 2},
                1: {"params": ["block.4", "block.5"], "lr": 3e-4, "max_transition_epoch": 5},
                2: {"params": [r"encoder\.layers\.[0-3]\..*"], "lr": 1e-4},
            },
            lr=1e-3,
        ),
        "ScheduledFinetune(schedule, lr=1e-3)",
        "What opens, when and how fast is written down as YAML, in the format of "
        "finetuning-scheduler, or generated from the model and edited. A phase ends by patience, at "
        "a given epoch, or by whichever comes first, and the next one begins with the best weights "
        "so far. The picture is of a schedule of three phases: {doc}`schedules` has the whole format.",
        "When you know what you want and the other strategies do not say it: several blocks at a "
        "time, a scheduler or an optimizer of its own for a phase, single parameters.",
    ),
]


def work(strategy: ck.FinetuneStrategy, plan: Plan, model: Classifier) -> tuple[float, int]:
    """What a run computes and keeps.

    A block whose weights train costs three of its forward passes; one that only lets gradients
    through costs two, and one that is frozen below all that trains costs one in the whole run.

    Returns:
        Forward and backward passes through blocks, as a share of full fine-tuning's; and at how
        many depths the states are kept that frozen blocks leave.
    """
    blocks = len(model.blocks)
    groups = strategy.parameter_groups(model)
    total, below = 0, 0
    depths = set()
    for phase in plan.phases:
        names = {n for g in phase.learning_rates for n in groups[g]}
        frozen = frozen_depth(model, {id(model.get_parameter(n)) for n in names})
        below = max(below, frozen)
        depths |= {frozen} - {0, blocks}
        opened = [not names.isdisjoint(model.groups[f"block.{i}"]) for i in range(frozen, blocks)]
        total += sum(3 if own else 2 for own in opened) * (phase.epochs or 0)
    return (total + below) / (3 * blocks * plan.epochs), len(depths)


def section(entry: Entry, pictures: Path) -> tuple[str, str]:
    """A row of the table and the section of a strategy; its picture is written to ``pictures``."""
    model = ck.load_classifier("coursekit-mini", pooling="mean")
    strategy, name = entry.strategy, type(entry.strategy).__name__
    plan = strategy.plan(model, epochs=EPOCHS)
    picture = plan.plot()
    picture.save(pictures / f"{name}.png")
    strategy.prepare(model)
    trained = sum(plan.parameters[g] for g in {g for p in plan.phases for g in p.learning_rates})
    share = trained / sum(plan.parameters.values())
    cost, depths = work(strategy, plan, model)
    # Gradients and two moments in fp32; a schedule keeps the best epoch's moments besides.
    held = trained * (20 if plan.scheduled else 12) / 2**20
    costs = f"{cost:.0%} of the passes of full fine-tuning; {held:.1f} MB of gradients and moments"
    if depths:
        costs += f"; {depths * model.width * 4 / 1024:.1f} kB of states for each token"
    row = f"| [`{name}`](#{name.lower()}) | {trained:,} | {share:.1%} | {cost:.0%} |"
    return row, (
        f"## {name}\n{entry.what}\n\n"
        f"```{{image}} strategies/{name}.png\n:alt: {picture.alt}\n```\n\n"
        f"```text\n{plan}\n```\n\n**Costs.** {costs}.\n\n"
        f"**When.** {entry.when}\n"
    )


def page(pictures: Path) -> str:
    """The whole page; its pictures are written to ``pictures``."""
    pictures.mkdir(parents=True, exist_ok=True)
    rows, sections = zip(*(section(entry, pictures) for entry in ENTRIES), strict=True)
    calls = "\n".join(f"    ck.{entry.written}," for entry in ENTRIES)
    table = "\n".join(rows)
    return f"""# Strategies

<!-- made by docs/make_strategies_page.py; do not edit -->

Each strategy with what it does, its freeze map and plan for {EPOCHS} epochs of the bundled encoder, what
it costs, and when to take it. In a freeze map a row is a part of the network and a column an epoch; where a part is
frozen the map says so, elsewhere it says how fast it learns.

| strategy | parameters that train | share | work |
|---|---:|---:|---:|
{table}

*Work* is counted and not measured: forward and backward passes through blocks in {EPOCHS} epochs, as a
share of full fine-tuning's. A block whose weights train costs three of its forward passes an epoch, one
that only lets gradients through costs two, and one below all that trains costs one in the whole run, as
it is kept. Memory is counted too, beside weights and activations: gradients and moments of what trains,
and the states that frozen blocks leave. Measured gains are on the page [](benchmarks.md), and
`ck.expected_cost` measures a run of yours before it begins.

```python
import coursekit as ck

model = ck.load_classifier("coursekit-mini", pooling="mean")
schedule = {{0: {{"params": ["head"], "max_transition_epoch": 2}}, 1: {{"params": ["block.5"]}}}}
for strategy in (
{calls}
):
    print(strategy.plan(model, epochs={EPOCHS}))
```

{chr(10).join(sections)}"""


if __name__ == "__main__":
    folder = ROOT / "docs" / "strategies"
    shutil.rmtree(folder, ignore_errors=True)
    (ROOT / "docs" / "strategies.md").write_text(page(folder), encoding="utf-8")
