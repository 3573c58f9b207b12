"""A run shows itself, is stored whole or not at all, and is loaded back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from coursekit.errors import RecordError, ScoreError
from coursekit.runs import Run
from coursekit.runs.record import MAX_JSON_BYTES, empty_history


def test_save_and_load(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run()
    path = run.save(tmp_path / "runs" / "full")
    assert path == tmp_path / "runs" / "full" / "record.json"
    assert Run.load(path.parent).record() == run.record()
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_a_save_that_fails_leaves_the_old_record(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(seed=1).save(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_run(seed=2).save(tmp_path)
    assert Run.load(tmp_path).seed == 1
    assert len(list(tmp_path.iterdir())) == 1, "no half-written file is left"


def test_loading_what_is_not_there_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no record\.json in"):
        Run.load(tmp_path)


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(b" " * (MAX_JSON_BYTES + 1))
    with pytest.raises(RecordError, match="4,000,001 bytes"):
        Run.load(tmp_path)


def test_text_shows_scores_cost_and_task(make_run: Callable[..., Run]) -> None:
    run = make_run()
    text = str(run)
    assert f"hard AUROC  {run.scores().auroc_hard.value:.3f} [" in text
    assert "12.5 s for 3 epochs, 840 molecules/s" in text
    assert "1,203,458 trainable of 1,203,458" in text
    assert "sample (0a0a0a0a0a0a), seed 0" in text
    assert "stopped early at epoch 3" in text
    assert repr(run) == "<Run FullFinetune: 120 predictions, seed 0>"


def test_html_escapes_what_others_wrote(make_run: Callable[..., Run]) -> None:
    run = make_run(name="<script>alert(1)</script>", notes=("<img src=x>",))
    html = run._repr_html_()
    assert "<script>" not in html
    assert "<img" not in html
    assert '<th scope="row">hard AUROC</th>' in html


def test_a_run_without_test_predictions_still_shows_itself(make_run: Callable[..., Run]) -> None:
    full = make_run()
    valid = full.predictions[full.predictions["part"] == "valid"]
    bare = make_run(predictions=valid, cost={"seconds": None}, notes=())
    assert "no predictions on test" in str(bare)
    assert "no predictions on test" in bare._repr_html_()
    assert "cost" not in str(bare)
    with pytest.raises(ScoreError, match=r"part 'test'; there are \['valid'\]"):
        bare.scores("test")


def test_plot_shows_what_there_is(make_run: Callable[..., Run]) -> None:
    assert "Validation loss" in make_run().plot().alt
    assert "ROC" in make_run(history=empty_history()).plot().alt


def test_fields_cannot_be_exchanged(make_run: Callable[..., Run]) -> None:
    with pytest.raises(AttributeError):
        make_run().predictions = pd.DataFrame()  # type: ignore[misc]
