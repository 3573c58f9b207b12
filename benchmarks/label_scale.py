"""Label a selection of ten million rows out of a parquet file: rows a second and peak memory.

    python benchmarks/label_scale.py [--rows 10000000] [--max-binders 1600]

Writes a file in KinDEL's shape into ``benchmarks/scratch/`` (kept for the next run), labels it with
``label_selection`` in a process of its own, so that peak memory is that of labelling alone, and
does the same with straightforward pandas on the first million rows for comparison.
The results go to ``benchmarks/results/label_scale.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import rdkit

from coursekit.bars import track
from coursekit.data.chemistry import canonical
from coursekit.data.labels import label_counts, label_selection
from coursekit.data.rules import LabelRules
from coursekit.data.scan import iter_selection
from coursekit.data.schema import COLUMNS, MATRIX_COLUMNS, TARGET_COLUMNS, enrichment

HERE = Path(__file__).resolve().parent
CHUNK = 500_000
SLICE = 1_000_000
REPEATS = 3  # the first one may have to read the file from disk; the best one counts


def blocks(n: int, start: str, cores: tuple[str, ...], seed: int) -> np.ndarray:
    """Distinct building blocks that give a readable SMILES when written one after the other."""
    random = np.random.default_rng(seed)
    tails = ["C", "N", "O", "F", "Cl", "CC", "OC", "C(F)(F)F", "NC(C)=O", "C(N)=O", "S(C)(=O)=O"]
    found: dict[str, None] = {}
    while len(found) < n:
        core, first, second = random.choice(cores), *random.choice(tails, 2)
        found[start + "C" * random.integers(0, 4) + core.format(first, second)] = None
    return np.array(list(found), dtype=object)


def generate(path: Path, rows: int, seed: int = 0) -> None:
    """Distinct members of a 377 x 1127 x 190 library, with counts on KinDEL's MAPK14 statistics."""
    rings = ("c1c({0})cc({1})cc1", "c1nc({0})c({1})cc1", "C1CN(C(=O){0})CC({1})C1")
    a = blocks(377, "CNC(=O)", rings, 1)
    b = blocks(1127, "C(=O)N", rings, 2)
    c = blocks(190, "NC(=O)CN", rings, 3)
    random = np.random.default_rng(seed)
    size = len(a) * len(b) * len(c)
    effect = {pair: random.normal(0, 1, n) for pair, n in (("ab", 424_879), ("ac", 71_630))}
    step = 37_936_969  # coprime to the library's size, so that no member comes twice
    temporary = path.with_suffix(".tmp")
    writer = None
    for start in track(range(0, rows, CHUNK), "Writing the selection"):
        n = min(CHUNK, rows - start)
        member = (np.arange(start, start + n, dtype=np.int64) * step) % size
        i, j, k = np.unravel_index(member, (len(a), len(b), len(c)))
        activity = effect["ab"][i * len(b) + j] + effect["ac"][i * len(c) + k]
        abundance = random.gamma(2, 9, n)
        unspecific = abundance * random.lognormal(-0.125, 0.5, n)
        unspecific *= np.where(random.random(n) < 1e-4, random.uniform(30, 100, n), 1)
        signal = np.where(activity > 3.3, random.lognormal(1.0, 0.65, n), 0) * abundance
        target = [random.poisson((unspecific + signal) * 0.0205 * d) for d in (2.1, 0.6, 0.3)]
        matrix = [random.poisson(unspecific * 0.025 * d) for d in (0.8, 0.9, 1.3)]
        raw = random.bytes(32 * n).hex()
        columns = {
            "smiles": pa.array(a[i] + c[k] + b[j]),
            "molecule_hash": [raw[at : at + 64] for at in range(0, 64 * n, 64)],
            "smiles_a": pa.array(a[i]),
            "smiles_b": pa.array(b[j]),
            "smiles_c": pa.array(c[k]),
            **dict(zip(TARGET_COLUMNS, (x.astype(np.float64) for x in target), strict=True)),
            **dict(zip(MATRIX_COLUMNS, (x.astype(np.float64) for x in matrix), strict=True)),
            "seq_load": random.poisson(abundance).astype(np.int64),
            "target_enrichment": enrichment(sum(target), sum(matrix)),
        }
        table = pa.table({name: columns[name] for name in COLUMNS})
        writer = writer or pq.ParquetWriter(temporary, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    temporary.rename(path)


def coursekit_labels(path: Path, max_binders: int) -> dict[str, Any]:
    """``label_selection``, with the time of its parts."""
    from coursekit.data import labels as module

    spent: dict[str, float] = {}
    for name in ("find_binders", "draw_negatives", "_read_drawn", "choose"):
        setattr(module, name, _timed(getattr(module, name), name.strip("_"), spent))
    start = time.perf_counter()
    labels = label_selection(path, max_binders=max_binders)
    seconds = time.perf_counter() - start
    counts = label_counts(labels)
    return {
        "seconds": seconds,
        "parts": spent,
        "found": counts["found"].to_dict(),
        "drawn": counts["drawn"].to_dict(),
    }


def _timed(function, name, spent):  # type: ignore[no-untyped-def]
    def wrapped(*args, **kwargs):  # type: ignore[no-untyped-def]
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] = time.perf_counter() - start

    return wrapped


def pandas_labels(path: Path, max_binders: int) -> dict[str, Any]:
    """The rival: the whole table in memory, disynthons as sets of strings, no similarity."""
    rules = LabelRules()
    start = time.perf_counter()
    frame = pd.read_parquet(path)
    k_target = frame[list(TARGET_COLUMNS)].sum(axis=1)
    k_matrix = frame[list(MATRIX_COLUMNS)].sum(axis=1)
    y = frame["target_enrichment"]
    binder = (y >= rules.binder_enrichment) & (k_matrix <= rules.binder_max_matrix)
    matrix = (k_target >= rules.matrix_min_reads) & (k_matrix >= rules.matrix_min_reads)
    matrix &= y < rules.matrix_enrichment_below
    drawn = frame[binder].sample(min(max_binders, int(binder.sum())), random_state=0)
    any_pair = pd.Series(False, index=frame.index)
    drawn_pair = pd.Series(False, index=frame.index)
    for x, y_ in (("a", "b"), ("a", "c"), ("b", "c")):
        pair = frame[f"smiles_{x}"].astype(str) + "|" + frame[f"smiles_{y_}"].astype(str)
        any_pair |= pair.isin(set(pair[binder]))
        drawn_pair |= pair.isin(set(pair[drawn.index]))
    other = ~binder & ~matrix
    missed = (y < rules.hard_enrichment_below) & (k_target <= rules.hard_max_target)
    missed &= frame["seq_load"] >= rules.hard_min_load
    hard = frame[other & drawn_pair & missed]
    easy = frame[other & ~any_pair & (k_target <= rules.easy_max_target)]
    sampled = [f.sample(min(len(f), len(drawn)), random_state=0) for f in (easy, hard)]
    seconds = time.perf_counter() - start
    found = {"binder": int(binder.sum()), "easy": len(easy), "disynthon": len(hard)}
    return {"seconds": seconds, "found": found, "drawn": [len(f) for f in sampled]}


def in_child(task: str, path: Path, number: int) -> dict[str, Any]:
    """Run one contestant in a process of its own and add its peak memory."""
    command = [sys.executable, __file__, "--child", task, str(path), str(number)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(out.splitlines()[-1]))


def child(task: str, path: Path, number: int) -> None:
    if task == "generate":
        generate(path, number)
        print("{}")
        return
    # Imports and first-use caches are a constant that a second file would not pay again.
    next(iter(iter_selection(path)))
    canonical("C")
    base, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    result = {"coursekit": coursekit_labels, "pandas": pandas_labels}[task](path, number)
    result["cpu_seconds"] = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 1024 if sys.platform != "darwin" else 1
    print(json.dumps({**result, "peak_mb": peak * scale / 1e6, "start_mb": base * scale / 1e6}))


def compared(result: dict[str, dict[str, Any]], rows: int) -> dict[str, float]:
    """Rows a second and memory against pandas; ``passes`` leaves the chemistry out, as pandas."""
    ours, rival = result[f"coursekit, {rows:,} rows"], result[f"pandas, {SLICE:,} rows"]
    passes = rows / sum(seconds for part, seconds in ours["parts"].items() if part != "choose")
    return {
        "rows_per_second_of_passes": passes,
        "speed_over_pandas": ours["rows_per_second"] / rival["rows_per_second"],
        "speed_of_passes_over_pandas": passes / rival["rows_per_second"],
        "pandas_bytes_per_row_over_ours": rival["peak_mb"] / SLICE * rows / ours["peak_mb"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--max-binders", type=int, default=1_600)
    arguments = parser.parse_args()
    scratch = HERE / "scratch"
    scratch.mkdir(exist_ok=True)
    paths = {rows: scratch / f"selection_{rows}.parquet" for rows in {arguments.rows, SLICE}}
    for rows, path in paths.items():
        if not path.exists():
            in_child("generate", path, rows)
    result: dict[str, dict[str, Any]] = {}
    for task, rows in (("coursekit", arguments.rows), ("coursekit", SLICE), ("pandas", SLICE)):
        runs = [in_child(task, paths[rows], arguments.max_binders) for _ in range(REPEATS)]
        outcome = min(runs, key=lambda run: run["seconds"])
        outcome |= {"rows": rows, "rows_per_second": rows / outcome["seconds"]}
        outcome["seconds_of_all_runs"] = [run["seconds"] for run in runs]
        result[f"{task}, {rows:,} rows"] = outcome
        print(
            f"{task:>9}: {rows:>12,} rows in {outcome['seconds']:6.2f} s = "
            f"{outcome['rows_per_second']:12,.0f} rows/s ({outcome['cpu_seconds']:.2f} s of CPU), "
            f"peak {outcome['peak_mb']:,.0f} MB"
        )
    ratios = compared(result, arguments.rows)
    print(json.dumps(ratios, indent=1))
    versions = {m.__name__: m.__version__ for m in (np, pd, pa, rdkit)}
    report = {
        "what": "label_selection on a generated selection, best of three; pandas does less: "
        "no similarity, no reasons. 'choose' is chemistry of the chosen, at any length of the file",
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "load_average": os.getloadavg()[0],
        "max_binders": arguments.max_binders,
        "ratios": ratios,
        "results": result,
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "label_scale.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
