"""This kit beside its rivals: the same molecules, weights, batch size and epochs, in turn.

    python benchmarks/rivals.py [--repeats 3] [--share 0.25] [--only embeddings]

Every contestant of ``benchmarks/contestants/`` runs in a process of its own, all of them in turn,
and that several times, so that a slow moment of the machine meets everybody. A ratio is taken
within one turn: the rival's seconds over ours. Prints the median ratio with its range and how far
memory rose during the work. Results go to ``benchmarks/results/rivals_amx_bf16.json``, or
whatever the processor has for products in bf16: rows in bf16 say something else on another one.

Needs the extra ``bench`` (Lightning, finetuning-scheduler, sentence-transformers).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from contestants.work import ENCODERS, encoder_at

from coursekit.runs import describe_environment
from coursekit.storage import write_json

HERE = Path(__file__).resolve().parent
MARK = "RESULT "
# In each piece of work ours comes first, then who it is compared with: (file, function) by name.
WORKS: dict[str, dict[str, tuple[str, str]]] = {
    "full fine-tuning, 3 epochs": {
        "coursekit": ("ours", "full"),
        "coursekit, group_by_length": ("ours", "full_by_length"),
        "coursekit, bf16": ("ours", "full_bf16"),
        "Trainer, defaults": ("trainer", "defaults"),
        "Trainer, best options": ("trainer", "best"),
        "Trainer, best options, bf16": ("trainer", "best_bf16"),
        "plain PyTorch": ("textbook", "full"),
    },
    "embeddings": {
        "coursekit": ("ours", "embed"),
        "coursekit, bf16": ("ours", "embed_bf16"),
        "sentence-transformers": ("sentence", "embed"),
        "sentence-transformers, bf16": ("sentence", "embed_bf16"),
    },
    "progressive, six phases": {
        "coursekit": ("ours", "progressive"),
        "coursekit, bf16": ("ours", "progressive_bf16"),
        "finetuning-scheduler": ("scheduler", "progressive"),
    },
}
EPOCHS = {
    "full fine-tuning, 3 epochs": 3,
    "embeddings": 0,
    "progressive, six phases": 6,
}
BLOCKS_NEEDED = {"progressive, six phases": 5}
PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "lightning",
    "finetuning-scheduler",
    "sentence-transformers",
)


def contest(file: str, function: str, encoder: str, epochs: int, share: float) -> None:
    """Run one contestant here and print what it found, for the parent to read."""
    warnings.simplefilter("ignore")
    from contestants.work import Work

    work = Work(encoder, epochs, share)
    found = getattr(importlib.import_module(f"contestants.{file}"), function)(work)
    line = {"seconds": work.seconds, "grown_mb": work.grown_mb, "peak_mb": work.peak_mb, **found}
    print(f"\n{MARK}{json.dumps(line)}", flush=True)


def started(file: str, function: str, encoder: str, epochs: int, share: float) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", file, function, encoder, str(epochs), str(share)]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    # Ours would meet the vectors of a frozen encoder that an earlier turn has kept.
    with tempfile.TemporaryDirectory() as nothing:
        environment["COURSEKIT_CACHE"] = nothing
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        raise SystemExit(f"{file}.{function} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(lines[-1].removeprefix(MARK)))


def ratios(turns: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Seconds of each contestant over ours, turn by turn; and memory."""
    found = {}
    for name in turns[0]:
        by_turn = [turn[name]["seconds"] / turn["coursekit"]["seconds"] for turn in turns]
        found[name] = {
            "seconds over ours": round(statistics.median(by_turn), 2),
            "lowest": round(min(by_turn), 2),
            "highest": round(max(by_turn), 2),
            "seconds": round(statistics.median(turn[name]["seconds"] for turn in turns), 1),
            "memory grown, MB": round(statistics.median(turn[name]["grown_mb"] for turn in turns)),
            "peak memory, MB": round(statistics.median(turn[name]["peak_mb"] for turn in turns)),
            "scores": turns[0][name].get("scores"),
        }
    return found


def bf16_by() -> str:
    """What this processor has for products in bf16."""
    has = torch.cpu.get_capabilities()
    return next((name for name in ("amx_bf16", "avx512_bf16") if has.get(name)), "emulation")


def keep(path: Path, results: dict[str, Any], share: float) -> None:
    """Write what there is so far."""
    write_json(
        path,
        {
            "what": "seconds of the whole work: tokens, training, validation, test part",
            "share of the sample": share,
            "environment": {
                **describe_environment(),
                "cores": os.cpu_count(),
                "bf16 products by": bf16_by(),
                "packages": {package: version(package) for package in PACKAGES},
            },
            "results": results,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.25, help="of the sample's molecules")
    parser.add_argument("--only", help="pieces of work whose names hold this")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        file, function, where, *numbers = arguments.one
        contest(file, function, where, int(numbers[0]), float(numbers[1]))
        return
    path = HERE / "results" / f"rivals_{bf16_by()}.json"
    results = json.loads(path.read_text())["results"] if arguments.only and path.exists() else {}
    for encoder_name, blocks in ENCODERS.items():
        for work, contestants in WORKS.items():
            title = f"{work}; {encoder_name}"
            if blocks < BLOCKS_NEEDED.get(work, 0) or (arguments.only or "") not in title:
                continue
            where, turns = encoder_at(encoder_name), []
            for turn in range(arguments.repeats):
                found = {}
                # Turn about: whoever runs first may meet a cooler processor.
                order = list(contestants.items())
                for name, (file, function) in order if turn % 2 == 0 else order[::-1]:
                    # Embedding costs so little that it is done on the whole sample.
                    epochs, share = EPOCHS[work], arguments.share if EPOCHS[work] else 1.0
                    found[name] = started(file, function, where, epochs, share)
                    seconds = found[name]["seconds"]
                    print(f"{title}, turn {turn + 1}: {name} {seconds:.1f} s", flush=True)
                turns.append(found)
            results[title] = {"ratios": ratios(turns), "turns": turns}
            for name, row in results[title]["ratios"].items():
                print(f"  {name}: {row}", flush=True)
            keep(path, results, arguments.share)


if __name__ == "__main__":
    main()
