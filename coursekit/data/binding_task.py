"""A binding task: what to learn from, what to stop by and what to be judged on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from coursekit.data.published_splits import PARTS
from coursekit.errors import TaskError
from coursekit.storage import write_json, write_table

TASK_COLUMNS = (
    "molecule_id",
    "smiles",
    "label",
    "negative_set",
    "kind",
    "reason",
    "nearest_binder",
    "similarity",
)
"""Columns of each part of a task."""

TASK_FILE = "task.json"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class BindingTask:
    """Molecules labelled binder or not, in three parts.

    Binders are shared by two sets of negatives, which are scored apart: ``negative_set`` is
    ``"easy"`` or ``"hard"``, and ``""`` for binders.

    Args:
        name: of the selection it was made from.
        train: columns ``TASK_COLUMNS``; ``label`` is int8, 1 for binders.
        valid: the same columns, other molecules.
        test: the same columns, other molecules.
        settings: all that decided about it, as plain data: split rule, seed, thresholds, counts.
        fingerprint: computed here. SHA-256 over which molecules are in which part under which
            label, and over ``settings``. The order of rows in memory, the reasons' wording and
            ``name`` do not enter.
    """

    name: str
    train: pd.DataFrame
    valid: pd.DataFrame
    test: pd.DataFrame
    settings: dict[str, Any]
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", self._fingerprint())

    def part(self, name: str) -> pd.DataFrame:
        """The part called ``"train"``, ``"valid"`` or ``"test"``.

        Raises:
            TaskError: no such part.
        """
        if name not in PARTS:
            raise TaskError(f"there is no part {name!r}; a task has {', '.join(PARTS)}.")
        return getattr(self, name)  # type: ignore[no-any-return]

    def share(self, share: float) -> BindingTask:
        """A smaller task: this share of each part's binders, easy and hard negatives.

        The same molecules every time; ``settings`` and so the fingerprint say how large.

        Raises:
            TaskError: not a share from more than 0 to 1.
        """
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise TaskError(f"share is {share!r}; a number above 0 and up to 1 is expected.")
        if share == 1:
            return self
        # By a digest of the id: the same draw in every version of pandas, and smaller shares lie
        # inside of larger ones.
        parts = {}
        for name in PARTS:
            part = self.part(name)
            digests = part["molecule_id"].map(_digest)
            kinds = digests.groupby(part["negative_set"].to_numpy())
            places, sizes = kinds.rank(method="first"), kinds.transform("size")
            wanted = (share * sizes).round().clip(lower=1)
            parts[name] = part[places <= wanted].reset_index(drop=True)
        return BindingTask(self.name, settings=self.settings | {"share": float(share)}, **parts)

    def summary(self) -> pd.DataFrame:
        """Binders, easy and hard negatives of each part, and the prevalence in each set."""
        rows = {}
        for name in PARTS:
            sets = self.part(name)["negative_set"].value_counts()
            binders, easy, hard = (int(sets.get(key, 0)) for key in ("", "easy", "hard"))
            rows[name] = {
                "binders": binders,
                "easy negatives": easy,
                "hard negatives": hard,
                "prevalence (easy)": round(binders / max(1, binders + easy), 3),
                "prevalence (hard)": round(binders / max(1, binders + hard), 3),
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("part")

    def _caption(self) -> str:
        return (
            f"Binding task {self.name}, split {self.settings.get('split', '?')}, "
            f"fingerprint {self.fingerprint[:12]}"
        )

    def __str__(self) -> str:
        return f"{self._caption()}\n{self.summary().to_string()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.summary()
        head = "".join(f'<th scope="col">{escape(c)}</th>' for c in ["part", *table.columns])
        body = "".join(
            f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{v:g}</td>" for v in row) + "</tr>"
            for name, row in zip(table.index, table.to_numpy(), strict=True)
        )
        return (
            f"<table><caption>{escape(self._caption())}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _fingerprint(self) -> str:
        digest = sha256()
        for name in PARTS:
            part = self.part(name)
            fields = (
                part[c].astype(str) for c in ("molecule_id", "smiles", "label", "negative_set")
            )
            lines = sorted("\t".join(row) for row in zip(*fields, strict=True))
            digest.update("\n".join([f"[{name}]", *lines, ""]).encode())
        digest.update(json.dumps(self.settings, sort_keys=True, allow_nan=False).encode())
        return digest.hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Write ``train.parquet``, ``valid.parquet``, ``test.parquet`` and ``task.json``."""
        target = Path(folder)
        for name in PARTS:
            write_table(self.part(name), target / f"{name}.parquet")
        facts = {"version": _VERSION, "name": self.name, "fingerprint": self.fingerprint}
        write_json(target / TASK_FILE, facts | {"settings": self.settings})
        return target

    @classmethod
    def load(cls, folder: str | Path) -> BindingTask:
        """Read what ``save`` wrote.

        Raises:
            TaskError: a file is missing or damaged, or the content does not have the fingerprint
                it was saved with.
        """
        source = Path(folder)
        try:
            facts = json.loads((source / TASK_FILE).read_text(encoding="utf-8"))
            parts = {name: pd.read_parquet(source / f"{name}.parquet") for name in PARTS}
            if facts["version"] != _VERSION:
                raise TaskError(
                    f"{source}: task.json has version {facts['version']}; this coursekit reads "
                    f"version {_VERSION}. Make the task again."
                )
            task = cls(facts["name"], settings=facts["settings"], **parts)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, TaskError):
                raise
            raise TaskError(
                f"{source}: no readable task is here ({error}); expected task.json and "
                f"{', '.join(f'{name}.parquet' for name in PARTS)} as BindingTask.save writes them."
            ) from error
        if task.fingerprint != facts["fingerprint"]:
            raise TaskError(
                f"{source}: the task was saved with fingerprint {facts['fingerprint'][:12]}, but "
                f"its content has {task.fingerprint[:12]}: a file was changed. Make the task again."
            )
        return task


def _digest(key: object) -> int:
    return int(sha256(str(key).encode()).hexdigest()[:12], 16)
