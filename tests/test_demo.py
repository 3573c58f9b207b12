"""The demo on a small task: what it says and writes, and that it goes on where it was stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

import coursekit.demo as demo
from coursekit.data import load_selection, make_task
from coursekit.data.binding_task import BindingTask
from coursekit.evaluation import Comparison
from coursekit.runs import Run
from coursekit.training import FullFinetune, HeadOnlyFinetune, ProgressiveUnfreeze
from coursekit.training.session import Session

ROWS = ["frozen", "fine-tuned", "progressive", "fingerprints, logistic", "fingerprints, forest"]
FILES = {f"{name}.png" for name in ("scores", "curves", "loss", "plan", "negatives")}
FILES |= {"comparison.txt", "comparison.csv", "report.html"}
COURSE = demo.strategies()


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty binders of the bundled sample with their negatives, as real as the whole of it."""
    selection = load_selection("sample").iloc[:8_000].reset_index(drop=True)
    task = make_task(selection, max_binders=40, name="small")
    return task.save(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    small = {
        "frozen": (HeadOnlyFinetune(), 3),
        "fine-tuned": (FullFinetune(lr=1e-3), 1),
        "progressive": (ProgressiveUnfreeze(lr=1e-3), 2),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "strategies", lambda: small)
        yield


@dataclass(frozen=True)
class Shown:
    """What one call of the demo gave."""

    comparison: Comparison
    said: list[str]
    out: Path


@pytest.fixture(scope="module")
def whole(task_folder: Path, tmp_path_factory: pytest.TempPathFactory, _quick: None) -> Shown:
    out, said = tmp_path_factory.mktemp("demo") / "new" / "report", []
    comparison = demo.run_demo(out, 1, task_name=str(task_folder), say=said.append)
    return Shown(comparison, said, out)


def test_it_compares_and_says_so(whole: Shown) -> None:
    assert list(whole.comparison.runs) == ROWS
    steps = [line[:8] for line in whole.said if line.startswith("[")]
    assert steps == [f"[{n} of 5]" for n in range(1, 6)]
    assert str(whole.comparison) in "\n".join(whole.said)
    assert str(whole.out / "report.html") in whole.said[-1]


def test_it_writes_a_report_with_all_it_stands_on(whole: Shown, task_folder: Path) -> None:
    out, comparison = whole.out, whole.comparison
    assert {path.name for path in out.iterdir()} >= FILES
    assert (out / "comparison.csv").read_text() == comparison.to_csv()
    assert (out / "comparison.txt").read_text() == f"{comparison}\n"
    assert BindingTask.load(task_folder).fingerprint in (out / "report.html").read_text()
    for name, run in comparison.runs.items():
        kept = Run.load(out / "records" / name.replace(", ", "-"))
        assert kept.seed == 1
        assert kept.scores(n_boot=0).table.equals(run.scores(n_boot=0).table)


@pytest.mark.slow
def test_ctrl_c_ends_it_and_the_next_call_goes_on(
    whole: Shown,
    task_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pressed in the second of three trainings: no third one, and no report on two."""
    count, said, out = Session.count, [], tmp_path / "out"

    def press(self: Session, *args: object) -> None:
        count(self, *args)  # type: ignore[arg-type]
        if self.name == "FullFinetune":
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "count", press)
        with pytest.raises(KeyboardInterrupt):
            demo.run_demo(out, 1, task_name=str(task_folder), say=said.append)
    assert said[-1].startswith("[4 of 5] fine-tuned")
    assert not (out / "report.html").exists()
    capsys.readouterr()
    after = demo.run_demo(out, 1, task_name=str(task_folder), say=said.append)
    printed = capsys.readouterr().out
    assert "HeadOnlyFinetune: is finished" in printed
    assert "FullFinetune: goes on" in printed
    for name, run in whole.comparison.runs.items():
        pd.testing.assert_frame_equal(after.runs[name].predictions, run.predictions)
    assert (out / "report.html").exists()


def test_the_strategies_are_the_course_s() -> None:
    assert [type(s).__name__ for s, _ in COURSE.values()] == [
        *("HeadOnlyFinetune", "FullFinetune", "ProgressiveUnfreeze")
    ]
    assert [*COURSE, *demo.BASELINES] == ROWS
