"""Blind molecules: drawn by the task's rules, in no part of it, and read back whole."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_screen import toy_screen

from coursekit.data.blind import BLIND_FILE, LABELS_FILE, BlindSet, make_blind, read_blind
from coursekit.data.chemistry import parent_key, scaffold
from coursekit.data.labels import label_selection
from coursekit.data.rules import LabelRules
from coursekit.data.task import BindingTask, make_task
from coursekit.errors import TaskError

RULES = LabelRules(similar=0.8)


@pytest.fixture(scope="module")
def screen() -> pd.DataFrame:
    return toy_screen()


@pytest.fixture(scope="module")
def task(screen: pd.DataFrame) -> BindingTask:
    return make_task(screen, rules=RULES, name="toy", max_binders=40)


@pytest.fixture(scope="module")
def blind(screen: pd.DataFrame, task: BindingTask) -> BlindSet:
    return make_blind(task, screen, seed=5, binders=10, known=6)


def test_no_molecule_of_the_task_is_scored_and_labels_follow_its_rules(
    screen: pd.DataFrame, task: BindingTask, blind: BlindSet
) -> None:
    molecules = blind.molecules.set_index("molecule_id")["smiles"]
    keys = {parent_key(s) for part in ("train", "valid", "test") for s in task.part(part)["smiles"]}
    scored = molecules.loc[blind.scored["molecule_id"]]
    assert len(scored) == 30
    assert not {parent_key(smiles) for smiles in scored} & keys
    assert blind.scored["negative_set"].value_counts().to_dict() == {"": 10, "easy": 10, "hard": 10}
    labels = label_selection(screen, RULES, 5).set_index("smiles")["label"]
    drawn = blind.scored.set_index("molecule_id")["label"]
    both = [i for i in drawn.index if molecules[i] in labels.index]
    assert len(both) > 20
    assert all(drawn[i] == labels[molecules[i]] for i in both)
    known = blind.labels[blind.labels["known_as"] != ""]
    test = task.test.set_index("molecule_id")["smiles"]
    assert (molecules.loc[known["molecule_id"]].to_numpy() == test.loc[known["known_as"]]).all()
    assert len(known) == 6


def test_what_learners_get_says_nothing(blind: BlindSet, tmp_path: Path) -> None:
    blind.save(tmp_path)
    table = pd.read_csv(tmp_path / BLIND_FILE)
    assert list(table.columns) == ["molecule_id", "smiles"]
    assert table["molecule_id"].is_monotonic_increasing  # ids are given after the shuffle
    kinds = blind.labels["negative_set"].ne("").to_numpy()
    changes = int((kinds[1:] != kinds[:-1]).sum())
    assert changes > 5, "binders stand among negatives"
    assert "label" not in (tmp_path / BLIND_FILE).read_text()


def test_it_is_read_back_whole_or_not_at_all(blind: BlindSet, tmp_path: Path) -> None:
    blind.save(tmp_path)
    back = BlindSet.load(tmp_path)
    pd.testing.assert_frame_equal(back.molecules, blind.molecules, check_dtype=False)
    pd.testing.assert_frame_equal(back.labels, blind.labels, check_dtype=False)
    assert (back.task, back.fingerprint) == (blind.task, blind.fingerprint)
    assert read_blind(tmp_path / BLIND_FILE).equals(
        blind.molecules.astype(read_blind(tmp_path / BLIND_FILE).dtypes)
    )
    path = tmp_path / LABELS_FILE
    data = json.loads(path.read_text())
    data["smiles"][0] = "C"
    path.write_text(json.dumps(data))
    with pytest.raises(TaskError, match="was changed"):
        BlindSet.load(path)
    with pytest.raises(TaskError, match="no labels of a blind set"):
        BlindSet.load(tmp_path / "nowhere")


def test_the_same_seed_draws_the_same(screen: pd.DataFrame, task: BindingTask) -> None:
    sets = [make_blind(task, screen, seed=s, binders=6, known=3) for s in (1, 1, 2)]
    assert sets[0].fingerprint == sets[1].fingerprint != sets[2].fingerprint


@pytest.mark.parametrize("split", ["scaffold", "disynthon"])
def test_blind_molecules_are_as_far_from_train_as_test_is(screen: pd.DataFrame, split: str) -> None:
    task = make_task(screen, split, rules=RULES, max_binders=40, name="toy")
    blind = make_blind(task, screen, seed=0, binders=2, known=0, seen=screen.iloc[:0])
    assert len(blind.scored) == 6
    if split == "scaffold":
        cores = set(map(scaffold, task.train["smiles"]))
        assert not cores & set(map(scaffold, blind.molecules["smiles"]))
        return
    blocks = screen.set_index("smiles")[["smiles_a", "smiles_b"]]
    hidden = screen.assign(molecule_hash=screen["molecule_hash"].where(
        screen["molecule_hash"].isin(task.train["molecule_id"]), "another"))  # fmt: skip
    blind = make_blind(task, screen, seed=0, binders=2, known=0, seen=hidden)
    pairs = set(map(tuple, blocks.loc[task.train["smiles"]].to_numpy()))
    assert not pairs & set(map(tuple, blocks.loc[blind.molecules["smiles"]].to_numpy()))


def test_nothing_that_learners_have_seen(screen: pd.DataFrame, task: BindingTask) -> None:
    with pytest.raises(TaskError, match="0 are not in the task"):
        make_blind(task, screen, seed=0, binders=6, seen=screen)


def test_more_than_there_are(screen: pd.DataFrame, task: BindingTask) -> None:
    with pytest.raises(TaskError, match="Ask for fewer"):
        make_blind(task, screen, seed=0, binders=500)


@pytest.mark.parametrize(
    "content",
    ["", "a,b\n1,2\n", "molecule_id,smiles\n", "molecule_id,smiles\nx,C\nx,N\n",
     "molecule_id,smiles\nx,\n", "molecule_id,smiles\nx," + "C" * 501 + "\n", "\x00\x00"],
)  # fmt: skip
def test_what_is_no_table_of_molecules(content: str, tmp_path: Path) -> None:
    (tmp_path / "blind.csv").write_text(content)
    with pytest.raises(TaskError):
        read_blind(tmp_path / "blind.csv")


@settings(max_examples=150, deadline=None)
@given(raw=st.binary(max_size=80), headed=st.booleans())
def test_any_bytes_are_molecules_or_an_error(
    raw: bytes, headed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "blind.csv"
    path.write_bytes(b"molecule_id,smiles\n" * headed + raw)
    with contextlib.suppress(TaskError):
        assert list(read_blind(path)) == ["molecule_id", "smiles"]
    with contextlib.suppress(TaskError):
        BlindSet.load(path)
