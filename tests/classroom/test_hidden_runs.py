"""The hidden checks of ``autograder/`` on runs: right ones pass, what is made up does not."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from small import ROOT

import coursekit as ck
from coursekit.checks import find, from_plain, judge, to_plain
from coursekit.grading.judge import load_hidden
from coursekit.lessons.source import read_source
from coursekit.runs import Run


@cache
def checks(lesson: str) -> dict[str, Any]:
    return load_hidden(ROOT / "autograder" / "hidden" / f"{lesson}.py")


def hidden(exercise: str, **answers: Any) -> str:
    one = find(exercise)
    return judge(one, answers, checks(exercise[:2])[exercise]).state


@cache
def the_forest() -> Run:
    return ck.fingerprint_baseline(ck.load_task("sample"), "forest")


def changed(run: Run, **fields: Any) -> Run:
    return Run(**{**vars(run), **fields})


def saying(run: Run, **strategy: Any) -> Run:
    """The run with another story of how it was made."""
    return changed(run, strategy={**run.strategy, **strategy})


def test_a_rate_that_was_guessed() -> None:
    assert hidden("00.3", reads_per_load=1.2, p_silent=float(np.exp(-4.8))) == "wrong"
    selection = ck.load_selection("sample")
    binders = selection[selection["target_enrichment"] >= 1]
    reads = binders[[f"seq_target_{i}" for i in (1, 2, 3)]].to_numpy().sum()
    rate = float(reads / binders["seq_load"].sum())
    assert hidden("00.3", reads_per_load=rate, p_silent=float(np.exp(-4 * rate))) == "right"


def test_predictions_that_were_made_up() -> None:
    task = ck.load_task("sample")
    forest = the_forest()
    head = {"strategy": "HeadOnlyFinetune", "phases": [{"learning_rates": {"head": 1e-3}}]}
    frozen = changed(forest, strategy=head)
    table = ck.compare({"frozen": frozen, "forest": forest}).table
    assert hidden("01.4", frozen=frozen, forest=forest, table=table) == "right"

    scores = forest.predictions["score"].to_numpy().copy()
    np.random.default_rng(0).shuffle(scores)
    made_up = changed(forest, predictions=forest.predictions.assign(score=scores))
    assert hidden("01.4", frozen=frozen, forest=made_up, table=table) == "cannot be checked"

    all_moved = {"strategy": "HeadOnlyFinetune", "phases": [{"learning_rates": {"block.0": 1e-3}}]}
    moved = changed(forest, strategy=all_moved)
    assert hidden("01.4", frozen=moved, forest=forest, table=table) == "wrong"

    labels = forest.predictions["label"] * 0.9
    perfect = changed(frozen, predictions=forest.predictions.assign(score=labels))
    assert hidden("01.4", frozen=perfect, forest=forest, table=table) == "cannot be checked"
    known = {"name": task.name, "fingerprint": task.fingerprint}
    perfect_scores = task.test["label"].to_numpy() * 0.9
    assert hidden("01.3", frozen_scores=perfect_scores, task=known) == "cannot be checked"
    part = forest.predictions[forest.predictions["part"] == "test"].set_index("molecule_id")
    honest = part["score"].reindex(task.test["molecule_id"]).to_numpy()
    assert hidden("01.3", frozen_scores=honest, task=known) == "right"


@cache
def bundled(name: str, seed: int = 0) -> Run:
    return ck.bundled_run(name, seed)


def test_02_a_loop_and_its_losses() -> None:
    one = find("02.1")
    (path,) = (ROOT / "solutions").glob("02_*.py")
    space: dict[str, Any] = {"torch": pytest.importorskip("torch"), "batches": []}
    for cell in read_source(path).of("answer", "02.1"):
        exec(compile(cell.solved.partition("losses = ")[0].partition("head, optimizer = ")[0],
                     str(path), "exec"), space)  # fmt: skip
    step = space["training_step"]

    def facts(function: Any) -> Any:
        return from_plain(to_plain(one.collect["training_step"](function)))

    build = from_plain(to_plain(one.collect["build"](space["build"])))
    losses = np.array([0.71, 0.66, 0.69, 0.62, 0.64, 0.6, 0.61])

    def mute(*given: Any) -> float:
        step(*given)
        return 0.5

    def say(function: Any, losses: Any) -> str:
        return hidden("02.1", build=build, training_step=facts(function), losses=losses)

    assert say(step, losses) == "right"
    assert say(lambda *given: step(*given).item(), losses) == "right"
    assert say(mute, losses) == "wrong"
    assert say(step, -losses) == "wrong"
    assert say(step, np.linspace(0.7, 0.3, 20)) == "cannot be checked"


def test_02_runs_that_are_not_what_they_are_called() -> None:
    fine, frozen = bundled("fine-tuned"), bundled("frozen")
    assert hidden("02.2", fine_tuned=fine) == "right"
    used = saying(fine, encoder={**fine.strategy["encoder"], "fitted": ["FullFinetune"]})
    assert hidden("02.2", fine_tuned=used) == "wrong"
    part = saying(fine, phases=[{"learning_rates": {"head": 1e-3, "block.5": 1e-3}}])
    assert hidden("02.2", fine_tuned=part) == "wrong"
    table = ck.compare({"frozen": frozen, "fine-tuned": fine}).table
    assert hidden("02.4", frozen=frozen, fine_tuned=fine, table=table) == "right"
    renamed = changed(frozen, predictions=fine.predictions)
    assert hidden("02.4", frozen=renamed, fine_tuned=fine, table=table) == "cannot be checked"


def test_03_a_strategy_that_was_handed_on() -> None:
    one = find("03.2")

    class Handed(ck.FinetuneStrategy):
        def phases(self, model: Any, epochs: int) -> list[ck.Phase]:
            return ck.ProgressiveUnfreeze(lr=self.lr).phases(model, epochs)

    class Own(ck.FinetuneStrategy):
        def phases(self, model: Any, epochs: int) -> list[ck.Phase]:
            names = list(model.groups)[::-1]
            return [ck.Phase(dict.fromkeys(names[:1], self.lr), epochs=1),
                    ck.Phase(dict.fromkeys(names, self.lr))][-epochs:]  # fmt: skip

    for strategy, state in ((Own, "right"), (Handed, "cannot be checked")):
        facts = from_plain(to_plain(one.collect["MyUnfreeze"](strategy)))
        assert hidden("03.2", MyUnfreeze=facts) == state


def test_03_runs_that_open_from_the_top() -> None:
    runs = {"frozen": bundled("frozen"), "full": bundled("fine-tuned")}
    runs |= {"progressive": bundled("progressive"), "mine": bundled("progressive", 1)}
    assert hidden("03.4", **runs, table=...) == "not attempted"
    runs["table"] = ck.compare(runs).table
    assert hidden("03.4", **runs) == "right"
    upside = [{"learning_rates": {"head": 1, "block.0": 1}}]
    assert hidden("03.4", **runs | {"mine": saying(runs["mine"], phases=upside)}) == "wrong"
    twice = runs | {"mine": saying(runs["progressive"], strategy="MyUnfreeze")}
    assert hidden("03.4", **twice) == "cannot be checked"


def test_04_runs_that_follow_the_schedule() -> None:
    rates = {"head": 1e-3, "block.5": 1e-3, "block.4": 1e-3}
    opened = [{"head": 1e-3}, rates, rates | {f"block.{n}": 5e-4 for n in range(4)}]
    phases = [{"learning_rates": one, "epochs": 4} for one in opened]
    scheduled = saying(bundled("progressive"), strategy="ScheduledFinetune", phases=phases)
    assert hidden("04.4", scheduled=scheduled, starts={0: 0}, final_epoch=1) == "right"
    other = saying(scheduled, phases=[*phases[:1], *phases[2:]])
    assert hidden("04.4", scheduled=other, starts={0: 0}, final_epoch=1) == "wrong"
    shallow = saying(bundled("progressive", 1), phases=phases[:2])
    forest = the_forest()
    runs = {"scheduled": scheduled, "shallow": shallow, "full": bundled("fine-tuned")}
    runs |= {"forest": forest, "table": ck.compare(runs | {"forest": forest}).table}
    assert hidden("04.6", **runs) == "right"
    made_up = changed(forest, predictions=bundled("frozen").predictions)
    assert hidden("04.6", **runs | {"forest": made_up}) == "cannot be checked"
    assert hidden("04.6", **runs | {"shallow": other}) == "wrong"


def test_05_what_was_forgotten_begins_with_the_published_encoder() -> None:
    plain = bundled("fine-tuned")
    before, after = (plain.forgetting[f"loss_{when}"] for when in ("before", "after"))
    assert hidden("05.1", before=before, after=after, plain=plain) == "right"
    lower = changed(plain, forgetting={**plain.forgetting, "loss_before": before * 0.8})
    assert hidden("05.1", before=before, after=after, plain=lower) == "cannot be checked"
    runs = {"plain": plain, "lora": bundled("progressive")}
    for n, (name, penalty) in enumerate(
        {"l2sp": ck.L2SP(100), "ewc": ck.EWC(100, 50), "replay": ck.Replay()}.items()
    ):
        run = bundled("progressive" if n else "fine-tuned", 1 + n % 2)
        runs[name] = saying(run, penalties=[penalty.describe()])
    assert hidden("05.3", **runs) == "right"
    loose = saying(runs["l2sp"], penalties=[{"penalty": "L2SP", "strength": 0.0}])
    assert hidden("05.3", **runs | {"l2sp": loose}) == "wrong"
    assert hidden("05.3", **runs | {"lora": plain}) == "cannot be checked"


def test_06_one_more_row() -> None:
    contrastive = saying(bundled("progressive"), strategy="ContrastiveFinetune")
    losses = {"loss_first": 2.0, "loss_last": 1.0}
    assert hidden("06.4", contrastive=contrastive, **losses) == "right"
    used = {**contrastive.strategy["encoder"], "fitted": ["FullFinetune"]}
    assert hidden("06.4", contrastive=saying(contrastive, encoder=used), **losses) == "wrong"
    forest = the_forest()
    runs = {"frozen": bundled("frozen"), "full": bundled("fine-tuned"), "forest": forest}
    runs |= {"contrastive": contrastive}
    more = {"table": ck.compare(runs).table, "beats": "yes"}
    assert hidden("06.5", **runs, **more) == "right"
    same = runs | {"contrastive": changed(contrastive, predictions=runs["full"].predictions)}
    assert hidden("06.5", **same, **more) == "cannot be checked"
