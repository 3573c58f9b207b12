"""Divide labelled molecules into train, valid and test, so that none leaks from one to another.

Molecules go to a part in groups. The rule decides what is in one group; molecules which differ only
in spelling, salt form, stereo, isotopes or charge are in one group under every rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from coursekit.bars import track
from coursekit.data.chemistry import parent_key, scaffold
from coursekit.data.disynthons import PAIRS
from coursekit.data.published_splits import PARTS, SPLIT_COLUMNS, load_splits
from coursekit.errors import TaskError

RULES = ("random", "disynthon", "scaffold", *SPLIT_COLUMNS)
"""Names of the split rules."""

DISYNTHONS = tuple((x + y).upper() for x, y in PAIRS)

Groups = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Which part each molecule is in.

    Args:
        parts: (n,) ``"train"``, ``"valid"``, ``"test"``, or ``""`` for molecules taken out because
            another spelling of them is in a part that counts more.
        groups: (n,) group of each molecule: no group is in two parts.
        keys: (n,) parent keys, the identity of a molecule whatever its spelling.
        guarantee: what holds between the parts, as a sentence.
    """

    parts: npt.NDArray[np.object_]
    groups: Groups
    keys: npt.NDArray[np.object_]
    guarantee: str


def split_labels(
    labels: pd.DataFrame,
    rule: str = "random",
    seed: int = 0,
    *,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    disynthon: str = "AB",
    splits: pd.DataFrame | None = None,
) -> Split:
    """Assign each labelled molecule to a part.

    Args:
        labels: columns ``smiles``, ``negative_set``, and ``smiles_a`` to ``smiles_c`` for the
            disynthon rule, ``row`` for KinDEL's own splits.
        rule: ``"random"``; ``"disynthon"``: all molecules with one pair of building blocks are in
            one part; ``"scaffold"``: so are all with one Bemis-Murcko scaffold; ``"split1"`` to
            ``"split5"``: the part that KinDEL's split file names at the molecule's row.
        seed: of the assignment. It depends on the molecules and the seed, not on their order.
        fractions: of train, valid and test; not used by KinDEL's own splits.
        disynthon: which pair the disynthon rule holds apart: ``"AB"``, ``"AC"`` or ``"BC"``.
            Other pairs may be shared between parts: a library in which no pair at all is shared
            between parts would have to leave out most of its molecules.
        splits: KinDEL's split table (see ``load_splits``), by row position.

    Raises:
        TaskError: no such rule, fractions that do not sum to 1, or splits that do not fit.
    """
    check_rule(rule, fractions, disynthon, splits)
    smiles = track(labels["smiles"], "Reading molecules", total=len(labels), unit="molecule")
    keys = np.array([parent_key(text) for text in smiles], dtype=object)
    order = _seeded(keys, seed)
    classes = pd.Categorical(labels["negative_set"], categories=["", "easy", "hard"]).codes
    if splits is not None and rule in SPLIT_COLUMNS:
        return _published(labels, rule, splits, keys, order, classes)
    same = "no molecule is in two parts, in whatever spelling, salt form or stereoisomer"
    if rule == "disynthon":
        pair = (
            labels[f"smiles_{disynthon[0].lower()}"]
            + "|"
            + labels[f"smiles_{disynthon[1].lower()}"]
        )
        groups = _joined(pair.to_numpy(), keys)
        guarantee = f"{same}, and no {disynthon} pair of building blocks"
    elif rule == "scaffold":
        # Acyclic molecules have no scaffold; each stands for itself.
        cores = track(keys, "Finding scaffolds", total=len(keys), unit="molecule")
        groups = _joined(np.array([scaffold(key) or key for key in cores], dtype=object), keys)
        guarantee = f"{same}, and no Bemis-Murcko scaffold"
    else:
        groups, guarantee = _joined(keys, keys), same
    parts = np.array(PARTS, dtype=object)[_stratified(groups, classes, order, fractions)]
    return Split(parts, groups, keys, f"{guarantee}.")


def check_rule(
    rule: str, fractions: Sequence[float], disynthon: str, splits: object | None
) -> None:
    """Refuse arguments of ``split_labels`` that make no sense, before any work is done.

    Raises:
        TaskError: with what was found and what to give instead.
    """
    if rule not in RULES:
        raise TaskError(f"there is no split {rule!r}; choose one of {', '.join(RULES)}.")
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise TaskError(
            f"fractions are {tuple(fractions)}; give three positive numbers for train, valid and "
            "test that sum to 1."
        )
    if disynthon not in DISYNTHONS:
        raise TaskError(f"disynthon is {disynthon!r}; choose one of {', '.join(DISYNTHONS)}.")
    if rule in SPLIT_COLUMNS and splits is None:
        raise TaskError(
            f"{rule} is one of KinDEL's own splits and needs its split file: "
            'splits="random", "disynthon", a path or a table from load_splits.'
        )


def balanced(
    split: Split, negative_sets: npt.ArrayLike, seed: int, negatives_per_binder: float
) -> npt.NDArray[np.bool_]:
    """Which molecules to keep so that each part has the stated number of negatives per binder.

    Args:
        split: parts of n molecules.
        negative_sets: (n,) ``""`` for binders, ``"easy"`` or ``"hard"``.
        seed: of the choice, which depends on the molecules and not on their order.
        negatives_per_binder: easy negatives for each binder, and hard ones likewise.

    Returns:
        (n,) bool.
    """
    sets = np.asarray(negative_sets, dtype=object)
    order = _seeded(split.keys, seed)
    keep = np.zeros(len(sets), dtype=np.bool_)
    for part in PARTS:
        rows = {name: np.flatnonzero((split.parts == part) & (sets == name)) for name in _SETS}
        most = [len(rows[name]) // negatives_per_binder for name in ("easy", "hard")]
        binders = int(min(len(rows[""]), *most))
        for name, here in rows.items():
            n = binders if name == "" else round(negatives_per_binder * binders)
            keep[here[np.argsort(order[here], kind="stable")][:n]] = True
    return keep


_SETS = ("", "easy", "hard")


def _seeded(keys: npt.NDArray[np.object_], seed: int) -> npt.NDArray[np.uint64]:
    """A random number for each molecule, fixed by its identity and the seed."""
    salt = str(seed).encode()[:16]
    digests = b"".join(blake2b(key.encode(), digest_size=8, salt=salt).digest() for key in keys)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _joined(names: npt.NDArray[Any], keys: npt.NDArray[Any]) -> Groups:
    """Groups in which molecules of one name, or of one key, are together."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    name, names_found = pd.factorize(names)
    key, keys_found = pd.factorize(keys)
    nodes = len(names_found) + len(keys_found)
    links = (np.ones(len(name)), (name, len(names_found) + key))
    _, component = connected_components(coo_matrix(links, shape=(nodes, nodes)), directed=False)
    return np.asarray(component[name], dtype=np.int64)


def _stratified(
    groups: Groups,
    classes: npt.NDArray[Any],
    order: npt.NDArray[np.uint64],
    fractions: Sequence[float],
) -> npt.NDArray[np.int64]:
    """Part (0, 1, 2) of each molecule: groups stay whole, classes are spread by the fractions.

    Large groups first, then in random order, each to the part that lacks its classes most.
    """
    _, group = np.unique(groups, return_inverse=True)
    content = np.zeros((group.max() + 1, 3))  # (groups, classes)
    np.add.at(content, (group, classes), 1)
    first = np.full(len(content), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(first, group, order)
    total = np.maximum(content.sum(axis=0), 1)
    content = content / total
    lacking = np.outer(fractions, np.ones(3))  # (parts, classes), as shares of each class
    part_of = np.zeros(len(content), dtype=np.int64)
    size = np.bincount(group)
    for index in np.lexsort((first, -size)):
        part = int(np.argmax(lacking @ content[index]))
        lacking[part] -= content[index]
        part_of[index] = part
    return part_of[group]


def _published(
    labels: pd.DataFrame,
    rule: str,
    splits: pd.DataFrame,
    keys: npt.NDArray[np.object_],
    order: npt.NDArray[np.uint64],
    classes: npt.NDArray[Any],
) -> Split:
    """Parts by KinDEL's split file; enumerated molecules, which it does not know, at random."""
    rows = labels["row"].to_numpy()
    known = rows >= 0
    parts = np.full(len(rows), "", dtype=object)
    parts[known] = splits[rule].to_numpy()[rows[known]]
    groups = _joined(keys, keys)
    if not known.all():
        binders = parts[known & (classes == 0)]
        shares = [float(np.mean(binders == part)) for part in PARTS]
        where = _stratified(groups[~known], classes[~known], order[~known], shares)
        parts[~known] = np.array(PARTS, dtype=object)[where]
    rank = pd.Series(parts).map({part: i for i, part in enumerate(PARTS)}).to_numpy()
    highest = np.zeros(groups.max() + 1, dtype=np.int64)
    np.maximum.at(highest, groups, rank)
    # A molecule under two spellings: test keeps its copy, then valid; the other is taken out.
    parts[rank < highest[groups]] = ""
    return Split(
        parts,
        groups,
        keys,
        f"KinDEL's {rule} by row position; a molecule found in two parts was taken out of train "
        "(or out of valid, where the other part is test).",
    )


def read_splits(
    splits: pd.DataFrame | str | Path, rule: str, file_rows: int, target: str | None
) -> pd.DataFrame:
    """KinDEL's split table, checked against the length of the selection.

    Args:
        splits: a table, a path or name for ``load_splits``, or ``"random"`` or ``"disynthon"``.
        rule: the column that will be used, ``"split1"`` to ``"split5"``.
        file_rows: rows of the selection's file.
        target: ``"mapk14"`` or ``"ddr1"``, where the selection is one of KinDEL's by name.

    Raises:
        TaskError: a table of another length or content, or a kind of split without a target.
        SelectionError: the same for a file.
    """
    if not isinstance(splits, pd.DataFrame):
        if str(splits) in ("random", "disynthon"):
            if target is None:
                raise TaskError(
                    f"splits={str(splits)!r} names a kind of split, but the selection was not "
                    'given by a name such as "mapk14". Name the split file too: '
                    f'splits="mapk14_{splits}", or its path.'
                )
            splits = f"{target}_{splits}"
        return load_splits(splits, file_rows)
    if len(splits) != file_rows:
        raise TaskError(
            f"the splits have {len(splits):,} rows and the selection's file has {file_rows:,}. "
            "They go by row position, so both must come from the same release and target."
        )
    if rule not in splits.columns:
        raise TaskError(f"the splits have columns {list(splits.columns)}; {rule!r} is missing.")
    wrong = ~splits[rule].isin(PARTS).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise TaskError(
            f"splits, column {rule!r}, row {row:,}: found {splits[rule].iloc[row]!r}; expected "
            "train, valid or test."
        )
    return splits
