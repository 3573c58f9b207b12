"""Write docs/benchmarks.md out of benchmarks/results.

python docs/make_benchmark_page.py
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
KEPT = "memory with what is kept"
HALF = "hard AUROC of bf16 minus fp32"
PROFILED = ("full fine-tuning", "embedding, one core")


def result(name: str) -> dict[str, Any]:
    """What a benchmark wrote."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows))


def seeds() -> str:
    """Hard AUROC seed by seed, what training gains over frozen embeddings, bf16 over fp32."""
    rows = []
    for seed, found in result("five_seeds")["seeds"].items():
        hard = [found["scores"][name]["hard AUROC"] for name in ("frozen", "fine-tuned")]
        more = [found["scores"][name]["hard AUROC"] for name in ("progressive", "forest")]
        gains = [
            f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
            for gain in (found["hard AUROC minus frozen"]["fine-tuned"], found[HALF])
        ]
        scores = [[f"{x:.3f}" for x in kind] for kind in (hard, more)]
        rows.append([seed, *scores[0], gains[0], *scores[1], gains[1]])
    head = ["seed", "frozen", "fine-tuned", "fine-tuned minus frozen", "progressive", "forest"]
    return table([*head, "fine-tuned in bf16 minus in fp32"], rows)


def kindel() -> str:
    """Scores on real library members with simulated counts, and the held-out compounds."""
    found = result("real_kindel")
    columns = ("easy AUROC", "easy AU-PRC", "hard AUROC", "hard AU-PRC")
    rows = [
        [name, *(f"{scores[column]:.3f}" for column in columns)]
        for name, scores in found["scores"].items()
    ]
    ranked = [
        [name, *(f"{x['spearman']:+.2f} (p {x['p']:.2f}, n {x['compounds']})" for x in by.values())]
        for name, by in found["held-out Kd, Spearman of score and -Kd"].items()
    ]
    return (
        table(["approach", *columns], rows)
        + "\n\nThe real held-out MAPK14 compounds, ranked by the same models against their "
        "measured Kd (Spearman).\nNo real count was seen in training, so this shows the "
        "way and not a result:\n\n" + table(["approach", "off-DNA", "on-DNA"], ranked)
    )


def scale() -> str:
    """Labelling a file of ten million rows, beside pandas."""
    found = result("label_scale")
    rows = [
        [name, f"{x['seconds']:.1f}", f"{x['rows_per_second'] / 1e6:.2f}", f"{x['peak_mb']:,.0f}"]
        for name, x in found["results"].items()
    ]
    return table(["", "seconds", "million rows/s", "peak memory, MB"], rows)


def enumeration() -> str:
    """Members built in a second."""
    rows = [
        [x["library"], f"{min(x['molecules_per_second']):,}", f"{max(x['molecules_per_second']):,}"]
        for x in result("enumerate")["results"].values()
    ]
    return table(["library", "slowest of three", "fastest of three"], rows)


def prefix() -> str:
    """With the cache of what is frozen, and without it."""
    rows = [
        [
            name,
            f"{x['without, seconds']:.1f}",
            f"{x['with, seconds']:.1f}",
            f"{x['gain']:.2f}x ({x['lowest']:.2f} to {x['highest']:.2f})",
        ]
        for name, x in result("prefix")["results"].items()
    ]
    return table(["training", "without, s", "with, s", "gain (range)"], rows)


def rivals() -> str:
    """A table for each piece of work and each kind of processor that it was measured on."""
    on = [result(path.stem) for path in sorted(RESULTS.glob("rivals_*.json"))]
    if not on:
        return ""
    return f"""## Beside other ways to do the same work
`benchmarks/rivals.py`: every contestant in a process of its own, in turn; the same molecules,
weights, batch size, epochs and learning rate, two threads; fp32 where a row does not say otherwise.
Seconds of training, validation and the test part's predictions; memory as the process grew by in
that time, and its height, to which each brings libraries of its own (plain PyTorch the fewest).
AUROC is that of the first turn. Trainer's best options put molecules of like length into a batch.
This kit's batches are random, and packed; where it is asked to, it does as Trainer does
(`group_by_length`).

{"".join(beside_rivals(found) for found in on)}"""


def at_best(work: dict[str, Any]) -> str:
    """The quickest row of each contestant over our quickest, in a sentence."""
    quickest: dict[str, float] = {}
    for name, x in work["ratios"].items():
        who = name.split(",")[0]
        quickest[who] = min(x["seconds"], quickest.get(who, x["seconds"]))
    ours = quickest.pop("coursekit")
    others = "; ".join(f"{who} {seconds / ours:.2f}" for who, seconds in quickest.items())
    return f"Seconds of each one's quickest row over those of ours: {others}."


def beside_rivals(found: dict[str, Any]) -> str:
    """One table for each piece of work: seconds over ours, and memory."""
    tables = []
    for title, work in found["results"].items():
        rows = []
        for name, x in work["ratios"].items():
            ratio = f"{x['seconds over ours']:.2f} ({x['lowest']:.2f} to {x['highest']:.2f})"
            scores = x["scores"] or {}
            rows.append(
                [
                    name,
                    f"{x['seconds']:.1f}",
                    "1" if name == "coursekit" else ratio,
                    f"{x['memory grown, MB']:,}",
                    f"{x['peak memory, MB']:,}",
                    *(f"{scores[kind]:.3f}" if scores else "" for kind in ("easy", "hard")),
                ]
            )
        head = ["", "seconds", "over ours (range)", "grown, MB", "peak, MB", "easy", "hard"]
        tables.append(f"**{title}**\n\n{table(head, rows)}\n\n{at_best(work)}")
    turns = sorted({len(work["turns"]) for work in found["results"].values()})
    tables_of_all = "\n\n".join(tables)
    return f"""### On a processor with `{found["environment"]["bf16 products by"]}`
{" or ".join(map(str, turns))} turns; {found["share of the sample"]:.0%} of the sample, and all of
it for embeddings.

{tables_of_all}

"""


def passes_of_blocks(blocks: int) -> tuple[int, int]:
    """Passes through blocks in as many phases of one epoch, with the prefix cache and without.

    The first phase opens the head alone, each later one a block more.
    """
    opened = range(blocks)
    training = sum(3 * k for k in opened)  # forward, and backward to states and to weights
    return training + blocks, training + sum(blocks - k for k in opened)


def goes_to() -> str:
    """What the seconds of fine-tuning and embedding go to, where it was measured."""
    if not (RESULTS / "profile_steps.json").exists():
        return ""
    profiled = result("profile_steps")
    works = {
        f"{work}; {name}": x[work] for work in PROFILED for name, x in profiled["results"].items()
    }
    found = list(works.values())
    kinds = sorted(
        {k for x in found for k in x["shares"]}, key=lambda k: -found[0]["shares"].get(k, 0)
    )
    rows = [[kind, *(f"{x['shares'].get(kind, 0):.0%}" for x in found)] for kind in kinds]
    of_peak = "share of the matmul peak"
    rows.append([of_peak, *(f"{x[of_peak]:.0%}" for x in found)])
    rows.append(["times as fast, were all else free", *(f"{1 / x[of_peak]:.2f}" for x in found)])
    more = "; ".join(
        f"{name}: {x['padding of random batches'] - 1:.0%}"
        for name, x in profiled["results"].items()
    )
    blocks = 6  # and phases
    kept, without = passes_of_blocks(blocks)
    return f"""## What the time goes to
`benchmarks/profile_steps.py`: the work above, operator by operator. The processor's best matrix
product does {profiled["matmul peak, GFLOP/s"]:,.0f} billion operations a second; the last rows are
the whole work's rate, all but matrix products counted as nothing, and how much faster it would be
if nothing else took time. Batches drawn at random and padded to their longest hold more tokens than
there are ({more}). This kit leaves that out, and beyond it the matrix products are the same for
everybody in fp32. What is left is to do them in bf16, where the processor can (`precision="bf16"`,
in the tables above). Validation is in the threads.

What the prefix cache can save is bounded as well. A training step costs an open block one pass
forward and two backward, a frozen one below them one pass forward, or none where its states are
kept. {blocks} phases of one epoch that open 0 to {blocks - 1} of {blocks} blocks then take {kept}
passes of a block, {blocks} of them for filling the cache, and {without} without it: at best
{without / kept:.2f} times as fast, padding apart.

{table(["", *works], rows)}

"""


def steps() -> str:
    """Other ways to put a step together, where they were measured."""
    if not (RESULTS / "steps.json").exists():
        return ""
    found = result("steps")["results"]
    rows = [
        [way, *(f"{statistics.median(x[way]):.2f} ({min(x[way]):.2f} to {max(x[way]):.2f})"
                for x in found.values())]
        for way in next(iter(found.values()))
    ]  # fmt: skip
    return f"""### Ideas tried on a step
`benchmarks/steps.py`: seconds of a token in training, padding not counted, over those of the kit's
steps in the same round; median and range. Packed: one row of molecules, cut into groups of like
length for attention alone. An encoder that cannot be packed (DeBERTa) gets the second way. Batches
of like length are an option (`group_by_length`) and not what a strategy does by itself, since a
step then speaks for one length. The bundled encoder has no dropout but in its head.
Passes side by side, as embedding and prediction have them, are not what training does: steps have
too few passes to keep all cores busy, and dropout would have to draw in their order.

{table(["", *found], rows)}

"""


def costs() -> str:
    """Measured over expected, strategy by strategy, where it was measured."""
    if not (RESULTS / "cost_model.json").exists():
        return ""
    costed, rows = result("cost_model"), []
    for name, x in costed["results"].items():
        ratios = [x["measured over expected"][what] for what in ("epoch", "whole", "memory")]
        cells = [f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios]
        middle = x["median"]
        megabytes = f"{middle['measured memory']:.0f} / {middle['expected memory']:.0f}"
        rows.append([name, f"{middle['seconds to foretell']:.1f}", *cells, megabytes])
    head = [
        "strategy",
        "to foretell, s",
        "seconds of an epoch",
        "the whole run",
        "memory",
        "MB, both",
    ]
    medians = [x["median"] for x in costed["results"].values()]
    kept = [x[KEPT] / x["expected memory"] for x in medians]
    turns = sorted({len(x["measured over expected"]["epoch"]) for x in costed["results"].values()})
    runs = f"median of {' or '.join(map(str, turns))} runs"
    return f"""## Is the cost of a run foretold?
`benchmarks/cost_model.py`: measured over expected, {runs} and range;
`ck.expected_cost` asked before each in the same process. Memory is what that grew by then, all
libraries loaded, where the C library gives back what is freed; in MB the last column has both,
measured and foretold: tensors, counted, and 8 MB for all else. By itself the C library keeps much
of what is freed; the process grew by {min(kept):.1f} to {max(kept):.1f} times what was foretold.

{table(head, rows)}

"""


def a_class() -> str:
    """A class graded in one go, beside stock nbgrader, where it was measured."""
    if not (RESULTS / "class_load.json").exists():
        return ""
    found = result("class_load")
    before, after = (found[f"memory, {which} tenth (MB)"] for which in ("second", "last"))
    rows = [
        ["lost", f"{found['lost']}"],
        ["not in the state, or with the points, that they deserve",
         f"{len(found['not as they deserve'])}"],
        ["seconds a submission, from start to end of the class",
         f"{found['seconds a submission']:.1f}"],
        ["seconds of a right submission, by itself",
         f"{found['seconds of a right submission, by itself']:.1f}"],
        ["of which in its own cells, in the sandbox", f"{found['of which its cells']:.1f}"],
        ["memory of all processes in the second tenth of the time, MB", f"{before:,.0f}"],
        ["memory of all processes in the last tenth of the time, MB", f"{after:,.0f}"],
    ]  # fmt: skip
    if "times as fast as stock" in found:
        alone = found["times as fast as stock, one at a time"]
        rows += [
            [f"stock `nbgrader autograde`, seconds a submission ({found['stock, submissions']})",
             f"{found['stock, seconds a submission']:.1f}"],
            ["times as fast as stock", f"{found['times as fast as stock']:.1f}"],
            ["times as fast as stock, one submission at a time", f"{alone:.1f}"],
        ]  # fmt: skip
    if "kills" in found:
        same = "is the same" if found["same gradebook after the kills"] else "DIFFERS"
        of = found["submissions of the killed class"]
        rows += [[f"gradebook of {of} after {found['kills']} SIGKILLs at random moments", same]]
    return f"""## A class of {found["submissions"]}
`benchmarks/class_load.py`: notebooks of lesson {found["lesson"]}, solved and run with profile
`{found["profile"]}` ({found["seconds of a student's run"]:.0f} s), of which one in ten was handed
in as given out and one in twenty cut off; graded by `coursekit grade`, {found["jobs"]} at a time,
each in a sandbox, from the runs that travel in the notebooks. Stock nbgrader has neither, runs one
at a time, and trains. Memory counts pages that processes share once for each.

{table(["", ""], rows)}

"""


def spread(values: Sequence[float]) -> str:
    """Mean, and lowest to highest over seeds."""
    mean = statistics.fmean(values)
    return (
        f"{mean:.3f} ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else f"{mean:.3f}"
    )


def sizes() -> str:
    """Hard AUROC of each candidate by number of training molecules."""
    found, tables = result("data_size"), []
    for kind in ("pretrained", "untrained"):
        by_size = found[kind]
        if not by_size:
            continue
        names = next(iter(next(iter(by_size.values())).values()))
        rows = [
            [name, *(spread([r[name]["hard AUROC"] for r in s.values()]) for s in by_size.values())]
            for name in names
        ]
        head = [f"{kind} encoder", *(f"{size} molecules" for size in by_size)]
        tables.append(table(head, rows))
    return "\n\n".join(tables)


def held() -> str:
    """What each way of holding the encoder keeps, and what it costs."""
    seeds = list(result("penalties")["seeds"].values())
    columns = ("masked loss after", "easy AUROC", "hard AUROC")
    rows = [
        [name, *(spread([rows[name][column] for rows in seeds]) for column in columns)]
        for name in seeds[0]
    ]
    return table(["held by", *columns], rows)


def page() -> str:
    """The whole page."""
    seeds_of = result("five_seeds")
    clear = seeds_of["beats frozen on hard AUROC by more than the interval"]
    halved = statistics.fmean(seed[HALF]["value"] for seed in seeds_of["seeds"].values())
    environment = seeds_of["environment"]
    prefixes = result("prefix")
    by_size, penalties = result("data_size"), result("penalties")
    least = min(len(seeds) for seeds in by_size["pretrained"].values())
    held_seeds = list(penalties["seeds"].values())
    before = held_seeds[0]["nothing"]["masked loss before"]
    difference = max(x["largest difference of a loss"] for x in prefixes["results"].values())
    return f"""# Benchmarks

<!-- made by docs/make_benchmark_page.py out of benchmarks/results; do not edit -->

Each script in `benchmarks/` prints what it measures and writes it to `benchmarks/results/`;
`make bench` runs them all. Measured on: {environment["device"]}, {environment["cores"]} cores,
Python {environment["python"]}, torch {environment["versions"]["torch"]}.

**Nothing here was measured on a GPU**, as none was at hand: neither speed there nor memory, nor the
share of its matmul peak, nor what mixed precision does to the scores there. What bf16 does to them
on a processor is in the last column of the next table.

## Does the result depend on the seed?
`benchmarks/five_seeds.py`: each seed has its own split of the bundled sample and its own
training, with the settings of `make demo`. Hard AUROC, test part. Full fine-tuning beats frozen
embeddings by more than the paired 95% interval on
**{clear["fine-tuned"]} of {len(seeds_of["seeds"])}** seeds. In bf16 fine-tuning scores
{halved:+.3f} on the mean of the seeds. The interval is that of the molecules; a training that
rounds otherwise ends elsewhere, as one with another seed does, and that is not in it.

{seeds()}

## Which strategy at how much data?
`benchmarks/data_size.py`: the candidates of `ck.recommend` on a part of the bundled sample, a third
of each kind of molecule; as many optimizer steps for each that trains the encoder, whatever the
size; hard AUROC on the whole test part. Seeds: {least}; mean, and lowest to highest in brackets:
each has its own split, molecules and training. `recommend` rests on this table, and on the one with
random weights in place of the pretrained ones where there is one below.

{sizes()}

## What holds an encoder, and what that costs
`benchmarks/penalties.py`: the bundled encoder on {penalties["training molecules"]} molecules of
the sample, {penalties["epochs"]} epochs at a learning rate of 1e-3. Masked-token loss on 200
molecules held out of its pretraining ({before:.3f} nats before training), and AUROC on the test
part. Mean over {len(held_seeds)} {"seed" if len(held_seeds) == 1 else "seeds"}.

{held()}

## The same way on real KinDEL chemistry
`benchmarks/real_kindel.py`: members of KinDEL's library rebuilt from its real synthons, counts
simulated on them, then the same task, training and table. One seed.

{kindel()}

## Labels out of ten million rows
`benchmarks/label_scale.py`: a generated file in KinDEL's shape; labels with reasons out of it, the
best of three runs. pandas does less: no similarity, no reasons.

{scale()}

{rivals()}{goes_to()}{steps()}{costs()}{a_class()}## What is frozen, computed once
`benchmarks/prefix.py`: the whole of `fit` with `cache="fp32"` and with `cache="off"`, in turn,
{prefixes["repeats"]} times; seconds of one core, median, {prefixes["molecules"]["train"]} training
molecules, the bundled encoder of six blocks. A step costs a forward pass below and three above, so
k frozen blocks of L give 1 + k/(3(L-k)) at best, less the one pass that fills the cache. The last
row is why `cache="auto"` leaves a single epoch alone.
Losses differ by no more than {difference:.0e}.

{prefix()}

## Building library members
`benchmarks/enumerate.py`, one core, molecules a second.

{enumeration()}
"""


if __name__ == "__main__":
    (ROOT / "docs" / "benchmarks.md").write_text(page(), encoding="utf-8")
