"""Molecules to be predicted blind: the learner gets their SMILES, the instructor keeps the labels.

They are drawn from a selection by the rules of a task, and none of them is in any part of it. A few
molecules of the task's own test part are among them: the model that made a run's predictions must
give those the same scores again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coursekit.data.binding_task import BindingTask
from coursekit.data.chemistry import parent_key, scaffold
from coursekit.data.labels import label_selection
from coursekit.data.library import Library
from coursekit.data.passes import Source
from coursekit.data.rules import LabelRules
from coursekit.errors import CourseKitError, TaskError
from coursekit.storage import atomic_file, write_json

BLIND_FILE = "blind.csv"
LABELS_FILE = "blind-labels.json"
MAX_BLIND = 20_000
MAX_SMILES = 500
_SCHEMA, _VERSION = "coursekit.blind-labels", 1
_KEPT = ("molecule_id", "label", "negative_set", "known_as")
_SPARE = (4, 16, 64)  # drawn for each binder wanted, as some of them are in the task


@dataclass(frozen=True, eq=False)
class BlindSet:
    """Blind molecules with what the instructor keeps.

    Args:
        molecules: ``molecule_id`` (made up, in no order) and ``smiles``: what learners get.
        labels: in the same order ``molecule_id``, ``label``, ``negative_set`` and ``known_as``,
            the id in the task of a molecule that was put among them out of its test part, "" of
            all others, which alone are scored.
        task: fingerprint of the task.
        settings: how it was made.
        fingerprint: computed here, over ``molecules``.
    """

    molecules: pd.DataFrame
    labels: pd.DataFrame
    task: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """sha256 of ids and SMILES."""
        return blind_fingerprint(self.molecules)

    @property
    def scored(self) -> pd.DataFrame:
        """The rows of ``labels`` that are not known from the task."""
        return self.labels[self.labels["known_as"] == ""]

    def __repr__(self) -> str:
        sets = self.scored["negative_set"].value_counts()
        counts = ", ".join(
            f"{int(sets.get(kind, 0))} {name}"
            for kind, name in (("", "binders"), ("easy", "easy and"), ("hard", "hard negatives"))
        ).replace("and,", "and")
        return (
            f"Blind set {self.fingerprint[:12]}: {counts}, and "
            f"{len(self.labels) - len(self.scored)} molecules of the task's test part"
        )

    def save(self, folder: str | Path) -> Path:
        """Write ``blind.csv`` for learners and ``blind-labels.json`` to keep; gives the folder."""
        target = Path(folder)
        with atomic_file(target / BLIND_FILE) as temporary:
            self.molecules.to_csv(temporary, index=False)
        write_json(
            target / LABELS_FILE,
            {
                "schema": _SCHEMA,
                "version": _VERSION,
                "task": self.task,
                "fingerprint": self.fingerprint,
                "settings": dict(self.settings),
                "smiles": self.molecules["smiles"].tolist(),
                "labels": {name: self.labels[name].tolist() for name in _KEPT},
            },
        )
        return target

    @classmethod
    def load(cls, path: str | Path) -> BlindSet:
        """Read what the instructor keeps, by its folder or the file itself.

        Raises:
            TaskError: no such file, or not what ``save`` wrote.
        """
        path = Path(path)
        path = path / LABELS_FILE if path.is_dir() else path
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            labels = pd.DataFrame({name: data["labels"][name] for name in _KEPT})
            molecules = pd.DataFrame({"molecule_id": labels["molecule_id"]})
            molecules["smiles"] = data["smiles"]
            found = cls(molecules, labels, str(data["task"]), dict(data["settings"]))
            whole = data["schema"] == _SCHEMA and data["version"] == _VERSION
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TaskError(
                f"{path}: no labels of a blind set are here ({type(error).__name__}: {error}); "
                f"expected the {LABELS_FILE} that 'coursekit blind make' wrote."
            ) from error
        if not whole or found.fingerprint != data["fingerprint"]:
            raise TaskError(
                f"{path}: the blind set was changed or is of another version; make it again."
            )
        return found


def make_blind(
    task: BindingTask,
    selection: Source,
    seed: int,
    *,
    binders: int = 200,
    known: int = 30,
    seen: pd.DataFrame | None = None,
    library: Library | None = None,
) -> BlindSet:
    """Draw molecules to be predicted blind.

    Args:
        task: whose rules of labels and prevalence they follow; no molecule of it, in whatever
            spelling, is among them. Where it was split by scaffold, no scaffold of its train part
            is either; by disynthon, none of its disynthons (as far as ``seen`` knows them).
        selection: where they come from: the 13 columns.
        seed: of the draw and of the ids; keep it to yourself.
        binders: so many, with their easy and hard negatives.
        known: molecules of the task's test part to put among them.
        seen: the selection that learners have; none of its molecules is drawn.
        library: enumerates easy negatives, as in ``label_selection``.

    Raises:
        TaskError: too few are left; with the numbers found and what to do.
    """
    share = float(task.settings.get("negatives_per_binder", 1.0))
    wanted = {"": binders, "easy": round(binders * share), "hard": round(binders * share)}
    for spare in _SPARE:
        labels = label_selection(
            selection,
            LabelRules(**task.settings.get("rules", {})),
            seed,
            max_binders=spare * binders,
            negatives_per_binder=share,
            library=library,
        )
        fresh = labels[_unseen(labels, task, seen)]
        if all((fresh["negative_set"] == kind).sum() >= n for kind, n in wanted.items()):
            break
    rng = np.random.default_rng([seed, 3])
    parts = []
    for kind, number in wanted.items():
        some = fresh[fresh["negative_set"] == kind]
        if len(some) < number:
            raise TaskError(
                f"of {int((labels['negative_set'] == kind).sum()):,} "
                f"{kind + ' negatives' if kind else 'binders'} drawn, {len(some):,} are not in the "
                f"task or what learners have; {number} are wanted. Ask for fewer binders, or draw "
                "from a larger selection."
            )
        parts.append(some.iloc[rng.permutation(len(some))[:number]])
    test = task.test.iloc[rng.permutation(len(task.test))[: min(known, len(task.test))]]
    rows = pd.concat([*(part.assign(known_as="") for part in parts),
                      test.assign(known_as=test["molecule_id"])])  # fmt: skip
    rows = rows.iloc[rng.permutation(len(rows))].reset_index(drop=True)
    rows["molecule_id"] = [f"blind-{number:04d}" for number in range(len(rows))]
    settings = {"seed": seed, "binders": binders, "negatives_per_binder": share}
    return BlindSet(
        rows[["molecule_id", "smiles"]].astype("str"),
        rows[list(_KEPT)].astype({"label": int}),
        task.fingerprint,
        settings,
    )


def blind_fingerprint(molecules: pd.DataFrame) -> str:
    """sha256 of ids and SMILES, in the order of the ids."""
    pairs = zip(molecules["molecule_id"], molecules["smiles"], strict=True)
    return sha256("\n".join(sorted(f"{i}\t{s}" for i, s in pairs)).encode()).hexdigest()


def read_blind(source: str | Path) -> pd.DataFrame:
    """Read the molecules that learners got.

    Args:
        source: path or URL of ``blind.csv``.

    Returns:
        ``molecule_id`` and ``smiles``.

    Raises:
        TaskError: no such file, or not a table of molecules.
    """
    try:
        table = pd.read_csv(source, dtype=str, keep_default_na=False, nrows=MAX_BLIND + 1)
    except (OSError, ValueError, OverflowError) as error:
        raise TaskError(
            f"{str(source)[:200]}: no blind molecules can be read here ({type(error).__name__}: "
            f"{str(error)[:200]}). Put the {BLIND_FILE} that you were given beside the notebook, "
            "or name its path or address."
        ) from error
    columns = {"molecule_id", "smiles"}
    if set(map(str, table.columns)) != columns or not 0 < len(table) <= MAX_BLIND:
        raise TaskError(
            f"{str(source)[:200]}: {len(table):,} rows of {[str(c)[:40] for c in table][:5]}; "
            f"expected the columns molecule_id and smiles and 1 to {MAX_BLIND:,} rows."
        )
    table = table[["molecule_id", "smiles"]]
    lengths = np.stack([table[column].str.len() for column in table])
    wrong = bool(((lengths < 1) | (lengths > MAX_SMILES)).any())
    if wrong or table["molecule_id"].duplicated().any():
        raise TaskError(
            f"{str(source)[:200]}: a molecule_id stands there twice, or a cell is empty or longer "
            f"than {MAX_SMILES} characters. Fetch the file again."
        )
    return table


def _unseen(labels: pd.DataFrame, task: BindingTask, seen: pd.DataFrame | None) -> pd.Series:
    """Which labelled molecules nobody has seen, and that are as far from train as test is."""
    parts = pd.concat([task.train, task.valid, task.test])
    known = {_key(smiles) for smiles in parts["smiles"]}
    fresh = ~labels["smiles"].map(_key).isin(known)
    split = task.settings.get("split")
    if split == "scaffold":
        cores = {scaffold(smiles) for smiles in task.train["smiles"]} - {""}
        fresh &= ~labels["smiles"].map(scaffold).isin(cores)
    if seen is not None:
        fresh &= ~labels["molecule_id"].isin(seen["molecule_hash"])
        if split == "disynthon":
            pair = [f"smiles_{x}" for x in str(task.settings.get("disynthon", "AB")).lower()]
            train = seen[seen["molecule_hash"].isin(task.train["molecule_id"])]
            taken = pd.MultiIndex.from_frame(train[pair])
            fresh &= ~pd.MultiIndex.from_frame(labels[pair]).isin(taken)
    return fresh


def _key(smiles: str) -> str:
    try:
        return parent_key(smiles)
    except CourseKitError:
        return smiles
