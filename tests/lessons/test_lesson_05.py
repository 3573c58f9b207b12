"""What lesson 05 says of the kit's benchmark is what the benchmark found."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[2]


def test_numbers_in_the_prose_are_the_benchmarks() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "penalties.json").read_text("utf-8"))
    seeds = list(found["seeds"].values())

    def mean(name: str, column: str) -> float:
        return fmean(rows[name][column] for rows in seeds)

    source = (ROOT / "solutions" / "05_forgetting.py").read_text(encoding="utf-8")
    told = " ".join(source.replace("\n# ", " ").split())
    words = {1: "one seed", 2: "two seeds", 3: "three seeds"}
    about = (
        f"({found['training molecules']} molecules, three epochs, {words[len(seeds)]}, a processor)"
    )
    assert found["epochs"] == 3
    assert about in told
    loss = {name: f"{mean(name, 'masked loss after'):.3f}" for name in seeds[0]}
    assert f"{mean('nothing', 'masked loss before'):.3f} to {loss['nothing']} with nothing" in told
    assert (
        f"to {loss['L2-SP 100']} with L2-SP and to {loss['EWC 100']} with EWC, both at 100" in told
    )
    assert f"to {loss['LoRA']} with LoRA and to {loss['replay 0.1']} with replay" in told
    five = ("nothing", "L2-SP 100", "EWC 100", "LoRA", "replay 0.1")
    easy = [mean(name, "easy AUROC") for name in five]
    assert f"between {min(easy):.3f} and {max(easy):.3f} for all five" in told
    assert f"kept {loss['replay 1.0']}, and learned little" in told
    assert f"easy AUROC {mean('replay 1.0', 'easy AUROC'):.3f}." in told
    assert mean("replay 1.0", "easy AUROC") < 0.6
    assert not re.search("TODO", source)
