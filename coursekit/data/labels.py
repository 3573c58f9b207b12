"""From read counts to binders, easy negatives and hard negatives, each with its reason.

Two passes over the selection, in batches: the first finds the binders and their disynthons, the
second sorts every other row by them and draws. Only what was drawn gets its SMILES and is compared
by similarity. Nine rows in a DataFrame and 81 million in a parquet file take the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

import numpy as np
import numpy.typing as npt
import pandas as pd

from coursekit.data.choice import EASY_KINDS, HARD_KINDS, choose
from coursekit.data.enumerated import Enumerated
from coursekit.data.library import Library
from coursekit.data.nearest import NearestBinder, Pool
from coursekit.data.passes import Binders, Negatives, Source, draw_negatives, find_binders
from coursekit.data.reasons import reasons
from coursekit.data.rules import LabelRules
from coursekit.data.scan import read_rows
from coursekit.data.schema import BLOCK_COLUMNS, enrichment
from coursekit.data.selection import load_selection
from coursekit.errors import TaskError

LABEL_COLUMNS = (
    "molecule_id",
    "smiles",
    "label",
    "negative_set",
    "kind",
    "reason",
    "nearest_binder",
    "similarity",
    "k_target",
    "k_matrix",
    "seq_load",
    "target_enrichment",
    *BLOCK_COLUMNS,
    "row",
)
"""Columns of a table of labels."""

_SEARCH = 15  # in real libraries one in ten rows that share a block looks like a binder


def label_selection(
    selection: Source,
    rules: LabelRules | None = None,
    seed: int = 0,
    *,
    max_binders: int | None = None,
    negatives_per_binder: float = 1.0,
    library: Library | None = None,
) -> pd.DataFrame:
    """Draw binders, easy negatives and hard negatives out of a selection, in bounded memory.

    Each draw takes the rows with the lowest hash of row position and seed: it depends on the order
    of rows in the table, and on nothing else. Easy negatives share no disynthon with *any* binder
    of the selection; hard ones share it with, or resemble, one of the binders *drawn*.

    Similarity is computed for drawn molecules only, against at most 5,000 of the drawn binders, and
    lookalikes (hard negatives of kind *similarity*) are searched among as many drawn rows as it
    takes, at most 15 for each one wanted (or 750), which share one block but no disynthon
    with a binder. All else is exact.

    Args:
        selection: the 13 columns: a DataFrame, a parquet path, or a name such as ``"mapk14"``.
        rules: thresholds; ``LabelRules()`` if not given.
        seed: another seed draws other rows.
        max_binders: draw at most so many binders; None: all there are.
        negatives_per_binder: easy negatives for each binder, and as many hard ones. Scored against
            the binders, each set then has prevalence ``1 / (1 + negatives_per_binder)``.
        library: where given, easy negatives that the file lacks are enumerated from it: members
            that are not in the file and share no disynthon with any binder. For KinDEL's 1M files,
            in which every row is near or above the enrichment cut.

    Returns:
        One row for each drawn molecule, binders first, with columns ``LABEL_COLUMNS``:
        ``molecule_id`` (the molecule_hash; of enumerated molecules a hash of the blocks),
        ``smiles``, ``label`` (int8, 1 for binders), ``negative_set`` ("" for binders, "easy" or
        "hard"), ``kind`` ("binder", "easy", "enumerated", "disynthon", "similarity" or "matrix"),
        ``reason`` (a sentence), ``nearest_binder`` (a molecule_id; "" for binders), ``similarity``
        (Tanimoto; NaN for binders), the summed counts, the load and the enrichment (float64; NaN
        for enumerated molecules), the three building blocks, and ``row``, the position in the
        selection's file (-1 if enumerated). ``label_counts`` gives the size of every class
        before the draw.

    Raises:
        TaskError: no binders, no easy or no hard negatives; with the numbers found and a remedy.
        SelectionError: the selection is not what KinDEL's schema says.
    """
    rules = rules if rules is not None else LabelRules()
    if not negatives_per_binder > 0 or (max_binders is not None and max_binders < 1):
        raise TaskError(
            f"label_selection: negatives_per_binder is {negatives_per_binder} and max_binders is "
            f"{max_binders}; the first must be above 0 and the second at least 1."
        )
    if str(selection).endswith(".csv") and not isinstance(selection, pd.DataFrame):
        selection = load_selection(selection)
    binders = find_binders(selection, rules, seed, max_binders)
    wanted = ceil(negatives_per_binder * len(binders.drawn["row"]))
    spare = 2 * wanted + 50  # some easy ones will turn out to look like a binder
    sizes = {"easy": spare, "disynthon": wanted, "matrix": wanted}
    sizes["similarity"] = _SEARCH * max(50, ceil(rules.similarity_share * wanted))
    members = None if library is None else Enumerated.draw(library, 2 * spare, seed, binders)
    negatives = draw_negatives(
        selection, rules, seed, binders, sizes, None if members is None else members.codes
    )
    drawn = _read_drawn(selection, binders, negatives)
    spare -= len(drawn["easy"])
    drawn["enumerated"] = (
        drawn["easy"].head(0) if members is None else members.rows(~negatives.in_file, spare)
    )
    known = drawn["binder"]
    compare = NearestBinder(known["smiles"].tolist(), known["molecule_id"].tolist())
    pools = {kind: Pool(frame, compare, _accept(kind, rules)) for kind, frame in drawn.items()}
    chosen = choose(known[compare.readable], pools, rules.shares, negatives_per_binder)
    found = {"rows": binders.rows, "binder": binders.found, **negatives.found}
    found |= {kind: pools[kind].accepted for kind in ("similarity", "enumerated")}
    found |= {"similarity_searched": pools["similarity"].searched}
    found |= {"unreadable": compare.unreadable}
    if len(chosen["binder"]) == 0:
        raise _too_few(found, chosen, rules, negatives_per_binder)
    labels = _table(chosen, rules, binders)
    file_rows = _to_file_rows(labels, selection, binders.rows)
    labels.attrs["coursekit"] = {
        "found": found,
        "drawn": {kind: len(frame) for kind, frame in chosen.items()},
        "file_rows": file_rows,
    }
    return labels


def label_counts(labels: pd.DataFrame) -> pd.DataFrame:
    """How many rows of each kind a selection held, and how many of them were drawn.

    Args:
        labels: what ``label_selection`` gave.

    Returns:
        A table indexed by kind, with columns ``found`` and ``drawn``. Lookalikes (*similarity*) are
        counted among the rows searched, and molecules enumerated from a library are all drawn.
    """
    counts = labels.attrs["coursekit"]
    kinds = ["binder", "easy", "enumerated", *HARD_KINDS]
    table = pd.DataFrame(index=pd.Index(kinds, name="kind"))
    table["found"] = [counts["found"].get(kind, 0) for kind in kinds]
    table["drawn"] = [counts["drawn"].get(kind, 0) for kind in kinds]
    return table


def _read_drawn(
    selection: Source, binders: Binders, negatives: Negatives
) -> dict[str, pd.DataFrame]:
    """What both passes drew: kind -> rows by rising key, now with SMILES, blocks and enrichment."""
    drawn = {"binder": binders.drawn, **negatives.drawn}
    rows = np.concatenate([numbers["row"] for numbers in drawn.values()])
    strings = read_rows(selection, np.unique(rows), ["smiles", "molecule_hash"])
    frames = {}
    for kind, numbers in drawn.items():
        frame = pd.DataFrame(numbers)
        text = strings.loc[numbers["row"]]
        frame["molecule_id"] = text["molecule_hash"].to_numpy(dtype=object)
        frame["smiles"] = text["smiles"].to_numpy(dtype=object)
        for x in "abc":
            frame[f"smiles_{x}"] = np.array(binders.blocks[x], dtype=object)[numbers[x]]
        frame["target_enrichment"] = enrichment(numbers["k_target"], numbers["k_matrix"])
        frames[kind] = frame
    return frames


def _accept(
    kind: str, rules: LabelRules
) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]]:
    """Which similarities to a binder a negative of this kind may have."""
    if kind in EASY_KINDS:
        return lambda similarity: similarity < rules.similar
    if kind == "similarity":
        return lambda similarity: similarity >= rules.similar
    return lambda similarity: np.ones(len(similarity), dtype=np.bool_)


def _table(chosen: Mapping[str, pd.DataFrame], rules: LabelRules, binders: Binders) -> pd.DataFrame:
    """The labels' table: binders first, then easy, then hard negatives."""
    frames = [frame.assign(kind=kind) for kind, frame in chosen.items() if len(frame)]
    labels = pd.concat(frames, ignore_index=True)
    labels["label"] = (labels["kind"] == "binder").astype("int8")
    labels["negative_set"] = np.select(
        [labels["kind"] == "binder", labels["kind"].isin(EASY_KINDS)], ["", "easy"], "hard"
    )
    labels["nearest_binder"] = labels["nearest_binder"].fillna("")
    labels["reason"] = reasons(labels, rules, binders.of_drawn)
    twice = labels["molecule_id"].duplicated().to_numpy()
    if twice.any():
        again = labels["molecule_id"].iloc[int(twice.argmax())]
        rows = labels.loc[labels["molecule_id"] == again, "row"].tolist()
        raise TaskError(
            f"molecule {again} is in the selection more than once, in rows {rows}. Drop all but "
            "one; load_selection(..., keep_valid=True) does that."
        )
    numbers = ["k_target", "k_matrix", "seq_load", "target_enrichment", "similarity"]
    types = dict.fromkeys(numbers, "float64") | {"row": "int64"}
    types |= {name: "str" for name in LABEL_COLUMNS if labels[name].dtype == object}
    return labels[list(LABEL_COLUMNS)].astype(types)


def _to_file_rows(labels: pd.DataFrame, selection: Source, rows: int) -> int:
    """Turn ``row`` from positions in a frame to positions in its file; give the file's length.

    ``load_selection`` may have dropped bad rows; the frame's index still holds their positions.
    """
    report = selection.attrs.get("coursekit", {}) if isinstance(selection, pd.DataFrame) else {}
    if "rows_read" not in report or not isinstance(selection, pd.DataFrame):
        return rows
    row = labels["row"].to_numpy()
    labels["row"] = np.where(row < 0, -1, selection.index.to_numpy()[row])
    return int(report["rows_read"])


def _too_few(
    found: Mapping[str, int],
    chosen: Mapping[str, pd.DataFrame],
    rules: LabelRules,
    negatives_per_binder: float,
) -> TaskError:
    easy = sum(len(chosen[kind]) for kind in EASY_KINDS)
    hard = sum(len(chosen[kind]) for kind in HARD_KINDS)
    start = f"found {found['binder']:,} binders in {found['rows']:,} rows, but "
    if easy == 0:
        return TaskError(
            start
            + f"no easy negative: no other row shares no disynthon with a binder, has at most "
            f"{rules.easy_max_target} target reads and a similarity below {rules.similar:g}. "
            "KinDEL's 1M files hold only molecules near or above the enrichment cut: take the full "
            "file, or enumerate the library with library=Library.from_kindel(folder)."
        )
    if hard == 0:
        limit = (
            "" if rules.hard_max_target is None else f" and {rules.hard_max_target} target reads"
        )
        return TaskError(
            start + f"no hard negative: {found['related']:,} other rows share a disynthon with a "
            f"binder, {found['related_loaded']:,} of them have a load of {rules.hard_min_load} or "
            f"more, and not one stays below enrichment {rules.hard_enrichment_below:g}{limit}. A "
            "file that was cut at high enrichment, such as KinDEL's 1M, needs "
            "rules=LabelRules.near_cut()."
        )
    return TaskError(
        start + f"{easy:,} easy and {hard:,} hard negatives are too few for one binder at "
        f"negatives_per_binder={negatives_per_binder:g}. Lower it."
    )
