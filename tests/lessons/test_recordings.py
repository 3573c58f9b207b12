"""The runs that come with the course are those that its lines ask for, as they would be today."""

from __future__ import annotations

import numpy as np
import pytest

import coursekit as ck
from coursekit.evaluation.movement_figures import movement_table
from coursekit.lessons import recordings
from coursekit.lessons.recordings import RECORDINGS, identity, identity_in, wanted
from coursekit.runs.bundled import bundled_embeddings, bundled_names


@pytest.mark.parametrize(("name", "seed"), wanted())
def test_each_is_there_and_of_todays_strategy_encoder_and_task(name: str, seed: int) -> None:
    """Fails where one of these changed: make recordings."""
    run = ck.bundled_run(name, seed)
    assert identity_in(run) == identity(name, seed)
    assert not run.interrupted
    task = RECORDINGS[name].task
    for part in ("valid", "test"):
        own = run.predictions[run.predictions["part"] == part]
        assert set(own["molecule_id"]) == set(task.part(part)["molecule_id"])


def test_there_are_no_others() -> None:
    assert bundled_names() == {name: sorted(r.seeds) for name, r in RECORDINGS.items()}


def test_one_that_is_up_to_date_is_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "train", lambda *_: pytest.fail("trained"))
    recordings.main(["frozen"])
    assert capsys.readouterr().out.count("up to date") == len(RECORDINGS["frozen"].seeds)
    with pytest.raises(SystemExit, match="no recordings called"):
        recordings.main(["frozn"])


@pytest.mark.slow
def test_made_again_it_predicts_the_same() -> None:
    """The whole way, for the run that costs least."""
    (now, _), kept = recordings.train("frozen", 0), ck.bundled_run("frozen", 0)
    merged = now.predictions.merge(kept.predictions, on=["molecule_id", "part"])
    assert len(merged) == len(kept.predictions)
    assert np.abs(merged["score_x"] - merged["score_y"]).max() < 0.02


def test_the_card_is_the_one_that_the_runs_give() -> None:
    path = recordings._folder() / "README.md"
    assert path.read_text("utf-8") == recordings.card(), "make recordings"


@pytest.mark.parametrize("name", [name for name, one in RECORDINGS.items() if one.embeds])
def test_vectors_are_those_of_the_encoder_before_and_after_that_very_run(name: str) -> None:
    """Before: as today's encoder gives them. After: its head, which is linear, fits them."""
    run, (stages, molecules) = ck.bundled_run(name), bundled_embeddings(name)
    before, after = stages.values()
    task = RECORDINGS[name].task
    assert list(molecules["molecule_id"]) == list(task.test["molecule_id"])
    model = ck.load_classifier(recordings.ENCODER, pooling=recordings.POOLING)
    assert np.abs(before - model.embed(list(task.test["smiles"]))).max() < 0.02
    scores = run.predictions.set_index(["part", "molecule_id"])["score"]["test"]
    scores = scores[molecules["molecule_id"]].to_numpy(float)
    logits = np.log(scores / (1 - scores))
    for vectors, fits in ((after, True), (before, False)):
        columns = np.column_stack([vectors, np.ones(len(vectors))])
        rest = logits - columns @ np.linalg.lstsq(columns, logits, rcond=None)[0]
        assert (np.std(rest) < 0.02 * np.std(logits)) == fits


@pytest.mark.parametrize("name", ["progressive", "scheduled"])
def test_the_player_has_something_to_show_before_anything_is_trained(name: str) -> None:
    """Lessons 03 and 04 fall back on these: how far each group had moved, at the end of a run."""
    run = ck.bundled_run(name)
    moved = movement_table(run, int(run.history["epoch"].max()))["moved"]
    assert moved.notna().all()
    assert moved["head"] > moved["block.5"] > moved["block.0"] > 0


def three(name: str) -> list[ck.Run]:
    return [ck.bundled_run(name, seed) for seed in range(3)]


def test_what_lesson_03_says_of_them_is_so() -> None:
    """Open is far above frozen; progressive lies a little lower, and three seeds cannot say it."""
    hard = {
        name: np.array(
            [ck.bundled_run(name, s).scores(n_boot=0).auroc_hard.value for s in range(3)]
        )
        for name in ("frozen", "fine-tuned", "progressive")
    }
    assert min(hard["fine-tuned"].min(), hard["progressive"].min()) > hard["frozen"].max() + 0.1
    gains = hard["progressive"] - hard["fine-tuned"]
    assert (gains < 0).all()
    assert gains.mean() == pytest.approx(-0.012, abs=0.0005)
    assert np.ptp(hard["progressive"]) == pytest.approx(0.019, abs=0.0005)
    assert abs(gains.mean()) < 4.303 * gains.std(ddof=1) / 3**0.5
    for run in three("progressive"):
        assert any("weights of epoch 7," in note for note in run.notes)
        assert run.cost["epochs"] == 8
