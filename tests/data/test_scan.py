from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coursekit.data.scan import count_rows, iter_selection, read_rows
from coursekit.data.schema import BLOCK_COLUMNS, COLUMNS, MATRIX_COLUMNS, TARGET_COLUMNS
from coursekit.errors import SelectionError


@pytest.fixture(params=["frame", "pieces", "one group", "many groups", "old strings", "dictionary"])
def source(request, selection, tmp_path):
    """The same table in the forms in which it may lie on a disk."""
    if request.param == "frame":
        return selection
    if request.param == "pieces":  # pandas 3 keeps them as chunks of one Arrow array
        return pd.concat([selection.iloc[:5], selection.iloc[5:]], ignore_index=True)
    path = tmp_path / "table.parquet"
    table = pa.Table.from_pandas(selection, preserve_index=False)
    if request.param == "old strings":
        for i, field in enumerate(table.schema):
            if field.name.startswith(("smiles", "molecule")):
                table = table.set_column(i, field.name, table.column(i).cast(pa.string()))
    if request.param == "dictionary":
        table = pa.Table.from_pandas(selection.astype(dict.fromkeys(BLOCK_COLUMNS, "category")))
    pq.write_table(table, path, row_group_size=40 if request.param == "one group" else 11)
    return path


@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_the_batches_together_are_the_table(source, selection, batch_rows):
    seen = 0
    for batch in iter_selection(source, COLUMNS, batch_rows):
        assert batch.offset == seen
        assert 0 < len(batch) <= batch_rows
        here = selection.iloc[seen : seen + len(batch)]
        target, matrix = here[list(TARGET_COLUMNS)], here[list(MATRIX_COLUMNS)]
        np.testing.assert_array_equal(batch.k_target, target.sum(axis=1))
        np.testing.assert_array_equal(batch.k_matrix, matrix.sum(axis=1))
        np.testing.assert_array_equal(batch.numbers["seq_load"], here["seq_load"])
        for column in BLOCK_COLUMNS:
            words = [batch.vocabulary[column][code] for code in batch.codes[column]]
            assert words == here[column].tolist()
            assert len(set(batch.vocabulary[column])) == len(batch.vocabulary[column])
        assert batch.strings["smiles"].to_pylist() == here["smiles"].tolist()
        seen += len(batch)
    assert seen == len(selection) == count_rows(source)


def test_only_the_columns_asked_for_are_read(source):
    batch = next(iter_selection(source, ("smiles_b", "seq_load")))
    assert set(batch.codes) == {"smiles_b"}
    assert set(batch.numbers) == {"seq_load"}
    assert not batch.strings


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(positions=st.lists(st.integers(0, 39), max_size=60))
def test_rows_come_back_in_the_order_asked_for(source, selection, positions):
    rows = read_rows(source, positions, ("molecule_hash", "smiles_a", "seq_load"), batch_rows=5)
    expected = selection[["molecule_hash", "smiles_a", "seq_load"]].iloc[positions]
    assert rows.index.tolist() == positions
    assert not isinstance(rows["smiles_a"].dtype, pd.CategoricalDtype)
    assert rows.astype(object).to_numpy().tolist() == expected.astype(object).to_numpy().tolist()


def test_a_row_outside_the_table(source):
    with pytest.raises(SelectionError, match="no row 40; the table has 40 rows"):
        read_rows(source, [3, 40])


BAD_CELLS = [
    ("seq_target_1", -1.0, "found -1.0; expected a whole number"),
    ("seq_matrix_2", 2.5, "found 2.5"),
    ("seq_matrix_2", np.nan, "a missing value"),
    ("seq_load", -7, "found -7"),
    ("smiles_a", None, "a missing value"),
    ("target_enrichment", 5.0, "found 5.0; expected .* follows from the counts"),
]


@pytest.mark.parametrize("form", ["frame", "file"])
@pytest.mark.parametrize(("column", "value", "words"), BAD_CELLS)
def test_a_bad_cell_is_named_by_its_place_in_the_whole_table(
    selection, tmp_path, column, value, words, form
):
    selection.loc[33, column] = value
    source = selection
    if form == "file":
        source = tmp_path / "bad.parquet"
        selection.to_parquet(source, row_group_size=11)
    with pytest.raises(SelectionError, match=rf"column '{column}', row 33 .*{words}"):
        for _ in iter_selection(source, COLUMNS, batch_rows=9):
            pass


def test_missing_enrichment_of_what_was_never_seen_is_zero(selection):
    selection.loc[4, list(TARGET_COLUMNS)] = 0.0
    selection.loc[4, "target_enrichment"] = np.nan
    batch = next(iter_selection(selection, COLUMNS))
    assert batch.numbers["target_enrichment"][4] == 0.0


def test_schema_is_checked_before_the_first_row(selection, tmp_path):
    path = tmp_path / "wrong.parquet"
    selection.astype({"seq_load": "float64"}).to_parquet(path)
    with pytest.raises(SelectionError, match="'seq_load' has type double"):
        next(iter_selection(path, ("seq_target_1",)))
    selection.drop(columns="smiles_c").to_parquet(path)
    with pytest.raises(SelectionError, match="'smiles_c' is missing"):
        next(iter_selection(path, ("seq_target_1",)))
    with pytest.raises(SelectionError, match="'kd' is not a column of a selection"):
        next(iter_selection(path, ("kd",)))
    mixed = selection.astype({"smiles_b": object})
    mixed.loc[3, "smiles_b"] = 7
    with pytest.raises(SelectionError, match="from row 0"):
        next(iter_selection(mixed))


def test_empty_tables_and_damaged_files(selection, tmp_path):
    with pytest.raises(SelectionError, match="no rows"):
        list(iter_selection(selection.iloc[:0]))
    path = tmp_path / "damaged.parquet"
    selection.to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 300 + content[304:])
    with pytest.raises(SelectionError, match="damaged"):
        list(iter_selection(path, COLUMNS))
    with pytest.raises(SelectionError, match="damaged"):
        read_rows(path, [0])


def test_nothing_asked_for_gives_an_empty_frame(source):
    assert list(read_rows(source, []).columns) == list(COLUMNS)
    assert isinstance(read_rows(source, [], ("smiles",)), pd.DataFrame)
