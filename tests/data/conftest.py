"""Tables small enough to read in a test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from kindel_bucket import BIG, Bucket, Server, content_of

from coursekit.data.download import fetch
from coursekit.data.published_splits import SPLIT_COLUMNS
from coursekit.data.schema import COLUMNS, MATRIX_COLUMNS, TARGET_COLUMNS, enrichment


def build_selection(rows: int = 40, seed: int = 0) -> pd.DataFrame:
    """A valid selection of made-up molecules."""
    rng = np.random.default_rng(seed)
    a, b, c = (rng.integers(0, n, rows) for n in (4, 5, 3))
    frame = pd.DataFrame(
        {
            "smiles": ["C" * (i % 60 + 1) + "N" + "O" * (i // 60) for i in range(rows)],
            "molecule_hash": [f"{i:064x}" for i in range(rows)],
            "smiles_a": ["N" + "C" * i for i in a],
            "smiles_b": ["O=C(O)" + "C" * i for i in b],
            "smiles_c": ["OC(=O)CN, OC" + "C" * i for i in c],
        }
    )
    for column in (*TARGET_COLUMNS, *MATRIX_COLUMNS):
        frame[column] = rng.poisson(2.0, rows).astype("float64")
    frame["seq_load"] = rng.poisson(18.0, rows).astype("int64")
    frame["target_enrichment"] = enrichment(
        frame[list(TARGET_COLUMNS)].sum(axis=1), frame[list(MATRIX_COLUMNS)].sum(axis=1)
    )
    return frame[list(COLUMNS)]


@pytest.fixture
def selection() -> pd.DataFrame:
    return build_selection()


@pytest.fixture
def bucket(selection):
    """A local server that holds what belongs to MAPK14, with a small selection."""
    splits = content_of(pd.DataFrame(dict.fromkeys(SPLIT_COLUMNS, ["train"] * len(selection))))
    heldout = b",smiles,molecule_hash,kd,smiles_a,smiles_b,smiles_c\n0,CCO,,12.5,,,\n"
    files = {BIG: content_of(selection), "mapk14.parquet": content_of(selection)}
    for kind in ("random", "disynthon"):
        files[f"splits/mapk14_{kind}.parquet"] = splits
    for where in ("on", "off"):
        files[f"heldout/mapk14_{where}dna.csv"] = heldout
    for cycle in "abc":
        files[f"synthons/reacted_{cycle}.csv"] = f"smiles_{cycle},reacted_{cycle}\nC,C\n".encode()
    bucket = Bucket(files)
    with Server(bucket):
        yield bucket


@pytest.fixture
def get(bucket):
    """Fetch from the local bucket; gives the files and what was said."""

    def run(target: str = "mapk14", **options):
        said: list[str] = []
        options = {"accept_licence": True, "backoff": 0.0, "timeout": 0.3, **options}
        try:
            run.files = fetch(target, base_url=bucket.url, say=said.append, **options)
        finally:
            run.said = "\n".join(said)
        return run.files

    return run
