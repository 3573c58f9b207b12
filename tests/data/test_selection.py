from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from coursekit.data import selection as module
from coursekit.data import validation
from coursekit.data.schema import BLOCK_COLUMNS, COLUMNS, COUNT_COLUMNS, DTYPES
from coursekit.data.selection import SelectionReport, load_selection, validate_selection
from coursekit.errors import CourseKitError, SelectionError


def test_the_nine_real_rows_pass(kindel_dir):
    frame = load_selection(kindel_dir / "sample9_deepchemdel_test_dataset.csv")
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 9
    assert SelectionReport.of(frame).smiles_parsed == 9
    assert {c: str(frame[c].dtype) for c in COUNT_COLUMNS} == {c: DTYPES[c] for c in COUNT_COLUMNS}


def test_the_bundled_sample_passes_every_check():
    frame = load_selection("sample")
    assert SelectionReport.of(frame).smiles_parsed == 0  # its name is enough for us, not its path
    by_path = load_selection(module.selection_path("sample"))
    assert SelectionReport.of(by_path).smiles_parsed >= 1_000
    pd.testing.assert_frame_equal(frame, by_path)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_file_gives_back_the_table(selection, tmp_path, suffix):
    path = tmp_path / f"table.{suffix}"
    selection.to_parquet(path) if suffix == "parquet" else selection.to_csv(path, index=False)
    pd.testing.assert_frame_equal(
        load_selection(path).astype(object), selection.astype(object), check_exact=True
    )


def test_types_of_other_pandas_versions_and_writers_pass(selection, tmp_path):
    as_objects = selection.astype(dict.fromkeys(("smiles", *BLOCK_COLUMNS), object))
    assert load_selection(as_objects).shape == selection.shape
    categories = selection.astype(dict.fromkeys(BLOCK_COLUMNS, "category"))
    path = tmp_path / "categories.parquet"
    categories.set_index(pd.Index(range(5, 45), name="row")).to_parquet(path)
    read = load_selection(path)
    assert read["smiles_a"].tolist() == selection["smiles_a"].tolist()
    assert not isinstance(read["smiles_a"].dtype, pd.CategoricalDtype)
    assert read.index.tolist() == list(range(40))


def test_columns_in_another_order_are_put_right(selection):
    assert list(load_selection(selection[list(reversed(COLUMNS))]).columns) == list(COLUMNS)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(selection, column):
    with pytest.raises(SelectionError, match=f"mine: column '{column}' is missing"):
        validate_selection(selection.drop(columns=column), "mine")


def test_another_table_is_recognized(selection):
    splits = pd.DataFrame({f"split{i}": ["train"] for i in range(1, 6)})
    with pytest.raises(SelectionError, match="load_splits"):
        load_selection(splits)
    with pytest.raises(SelectionError, match="load_heldout"):
        load_selection(pd.DataFrame({"smiles": ["C"], "kd": [1.0]}))


def test_an_extra_column_is_named_with_its_remedy(selection):
    with pytest.raises(SelectionError, match=r"'y' is not one .*drop\(columns=\['y'\]\)"):
        load_selection(selection.assign(y=1.0))


def test_a_saved_index_is_recognized(selection, tmp_path):
    selection.to_csv(tmp_path / "indexed.csv")
    with pytest.raises(SelectionError, match="index=False"):
        load_selection(tmp_path / "indexed.csv")


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        ("seq_target_1", "int64"),
        ("seq_matrix_3", "float32"),
        ("seq_load", "float64"),
        ("seq_load", "int32"),
        ("target_enrichment", "float32"),
    ],
)
def test_a_wrong_type_is_named_with_its_remedy(selection, tmp_path, column, dtype):
    wrong = selection.astype({column: dtype})
    with pytest.raises(SelectionError, match=rf"'{column}' has type .*astype\('{DTYPES[column]}"):
        load_selection(wrong)
    wrong.to_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(SelectionError, match=rf"wrong.parquet: column '{column}' has type"):
        load_selection(tmp_path / "wrong.parquet", keep_valid=True)


def test_numbers_where_text_belongs(selection):
    with pytest.raises(SelectionError, match="'smiles_a' has type int64; KinDEL stores it as str"):
        load_selection(selection.assign(smiles_a=7))
    mixed = selection.astype({"smiles_b": object})
    mixed.loc[3, "smiles_b"] = 7
    with pytest.raises(SelectionError, match=r"'smiles_b', row 3 .* found 7, of type int"):
        load_selection(mixed)


BAD_CELLS = [
    ("smiles", None, "missing value"),
    ("smiles", "", "missing value"),
    ("molecule_hash", None, "missing value"),
    ("smiles_c", np.nan, "missing value"),
    ("seq_target_2", np.nan, "missing value"),
    ("seq_target_2", -1.0, "negative count"),
    ("seq_matrix_1", 0.5, "fractional count"),
    ("seq_matrix_1", np.inf, "fractional count"),
    ("seq_load", -3, "negative count"),
    ("target_enrichment", 9.0, "enrichment mismatch"),
    ("target_enrichment", np.nan, "missing value"),
    ("smiles", "C1CC", "unparsable SMILES"),
    ("smiles", "CCO, broken", "unparsable SMILES"),
    ("smiles_a", "not a block", "unparsable SMILES"),
    ("molecule_hash", f"{2:064x}", "duplicate molecule"),
]


@pytest.mark.parametrize("extension", ["frame", "parquet", "csv"])
@pytest.mark.parametrize(("column", "value", "reason"), BAD_CELLS)
def test_a_bad_cell_is_named_or_its_row_is_dropped_and_counted(
    selection, tmp_path, column, value, reason, extension
):
    selection.loc[17, column] = value
    source = selection if extension == "frame" else tmp_path / f"bad.{extension}"
    if extension == "parquet":
        selection.to_parquet(source)
    elif extension == "csv":
        selection.to_csv(source, index=False)
    with pytest.raises(
        SelectionError, match=rf"column '{column}', row 17 .*: {reason}: found .*keep_valid=True"
    ) as caught:
        load_selection(source)
    if extension != "frame":
        assert str(source) in str(caught.value)
    with pytest.warns(UserWarning, match=f"39 of 40 rows kept .*1 {reason}"):
        kept = load_selection(source, keep_valid=True)
    assert 17 not in kept.index
    assert len(kept) == 39
    report = SelectionReport.of(kept)
    assert report.dropped == {reason: 1}
    assert json.loads(json.dumps(kept.attrs["coursekit"]))["rows_kept"] == 39
    pd.testing.assert_frame_equal(load_selection(kept), kept)


def test_a_row_bad_in_two_ways_counts_once_and_the_first_good_duplicate_stays(selection):
    selection.loc[3, "seq_target_1"] = -1.0
    selection.loc[3, "seq_matrix_1"] = np.nan
    selection.loc[[3, 8, 9], "molecule_hash"] = "same"
    with pytest.warns(UserWarning, match="dropped"):
        kept = load_selection(selection, keep_valid=True)
    dropped = SelectionReport.of(kept).dropped
    assert sum(dropped.values()) == 2
    assert set(range(40)) - set(kept.index) == {3, 9}


def test_several_bad_rows_are_counted_and_a_duplicate_names_its_twin(selection):
    selection.loc[[5, 7], "seq_target_1"] = [-1.0, -2.0]
    with pytest.raises(SelectionError, match=r"row 5 .*2 rows have this"):
        load_selection(selection)
    selection = selection.assign(seq_target_1=1.0).drop(columns="target_enrichment")
    twin = selection.assign(molecule_hash=["x", "x", *selection["molecule_hash"][2:]])
    twin["target_enrichment"] = module.enrichment(
        twin[list(module.TARGET_COLUMNS)].sum(axis=1), twin[list(module.MATRIX_COLUMNS)].sum(axis=1)
    )
    with pytest.raises(SelectionError, match=r"row 1 .*also in row 0"):
        load_selection(twin)


def test_missing_enrichment_of_what_was_never_seen_becomes_zero(selection):
    selection.loc[4, list(module.TARGET_COLUMNS)] = 0.0
    selection.loc[4, "target_enrichment"] = np.nan  # what SciPy's formula gives
    frame = load_selection(selection)
    assert frame.loc[4, "target_enrichment"] == 0.0
    assert SelectionReport.of(frame).enrichment_filled == 1


def test_a_gap_in_the_load_is_a_missing_value_and_the_rest_stays_whole(selection):
    gap = selection.astype({"seq_load": "float64"})
    gap.loc[2, "seq_load"] = np.nan
    with pytest.raises(SelectionError, match=r"'seq_load', row 2 .*missing value"):
        load_selection(gap)
    with pytest.warns(UserWarning, match="1 missing value"):
        assert load_selection(gap, keep_valid=True)["seq_load"].dtype == np.int64


def test_no_row_and_no_good_row(selection):
    with pytest.raises(SelectionError, match="no rows"):
        load_selection(selection.iloc[:0])
    with pytest.raises(SelectionError, match=r"no valid row is left.*'negative count': 40"):
        load_selection(selection.assign(seq_load=-1), keep_valid=True)


def test_text_in_a_number_column_of_a_csv(selection, tmp_path):
    path = tmp_path / "text.csv"
    text = selection.astype({"seq_load": object})
    text.loc[6, "seq_load"] = "many"
    text.to_csv(path, index=False)
    with pytest.raises(SelectionError, match=r"'seq_load', row 6 .*found 'many'; expected"):
        load_selection(path)
    with pytest.warns(UserWarning, match="1 missing value"):
        assert len(load_selection(path, keep_valid=True)) == 39


def test_whole_numbers_in_a_csv_need_no_decimal_point(selection, tmp_path):
    selection.astype({"seq_target_1": int, "seq_load": float}).to_csv(
        tmp_path / "plain.csv", index=False
    )
    frame = load_selection(tmp_path / "plain.csv")
    assert frame["seq_target_1"].dtype == np.float64
    assert frame["seq_load"].dtype == np.int64


def test_files_that_are_not_what_their_name_says(selection, tmp_path):
    good = tmp_path / "good.parquet"
    selection.to_parquet(good)
    content = good.read_bytes()
    cases = {
        "empty.parquet": (b"", "empty"),
        "page.parquet": (b"<html>log in</html>", "not a parquet file"),
        "cut.parquet": (content[: len(content) // 2], "cut off"),
        "footer.parquet": (content[:-40] + b"\0" * 36 + b"PAR1", "damaged"),
        "inside.parquet": (content[:4] + b"\xff" * 300 + content[304:], "damaged"),
        "empty.csv": (b"", "empty"),
        "binary.csv": (content, "csv file"),
        "ragged.csv": (b"a,b\n1,2\n1,2,3\n", "csv file"),
        "table.xlsx": (b"PK", "name it .parquet or .csv"),
    }
    for name, (data, words) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(SelectionError, match=words) as caught:
            load_selection(path)
        assert name in str(caught.value)
    with pytest.raises(SelectionError, match="is a folder"):
        load_selection(tmp_path)


def test_names_that_are_not_there():
    with pytest.raises(SelectionError, match=r"coursekit data fetch mapk14$"):
        load_selection("mapk14")
    with pytest.raises(SelectionError, match="coursekit data fetch ddr1 --full"):
        load_selection("ddr1_full")
    with pytest.raises(SelectionError, match="did you mean 'mapk14'"):
        load_selection("mapk41")


def test_a_fetched_file_is_found_by_name(selection, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    (tmp_path / "kindel").mkdir()
    selection.to_parquet(tmp_path / "kindel" / "mapk14_1M.parquet")
    assert len(load_selection("mapk14")) == 40


def test_a_file_too_large_for_memory_is_refused_before_it_is_read(selection, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_ROWS", 39)
    selection.to_parquet(tmp_path / "large.parquet")
    with pytest.raises(SelectionError, match=r"40 rows .* make_task\(selection_path"):
        load_selection(tmp_path / "large.parquet")


def test_large_tables_are_parsed_in_part_and_fully_when_asked(selection, monkeypatch):
    monkeypatch.setattr(validation, "_PARSE_ALL_ROWS", 10)
    monkeypatch.setattr(validation, "_PARSE_SAMPLE", 5)
    monkeypatch.setattr(validation, "_PARSE_BLOCKS", 3)
    selection.loc[1, "smiles"] = "C1CC"
    assert SelectionReport.of(load_selection(selection)).smiles_parsed == 5
    assert SelectionReport.of(load_selection(selection, check_smiles=False)).smiles_parsed == 0
    with pytest.raises(SelectionError, match=r"'smiles', row 1 .*unparsable"):
        load_selection(selection, check_smiles=True)


def test_without_rdkit_parsing_is_left_out_unless_asked_for(selection, monkeypatch):
    from coursekit.data import chemistry

    def absent() -> None:
        raise CourseKitError("pip install rdkit")

    monkeypatch.setattr(chemistry, "require_rdkit", absent)
    assert SelectionReport.of(load_selection(selection)).smiles_parsed == 0
    with pytest.raises(CourseKitError, match="pip install rdkit"):
        load_selection(selection, check_smiles=True)


def test_validation_leaves_its_input_alone(selection):
    before = selection.copy(deep=True)
    load_selection(selection)
    pd.testing.assert_frame_equal(selection, before)
    assert selection.attrs == {}


def test_a_frame_without_a_report(selection):
    with pytest.raises(SelectionError, match="read it with load_selection"):
        SelectionReport.of(selection)
