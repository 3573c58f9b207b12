"""Ways to put an optimizer step together, in turn, on the same molecules and with the same engine.

    python benchmarks/steps.py [--share 0.25] [--steps 4] [--rounds 5]

The kit's own: random molecules, packed. Beside it: padded, in forward passes of like length, as for
an encoder that cannot be packed; padded in one pass (a textbook's); molecules of like length, both
packed (the kit's ``group_by_length``) and padded (Trainer's); even passes side by side, one on
each core, forward and backward; and the kit's own with torch's dropout. Each way does a few steps,
then the next does, and so on.
Results go to ``benchmarks/results/steps.json``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from contestants.work import BATCH, ENCODERS, LR, SEED, Work, encoder_at

from coursekit.data.batches import bucketed_batches, passes, random_windows
from coursekit.models import dropout
from coursekit.runs import describe_environment
from coursekit.storage import write_json
from coursekit.training import FullFinetune
from coursekit.training.passes import PADDED_TOKENS, PASS_TOKENS
from coursekit.training.session import Session
from coursekit.training.step import step

HERE = Path(__file__).resolve().parent
Window = list[np.ndarray]
Step = Callable[[Session, Window], object]
OURS = "random molecules, packed (the kit)"
SMALL = "random molecules, padded, in passes of like length"
PADDED = "random molecules, padded, in one pass"
LIKE = "molecules of like length, packed (group_by_length)"
LIKE_PADDED = "molecules of like length, padded, in one pass"
EVEN = "random molecules, padded, even passes on each core"
TORCHS = "random molecules, packed, with torch's dropout"
PACKED = (OURS, LIKE, TORCHS)


def ways(lengths: np.ndarray, cores: int) -> dict[str, list[Window]]:
    """The steps of an epoch, each a list of passes."""
    rng = np.random.default_rng(SEED)
    tokens = PADDED_TOKENS["cpu"]
    random = random_windows(len(lengths), BATCH, rng)
    like = bucketed_batches(lengths, BATCH, rng)

    def even(rows: np.ndarray) -> Window:
        parts = cores * -(-int(lengths[rows].sum()) // (cores * tokens))
        return [p for p in np.array_split(rows[np.argsort(-lengths[rows])], parts) if len(p)]

    whole = PASS_TOKENS["cpu"]
    return {
        OURS: [passes(rows, lengths, BATCH, whole, padded=False) for rows in random],
        SMALL: [passes(rows, lengths, BATCH, tokens) for rows in random],
        PADDED: [[rows] for rows in random],
        LIKE: [passes(rows, lengths, BATCH, whole, padded=False) for rows in like],
        LIKE_PADDED: [[rows] for rows in like],
        EVEN: [even(rows) for rows in random],
        TORCHS: [passes(rows, lengths, BATCH, whole, padded=False) for rows in random],
    }


def side_by_side(pool: ThreadPoolExecutor) -> Step:
    """A step whose passes run in threads, forward and backward; gradients are summed in order."""

    def work(session: Session, window: Window) -> None:
        weights = [p for p in session.model.parameters() if p.requires_grad]
        molecules = sum(map(len, window))

        def one(rows: np.ndarray) -> tuple[torch.Tensor | None, ...]:
            loss = session.objective.total(session.logits(rows), session.labels[rows]) / molecules
            return torch.autograd.grad(loss, weights, allow_unused=True)

        for gradients in pool.map(one, window):
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
        torch.nn.utils.clip_grad_norm_(weights, session.strategy.clip)
        session.optimizer.step()
        session.optimizer.zero_grad()

    return work


def measure(name: str, share: float, steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of a token, padding not counted, in each round, way by way."""
    work = Work(encoder_at(name), 1, share)
    model, task = work.model(), work.task()
    strategy = FullFinetune(lr=LR, batch_size=BATCH, layer_lr_decay=1.0, warmup=0.0)
    session = Session(strategy, model, task, 1, SEED, None, None, heldout=())
    session.retention.begin()
    session.open_phase()
    packs, fewest = session.first_position, dropout.FEWEST
    if packs is None:
        raise SystemExit(f"{name} cannot be packed")
    threads = torch.get_num_threads()
    found: dict[str, list[float]] = {}
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        kinds = ways(session.lengths, threads)
        for turn in range(rounds):
            for way, windows in kinds.items():
                run = side_by_side(pool) if way == EVEN else step
                session.first_position = packs if way in PACKED else None
                dropout.FEWEST = sys.maxsize if way == TORCHS else fewest
                first = turn * steps % (len(windows) - steps)
                run(session, windows[first])
                began = time.perf_counter()
                for window in windows[first : first + steps]:
                    run(session, window)
                seconds, done = time.perf_counter() - began, windows[first : first + steps]
                tokens = sum(session.lengths[rows].sum() for window in done for rows in window)
                found.setdefault(way, []).append(seconds / tokens)
                torch.set_num_threads(threads)
                dropout.FEWEST = fewest
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.25, help="of the sample's molecules")
    parser.add_argument("--steps", type=int, default=4, help="in one go")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    results = {}
    for name in ENCODERS:
        seconds = measure(name, arguments.share, arguments.steps, arguments.rounds)
        results[name] = {
            way: [round(x / ours, 3) for x, ours in zip(found, seconds[OURS], strict=True)]
            for way, found in seconds.items()
        }
        for way, ratios in results[name].items():
            print(f"{name}: {way}: {statistics.median(ratios):.2f}", flush=True)
    write_json(
        HERE / "results" / "steps.json",
        {
            "what": "seconds of a token, padding not counted, over the kit's, one number a round",
            "environment": {**describe_environment("fp32"), "cores": os.cpu_count()},
            "results": results,
        },
    )


if __name__ == "__main__":
    main()
