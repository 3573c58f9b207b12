"""The whole way on real KinDEL chemistry: real members, simulated counts, task, training, table.

    python benchmarks/real_kindel.py FOLDER [--seed 0]

FOLDER holds KinDEL's ``synthons/`` (three csv) and ``heldout/`` (Kd tables), as ``coursekit data
fetch`` lays them out. KinDEL's counts are not needed: a part of the library is rebuilt from its
synthons, counts are simulated on it, and the three approaches and the forest are compared. Then
the real held-out compounds are scored and ranked against their measured Kd, through the same
``predict``. As the training counts are simulated, that ranking shows the way, not a result about
MAPK14. Results go to ``benchmarks/results/real_kindel.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import spearmanr

from coursekit.data import LabelRules, Library, load_heldout, make_task
from coursekit.data.simulate import simulate
from coursekit.demo import POOLING, strategies
from coursekit.evaluation import compare, fingerprint_baseline
from coursekit.models import Classifier, load_classifier
from coursekit.runs import describe_environment
from coursekit.storage import write_json

REFERENCE = "frozen"
HERE = Path(__file__).resolve().parent
BLOCKS = (160, 400, 100)  # of KinDEL's 377, 1127 and 190 synthons
ROWS = {"n_top": 45_000, "n_background": 40_000}
MAX_BINDERS = 1600


def rank(model: Classifier, compounds: pd.DataFrame) -> dict[str, Any]:
    """Score compounds with a measured Kd; a binder has a high score and a low Kd."""
    known = compounds[compounds["kd_nm"].notna()]
    scores = model.predict(list(known["smiles"]))
    found = spearmanr(scores, -known["kd_nm"])
    return {
        "compounds": len(known),
        "spearman": round(float(found.statistic), 3),
        "p": round(float(found.pvalue), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shared = Path(os.environ.get("COURSEKIT_SHARED", HERE.parent.parent / "shared"))
    folder = arguments.folder or shared / "data" / "kindel"
    if not (folder / "synthons").is_dir():
        print(f"SKIPPED: {folder} has no synthons/; give the folder of KinDEL's files")
        return
    seed = arguments.seed
    began = time.perf_counter()
    library = Library.from_kindel(folder / "synthons")
    part = library.subset(*BLOCKS, seed=seed)
    simulation = simulate(part, seed, **ROWS)
    seconds = time.perf_counter() - began
    print(f"{library}\n{part}\n{len(simulation.selection):,} rows in {seconds:.0f} s")
    task = make_task(
        simulation.selection,
        seed=seed,
        rules=LabelRules(),
        fractions=(0.6, 0.15, 0.25),
        max_binders=MAX_BINDERS,
        name="kindel-simulated",
    )
    print(task, flush=True)
    runs, models = {}, {}
    for name, (strategy, epochs) in strategies().items():
        model = load_classifier("coursekit-mini", pooling=POOLING, seed=seed)
        runs[name] = strategy.fit(model, task, epochs=epochs, seed=seed)
        models[name] = model
    runs["forest"] = fingerprint_baseline(task, "forest", seed=seed)
    comparison = compare(runs)
    print(f"\n{comparison}\n")
    tables = {p.stem: load_heldout(p) for p in sorted((folder / "heldout").glob("mapk14*.csv"))}
    ranked = {
        name: {table: rank(model, compounds) for table, compounds in tables.items()}
        for name, model in models.items()
    }
    for name, found in ranked.items():
        print(f"held-out Kd, {name}: {found}")
    write_json(
        HERE / "results" / "real_kindel.json",
        {
            "what": "real library members, simulated counts; held-out Kd ranked by models that "
            "never saw a real count",
            "library": repr(library),
            "part": repr(part),
            "rows": len(simulation.selection),
            "seconds to rebuild and simulate": round(seconds, 1),
            "seed": seed,
            "environment": describe_environment("fp32"),
            "summary": json.loads(task.summary().to_json(orient="index")),
            "scores": json.loads(comparison.table.to_json(orient="index")),
            "differences": json.loads(comparison.differences(REFERENCE).to_json(orient="records")),
            "held-out Kd, Spearman of score and -Kd": ranked,
        },
    )


if __name__ == "__main__":
    main()
