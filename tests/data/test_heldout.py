from __future__ import annotations

import pandas as pd
import pytest

from coursekit.data.heldout import load_heldout
from coursekit.errors import SelectionError

ROWS = {
    "smiles": ["CCO", "CCN"],
    "molecule_hash": [None, "ab"],
    "kd": [12.5, 900.0],
    "smiles_a": [None, "N"],
    "smiles_b": [None, "C"],
    "smiles_c": [None, "O"],
}


@pytest.mark.parametrize(
    ("name", "rows", "in_library", "below_1_um"),
    [
        ("mapk14_ondna", 41, 30, 22),
        ("mapk14_offdna", 34, 33, 5),
        ("ddr1_ondna", 54, 39, None),
        ("ddr1_offdna", 51, 49, None),
    ],
)
def test_the_real_tables(kindel_dir, name, rows, in_library, below_1_um):
    table = load_heldout(kindel_dir / "heldout" / f"{name}.csv")
    assert len(table) == rows
    assert table["in_library"].sum() == in_library
    assert table["in_library"].dtype == bool
    assert table["kd_nm"].dtype == float
    if below_1_um is not None:
        assert (table["kd_nm"] < 1000).sum() == below_1_um
    outside = table[~table["in_library"]]
    assert all(value is None for value in outside["molecule_hash"])
    assert all(value is None for value in outside["smiles_b"])


def test_the_real_kd_of_zero_is_kept_and_noted(kindel_dir):
    table = load_heldout(kindel_dir / "heldout" / "ddr1_offdna.csv")
    noted = table[table["kd_note"] != ""]
    assert noted["kd_nm"].tolist() == [0.0]
    assert not noted["in_library"].any()


def test_a_fetched_table_is_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    with pytest.raises(SelectionError, match=r"coursekit data fetch ddr1$"):
        load_heldout("ddr1_ondna")
    (tmp_path / "kindel" / "heldout").mkdir(parents=True)
    pd.DataFrame(ROWS).to_csv(tmp_path / "kindel" / "heldout" / "ddr1_ondna.csv")
    table = load_heldout("ddr1_ondna")
    assert table["kd_nm"].tolist() == [12.5, 900.0]
    assert table["in_library"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("column", "row", "value", "words"),
    [
        ("kd", 1, -3.0, r"'kd', row 1 .* found -3.0; expected a Kd in nM, at least 0"),
        ("kd", 0, None, "'kd', row 0 .* found nan"),
        ("kd", 0, ">1000", "'kd', row 0 .* found '>1000'"),
        ("kd", 0, float("inf"), "'kd', row 0 .* found inf"),
        ("smiles", 1, None, "'smiles', row 1 .* expected a SMILES"),
        ("smiles_c", 1, None, "'smiles_c', row 1 .* exactly where molecule_hash is given"),
        ("smiles_a", 0, "N", "'smiles_a', row 0 .* found 'N'"),
    ],
)
def test_bad_cells(tmp_path, column, row, value, words):
    frame = pd.DataFrame(ROWS).astype(object)
    frame.loc[row, column] = value
    frame.to_csv(tmp_path / "bad.csv")
    with pytest.raises(SelectionError, match=words):
        load_heldout(tmp_path / "bad.csv")


def test_files_that_are_no_heldout_table(tmp_path):
    cases = {
        "": "empty",
        "smiles,kd\nC,1\n": "'molecule_hash' is missing",
        "smiles,seq_load\nC,1\n": "load_selection",
        ",smiles,molecule_hash,kd,smiles_a,smiles_b,smiles_c\n": "no rows",
        "a\n1,2\n1,2,3\n": "not a readable csv",
    }
    for content, words in cases.items():
        (tmp_path / "odd.csv").write_text(content)
        with pytest.raises(SelectionError, match=words):
            load_heldout(tmp_path / "odd.csv")
