from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from toy_screen import toy_screen

from coursekit.data.chemistry import parent_key, scaffold
from coursekit.data.labels import label_selection
from coursekit.data.published_splits import PARTS, SPLIT_COLUMNS
from coursekit.data.rules import LabelRules
from coursekit.data.sources import kindel_dir as kindel_cache
from coursekit.data.splits import _stratified, balanced, read_splits, split_labels
from coursekit.errors import SelectionError, TaskError


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    return label_selection(toy_screen(), LabelRules(similar=0.8), max_binders=60)


def published(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({c: random.choice(PARTS, rows, p=[0.6, 0.2, 0.2]) for c in SPLIT_COLUMNS})


def in_two_parts(names: pd.Series, parts: np.ndarray) -> set[str]:
    table = pd.DataFrame({"name": np.asarray(names), "part": parts})
    table = table[table["part"] != ""]
    spread = table.groupby("name")["part"].nunique()
    return set(spread[spread > 1].index)


@pytest.mark.parametrize("rule", ["random", "disynthon", "scaffold"])
def test_sizes_follow_the_fractions_in_each_class(labels: pd.DataFrame, rule: str) -> None:
    split = split_labels(labels, rule, fractions=(0.6, 0.2, 0.2))
    for name in ("", "easy", "hard"):
        here = split.parts[(labels["negative_set"] == name).to_numpy()]
        shares = [np.mean(here == part) for part in PARTS]
        # Single molecules fill up exactly; groups cannot be divided.
        assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.03 if rule == "random" else 0.15)


@pytest.mark.parametrize("pair", ["AB", "AC", "BC"])
def test_no_pair_of_blocks_is_in_two_parts(labels: pd.DataFrame, pair: str) -> None:
    split = split_labels(labels, "disynthon", disynthon=pair)
    names = labels[f"smiles_{pair[0].lower()}"] + " " + labels[f"smiles_{pair[1].lower()}"]
    assert in_two_parts(names, split.parts) == set()
    assert f"no {pair} pair" in split.guarantee
    # The guarantee is worth something: a random split does not give it.
    assert in_two_parts(names, split_labels(labels, "random").parts)


def test_no_scaffold_is_in_two_parts(labels: pd.DataFrame) -> None:
    names = pd.Series([scaffold(smiles) for smiles in labels["smiles"]])
    assert in_two_parts(names, split_labels(labels, "scaffold").parts) == set()
    assert in_two_parts(names, split_labels(labels, "random").parts)


def test_molecules_without_a_ring_are_not_one_scaffold() -> None:
    chains = pd.DataFrame({"smiles": ["C" * n for n in range(2, 62)], "negative_set": "easy"})
    parts = split_labels(chains, "scaffold", fractions=(0.5, 0.25, 0.25)).parts
    assert [(parts == part).sum() for part in PARTS] == [30, 15, 15]


# Leaks -------------------------------------------------------------------------------------------


def respelled(smiles: str, seed: int) -> str:
    molecule = Chem.MolFromSmiles(smiles)
    order = np.random.default_rng(seed).permutation(molecule.GetNumAtoms()).tolist()
    return Chem.MolToSmiles(Chem.RenumberAtoms(molecule, order), canonical=False)


def disguises(smiles: str, seed: int) -> list[str]:
    """The same compound under other spellings, as salts, stereoisomers and isotopomers."""
    shuffled = respelled(smiles, seed)
    labelled = Chem.MolFromSmiles(smiles)
    labelled.GetAtomWithIdx(0).SetIsotope(13)
    return [smiles, shuffled, f"{shuffled}.Cl", f"[Na+].[Cl-].{smiles}", Chem.MolToSmiles(labelled)]


STEREO = [
    ("C[C@H](N)C(=O)NCc1ccccc1", "C[C@@H](N)C(=O)NCc1ccccc1"),
    ("OC(=O)/C=C/c1ccccc1", "OC(=O)/C=C\\c1ccccc1"),
    ("NCC(=O)O", "[NH3+]CC(=O)[O-]"),
    ("CC(=O)O", "CC(=O)[O-].[Na+]"),
]


@pytest.fixture(scope="module")
def disguised(labels: pd.DataFrame) -> pd.DataFrame:
    some = labels.groupby("negative_set").head(12)
    rows = [
        {**row._asdict(), "smiles": other, "parent": row.Index}
        for row in some.itertuples()
        for other in disguises(row.smiles, row.Index)
    ]
    rows += [
        {**rows[0], "smiles": smiles, "parent": 10_000 + i, "negative_set": "easy"}
        for i, pair in enumerate(STEREO)
        for smiles in pair
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0).reset_index(drop=True)


@pytest.mark.parametrize("rule", ["random", "disynthon", "scaffold"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_molecule_is_in_two_parts_whatever_its_spelling(
    disguised: pd.DataFrame, rule: str, seed: int
) -> None:
    split = split_labels(disguised, rule, seed)
    assert set(split.parts) == set(PARTS)
    assert in_two_parts(disguised["parent"], split.parts) == set()


def test_leaks_under_published_splits_are_taken_out_of_train(disguised: pd.DataFrame) -> None:
    frame = disguised.assign(row=np.arange(len(disguised)))
    splits = published(len(frame))
    before = splits["split2"].to_numpy()
    leaks = in_two_parts(frame["parent"], before)
    split = split_labels(frame, "split2", splits=splits)
    assert len(leaks) > 5
    assert in_two_parts(frame["parent"], split.parts) == set()
    kept = split.parts != ""
    assert (split.parts[kept] == before[kept]).all()
    rank = {"train": 0, "valid": 1, "test": 2}
    for parent, rows in frame.groupby("parent").groups.items():
        highest = max((before[i] for i in rows), key=rank.__getitem__)
        removed = [i for i in rows if not kept[i]]
        assert [i for i in rows if before[i] == highest] == [i for i in rows if kept[i]], parent
        assert all(before[i] != "test" for i in removed)


def test_published_splits_go_by_row(labels: pd.DataFrame) -> None:
    splits = published(1080)
    split = split_labels(labels, "split5", splits=splits)
    kept = split.parts != ""
    assert kept.mean() > 0.9
    assert (split.parts == splits["split5"].to_numpy()[labels["row"]])[kept].all()


def test_enumerated_molecules_follow_the_binders_shares(labels: pd.DataFrame) -> None:
    easy = labels["negative_set"] == "easy"
    frame = labels.assign(row=labels["row"].where(~easy, -1))
    split = split_labels(frame, "split1", splits=published(1080))
    binders = split.parts[(labels["label"] == 1).to_numpy()]
    for part in PARTS:
        share = np.mean(split.parts[easy.to_numpy()] == part)
        assert share == pytest.approx(np.mean(binders == part), abs=0.05)


# Assignment --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 40), min_size=30, max_size=150),
    seed=st.integers(0, 3),
)
def test_groups_stay_whole_and_order_does_not_matter(groups: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    group = np.array(groups)
    classes = random.integers(0, 3, len(group))
    order = random.permutation(len(group)).astype(np.uint64)
    parts = _stratified(group, classes, order, (0.7, 0.15, 0.15))
    assert all(len(set(parts[group == g])) == 1 for g in set(groups))
    shuffle = random.permutation(len(group))
    again = _stratified(group[shuffle], classes[shuffle], order[shuffle], (0.7, 0.15, 0.15))
    assert (again == parts[shuffle]).all()


def test_parts_do_not_depend_on_the_order_of_rows(labels: pd.DataFrame) -> None:
    shuffled = labels.sample(frac=1, random_state=1)
    for rule in ("random", "disynthon"):
        one, two = (split_labels(frame, rule, seed=4) for frame in (labels, shuffled))
        assert dict(zip(labels["molecule_id"], one.parts, strict=True)) == dict(
            zip(shuffled["molecule_id"], two.parts, strict=True)
        )
        kept = [
            set(frame["molecule_id"][balanced(split, frame["negative_set"], 4, 1.0)])
            for frame, split in ((labels, one), (shuffled, two))
        ]
        assert kept[0] == kept[1]


def test_seeds_give_other_parts(labels: pd.DataFrame) -> None:
    one, two = (split_labels(labels, "random", seed=seed).parts for seed in (0, 1))
    assert 0.2 < np.mean(one == two) < 0.8


@pytest.mark.parametrize("per_binder", [0.5, 1.0, 2.0])
def test_balanced_parts(labels: pd.DataFrame, per_binder: float) -> None:
    split = split_labels(labels, "disynthon")
    keep = balanced(split, labels["negative_set"], 0, per_binder)
    for part in PARTS:
        sets = labels["negative_set"][keep & (split.parts == part)].value_counts()
        assert sets["easy"] == sets["hard"] == round(per_binder * sets[""])


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rule": "rendom"}, "no split 'rendom'; choose one of random, disynthon"),
        ({"fractions": (0.8, 0.1)}, "sum to 1"),
        ({"fractions": (0.8, 0.1, 0.2)}, "sum to 1"),
        ({"fractions": (1.0, 0.0, 0.0)}, "three positive"),
        ({"rule": "disynthon", "disynthon": "BA"}, "choose one of AB, AC, BC"),
        ({"rule": "split3"}, "needs its split file"),
    ],
)
def test_wrong_arguments(labels: pd.DataFrame, arguments: dict[str, object], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        split_labels(labels, **arguments)  # type: ignore[arg-type]


def test_splits_that_do_not_fit() -> None:
    table = published(100)
    assert read_splits(table, "split1", 100, None) is table
    with pytest.raises(TaskError, match="100 rows and the selection's file has 90"):
        read_splits(table, "split1", 90, None)
    with pytest.raises(TaskError, match="'split1' is missing"):
        read_splits(table.drop(columns="split1"), "split1", 100, None)
    with pytest.raises(TaskError, match="row 7: found 'dev'"):
        read_splits(table.assign(split1=["train"] * 7 + ["dev"] * 93), "split1", 100, None)
    with pytest.raises(TaskError, match='splits="mapk14_random"'):
        read_splits("random", "split1", 100, None)
    path = kindel_cache() / "splits" / "ddr1_disynthon.parquet"
    path.parent.mkdir(parents=True)
    table.to_parquet(path)
    by_kind = read_splits("disynthon", "split1", 100, "ddr1")
    assert (by_kind["split1"] == table["split1"]).all()
    assert (read_splits(path, "split1", 100, None)["split1"] == table["split1"]).all()
    with pytest.raises(SelectionError, match="90"):
        read_splits(path, "split1", 90, None)


def test_real_split_file(kindel_dir: Path) -> None:
    splits = read_splits(kindel_dir / "splits" / "mapk14_disynthon.parquet", "split1", 10**6, None)
    rows = np.arange(0, 10**6, 5_000)
    frame = pd.DataFrame(
        {"smiles": ["C" * (i % 70 + 1) + "O" * (i // 70) for i in range(200)], "row": rows}
    ).assign(negative_set="easy")
    split = split_labels(frame, "split1", splits=splits)
    assert (split.parts == splits["split1"].to_numpy()[rows]).all()


def test_parent_keys_tell_different_molecules_apart(labels: pd.DataFrame) -> None:
    split = split_labels(labels, "random")
    assert len(set(split.keys)) == len({parent_key(s) for s in labels["smiles"]}) == len(labels)
