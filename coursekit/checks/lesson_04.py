"""Lesson 04, fine-tuning schedules: implicit and explicit ones, transitions, rates, depth."""

from __future__ import annotations

from typing import Any

import numpy as np

from coursekit.checks import expect
from coursekit.checks.exercise import Wrong
from coursekit.checks.registry import exercise, reflection
from coursekit.checks.schedules import entries_of, opened_by
from coursekit.checks.truth import judged, table_agrees
from coursekit.runs import Run
from coursekit.training.schedule_format import Entry

PATIENCE = 2  # of every schedule in this lesson
FIRST_RATE = 1e-3  # of phase 0
ENDS = (2, 6, None)  # max_transition_epoch of the three phases that are asked for
RATES = (None, 1e-3, 5e-4)
FALLS_OVER = 6  # epochs of the cosine in 04.5


def _facts_of_model(model: Any) -> dict[str, Any]:
    """What a notebook hands over of its model: which parameters there are, by group."""
    return {"groups": {group: list(names) for group, names in model.groups.items()}}


def _groups(name: str, facts: Any) -> dict[str, tuple[str, ...]]:
    groups = facts.get("groups") if isinstance(facts, dict) else None
    if not isinstance(groups, dict) or len(groups) < 4:
        raise Wrong(f"`{name}` is no classifier; `ck.load_classifier()` gives one.")
    for names in groups.values():
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            raise Wrong(f"`{name}` has groups without names of parameters; load it again.")
    return {group: tuple(names) for group, names in groups.items()}


# --- 04.1


@exercise(
    "04.1",
    "How long is a generated schedule?",
    2,
    ("n_phases", "n_pairs", "last_opens", "model"),
    {"model": _facts_of_model},
)
def _(n_phases: Any, n_pairs: Any, last_opens: Any, model: Any) -> str:
    groups = _groups("model", model)
    phases, tensors = len(groups), sum(map(len, groups.values()))
    expect.close(
        "n_phases",
        n_phases,
        phases,
        rel=0,
        mistakes={
            phases - 2: "those are the blocks alone; the head and the embeddings have phases too.",
            phases - 1: "one is missing: the head opens first and the embeddings last.",
        },
        otherwise="One phase for each of `model.groups`.",
    )
    expect.close(
        "n_pairs",
        n_pairs,
        -(-tensors // 2),
        rel=0,
        mistakes={
            tensors: "those are the parameters, of which two open in one phase.",
            tensors / 2: "a phase is whole; where one parameter is left over, it opens alone.",
        },
        otherwise="Count the names in all groups; two of them open in each phase.",
    )
    opens = PATIENCE + 1 + (phases - 2) * PATIENCE
    expect.close(
        "last_opens",
        last_opens,
        opens,
        rel=0,
        mistakes={
            opens - 1: "phase 0 has an epoch more, for its first validation is always the best "
            "so far.",
            opens + 1: "epochs are counted from 0.",
            (PATIENCE + 1) * (phases - 1): "only phase 0 has a first best; every later phase is "
            "held against the best of the whole run, and waits from its first epoch on.",
            PATIENCE * phases: "that is after the last phase; when does it begin?",
        },
        otherwise=f"Phase 0 ends after {PATIENCE} epochs that do not beat the first, each later "
        f"one after {PATIENCE}.",
    )
    return (
        f"{phases} phases by blocks, {-(-tensors // 2)} by pairs; and with nothing to gain, the "
        f"embeddings open in epoch {opens}. A shorter run never gets there."
    )


# --- 04.2


def _three_phases(name: str, schedule: Any, model: Any) -> list[Entry]:
    """The schedule of 04.2: head, top two blocks, all other blocks."""
    groups = _groups("model", model)
    entries = entries_of(name, schedule)
    if len(entries) != len(ENDS):
        raise Wrong(f"`{name}` has {len(entries)} phases; {len(ENDS)} are asked for.", share=0.2)
    blocks = [group for group in groups if group not in ("embeddings", "head")]
    wanted = (["head"], blocks[-2:], blocks[:-2])
    opened = opened_by(name, entries, groups)
    if set().union(*opened) & set(groups["embeddings"]):
        raise Wrong(f"`{name}` opens the embeddings; they are to stay frozen.", share=0.5)
    for number, (found, parts) in enumerate(zip(opened, wanted, strict=True)):
        right = {one for group in parts for one in groups[group]}
        if found == right:
            continue
        touched = [group for group, names in groups.items() if found & set(names)]
        raise Wrong(
            f"Phase {number} of `{name}` opens something of {', '.join(touched)}; "
            f"{', '.join(parts)} is asked for, whole.",
            share=0.3,
        )
    for number, (entry, end) in enumerate(zip(entries, ENDS, strict=True)):
        if entry.max_transition_epoch == end:
            continue
        told = "patience alone" if end is None else f"max_transition_epoch: {end}"
        raise Wrong(
            f"Phase {number} of `{name}` has max_transition_epoch "
            f"{entry.max_transition_epoch or 'missing'}; {told} is to end it. (The number is the "
            "epoch, from 0, before which a phase ends.)",
            share=0.5,
        )
    for number, rate in enumerate(RATES):
        lr = entries[number].lr
        if rate is not None and (lr is None or not np.isclose(lr, rate, rtol=0.01)):
            said = "no lr, so it would begin with base_max_lr" if lr is None else f"lr {lr:g}"
            raise Wrong(f"Phase {number} of `{name}` has {said}; {rate:g} is asked for.", share=0.6)
    return entries


@exercise("04.2", "A schedule of your own", 3, ("my_schedule", "model"), {"model": _facts_of_model})
def _(my_schedule: Any, model: Any) -> str:
    _three_phases("my_schedule", my_schedule, model)
    return "The library takes it as it stands: head, top two blocks, all other blocks."


# --- 04.3

TRACES = {  # name: (first epoch of the next phase, epoch whose weights it begins with)
    "trace_a": (4, 1),
    "trace_b": (4, 3),
    "trace_c": (6, 1),
}
SLIPS: dict[str, dict[tuple[int, int], str]] = {
    "trace_a": {
        (3, 1): "epoch 3 still belongs to phase 0: its validation is the second that is no better.",
        (4, 3): "the weights of epoch 3 are worse than those of an epoch before it.",
        (5, 1): "patience is 2, and epochs 2 and 3 have used it up.",
    },
    "trace_b": {
        (5, 3): "a phase ends *before* its max_transition_epoch begins.",
        (3, 1): "after epoch 2, one validation is no better; patience 2 waits for another, and "
        "epoch 3 is better.",
        (4, 1): "epoch 3 is better than epoch 1.",
    },
    "trace_c": {
        (6, 5): "epoch 5 is the best of phase 1, but not the best of the run, and that counts.",
        (7, 1): "patience is held against the best of the whole run: epochs 4 and 5 do not beat "
        "it.",
        (7, 5): "patience is held against the best of the whole run, and so are the weights.",
        (8, 5): "patience is held against the best of the whole run, which is in phase 0.",
    },
}


@exercise("04.3", "Predict the next transition", 3, tuple(TRACES))
def _(*answers: Any) -> str:
    right = 0
    for (name, wanted), answer in zip(TRACES.items(), answers, strict=True):
        found = expect.numbers(name, answer)
        if found.shape != (2,):
            raise Wrong(f"`{name}` is a pair: the next phase's first epoch, and an epoch before.")
        pair = (int(found[0]), int(found[1]))
        if pair == wanted and (found == np.round(found)).all():
            right += 1
            continue
        why = SLIPS[name].get(pair, "")
        if not why and pair[0] == wanted[0]:
            why = "the epoch of the transition is right; whose loss is the lowest of the run?"
        elif not why and pair[1] == wanted[1]:
            why = "the weights are right; count again when the phase ends."
        raise Wrong(
            f"`{name}` is {pair}: {why or 'neither is right; go through it epoch by epoch.'}",
            share=right / len(TRACES),
        )
    return "You read a trace as the engine does; a test of coursekit holds it to these three."


# --- 04.4


def _scheduled(name: str, run: Any, depth: int | None = None) -> Run:
    """A run of the schedule of 04.2, or of its first phases."""
    found: Run = expect.kind(name, run, Run)
    said = found.strategy
    if said.get("strategy") != "ScheduledFinetune":
        raise Wrong(
            f"`{name}` is a run of {str(said.get('strategy'))!r:.40}; "
            "`ck.ScheduledFinetune(my_schedule, ...)` is wanted."
        )
    schedule = said.get("schedule")
    phases = [schedule[key] for key in sorted(schedule)] if isinstance(schedule, dict) else []
    ends = [p.get("max_transition_epoch") for p in phases if isinstance(p, dict)]
    if ends != list(ENDS):
        raise Wrong(f"`{name}` followed another schedule than the one of 04.2.")
    if said.get("max_depth") != depth:
        raise Wrong(
            f"`{name}` has max_depth={said.get('max_depth')}; max_depth={depth} is asked for."
        )
    return found


@exercise("04.4", "Train by it, and read the trace", 3, ("scheduled", "starts", "final_epoch"))
def _(scheduled: Any, starts: Any, final_epoch: Any) -> str:
    run = _scheduled("scheduled", scheduled)
    scores = judged("scheduled", run)
    valid = run.history[run.history["split"] == "valid"]
    first = valid.groupby("phase")["epoch"].min().astype(int)
    last = valid.groupby("phase")["epoch"].max().astype(int)
    given = starts if isinstance(starts, dict) else dict(enumerate(np.atleast_1d(starts).ravel()))
    found = {str(phase): epoch for phase, epoch in given.items()}
    wanted = {str(phase): epoch for phase, epoch in first.items()}
    if found != wanted:
        if found == {str(phase): epoch for phase, epoch in last.items()}:
            raise Wrong("`starts` has the last epoch of each phase; when does each begin?", 0.4)
        if set(found) != set(wanted):
            raise Wrong(
                f"`starts` names the phases {sorted(found)}; the run has gone through "
                f"{sorted(wanted)}.",
                share=0.3,
            )
        wrong = next(phase for phase in wanted if found[phase] != wanted[phase])
        raise Wrong(
            f"`starts` says that phase {wrong} began in epoch {found[wrong]}; the history says "
            "another. Look at the rows with split 'valid'.",
            share=0.3,
        )
    epochs, losses = valid["epoch"].to_numpy(int), valid["loss"].to_numpy(float)
    best = int(epochs[losses.argmin()])
    expect.close(
        "final_epoch",
        final_epoch,
        best,
        rel=0,
        mistakes={
            int(epochs.max()): "that is the last epoch; its weights are not kept unless "
            "its loss is the lowest.",
            int(epochs[losses.argmax()]): "that is the worst epoch.",
        },
        otherwise="The weights given back are those of the epoch with the lowest validation loss.",
    )
    phase = int(valid["phase"].to_numpy(int)[losses.argmin()])
    later = sorted(int(p) for p in first.index if p > phase)
    nothing = f"; phase {' and '.join(map(str, later))} left nothing behind" if later else ""
    return (
        f"The weights are those of epoch {best}, in phase {phase}{nothing}. "
        f"Hard AUROC {scores['auroc_hard']:.3f}."
    )


# --- 04.5


@exercise(
    "04.5",
    "Rates that fall with a phase",
    3,
    ("my_rates", "head_rate", "model"),
    {"model": _facts_of_model},
)
def _(my_rates: Any, head_rate: Any, model: Any) -> str:
    entries = _three_phases("my_rates", my_rates, model)
    new = entries[2].new_lr_scheduler
    if entries[1].new_lr_scheduler is not None:
        raise Wrong("`my_rates` has a new_lr_scheduler in phase 1; phase 2 is to begin one.", 0.3)
    if new is None:
        raise Wrong("`my_rates` has no new_lr_scheduler in phase 2.", share=0.2)
    kind = new.class_path.rpartition(".")[2]
    if kind != "CosineAnnealingLR":
        raise Wrong(f"`my_rates` begins a {kind}; CosineAnnealingLR is asked for.", share=0.3)
    over = new.init_args.get("T_max")
    if over != FALLS_OVER or new.interval != "epoch" or new.frequency != 1:
        raise Wrong(
            f"The cosine of `my_rates` has T_max {over!s:.20}, counted in "
            f"{'epochs' if new.interval == 'epoch' else 'steps'}; {FALLS_OVER} epochs are asked "
            "for.",
            share=0.4,
        )
    least = float(new.init_args.get("eta_min", 0.0))
    half = least + (FIRST_RATE - least) / 2
    try:
        expect.close(
            "head_rate",
            head_rate,
            half,
            mistakes={
                RATES[2] / 2: "that is what the blocks of phase 2 have come to; the head began "
                "with another rate.",
                FIRST_RATE: "a new scheduler moves every group that is open, the head as well.",
            },
            otherwise="Half-way through a cosine, a rate is half of what it began with.",
        )
    except Wrong as wrong:
        raise Wrong(wrong.message, share=0.6) from None
    return "In phase 2 all open groups fall together, each from the rate that it was opened with."


# --- 04.6


@exercise(
    "04.6",
    "Was the depth worth it?",
    3,
    ("scheduled", "shallow", "full", "forest", "table"),
)
def _(scheduled: Any, shallow: Any, full: Any, forest: Any, table: Any) -> str:
    runs = {
        "scheduled": _scheduled("scheduled", scheduled),
        "shallow": _scheduled("shallow", shallow, depth=1),
        "full": expect.kind("full", full, Run),
        "forest": expect.kind("forest", forest, Run),
    }
    if full.strategy.get("strategy") != "FullFinetune":
        raise Wrong(
            f"`full` is a run of {str(full.strategy.get('strategy'))!r:.40}; "
            "`ck.FullFinetune(lr=1e-3)` is wanted."
        )
    if forest.strategy.get("model") != "forest":
        raise Wrong('`forest` is another run; `ck.fingerprint_baseline(task, "forest")` is wanted.')
    if len({run.task["fingerprint"] for run in runs.values()}) > 1:
        raise Wrong("These runs are of different tasks; fit them on the same one.")
    scores = {name: judged(name, run) for name, run in runs.items()}
    try:
        table_agrees("table", table, scores)
    except Wrong as wrong:
        raise Wrong(wrong.message, share=0.5) from None
    best = max(scores, key=lambda name: scores[name]["auroc_hard"])
    deep, flat = (scores[name]["auroc_hard"] for name in ("scheduled", "shallow"))
    return (
        f"On hard negatives `{best}` has the highest AUROC, {scores[best]['auroc_hard']:.3f}. The "
        f"third phase makes {deep - flat:+.3f} of a difference. Look whether chance could do that."
    )


# --- 04.7

reflection("04.7", "When does a schedule pay?", 3, "reflection_04")
