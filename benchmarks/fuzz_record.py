"""Feed damaged and forged records to whatever reads them, for a bounded time.

    python benchmarks/fuzz_record.py [--seconds 60] [--seed 0]

Each input is a good record, changed at random in one of four layers: its text, its compressed
bytes, its JSON, or the values in it. It goes the way of a submission: found in a cell's output,
decoded, checked field by field, and, if it passes, through verification and the search for copies.
An input ends as refused or as read; anything else (another error, or more than ten seconds) is a
crash: the input is kept in ``benchmarks/scratch`` and the script ends with status 1. Counts go to
``benchmarks/results/fuzz_record.json``.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import signal
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coursekit.data.binding_task import TASK_COLUMNS, BindingTask
from coursekit.grading.copies import Entry, find_copies
from coursekit.grading.harvest import harvest
from coursekit.grading.verify import verify_runs
from coursekit.grading.weights import verify_weights
from coursekit.runs import Run, describe_environment
from coursekit.runs.embedded import MARKER
from coursekit.storage import write_json

HERE = Path(__file__).resolve().parent
LONGEST = 10  # seconds that one input may take
SETS = ("", "easy", "hard")
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), "", "a", "\x00", "\ud800", "\u202e", "x" * 5_000, "train", "valid",
    "test", "easy", "head", "__class__", "../../etc", [], {}, [None], [[[[[[[[[[1]]]]]]]]]],
    {"learning_rates": {"head": -1}}, {"learning_rates": None}, {"": ""},
)  # fmt: skip


def small_task() -> BindingTask:
    """Thirty molecules; the sets in turn."""
    parts = {}
    for number, part in enumerate(("train", "valid", "test")):
        smiles = ["C" * (1 + n) + "NOF"[number] for n in range(30)]
        kinds = [SETS[n % 3] for n in range(30)]
        rows = pd.DataFrame({"molecule_id": smiles, "smiles": smiles, "negative_set": kinds})
        rows["label"] = (rows["negative_set"] == "").astype("int8")
        parts[part] = rows.reindex(columns=list(TASK_COLUMNS))
    return BindingTask("fuzz", settings={}, **parts)


def good_record(task: BindingTask) -> dict[str, Any]:
    """A record as training leaves one: two epochs of four steps."""
    rng = np.random.default_rng(0)
    metrics = ("auroc_easy", "auroc_hard", "au_prc_easy", "au_prc_hard")
    rows: list[dict[str, Any]] = []
    for step in range(1, 9):
        at = {"step": step, "epoch": step / 4, "phase": 0, "loss": float(rng.random())}
        rows.append(at | {"split": "train", "learning_rate.head": 3e-4})
        if step % 4 == 0:
            rows.append(at | {"split": "valid"} | dict.fromkeys(metrics, 0.5))
    names = ["molecule_id", "negative_set", "label"]
    predicted = [task.part(part)[names].assign(part=part) for part in ("valid", "test")]
    predictions = pd.concat(predicted, ignore_index=True)
    phases = [{"learning_rates": {"head": 3e-4}, "epochs": 2, "patience": None}]
    encoder = {"name": "coursekit-mini", "pooling": "cls", "origin": "0" * 64, "fitted": []}
    run = Run(
        name="HeadOnlyFinetune",
        history=pd.DataFrame(rows),
        predictions=predictions.assign(score=rng.random(len(predictions))),
        strategy={"strategy": "HeadOnlyFinetune", "lr": 3e-4, "batch_size": 8, "epochs": 2,
                  "phases": phases, "encoder": encoder},
        task={"name": task.name, "fingerprint": task.fingerprint, "settings": {}},
        seed=0,
        environment=describe_environment("fp32"),
        cost={"seconds": 1.5, "trainable_parameters": 129, "total_parameters": 9_999,
              "molecules_per_second": 40.0, "epochs": 2, "steps": 8},
    )  # fmt: skip
    return run.record()


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key in it, outermost first."""
    stack = [value]
    while stack:
        some = stack.pop()
        for key in list(some) if isinstance(some, dict) else range(len(some)):
            yield some, key
            if isinstance(some[key], dict | list):
                stack.append(some[key])


def change_values(record: dict[str, Any], rng: random.Random) -> bytes:
    """A few values of it replaced, removed, repeated or exchanged, as JSON."""
    changed = json.loads(json.dumps(record))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        # A column is one place among hundreds of its values: half of the changes go to the upper.
        known = list(places(changed))
        upper = [place for place in known if isinstance(place[0], dict)]
        some, key = rng.choice(upper if rng.random() < 0.5 else known)
        kind = rng.randrange(5)
        if kind == 0 and isinstance(some, dict):
            del some[key]
        elif kind == 1 and isinstance(some, dict):
            some[rng.choice(("", "x", "loss.head", "learning_rate.x", "\n"))] = some[key]
        elif kind == 2 and isinstance(some[key], list):
            some[key] = some[key][: rng.randrange(len(some[key]) + 1)] * rng.choice((1, 2, 500))
        elif kind == 3:
            other, name = rng.choice(known)
            some[key] = json.loads(json.dumps(other[name])) if name in _keys(other) else None
        else:
            some[key] = rng.choice(NASTY)
    return json.dumps(changed).encode("utf-8", "surrogatepass")


def _keys(some: Any) -> Any:
    return some if isinstance(some, dict) else range(len(some))


def change_bytes(raw: bytes, rng: random.Random) -> bytes:
    """Some bytes of it flipped, cut out, doubled or put in."""
    changed = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 5, 40))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif kind == 1:
            del changed[at : at + rng.choice((1, 3, 400))]
        elif kind == 2:
            changed[at:at] = changed[at : at + rng.choice((1, 40, 4_000))]
        else:
            changed[at:at] = rng.choice((b"[" * 3_000, b"{", b'"', b"\x00", b"1" * 5_000, b"\xff"))
    return bytes(changed)


def packed(raw: bytes) -> str:
    """As a cell's output carries it."""
    return base64.b64encode(zlib.compress(raw, 1)).decode()


def make(record: dict[str, Any], rng: random.Random) -> tuple[str, str]:
    """One input, and the layer that was changed."""
    layer = rng.choice(("values", "values", "JSON", "compressed bytes", "text"))
    if layer == "values":
        return layer, packed(change_values(record, rng))
    raw = json.dumps(record).encode()
    if layer == "JSON":
        return layer, packed(change_bytes(raw, rng))
    if layer == "compressed bytes":
        return layer, base64.b64encode(change_bytes(zlib.compress(raw), rng)).decode()
    return layer, change_bytes(packed(raw).encode(), rng).decode("latin-1")


def read(text: str, task: BindingTask, neighbor: Entry) -> str:
    """The way of a record through grading; how it ended."""
    found = harvest([f'<div data-coursekit-record="{MARKER}{text}"></div>'])
    for one in found.runs:
        str(one.run)
        verify_runs([one], task)
        verify_weights(one.run, {}, task)
        find_copies([Entry("other", one), neighbor])
    return "read" if found.runs else "refused"


def fuzz(
    seconds: float, seed: int, reader: Callable[[str, BindingTask, Entry], str] = read
) -> dict[str, Any]:
    """Feed records for a time.

    Returns:
        How many inputs ended in which way by layer, the slowest, and the first crash if any.
    """
    task = small_task()
    record = good_record(task)
    whole = harvest([f"{MARKER}{packed(json.dumps(record).encode())}"]).runs
    neighbor = Entry("neighbor", whole[0])
    rng = random.Random(seed)
    ends: Counter[str] = Counter()
    slowest, crash = 0.0, None
    began = time.monotonic()
    while time.monotonic() - began < seconds and crash is None:
        layer, text = make(record, rng)
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, LONGEST)
        try:
            ends[f"{layer}, {reader(text, task, neighbor)}"] += 1
        except Exception as error:  # what a reader must never let out
            crash = {"layer": layer, "error": f"{type(error).__name__}: {error}", "text": text}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, time.monotonic() - started)
    return {
        "seconds": round(time.monotonic() - began, 1),
        "inputs": sum(ends.values()),
        "ends": dict(sorted(ends.items())),
        "slowest, seconds": round(slowest, 3),
        "crash": crash,
    }


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"one input took more than {LONGEST} seconds")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    signal.signal(signal.SIGALRM, _too_long)
    found = fuzz(asked.seconds, asked.seed)
    crash = found.pop("crash")
    ends = found["ends"]
    for name, value in ({k: v for k, v in found.items() if k != "ends"} | ends).items():
        print(f"{name:28} {value}")
    if crash is not None:
        place = HERE / "scratch" / "fuzz_record.txt"
        place.parent.mkdir(exist_ok=True)
        place.write_text(crash["text"], encoding="utf-8")
        print(f"CRASH ({crash['layer']}): {crash['error']}; the input is in {place}")
        return 1
    results = {"seed": asked.seed, **found}
    write_json(HERE / "results" / "fuzz_record.json", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
