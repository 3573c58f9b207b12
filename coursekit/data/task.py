"""Make a binding task: label a selection, then divide it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pandas as pd

from coursekit.data.binding_task import TASK_COLUMNS, TASK_FILE, BindingTask
from coursekit.data.labels import label_selection
from coursekit.data.library import Library
from coursekit.data.passes import Source
from coursekit.data.paths import bundled
from coursekit.data.published_splits import PARTS, SPLIT_COLUMNS
from coursekit.data.rules import LabelRules
from coursekit.data.sources import TARGETS, kindel_dir, selection_path
from coursekit.data.splits import balanced, check_rule, read_splits, split_labels
from coursekit.data.variants import variant_of
from coursekit.errors import TaskError

__all__ = ["BindingTask", "load_task", "make_task"]

MADE: dict[tuple[str, int], BindingTask] = {}
"""The bundled selection's tasks that this process has made, by split and seed."""

COURSE_BINDERS = 1_600
"""Binders in a lesson's task: training takes minutes, and 400 in test keep intervals narrow."""

READY = "sample/task"
"""The sample's own task, which comes with the kit; see ``coursekit.data.sample_task``."""

FEWEST_BINDERS = 5
"""Binders that each part of a task must have: with fewer, a score says nothing."""


def make_task(
    selection: Source,
    split: str = "random",
    seed: int = 0,
    rules: LabelRules | None = None,
    *,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    disynthon: str = "AB",
    splits: pd.DataFrame | str | Path | None = None,
    max_binders: int | None = None,
    negatives_per_binder: float = 1.0,
    library: Library | None = None,
    name: str | None = None,
) -> BindingTask:
    """Label a selection and divide it into train, valid and test.

    Every part has ``negatives_per_binder`` easy negatives for each binder and as many hard ones, so
    that both sets have the same prevalence everywhere; what does not fit is left out and counted in
    ``settings``.

    Args:
        selection: the 13 columns: a DataFrame, a parquet path, or a name such as ``"mapk14"``.
        split: ``"random"``, ``"disynthon"``, ``"scaffold"``, or KinDEL's ``"split1"``...
            ``"split5"``; ``task.settings["guarantee"]`` says what holds between the parts.
        seed: of the draw and of the split.
        rules: thresholds of the labels; ``LabelRules()`` if not given.
        fractions: of train, valid and test; KinDEL's splits have their own.
        disynthon: the pair of blocks which ``split="disynthon"`` holds apart: AB, AC or BC.
        splits: for KinDEL's splits: ``"random"`` or ``"disynthon"``, a path, or a table.
        max_binders: draw at most so many binders.
        negatives_per_binder: see above.
        library: enumerates easy negatives that the file lacks; see ``label_selection``.
        name: shown in tables; the selection's own name if not given.

    Raises:
        TaskError: too few binders or negatives, in all or in one part, an unknown split, or splits
            that do not fit; with the numbers found and what to do.
        SelectionError: the selection or the split file is not what it should be.
    """
    rules = rules if rules is not None else LabelRules()
    check_rule(split, fractions, disynthon, splits)
    labels = label_selection(
        selection,
        rules,
        seed,
        max_binders=max_binders,
        negatives_per_binder=negatives_per_binder,
        library=library,
    )
    counts = labels.attrs["coursekit"]
    title = name if name is not None else _title(selection)
    table = None
    if splits is not None and split in SPLIT_COLUMNS:
        table = read_splits(splits, split, counts["file_rows"], _target(title))
    parted = split_labels(
        labels, split, seed, fractions=fractions, disynthon=disynthon, splits=table
    )
    keep = balanced(parted, labels["negative_set"], seed, negatives_per_binder)
    parts = {
        part: labels.loc[keep & (parted.parts == part), list(TASK_COLUMNS)].reset_index(drop=True)
        for part in PARTS
    }
    leaked = int((parted.parts == "").sum())
    settings = {
        "split": split,
        "guarantee": parted.guarantee,
        "seed": seed,
        "fractions": None if split in SPLIT_COLUMNS else [float(f) for f in fractions],
        "disynthon": disynthon if split == "disynthon" else None,
        "rules": asdict(rules),
        "max_binders": max_binders,
        "negatives_per_binder": float(negatives_per_binder),
        "prevalence": 1 / (1 + negatives_per_binder),
        "found": counts["found"],
        "drawn": counts["drawn"],
        "removed_as_leak": leaked,
        "left_out_for_balance": int((~keep).sum()) - leaked,
    }
    for part in parts.values():
        part.attrs = {}
    task = BindingTask(title, **parts, settings=settings)
    _check_size(task, len(labels))
    return task


def load_task(
    name: str = "sample", split: str = "random", seed: int = 0, share: float = 1.0
) -> BindingTask:
    """A task with the course's settings.

    Args:
        name: ``"sample"`` (bundled); or, once fetched, ``"mapk14"`` or ``"ddr1"`` (KinDEL's 1M
            files, with easy negatives enumerated from its synthon tables) or ``"mapk14_full"``;
            or a .parquet file of your own; or the folder of a task that was saved; or, such as
            ``"sample@1f0c22d5a8e94b37"``, a variant with a draw and a split of its own.
        split: as in ``make_task``; a saved task keeps its own.
        seed: as in ``make_task``; a saved task keeps its own.
        share: of its molecules, for whoever has little time; see ``BindingTask.share``.

    Raises:
        SelectionError: no such selection, or it has not been fetched.
        TaskError: as in ``make_task``, a saved task that is damaged, or no share.
    """
    return _load(name, split, seed).share(share)


def _load(name: str, split: str, seed: int) -> BindingTask:
    if (Path(name) / TASK_FILE).is_file():
        return BindingTask.load(name)
    if name == "sample":  # made once, for a notebook's cell is run many times
        if (split, seed) not in MADE:
            ready = (split, seed) == ("random", 0)
            MADE[split, seed] = (
                BindingTask.load(bundled(READY)) if ready else course_task(name, split, seed)
            )
        return _copy(MADE[split, seed])
    return course_task(name, split, seed)


def course_task(name: str, split: str = "random", seed: int = 0) -> BindingTask:
    """Make what ``load_task`` gives, also where it comes ready-made; see there."""
    variant, title = variant_of(name), None
    if variant is not None:
        title, name, seed = name, variant[0], variant[1] + seed
    make = partial(make_task, name, split, seed, fractions=(0.6, 0.15, 0.25), name=title)
    if name in TARGETS:
        selection_path(name)  # says how to fetch the file, where it is missing
        library = Library.from_kindel(kindel_dir() / "synthons")
        return make(rules=LabelRules.near_cut(), library=library, max_binders=COURSE_BINDERS)
    return make(max_binders=COURSE_BINDERS)


def _copy(task: BindingTask) -> BindingTask:
    train, valid, test = (task.part(part).copy() for part in PARTS)
    settings = deepcopy(task.settings)
    return replace(task, train=train, valid=valid, test=test, settings=settings)


def _title(selection: Source) -> str:
    if not isinstance(selection, pd.DataFrame):
        return Path(selection).stem
    return Path(selection.attrs.get("coursekit", {}).get("source", "selection")).stem


def _target(title: str) -> str | None:
    return title if title in TARGETS else None


def _check_size(task: BindingTask, labelled: int) -> None:
    summary = task.summary()
    small = summary[summary["binders"] < FEWEST_BINDERS]
    if len(small):
        fewest = int(small["binders"].iloc[0])
        counts = ", ".join(f"{part}: {n}" for part, n in summary["binders"].items())
        raise TaskError(
            f"part {small.index[0]!r} would have {fewest} binders, with their easy and hard "
            f"negatives; at least {FEWEST_BINDERS} are needed (binders {counts}; {labelled:,} "
            "molecules labelled). Use a larger selection, a higher max_binders, other fractions, a "
            'lower negatives_per_binder, or split="random".'
        )
