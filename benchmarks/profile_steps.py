"""What the seconds of training and embedding go to, and how near they are to the processor's best.

    python benchmarks/profile_steps.py [--share 0.25]

Two epochs of ``FullFinetune``, and ``Classifier.embed``, are profiled operator by operator, for
each encoder of ``benchmarks/rivals.py`` and with its settings. Beside it stand the rate of the
processor's best matrix product, the rate at which a run's matrix products are done, and the tokens
that batches drawn at random would pad. Results go to ``benchmarks/results/profile_steps.json``.
"""

from __future__ import annotations

import argparse
import os
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contestants.work import BATCH, ENCODERS, LR, SEED, Work, encoder_at
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from coursekit.runs import describe_environment
from coursekit.storage import write_json
from coursekit.training import FullFinetune

HERE = Path(__file__).resolve().parent
EPOCHS = 2
TRAINING, EMBEDDING = "full fine-tuning", "embedding, one core"
BETWEEN = "Python between operators, and threads"
# The first that fits an operator's name; what none fits is "other operators".
KINDS = {
    "matrix products of linear layers": r"addmm|aten::mm|linear",
    "attention": r"scaled_dot_product|flash_attention|bmm|softmax",
    "layer norm": r"layer_norm",
    "GELU": r"gelu",
    "dropout": r"dropout|bernoulli|random_|aten::ge",
    "optimizer and gradient clipping": r"adam|foreach|norm|lerp|addcdiv|addcmul|sqrt",
    "embedding": r"embedding|index",
    "sums, products, copies": r"add|sum|mul|copy|clone|cat|fill|zero|contiguous",
}


def peak() -> float:
    """The best rate of a large fp32 matrix product here, in floating-point operations a second."""
    a, b = torch.rand(2048, 2048), torch.rand(2048, 2048)
    torch.mm(a, b)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times)


def fit(work: Work) -> float:
    """Train as rivals do; seconds."""
    model, task = work.model(), work.task()
    strategy = FullFinetune(lr=LR, batch_size=BATCH, layer_lr_decay=1.0, warmup=0.0)
    began = time.perf_counter()
    strategy.fit(model, task, epochs=work.epochs, seed=SEED, heldout=())
    return time.perf_counter() - began


def padding(work: Work) -> float:
    """Tokens of batches drawn at random, each padded to its longest, over those that are there."""
    model, task = work.model(), work.task()
    lengths = np.array(
        [len(ids) for ids in model.tokenizer(list(task.train["smiles"]))["input_ids"]]
    )
    drawn = np.random.default_rng(SEED).permutation(lengths)
    batches = np.array_split(drawn, range(BATCH, len(drawn), BATCH))
    return float(sum(len(b) * b.max() for b in batches) / lengths.sum())


def embed(work: Work) -> float:
    """Embed the train part as rivals do, on one core: its threads are not looked into; seconds."""
    model, molecules = work.model(), list(work.task().train["smiles"])
    began = time.perf_counter()
    model.embed(molecules)
    return time.perf_counter() - began


def looked_at(what: Callable[[Work], float], work: Work) -> dict[str, Any]:
    """What the seconds of some work go to, and at which rate it does its matrix products."""
    what(Work(work.encoder, 1, work.share / 8))
    plain = what(work)
    with FlopCounterMode(display=False) as counter:
        what(work)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        profiled = what(work)
    seconds: dict[str, float] = {}
    for event in seen.key_averages():
        kind = next((k for k, p in KINDS.items() if re.search(p, event.key)), "other operators")
        seconds[kind] = seconds.get(kind, 0.0) + event.self_cpu_time_total / 1e6
    # Looking on makes each operator slower, so that shares are of the run that was looked at; and
    # it does not see the threads in which molecules are scored.
    seconds[BETWEEN] = max(profiled - sum(seconds.values()), 0.0)
    shares = {kind: round(s / profiled, 3) for kind, s in seconds.items()}
    rate = counter.get_total_flops() / plain
    return {
        "seconds": round(plain, 2),
        "seconds while profiled": round(profiled, 2),
        "shares": dict(sorted(shares.items(), key=lambda item: -item[1])),
        "GFLOP/s of the whole": round(rate / 1e9, 1),
        "share of the matmul peak": round(rate / peak(), 3),
    }


def one(name: str, share: float) -> dict[str, Any]:
    """Profile an encoder."""
    work = Work(encoder_at(name), EPOCHS, share)
    found = {TRAINING: looked_at(fit, work), "padding of random batches": round(padding(work), 3)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found[EMBEDDING] = looked_at(embed, work)
    torch.set_num_threads(threads)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.25, help="of the sample's molecules")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    results = {}
    for name in ENCODERS:
        results[name] = one(name, arguments.share)
        print(name, results[name], flush=True)
    write_json(
        HERE / "results" / "profile_steps.json",
        {
            "what": "fp32; full fine-tuning: all of fit",
            "share of the sample": arguments.share,
            "epochs": EPOCHS,
            "matmul peak, GFLOP/s": round(peak() / 1e9, 1),
            "environment": {**describe_environment("fp32"), "cores": os.cpu_count()},
            "results": results,
        },
    )


if __name__ == "__main__":
    main()
