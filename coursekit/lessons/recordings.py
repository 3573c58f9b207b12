"""``make recordings``: train the runs that come with the course, and write their records.

A lesson speaks of several seeds, or of longer trainings than a learner has the time for; then it
takes ``ck.bundled_run(name, seed)``. To bring another run along, add its line to :data:`RECORDINGS`
and make it::

    python -m coursekit.lessons.recordings NAME ...

A run is trained where there is no record of it yet, or where the record is of another run: another
strategy, other epochs, another encoder or task. The card beside them, README.md, is written as
well. Tests hold the committed records and the card to these lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import coursekit as ck
from coursekit.data.paths import bundled
from coursekit.errors import CourseKitError
from coursekit.runs.bundled import (
    EMBEDDINGS,
    ENDING,
    FOLDER,
    bundled_embeddings,
    bundled_run,
)
from coursekit.runs.record import encode_record
from coursekit.storage import atomic_file
from coursekit.training.identity import identity_of
from coursekit.training.penalties import Penalty

ENCODER, POOLING = "coursekit-mini", "mean"
STEPS = 300  # of each run's history, or up to twice as many


@dataclass(frozen=True)
class Recording:
    """How a bundled run is made, on the bundled sample.

    Args:
        strategy: what trains.
        epochs: so many.
        seeds: of the head's weights, of the order of molecules and of dropout; a run each.
        share: of the sample's molecules.
        lesson: that shows it.
        embeds: whether the test molecules' vectors before and after training come along as well.
    """

    strategy: ck.FinetuneStrategy
    epochs: int
    seeds: tuple[int, ...] = (0,)
    share: float = 1.0
    lesson: str = "03"
    embeds: bool = False

    @property
    def task(self) -> ck.BindingTask:
        """What is learned."""
        return ck.load_task("sample", share=self.share)


_CARD = """# Runs that come with the course

Records of {number} trainings on the bundled, **simulated** sample, so that a reader without the
time to train sees every figure of the lessons. `ck.bundled_run("frozen", seed=1)` reads one; its
`strategy` has every setting, its `environment` the device and the versions, and `scores()` the
scores with their intervals. No molecule here is known to bind anything, and no score says anything
about MAPK14.

Encoder: [`{encoder}`](../{encoder}/README.md), {pooling} pooling. Made by `make recordings`, which
trains those that no longer follow from their line in `coursekit/lessons/recordings.py`; tests hold
the files, and this card, to these lines. Licence: MIT, as the sample and the encoder.

| name | lesson | strategy | of the sample | hard AUROC by seed | seconds by seed |
|---|---|---|---|---|---|
{rows}

Scores are of the test part, for seeds 0, 1 and 2 where there are three. Seconds are those of a
shared machine of two cores that was busy at times.
{stages}"""
_STAGES = """
`{name}-{seed}.npz` holds the vectors that the encoder gave to the {number} molecules of the test
part before and after training ({width} numbers each, float16, in the order of the record's
predictions): `coursekit.runs.bundled.bundled_embeddings("{name}")` reads them.
"""


def _held(*penalties: Penalty) -> Recording:
    return Recording(ck.FullFinetune(lr=1e-3, penalties=penalties), 4, share=0.5, lesson="05")


# The answer to exercise 04.2.
SCHEDULE = """
0: {params: [head], max_transition_epoch: 2}
1: {params: [block.5, block.4], lr: 1.0e-3, max_transition_epoch: 6}
2: {params: ["block.[0-3]"], lr: 5.0e-4}
"""
PAST = 300  # pretraining molecules
# Fine-tuned and progressive take the same time: see exercise 03.3. The schedule and its share of
# the sample are those of lesson 04, and so on: what a learner would have in the profile cpu.
RECORDINGS: dict[str, Recording] = {
    "frozen": Recording(ck.HeadOnlyFinetune(), 60, (0, 1, 2)),
    "fine-tuned": Recording(ck.FullFinetune(lr=1e-3, layer_lr_decay=0.9), 5, (0, 1, 2)),
    "progressive": Recording(ck.ProgressiveUnfreeze(lr=1e-3), 8, (0, 1, 2)),
    "scheduled": Recording(
        ck.ScheduledFinetune(SCHEDULE, lr=1e-3, patience=2), 12, share=0.25, lesson="04"
    ),
    "plain": _held(),
    "L2-SP": _held(ck.L2SP(100)),
    "EWC": _held(ck.EWC(100, PAST)),
    "replay": _held(ck.Replay(molecules=PAST)),
    "LoRA": Recording(ck.LoRAFinetune(), 4, share=0.5, lesson="05"),
    "contrastive": Recording(
        ck.ContrastiveFinetune(lr=1e-3, contrastive_epochs=10),
        40,
        share=0.25,
        lesson="06",
        embeds=True,
    ),
}


def wanted() -> Iterator[tuple[str, int]]:
    """Name and seed of each bundled run."""
    for name, recording in RECORDINGS.items():
        yield from ((name, seed) for seed in recording.seeds)


def identity(name: str, seed: int) -> dict[str, Any]:
    """What the record of a run must say of itself, from its line in :data:`RECORDINGS`."""
    recording, model = RECORDINGS[name], _model(seed)
    plan = recording.strategy.plan(model, recording.epochs)
    return identity_of(recording.strategy, plan, model, recording.task, recording.epochs, seed)


def identity_in(run: ck.Run) -> dict[str, Any]:
    """What a record says of itself."""
    return {"strategy": dict(run.strategy), "task": run.task["fingerprint"], "seed": run.seed}


def train(name: str, seed: int) -> tuple[ck.Run, dict[str, np.ndarray]]:
    """Make a run again, and the vectors of its test molecules by stage where these come along."""
    recording, model = RECORDINGS[name], _model(seed)
    smiles = list(recording.task.test["smiles"]) if recording.embeds else []
    before = model.embed(smiles)
    run = recording.strategy.fit(model, recording.task, epochs=recording.epochs, seed=seed)
    stages = {"before": before, f"after_{name}_training": model.embed(smiles)} if smiles else {}
    return replace(run, history=_thinned(run.history)), stages


def _thinned(history: pd.DataFrame) -> pd.DataFrame:
    """All validations, and some hundred steps: enough for a curve, and small in a wheel."""
    steps = np.flatnonzero(history["split"] == "train")
    kept = steps[:: max(1, len(steps) // STEPS)]
    return history[(history["split"] != "train") | history.index.isin(kept)].reset_index(drop=True)


def main(names: list[str]) -> None:
    """Make what is missing or out of date; of all, or of the runs that are named."""
    unknown = set(names) - set(RECORDINGS)
    if unknown:
        raise SystemExit(f"no recordings called {sorted(unknown)}; there are {list(RECORDINGS)}")
    for name, seed in wanted():
        if names and name not in names:
            continue
        if _up_to_date(name, seed):
            print(f"{name}, seed {seed}: up to date")
            continue
        run, stages = train(name, seed)
        if run.interrupted:
            raise SystemExit(f"{name}, seed {seed}: interrupted")
        path = _folder() / f"{name}-{seed}{ENDING}"
        with atomic_file(path) as temporary:
            temporary.write_text(encode_record(run), encoding="ascii")
        if stages:  # half as many digits make a figure that nobody can tell apart
            halves: dict[str, Any] = {
                s: vectors.astype(np.float16) for s, vectors in stages.items()
            }
            with (
                atomic_file(path.with_suffix(EMBEDDINGS)) as temporary,
                temporary.open("wb") as file,
            ):
                np.savez_compressed(file, **halves)
        hard = run.scores(n_boot=0).auroc_hard.value
        print(f"{name}, seed {seed}: hard AUROC {hard:.3f}, {run.cost['seconds']:.0f} s")
    (_folder() / "README.md").write_text(card(), encoding="utf-8")


def card() -> str:
    """What the runs are, how they were made and what they are for, as the README beside them."""
    rows = []
    for name, recording in RECORDINGS.items():
        runs = [bundled_run(name, seed) for seed in recording.seeds]
        hard = ", ".join(f"{run.scores(n_boot=0).auroc_hard.value:.3f}" for run in runs)
        seconds = ", ".join(f"{run.cost['seconds']:.0f}" for run in runs)
        rows.append(
            f"| {name} | {recording.lesson} | {type(recording.strategy).__name__}, "
            f"{recording.epochs} epochs | {recording.share:.0%} | {hard} | {seconds} |"
        )
    stages = ""
    for name, seed in wanted():
        if RECORDINGS[name].embeds:
            number, width = bundled_embeddings(name, seed)[0]["before"].shape
            stages += _STAGES.format(name=name, seed=seed, number=number, width=width)
    return _CARD.format(
        number=len(list(wanted())),
        encoder=ENCODER,
        pooling=POOLING,
        rows="\n".join(rows),
        stages=stages,
    )


def _model(seed: int) -> ck.Classifier:
    return ck.load_classifier(ENCODER, pooling=POOLING, seed=seed)


def _up_to_date(name: str, seed: int) -> bool:
    try:
        return identity_in(bundled_run(name, seed)) == identity(name, seed)
    except CourseKitError:
        return False


def _folder() -> Path:
    folder = bundled("sample").parent / FOLDER
    folder.mkdir(exist_ok=True)
    return folder


if __name__ == "__main__":
    main(sys.argv[1:])
