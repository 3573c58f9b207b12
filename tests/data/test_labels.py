"""Labels against a second, brute-force implementation on a library small enough for it."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_screen import toy_library, toy_screen

from coursekit.data import nearest as nearest_module
from coursekit.data.labels import LABEL_COLUMNS, label_counts, label_selection
from coursekit.data.rules import LabelRules
from coursekit.data.schema import MATRIX_COLUMNS, TARGET_COLUMNS
from coursekit.data.selection import load_selection
from coursekit.errors import TaskError


def pairs(row: pd.Series) -> set[tuple[str, str, str]]:
    blocks = [(x, row[f"smiles_{x}"]) for x in "abc"]
    return {(p[0] + q[0], p[1], q[1]) for p, q in combinations(blocks, 2)}


def brute_force(frame: pd.DataFrame, rules: LabelRules, drawn: set[str]) -> pd.DataFrame:
    """Every row's class, with Python sets and the file's own enrichment."""
    frame = frame.assign(
        k_target=frame[list(TARGET_COLUMNS)].sum(axis=1),
        k_matrix=frame[list(MATRIX_COLUMNS)].sum(axis=1),
    )
    y = frame["target_enrichment"]
    binder = (y >= rules.binder_enrichment) & (frame["k_matrix"] <= rules.binder_max_matrix)
    every = set().union(*(pairs(row) for _, row in frame[binder].iterrows()))
    some = frame[binder & frame["molecule_hash"].isin(drawn)]
    of_drawn = set().union(*(pairs(row) for _, row in some.iterrows()))
    rows = []
    for i, row in frame.iterrows():
        has, matrix = pairs(row), min(row["k_target"], row["k_matrix"]) >= rules.matrix_min_reads
        matrix = matrix and row["target_enrichment"] < rules.matrix_enrichment_below
        missed = (
            row["target_enrichment"] < rules.hard_enrichment_below
            and row["k_target"] <= (rules.hard_max_target or 10**9)
            and row["seq_load"] >= rules.hard_min_load
        )
        classes = set()
        if binder[i]:
            classes = {"binder"}
        elif matrix:
            classes = {"matrix"}
        else:
            if has & of_drawn and missed:
                classes.add("disynthon")
            if not has & every and row["k_target"] <= rules.easy_max_target:
                classes.add("easy")
            if not has & every and missed:
                classes.add("similarity")
        rows.append(classes)
    return frame.assign(classes=rows).set_index("molecule_hash")


@pytest.fixture(scope="module")
def screen() -> pd.DataFrame:
    return toy_screen()


@pytest.mark.parametrize("max_binders", [None, 25])
def test_every_label_agrees_with_brute_force(screen: pd.DataFrame, max_binders: int | None) -> None:
    rules = LabelRules(similar=0.8)
    labels = label_selection(screen, rules, seed=3, max_binders=max_binders)
    assert tuple(labels.columns) == LABEL_COLUMNS
    binders = set(labels.loc[labels["label"] == 1, "molecule_id"])
    truth = brute_force(screen, rules, binders)
    for row in labels.itertuples():
        assert row.kind in truth.loc[row.molecule_id, "classes"], row.reason
        assert row.smiles == truth.loc[row.molecule_id, "smiles"]
        assert row.molecule_id == screen["molecule_hash"].iloc[row.row]
        assert row.k_target == truth.loc[row.molecule_id, "k_target"]
        assert row.target_enrichment == pytest.approx(
            truth.loc[row.molecule_id, "target_enrichment"]
        )
    found = label_counts(labels)["found"]
    for kind in ("binder", "easy", "matrix", "disynthon"):
        assert found[kind] == sum(kind in c for c in truth["classes"])
    assert (labels["label"] == (labels["negative_set"] == "")).all()
    assert {"binder", "easy", "disynthon", "similarity", "matrix"} == set(labels["kind"])


def test_similarity_is_to_the_nearest_binder_drawn(screen: pd.DataFrame) -> None:
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    rules = LabelRules(similar=0.8)
    labels = label_selection(screen, rules, max_binders=25)
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    bits = {
        row.molecule_id: morgan.GetFingerprint(Chem.MolFromSmiles(row.smiles))
        for row in labels.itertuples()
    }
    binders = labels.loc[labels["label"] == 1, "molecule_id"].tolist()
    assert labels.loc[labels["label"] == 1, "nearest_binder"].eq("").all()
    for row in labels[labels["label"] == 0].itertuples():
        similarity = DataStructs.BulkTanimotoSimilarity(
            bits[row.molecule_id], [bits[b] for b in binders]
        )
        assert row.similarity == pytest.approx(max(similarity), abs=1e-12)
        assert similarity[binders.index(row.nearest_binder)] == pytest.approx(max(similarity))
        if row.negative_set == "easy":
            assert row.similarity < rules.similar
        if row.kind == "similarity":
            assert row.similarity >= rules.similar


@pytest.mark.parametrize("per_binder", [0.5, 1.0, 2.0])
def test_equal_numbers_of_easy_and_hard_for_each_binder(
    screen: pd.DataFrame, per_binder: float
) -> None:
    labels = label_selection(screen, LabelRules(similar=0.8), negatives_per_binder=per_binder)
    sizes = labels["negative_set"].value_counts()
    assert sizes["easy"] == sizes["hard"] == round(per_binder * sizes[""])
    assert sizes[""] >= 20


def test_kinds_of_hard_negatives_follow_the_shares_and_fill_in(screen: pd.DataFrame) -> None:
    rules = LabelRules(similar=0.7, disynthon_share=0.5, similarity_share=0.25, matrix_share=0.25)
    drawn = label_counts(label_selection(screen, rules, max_binders=16))["drawn"]
    assert drawn[["disynthon", "similarity", "matrix"]].tolist() == [8, 4, 4]
    # No two molecules are this similar, so the others take the places of the lookalikes.
    rules = LabelRules(similar=1.0)
    drawn = label_counts(label_selection(screen, rules, max_binders=16))["drawn"]
    assert drawn["similarity"] <= 1
    assert drawn[["disynthon", "similarity", "matrix"]].sum() == 16


def test_sentences_state_the_numbers_of_their_row(screen: pd.DataFrame) -> None:
    labels = label_selection(screen, LabelRules(similar=0.8), max_binders=25)
    for row in labels.itertuples():
        assert re.search(rf"\b{row.k_target:.0f}( reads?)?\b", row.reason), row.reason
        assert row.reason.endswith(".")
        if row.kind in ("disynthon", "similarity"):
            assert f"load of {row.seq_load:.0f}" in row.reason
    truth = screen.set_index("molecule_hash")
    binders = truth.loc[labels.loc[labels["label"] == 1, "molecule_id"]]
    for row in labels[labels["kind"] == "disynthon"].itertuples():
        for x, y in re.findall(r"([ABC]) and ([ABC])", row.reason):
            columns = [f"smiles_{x.lower()}", f"smiles_{y.lower()}"]
            own = truth.loc[row.molecule_id, columns]
            assert (binders[columns] == own).all(axis=1).any()


def test_file_and_frame_and_batch_size_give_the_same_labels(
    screen: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "screen.parquet"
    screen.to_parquet(path, row_group_size=97)
    rules = LabelRules(similar=0.8)
    from_frame = label_selection(screen, rules, seed=1, max_binders=30)
    from_file = label_selection(path, rules, seed=1, max_binders=30)
    pd.testing.assert_frame_equal(from_frame, from_file)
    monkeypatch.setattr(nearest_module, "_FEWEST", 3)
    monkeypatch.setattr(nearest_module, "_MOST", 7)
    pd.testing.assert_frame_equal(from_frame, label_selection(screen, rules, 1, max_binders=30))
    screen.to_csv(tmp_path / "screen.csv", index=False)
    from_csv = label_selection(tmp_path / "screen.csv", rules, seed=1, max_binders=30)
    assert from_csv["molecule_id"].tolist() == from_frame["molecule_id"].tolist()


def test_seed_changes_the_draw_and_nothing_else_does(screen: pd.DataFrame) -> None:
    rules = LabelRules(similar=0.8)
    one, same, two = (label_selection(screen, rules, seed, max_binders=20) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert set(one["molecule_id"]) != set(two["molecule_id"])


def test_rows_are_positions_in_the_file_even_after_bad_rows_were_dropped(
    screen: pd.DataFrame,
) -> None:
    broken = screen.copy()
    broken.loc[[0, 5, 7], "seq_target_1"] = -1.0
    with pytest.warns(UserWarning, match="negative count"):
        kept = load_selection(broken, keep_valid=True)
    labels = label_selection(kept, LabelRules(similar=0.8), max_binders=20)
    assert labels.attrs["coursekit"]["file_rows"] == len(screen)
    expected = screen["molecule_hash"].iloc[labels["row"]].tolist()
    assert labels["molecule_id"].tolist() == expected


def test_unreadable_smiles_are_left_out_and_counted(screen: pd.DataFrame) -> None:
    whole = label_selection(screen, LabelRules(similar=0.8), max_binders=20)
    bad = [whole.loc[whole["kind"] == kind, "row"].iloc[0] for kind in ("binder", "easy", "matrix")]
    broken = screen.copy()
    broken.loc[bad, "smiles"] = "C1CC("
    labels = label_selection(broken, LabelRules(similar=0.8), max_binders=20)
    assert labels.attrs["coursekit"]["found"]["unreadable"] == 3
    assert not set(labels["row"]) & set(bad)
    sizes = labels["negative_set"].value_counts()
    assert sizes[""] == sizes["easy"] == sizes["hard"] == 19


def test_similarity_is_against_a_bounded_number_of_binders(
    screen: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest_module, "COMPARED_BINDERS", 4)
    labels = label_selection(screen, LabelRules(similar=0.8), max_binders=20)
    nearest = set(labels["nearest_binder"]) - {""}
    assert nearest <= set(labels.loc[labels["label"] == 1, "molecule_id"].iloc[:4])
    assert (labels["label"] == 1).sum() == 20


# Easy negatives out of the library ---------------------------------------------------------------


@pytest.fixture(scope="module")
def top_of_screen() -> pd.DataFrame:
    """Only what is enriched, or related to it: like KinDEL's 1M files, without easy negatives."""
    screen = toy_screen()
    top = screen[screen["target_enrichment"] >= 0.295]
    rules = LabelRules.near_cut()
    binder = top["target_enrichment"] >= rules.binder_enrichment
    every = set().union(*(pairs(row) for _, row in top[binder].iterrows()))
    related = [bool(pairs(row) & every) for _, row in top.iterrows()]
    return top[related].reset_index(drop=True)


NEAR_CUT = LabelRules(
    binder_enrichment=1.5,
    hard_enrichment_below=1.4,
    matrix_enrichment_below=0.5,
    hard_max_target=None,
    hard_min_load=1,
    similar=0.8,
)


def test_without_a_library_the_error_says_what_to_do(top_of_screen: pd.DataFrame) -> None:
    with pytest.raises(TaskError, match=r"no easy negative.*library=Library.from_kindel"):
        label_selection(top_of_screen, NEAR_CUT)


def test_easy_negatives_are_enumerated(top_of_screen: pd.DataFrame) -> None:
    library = toy_library()
    labels = label_selection(top_of_screen, NEAR_CUT, library=library)
    easy = labels[labels["negative_set"] == "easy"]
    assert (easy["kind"] == "enumerated").all()
    assert len(easy) == (labels["label"] == 1).sum() > 10
    assert (easy["row"] == -1).all()
    assert easy["k_target"].isna().all()
    assert easy["reason"].str.contains("Enumerated from the library").all()
    binders = labels[labels["label"] == 1]
    every = set().union(*(pairs(row) for _, row in binders.iterrows()))
    everything = toy_screen().set_index("molecule_hash")
    for _, row in easy.iterrows():
        assert not pairs(row) & every
        assert row["molecule_id"] not in set(top_of_screen["molecule_hash"])
        assert everything.loc[row["molecule_id"], "smiles"] == row["smiles"]
        assert row["similarity"] < NEAR_CUT.similar


def test_blocks_spelled_differently_are_still_the_same_blocks(top_of_screen: pd.DataFrame) -> None:
    from rdkit import Chem

    respelled = top_of_screen.copy()
    for x in "abc":
        column = f"smiles_{x}"
        respelled[column] = [
            Chem.MolToSmiles(
                Chem.MolFromSmiles(s), kekuleSmiles=True, canonical=False, rootedAtAtom=1
            )
            for s in respelled[column]
        ]
    usual = label_selection(top_of_screen, NEAR_CUT, library=toy_library())
    other = label_selection(respelled, NEAR_CUT, library=toy_library())
    assert usual["molecule_id"].tolist() == other["molecule_id"].tolist()


def test_members_in_the_file_are_not_enumerated(screen: pd.DataFrame) -> None:
    # All members are in this file, and what is easy among them is too little for three a binder.
    rules = LabelRules(similar=0.8, easy_max_target=0)
    labels = label_selection(screen, rules, negatives_per_binder=3.0, library=toy_library())
    assert not (labels["kind"] == "enumerated").any()


def test_another_library_is_refused(top_of_screen: pd.DataFrame) -> None:
    from coursekit.data.library import Library

    wrong = Library("wrong", (["CN"], ["CO"], ["CS"]), (["CN[Fr]"], ["CO[At]"], ["[Fr]CS[At]"]))
    with pytest.raises(TaskError, match="not one building block"):
        label_selection(top_of_screen, NEAR_CUT, library=wrong)


def test_two_reagents_in_one_block() -> None:
    from coursekit.data.enumerated import _spelled

    assert _spelled("OCC, c1ccccc1N") == "CCO, Nc1ccccc1"
    assert _spelled("not smiles") == "not smiles"


# Errors ------------------------------------------------------------------------------------------


def test_no_binder(screen: pd.DataFrame) -> None:
    highest = screen.loc[screen[list(MATRIX_COLUMNS)].sum(axis=1) <= 2, "target_enrichment"].max()
    with pytest.raises(TaskError, match=rf"found no binder in 1,080 rows.*{highest:.3g}"):
        label_selection(screen, LabelRules(binder_enrichment=50.0))


def test_no_hard_negative(screen: pd.DataFrame) -> None:
    rules = LabelRules(hard_min_load=1_000, matrix_min_reads=10_000)
    with pytest.raises(TaskError, match=r"no hard negative.*load of 1000.*near_cut"):
        label_selection(screen, rules)


def test_too_few_negatives_for_one_binder(screen: pd.DataFrame) -> None:
    with pytest.raises(TaskError, match="too few for one binder"):
        label_selection(screen, LabelRules(similar=0.8), negatives_per_binder=900.0)


@pytest.mark.parametrize("arguments", [{"max_binders": 0}, {"negatives_per_binder": 0.0}])
def test_senseless_numbers(screen: pd.DataFrame, arguments: dict[str, float]) -> None:
    with pytest.raises(TaskError, match="above 0"):
        label_selection(screen, **arguments)  # type: ignore[arg-type]


def test_a_molecule_twice_in_a_file(screen: pd.DataFrame, tmp_path: Path) -> None:
    labels = label_selection(screen, LabelRules(similar=0.8))
    binder = labels["row"].iloc[0]
    path = tmp_path / "twice.parquet"
    pd.concat([screen, screen.iloc[[binder]]], ignore_index=True).to_parquet(path)
    with pytest.raises(TaskError, match=rf"more than once, in rows \[.*{len(screen)}"):
        label_selection(path, LabelRules(similar=0.8))


def test_binders_that_rdkit_cannot_read(screen: pd.DataFrame) -> None:
    with pytest.raises(TaskError, match=r"can read none of .* binders"):
        label_selection(screen.assign(smiles="not a molecule"))


def test_whole_sample_has_every_class_in_plenty() -> None:
    labels = label_selection("sample", max_binders=300)
    counts = label_counts(labels)
    assert (counts.loc[["binder", "easy", "disynthon"], "found"] >= [1000, 10_000, 300]).all()
    assert counts["drawn"].to_dict() == {
        "binder": 300,
        "easy": 300,
        "enumerated": 0,
        "disynthon": 180,
        "similarity": 60,
        "matrix": 60,
    }
    assert np.isfinite(labels.loc[labels["label"] == 0, "similarity"]).all()
