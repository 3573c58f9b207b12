"""Put what ``make demo`` printed into the README, and its numbers and picture into docs/demo.

python docs/make_demo_files.py [report]
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pandas as pd

from coursekit.demo import strategies
from coursekit.runs import Run

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- demo: made by make readme -->\n```text\n)[^`]+(\n```)")


def main(report: Path) -> None:
    """Copy table, numbers and pictures out of the folder of a demo."""
    table = (report / "comparison.txt").read_text(encoding="utf-8").rstrip()
    readme = ROOT / "README.md"
    text, replaced = BLOCK.subn(lambda m: m[1] + table + m[2], readme.read_text(encoding="utf-8"))
    if replaced != 1:
        raise SystemExit(f"{readme} has {replaced} places for the table; one is expected")
    readme.write_text(text, encoding="utf-8")
    target = ROOT / "docs" / "demo"
    target.mkdir(exist_ok=True)
    for name in ("comparison.csv", "scores.png", "negatives.png"):
        shutil.copy(report / name, target / name)
    validations(report).to_csv(target / "validation.csv", index=False, lineterminator="\n")
    print(f"{readme.name} and {target.relative_to(ROOT)} updated from {report}")


def validations(report: Path) -> pd.DataFrame:
    """The scores after each epoch, by which a test sees early whether training is the same."""
    parts = []
    for name in strategies():
        history = Run.load(report / "records" / name).history
        rows = history[history["split"] == "valid"]
        parts.append(rows[["epoch", "loss", "auroc_easy", "auroc_hard"]].assign(approach=name))
    return pd.concat(parts).set_index("approach").reset_index().round(5)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "report"))
