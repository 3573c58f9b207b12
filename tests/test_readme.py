"""The README's table and picture are what ``make demo`` gives; ``make readme`` makes them again."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from coursekit.demo import run_demo

ROOT = Path(__file__).resolve().parent.parent
# Another processor sums in another order, and training carries that on to the last epoch.
AS_GOOD_AS_THE_SAME = 0.03


@pytest.fixture(scope="module")
def stated() -> pd.DataFrame:
    return pd.read_csv(ROOT / "docs" / "demo" / "comparison.csv", index_col="approach")


def test_the_table_in_the_readme_has_the_numbers_of_the_csv(stated: pd.DataFrame) -> None:
    block = re.search(r"<!-- demo.*?```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    for approach, row in stated.iterrows():
        line = next(x for x in block[1].splitlines() if x.startswith(f"{approach}  "))
        scores = [float(x) for x in line.removeprefix(str(approach)).split()[:4]]
        expected = [row[f"{kind} {score}"] for kind in ("easy", "hard") for score in SCORES]
        assert scores == pytest.approx(expected, abs=5.1e-4)


SCORES = ("AUROC", "AU-PRC")


@pytest.mark.slow
def test_the_demo_gives_what_the_readme_says(stated: pd.DataFrame, tmp_path: Path) -> None:
    said: list[str] = []
    comparison = run_demo(tmp_path, say=said.append)
    assert list(comparison.table.index) == list(stated.index)
    for kind in ("easy", "hard"):
        for score in SCORES:
            name = f"{kind} {score}"
            found = comparison.table[name].to_dict()
            assert found == pytest.approx(stated[name].to_dict(), abs=AS_GOOD_AS_THE_SAME)
    # The lesson of the course, on the split and the seed that newcomers see.
    assert comparison.difference("fine-tuned", "frozen", "auroc_hard").low > 0
    for name in ("comparison.csv", "report.html", "scores.png", "negatives.png"):
        assert (tmp_path / name).stat().st_size > 1000
    assert "fine-tuned beats frozen" in "\n".join(said)
