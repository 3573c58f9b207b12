from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_screen import screen_of, toy_library, toy_screen

from coursekit.data.binding_task import TASK_COLUMNS
from coursekit.data.labels import label_selection
from coursekit.data.paths import bundled
from coursekit.data.published_splits import PARTS, SPLIT_COLUMNS
from coursekit.data.rules import LabelRules
from coursekit.data.selection import load_selection
from coursekit.data.sources import kindel_dir as cached_kindel
from coursekit.data.task import READY, BindingTask, course_task, load_task, make_task
from coursekit.errors import SelectionError, TaskError

RULES = LabelRules(similar=0.8)


@pytest.fixture(scope="module")
def screen() -> pd.DataFrame:
    return toy_screen()


@pytest.fixture(scope="module")
def task(screen: pd.DataFrame) -> BindingTask:
    return make_task(screen, rules=RULES, name="toy")


def everything(task: BindingTask) -> pd.DataFrame:
    return pd.concat([task.part(name).assign(part=name) for name in PARTS], ignore_index=True)


def test_parts_are_what_label_selection_drew(screen: pd.DataFrame, task: BindingTask) -> None:
    labels = label_selection(screen, RULES).set_index("molecule_id")
    rows = everything(task)
    assert rows["molecule_id"].is_unique
    assert tuple(task.train.columns) == TASK_COLUMNS
    for column in ("smiles", "label", "negative_set", "reason", "nearest_binder"):
        assert (labels.loc[rows["molecule_id"], column].to_numpy() == rows[column]).all()
    left_out = len(labels) - len(rows)
    assert task.settings["left_out_for_balance"] == left_out < 6
    assert task.settings["removed_as_leak"] == 0


@pytest.mark.parametrize("per_binder", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("split", ["random", "disynthon", "scaffold"])
def test_every_part_has_the_stated_prevalence(
    screen: pd.DataFrame, split: str, per_binder: float
) -> None:
    task = make_task(screen, split, rules=RULES, negatives_per_binder=per_binder)
    stated = task.settings["prevalence"]
    assert stated == pytest.approx(1 / (1 + per_binder))
    table = task.summary()
    for part in PARTS:
        label = task.part(part)["label"]
        sets = task.part(part)["negative_set"]
        for name in ("easy", "hard"):
            scored = label[sets.isin(["", name])]
            # Half a negative cannot be drawn: the rounding of one molecule is allowed.
            assert abs(scored.mean() - stated) <= 1 / len(scored)
        assert table.loc[part, "binders"] == label.sum() >= 5


def test_fractions_are_kept(screen: pd.DataFrame) -> None:
    task = make_task(screen, rules=RULES, max_binders=60, fractions=(0.5, 0.25, 0.25))
    assert task.summary()["binders"].tolist() == [30, 15, 15]


def test_name_path_and_frame_make_the_same_task(
    screen: pd.DataFrame, task: BindingTask, tmp_path: Path
) -> None:
    path = tmp_path / "other_name.parquet"
    screen.to_parquet(path)
    from_file = make_task(path, rules=RULES)
    assert from_file.name == "other_name"
    assert from_file.fingerprint == task.fingerprint
    assert make_task(load_selection(path), rules=RULES).name == "other_name"


# Fingerprint -------------------------------------------------------------------------------------


def test_fingerprint_depends_on_what_matters_only(task: BindingTask) -> None:
    shuffled = replace(task, train=task.train.sample(frac=1, random_state=0), name="renamed")
    reworded = replace(task, valid=task.valid.assign(reason="because", similarity=0.0))
    assert shuffled.fingerprint == reworded.fingerprint == task.fingerprint
    flipped = task.test.copy()
    flipped.loc[3, "label"] = 1 - flipped.loc[3, "label"]
    renamed = task.test.copy()
    renamed.loc[3, "molecule_id"] = "another"
    others = [
        replace(task, test=flipped),
        replace(task, test=renamed),
        replace(task, test=task.test.iloc[1:]),
        replace(task, valid=task.test, test=task.valid),
        replace(task, settings=task.settings | {"seed": 1}),
    ]
    prints = {task.fingerprint, *(other.fingerprint for other in others)}
    assert len(prints) == 1 + len(others)
    assert all(len(p) == 64 and int(p, 16) >= 0 for p in prints)


def test_fingerprint_is_the_same_tomorrow() -> None:
    """Records refer to it: a change of value breaks every submission made before."""
    rows = pd.DataFrame(
        {"molecule_id": ["b", "a"], "smiles": ["CO", "CN"], "label": [1, 0]},
    ).assign(negative_set=["", "easy"])
    task = BindingTask("fixed", rows, rows.iloc[:1], rows.iloc[1:], {"seed": 0, "split": "random"})
    assert task.fingerprint == ("6f49b5932723575c3e7c5e60717380758aa7b240ab7cda73bc9d13a848bd2c37")


def test_seeds_and_splits_have_fingerprints_of_their_own(screen: pd.DataFrame) -> None:
    made = [
        make_task(screen, split, seed, RULES)
        for split in ("random", "disynthon")
        for seed in (0, 1)
    ]
    assert len({task.fingerprint for task in made}) == 4


def test_a_task_is_frozen(task: BindingTask) -> None:
    with pytest.raises(FrozenInstanceError):
        task.fingerprint = "0"  # type: ignore[misc]


# KinDEL's own splits -----------------------------------------------------------------------------


def published(rows: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({c: random.choice(PARTS, rows, p=[0.6, 0.2, 0.2]) for c in SPLIT_COLUMNS})


def test_published_split_by_table_and_by_file(screen: pd.DataFrame, tmp_path: Path) -> None:
    table = published(len(screen))
    table.to_parquet(tmp_path / "splits.parquet")
    task = make_task(screen, "split3", rules=RULES, splits=table)
    same = make_task(screen, "split3", rules=RULES, splits=tmp_path / "splits.parquet")
    assert task.fingerprint == same.fingerprint
    place = pd.Series(table["split3"].to_numpy(), index=screen["molecule_hash"])
    rows = everything(task)
    assert (place[rows["molecule_id"]].to_numpy() == rows["part"]).all()


def test_published_split_after_bad_rows_were_dropped(screen: pd.DataFrame) -> None:
    table = published(len(screen))
    broken = screen.copy()
    broken.loc[:20, "seq_load"] = -1
    with pytest.warns(UserWarning, match="21 negative count"):
        kept = load_selection(broken, keep_valid=True)
    task = make_task(kept, "split1", rules=RULES, splits=table)
    place = pd.Series(table["split1"].to_numpy(), index=screen["molecule_hash"])
    rows = everything(task)
    assert (place[rows["molecule_id"]].to_numpy() == rows["part"]).all()


def test_splits_of_another_length(screen: pd.DataFrame) -> None:
    with pytest.raises(TaskError, match=r"1,079 rows and the selection's file has 1,080"):
        make_task(screen, "split1", rules=RULES, splits=published(1079))


def test_leaks_are_counted(screen: pd.DataFrame) -> None:
    doubled = screen.copy()
    doubled["molecule_hash"] = ["x" + h[1:] for h in doubled["molecule_hash"]]
    doubled["smiles"] = [f"{smiles}.Cl" for smiles in doubled["smiles"]]
    both = pd.concat([screen, doubled], ignore_index=True)
    both = both.astype({c: object for c in both.columns if c.startswith(("smiles", "mol"))})
    task = make_task(both, "split1", rules=RULES, splits=published(len(both)))
    assert task.settings["removed_as_leak"] > 10


# What a reader sees ------------------------------------------------------------------------------


def test_text_and_html(task: BindingTask) -> None:
    assert str(task).startswith("Binding task toy, split random, fingerprint ")
    assert repr(task) == str(task)
    html = replace(task, name="<toy>")._repr_html_()
    assert "<caption>Binding task &lt;toy&gt;" in html
    assert html.count('<th scope="row">') == 3
    assert html.count('<th scope="col">') == 6
    assert f"<td>{task.train['label'].sum()}</td>" in html
    assert "<td>0.5</td>" in html


def test_parts_by_name(task: BindingTask) -> None:
    assert task.part("valid") is task.valid
    with pytest.raises(TaskError, match="no part 'dev'"):
        task.part("dev")


# Files -------------------------------------------------------------------------------------------


def test_saved_and_loaded(task: BindingTask, tmp_path: Path) -> None:
    task.save(tmp_path / "task")
    back = BindingTask.load(tmp_path / "task")
    assert (back.name, back.fingerprint) == (task.name, task.fingerprint)
    assert back.settings == task.settings
    for part in PARTS:
        pd.testing.assert_frame_equal(back.part(part), task.part(part))


def test_changed_files_are_noticed(task: BindingTask, tmp_path: Path) -> None:
    task.save(tmp_path)
    task.test.assign(label=0).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(TaskError, match="a file was changed"):
        BindingTask.load(tmp_path)
    facts = json.loads((tmp_path / "task.json").read_text())
    (tmp_path / "task.json").write_text(json.dumps(facts | {"version": 99}))
    with pytest.raises(TaskError, match="version 99"):
        BindingTask.load(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(TaskError, match="no readable task"):
        BindingTask.load(tmp_path)
    with pytest.raises(TaskError, match="no readable task"):
        BindingTask.load(tmp_path / "nowhere")


# Errors ------------------------------------------------------------------------------------------


def test_too_few_binders(screen: pd.DataFrame) -> None:
    with pytest.raises(
        TaskError, match=r"part 'valid' would have 2 binders.*train: 8.*max_binders"
    ):
        make_task(screen, rules=RULES, max_binders=11, fractions=(0.72, 0.14, 0.14))


def test_unknown_split_is_told_before_the_file_is_read() -> None:
    with pytest.raises(TaskError, match="no split 'rnd'"):
        make_task("nowhere.parquet", "rnd")


def test_unknown_selection() -> None:
    with pytest.raises(SelectionError, match="sample"):
        load_task("sampel")


# The course's own tasks --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_task_that_comes_with_the_kit_is_what_the_command_makes(tmp_path: Path) -> None:
    """``python -m coursekit.data.sample_task``: values, types, settings and order."""
    made = course_task("sample")
    for found in (load_task("sample"), BindingTask.load(made.save(tmp_path))):
        assert (found.name, found.fingerprint) == (made.name, made.fingerprint)
        assert found.settings == made.settings
        for part in ("train", "valid", "test"):
            pd.testing.assert_frame_equal(found.part(part), made.part(part), check_exact=True)
            assert found.part(part).attrs == {}
    assert (tmp_path / "task.json").read_text() == (bundled(READY) / "task.json").read_text()


def test_sample_task() -> None:
    task = load_task("sample")
    assert task.summary()["binders"].tolist() == [960, 240, 400]
    assert task.summary()[["prevalence (easy)", "prevalence (hard)"]].eq(0.5).all().all()
    assert everything(task)["molecule_id"].is_unique
    assert task.name == "sample"


def test_kindel_task_enumerates_its_easy_negatives(
    kindel_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KinDEL's real synthons, a small 1M-like file with simulated counts."""
    from coursekit.data import task as module
    from coursekit.data.library import Library

    library = Library.from_kindel(kindel_dir / "synthons")
    members = np.repeat(library.sample(40, 0), 5, axis=0)  # 40 AB pairs with five C each
    members[:, 2] = (members[:, 2] + np.tile(np.arange(5), 40)) % library.n_c
    binds = np.arange(200) % 2 == 0
    counts = np.where(binds, 14, 6), np.where(binds, 0, 1)  # enrichment 2.1 and 0.395
    top = screen_of(library, members, *counts, load=np.full(200, 20))
    folder = cached_kindel()
    folder.mkdir(parents=True)
    (folder / "synthons").symlink_to(kindel_dir / "synthons")
    top.to_parquet(folder / "mapk14_1M.parquet")
    monkeypatch.setattr(module, "COURSE_BINDERS", 60)
    task = load_task("mapk14")
    easy = everything(task).query("negative_set == 'easy'")
    assert (easy["kind"] == "enumerated").all()
    assert task.settings["rules"]["hard_enrichment_below"] == 0.5
    with pytest.raises(SelectionError, match="coursekit data fetch ddr1"):
        load_task("ddr1")


def test_enumerated_easy_negatives_in_a_task() -> None:
    screen = toy_screen()
    quiet = screen["target_enrichment"] == 0
    some = screen[~quiet | (screen.index % 10 == 0)].reset_index(drop=True)
    rules = LabelRules(similar=0.8, easy_max_target=0, hard_min_load=5)
    task = make_task(some, rules=rules, library=toy_library())
    assert "enumerated" in set(everything(task)["kind"])


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_share_keeps_the_prevalence_and_says_what_it_is(task: BindingTask, share: float) -> None:
    small = task.share(share)
    for part in PARTS:
        whole, few = task.part(part), small.part(part)
        assert set(few["molecule_id"]) <= set(whole["molecule_id"])
        counts = whole["negative_set"].value_counts()
        assert (few["negative_set"].value_counts() == (share * counts).round()).all()
        order = whole[whole["molecule_id"].isin(few["molecule_id"])]["molecule_id"]
        assert list(order) == list(few["molecule_id"])
    assert small.settings["share"] == share
    assert small.fingerprint == task.share(share).fingerprint != task.fingerprint
    assert set(small.train["molecule_id"]) >= set(task.share(share / 2).train["molecule_id"])


def test_the_whole_is_a_share_and_nothing_is_none(task: BindingTask) -> None:
    assert task.share(1) is task
    for wrong in (0, -0.5, 1.5, float("nan"), True, "half"):
        with pytest.raises(TaskError, match="above 0"):
            task.share(wrong)
