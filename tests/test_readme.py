"""The README's table and picture are what ``make demo`` gives; ``make readme`` makes them again."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from coursekit.data import load_task
from coursekit.demo import BASELINES, POOLING, strategies
from coursekit.evaluation import compare, fingerprint_baseline
from coursekit.models import load_classifier
from coursekit.runs.bundled import bundled_run

ROOT = Path(__file__).resolve().parent.parent
SCORES = ("AUROC", "AU-PRC")
NEARLY_THE_SAME = 0.01  # another processor sums in another order, and training carries that on


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "epochs"), [("frozen", 60), ("fine-tuned", 1), ("progressive", 2)]
)
def test_training_begins_as_it_did_for_the_readme(name: str, epochs: int) -> None:
    """Drift of data, encoder or training shows in the first epochs; all of them take minutes."""
    strategy, planned = strategies()[name]
    seen: list[int] = []

    def stop(row: dict[str, Any]) -> None:
        if row["split"] == "valid":
            seen.append(row["epoch"])
            if len(seen) == epochs < planned:
                signal.raise_signal(signal.SIGINT)

    model = load_classifier("coursekit-mini", pooling=POOLING, seed=0)
    run = strategy.fit(model, load_task("sample"), epochs=planned, tracker=stop, heldout=())
    noted = pd.read_csv(ROOT / "docs" / "demo" / "validation.csv").query("approach == @name")
    assert len(noted) == planned
    found = run.history[run.history["split"] == "valid"].head(epochs)
    assert list(found["epoch"]) == list(noted["epoch"].head(epochs))
    for score in ("loss", "auroc_easy", "auroc_hard"):
        expected = list(noted[score].head(epochs))
        assert list(found[score]) == pytest.approx(expected, abs=NEARLY_THE_SAME), score


@pytest.mark.parametrize("name", BASELINES)
def test_fingerprints_score_what_the_readme_says(stated: pd.DataFrame, name: str) -> None:
    found = fingerprint_baseline(load_task("sample"), BASELINES[name]).scores(n_boot=0)
    for kind in ("easy", "hard"):
        for score in SCORES:
            expected = stated.loc[name, f"{kind} {score}"]
            assert found.table.loc[f"{kind} {score}", "value"] == pytest.approx(expected, abs=0.01)


def test_what_the_course_teaches_holds_on_the_split_that_newcomers_see() -> None:
    runs = {name: bundled_run(name) for name in ("frozen", "fine-tuned")}
    assert compare(runs).difference("fine-tuned", "frozen", "auroc_hard").low > 0
