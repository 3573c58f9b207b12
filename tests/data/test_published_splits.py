from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coursekit.data.published_splits import SPLIT_COLUMNS, load_splits
from coursekit.errors import SelectionError


def write(path, rows: int = 10, **changes):
    frame = pd.DataFrame({name: ["train", "valid"] * (rows // 2) for name in SPLIT_COLUMNS})
    for column, (row, value) in changes.items():
        frame.loc[row, column] = value
    frame.to_parquet(path)
    return path


def test_real_random_splits_have_the_published_sizes(kindel_dir):
    splits = load_splits(kindel_dir / "splits" / "mapk14_random.parquet", n_rows=1_000_000)
    for column in SPLIT_COLUMNS:
        counts = splits[column].value_counts()
        assert counts.to_dict() == {"train": 800_000, "valid": 100_000, "test": 100_000}
    assert (splits["split1"] != splits["split2"]).any()


def test_real_disynthon_splits_are_near_eighty_ten_ten(kindel_dir):
    splits = load_splits(kindel_dir / "splits" / "ddr1_disynthon.parquet")
    shares = splits["split3"].value_counts(normalize=True)
    np.testing.assert_allclose(shares[["train", "valid", "test"]], [0.8, 0.1, 0.1], atol=0.02)


def test_rows_go_by_position_and_rows_left_out_can_be_matched(tmp_path):
    splits = load_splits(write(tmp_path / "s.parquet"), n_rows=10)
    assert splits.loc[[1, 4], "split1"].tolist() == ["valid", "train"]


def test_another_length_is_refused_with_the_way_out(tmp_path):
    path = write(tmp_path / "s.parquet")
    with pytest.raises(SelectionError, match=r"10 rows .* 9.*loc\[selection.index\]"):
        load_splits(path, n_rows=9)


@pytest.mark.parametrize("value", ["holdout", None])
def test_another_word_is_named(tmp_path, value):
    path = write(tmp_path / "s.parquet", split4=(7, value))
    with pytest.raises(SelectionError, match=r"'split4', row 7 .*expected train, valid or test"):
        load_splits(path)


def test_other_columns(tmp_path):
    path = tmp_path / "s.parquet"
    pd.DataFrame({"split1": ["train"], "smiles": ["C"]}).to_parquet(path)
    with pytest.raises(SelectionError, match=r"'split2' is missing.*load_selection"):
        load_splits(path)
    pd.DataFrame({name: ["train"] for name in (*SPLIT_COLUMNS, "split6")}).to_parquet(path)
    with pytest.raises(SelectionError, match="'split6' is extra"):
        load_splits(path)


def test_damaged_and_missing_files(tmp_path):
    path = write(tmp_path / "s.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 60 + content[64:])
    with pytest.raises(SelectionError, match="damaged"):
        load_splits(path)
    with pytest.raises(SelectionError, match=r"coursekit data fetch mapk14$"):
        load_splits("mapk14_random")
    with pytest.raises(SelectionError, match="did you mean 'ddr1_random'"):
        load_splits("ddr1_randon")
