"""Records survive the journey exactly, and nothing else gets in."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import pickle
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursekit.errors import RecordError
from coursekit.runs import Run, decode_record, encode_record
from coursekit.runs import record as records

RELATIVE = 1.2e-7  # to float32, then to the shortest decimal that names it: half a unit each
SMALLEST = 3e-45  # two units of the smallest float32

FORGOTTEN = {
    "molecules": 200,
    "masked_tokens": 3_756,
    "fingerprint": "1b" * 32,
    "loss_before": 0.078,
    "loss_after": 0.667,
    "accuracy_before": 0.97,
    "accuracy_after": 0.81,
}
scores = st.floats(-1e30, 1e30, allow_nan=False)
fractions = st.one_of(st.floats(0, 1), st.just(np.nan))
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e9, 1e9)
    | st.text("aé ,"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner),
    max_leaves=8,
)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    n, m = draw(st.integers(0, 8)), draw(st.integers(0, 6))
    kinds = draw(st.lists(st.sampled_from(["", "easy", "hard"]), min_size=n, max_size=n))
    predictions = pd.DataFrame(
        {
            "molecule_id": pd.Series([f"m{i}" for i in range(n)], dtype="str"),
            "part": pd.Series(
                [draw(st.sampled_from(["valid", "test"])) for _ in kinds], dtype="str"
            ),
            "negative_set": pd.Series(kinds, dtype="str"),
            "label": np.array([kind == "" for kind in kinds], dtype="int8"),
            "score": np.array([draw(scores) for _ in kinds], dtype="float64"),
        }
    )
    history = pd.DataFrame(
        {
            "step": np.arange(m),
            "epoch": draw(st.sampled_from([np.arange(m), np.arange(m) / 2])),
            "phase": pd.Series(["a"] * m, dtype="str") if draw(st.booleans()) else np.zeros(m, int),
            "split": pd.Series(["train", "valid"] * m, dtype="str")[:m],
            "loss": [draw(scores) for _ in range(m)],
            **{name: [draw(fractions) for _ in range(m)] for name in records.METRIC_COLUMNS},
            "learning_rate.block 0": [draw(st.floats(0, 1)) for _ in range(m)],
        }
    ).astype(dict.fromkeys(("loss", *records.METRIC_COLUMNS), "float64"))
    return Run(
        name="a run",
        history=history,
        predictions=predictions,
        strategy=draw(st.dictionaries(st.text("xyz", min_size=1), plain, max_size=3)),
        task={"name": "t", "fingerprint": "f0" * 32, "settings": {"a": [1, 2.5, None]}},
        seed=draw(st.integers(0, 2**32)),
        environment={"device": "CPU"},
        cost=dict.fromkeys(records.COST_KEYS) | {"seconds": draw(st.floats(0, 1e6))},
        notes=tuple(draw(st.lists(st.text("ab.", max_size=5), max_size=2))),
        forgetting=draw(st.sampled_from([None, FORGOTTEN])),
    )


@settings(max_examples=40, deadline=None)
@given(runs())
def test_a_run_comes_back_within_the_stated_rounding(run: Run) -> None:
    back = Run.from_record(decode_record(encode_record(run)))
    for field in ("name", "seed", "notes"):
        assert getattr(back, field) == getattr(run, field)
    assert back.forgetting == run.forgetting
    for field in ("strategy", "task", "environment", "cost"):
        assert dict(getattr(back, field)) == dict(getattr(run, field))
    for field in ("history", "predictions"):
        pd.testing.assert_frame_equal(
            getattr(back, field),
            getattr(run, field),
            rtol=RELATIVE,
            atol=SMALLEST,
            check_index_type=False,
            check_dtype=len(getattr(run, field)) > 0,
        )
    assert back.record() == run.record(), "rounding twice changes nothing more"


def test_a_record_of_the_first_version_is_read_still(make_run: Callable[..., Run]) -> None:
    record = make_run(forgetting=FORGOTTEN).record()
    del record["forgetting"]
    with pytest.raises(RecordError, match=r"lacks \['forgetting'\]"):
        Run.from_record(record)
    old = Run.from_record(record | {"version": 1})
    assert old.forgetting is None
    assert old.record()["version"] == records.SCHEMA_VERSION == 2


def test_scores_are_the_same_to_the_last_bit_after_the_journey(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(n=200)
    back = Run.from_record(decode_record(encode_record(run)))
    pd.testing.assert_frame_equal(back.scores().table, run.scores().table, check_exact=True)


def test_learning_rates_keep_the_number_that_was_typed(make_run: Callable[..., Run]) -> None:
    record = make_run().record()
    assert set(record["history"]["learning_rate.head"]) == {3e-4, None}
    assert set(record["history"]["learning_rate.block 5"]) == {1e-4, None}


def test_a_record_is_strict_json_and_history_gaps_are_null(make_run: Callable[..., Run]) -> None:
    run = make_run()
    record = run.record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    gaps = run.history["auroc_hard"].isna()
    assert [value is None for value in record["history"]["auroc_hard"]] == gaps.tolist()


def test_numpy_numbers_and_tuples_become_plain(make_run: Callable[..., Run]) -> None:
    odd = {"layers": (1, np.int64(2)), "lr": np.float32(0.5), "flag": np.bool_(True)}
    assert make_run(strategy=odd).record()["strategy"] == {
        "layers": [1, 2],
        "lr": 0.5,
        "flag": True,
    }


def test_a_usual_run_fits_three_times_over(make_run: Callable[..., Run]) -> None:
    text = encode_record(make_run(n=150, epochs=5, steps=90))  # 900 predictions, 450 steps
    assert len(text) < records.MAX_TEXT / 3


def test_a_long_history_is_thinned_but_every_validation_stays(make_run: Callable[..., Run]) -> None:
    run = make_run(epochs=4, steps=5_000)
    record = run.record()
    back = Run.from_record(record)
    train = back.history[back.history["split"] == "train"]
    assert len(train) == records.MAX_TRAIN_ROWS
    assert (train["step"].iloc[0], train["step"].iloc[-1]) == (1, 20_000)
    assert train["step"].diff().iloc[1:].between(9, 11).all(), "evenly spaced"
    assert (back.history["split"] == "valid").sum() == 4
    assert "2,004 of 20,004 rows" in back.notes[-1]
    assert len(run.history) == 20_004, "the run itself is untouched"


def test_a_record_too_large_says_what_it_holds(make_run: Callable[..., Run]) -> None:
    with pytest.raises(RecordError, match=r"12,000 predictions.*use a smaller test part"):
        make_run(n=2_000).record()


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, 1e39])
def test_scores_that_are_not_finite_are_refused(make_run: Callable[..., Run], score: float) -> None:
    predictions = make_run().predictions.copy()
    predictions.loc[7, "score"] = score
    with pytest.raises(RecordError, match=r"predictions.score\[7\]"):
        make_run(predictions=predictions).record()


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        *way, last = path.split("/")
        target: Any = record
        for step in way:
            target = target[step]
        target[int(last) if isinstance(target, list) else last] = value

    return change


def _drop(path: str) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        *way, last = path.split("/")
        target: Any = record
        for step in way:
            target = target[step]
        del target[last]

    return change


def _shorten(record: dict[str, Any]) -> None:
    record["predictions"]["score"].pop()


def _forget(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        record["forgetting"] = FORGOTTEN | {key: value}
        if value is None:
            del record["forgetting"][key]

    return change


def _repeat_molecule(record: dict[str, Any]) -> None:
    ids = record["predictions"]["molecule_id"]
    ids[1] = ids[0]


def _nest(record: dict[str, Any]) -> None:
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    record["strategy"]["deep"] = deep


BAD = {
    "unknown key": (_set("extra", 1), "unknown"),
    "missing key": (_drop("seed"), "lacks"),
    "another schema": (_set("schema", "other.run"), "schema is 'other.run'"),
    "newer version": (_set("version", 3), "newer coursekit"),
    "older version than any": (_set("version", 0), "version is 0"),
    "version true": (_set("version", True), "version is True"),
    "name not text": (_set("name", ["x"]), "name"),
    "name empty": (_set("name", ""), "name has 0"),
    "name with escape codes": (_set("name", "\x1b[31mred"), "control characters"),
    "name that runs backwards": (_set("name", "a\u202eb"), "control characters"),
    "name of half a character": (_set("name", "\ud800"), "control characters"),
    "seed a float": (_set("seed", 1.0), "seed is 1.0"),
    "seed negative": (_set("seed", -1), "seed is -1"),
    "notes a text": (_set("notes", "hello"), "notes is not a list"),
    "note a number": (_set("notes", [3]), r"notes\[0\]"),
    "forgetting a number": (_set("forgetting", 0.5), "forgetting is a float"),
    "forgetting lacks": (_forget("loss_after", None), r"forgetting lacks \['loss_after'\]"),
    "forgetting with more": (_forget("labels", []), "unknown"),
    "forgetting accuracy": (_forget("accuracy_after", 1.5), "accuracy_after is 1.5"),
    "forgetting loss": (_forget("loss_before", -0.1), "loss_before is -0.1"),
    "forgetting no molecules": (_forget("molecules", 0), "forgetting.molecules is 0"),
    "forgetting fingerprint": (_forget("fingerprint", "zz" * 32), "64 hex digits"),
    "task fingerprint": (_set("task/fingerprint", "0A" * 32), "64 hex digits"),
    "task with more": (_set("task/labels", []), "unknown"),
    "task settings": (_set("task/settings", 3), "task.settings"),
    "strategy a list": (_set("strategy", []), "strategy is a list"),
    "strategy too deep": (_nest, "nested too deep"),
    "strategy huge text": (_set("strategy/lr", "x" * 5_000), "5,000 characters"),
    "strategy infinite": (_set("strategy/lr", float("inf")), "strategy.lr is inf"),
    "strategy huge whole number": (_set("strategy/lr", 10**400), "whole number"),
    "strategy object": (_set("strategy/lr", object()), "strategy.lr is a object"),
    "cost lacks": (_drop("cost/seconds"), "cost lacks"),
    "cost negative": (_set("cost/seconds", -1.0), "cost.seconds is -1.0"),
    "cost text": (_set("cost/steps", "many"), "cost.steps is 'many'"),
    "cost true": (_set("cost/steps", True), "cost.steps is True"),
    "history not a table": (_set("history", []), "history is not a table"),
    "history lacks": (_drop("history/loss"), "history lacks"),
    "history ragged": (_set("history/loss", [0.1]), "rows; expected equal"),
    "history column name": (_set("history/<b>", [None] * 33), "<b>"),
    "history column no list": (_set("history/loss", {}), "not a list"),
    "history split": (_set("history/split/0", "test"), r"history.split\[0\] is 'test'"),
    "history auroc": (_set("history/auroc_hard/0", 1.5), r"auroc_hard\[0\] is 1.5"),
    "history loss text": (_set("history/loss/0", "0.1"), r"history.loss\[0\]"),
    "history negative rate": (_set("history/learning_rate.head/0", -1.0), "learning_rate.head"),
    "history epoch missing": (_set("history/epoch/0", None), r"epoch\[0\] is missing"),
    "history mixed phases": (_set("history/phase/0", "one"), "mixes numbers and text"),
    "history step": (_set("history/step/0", 1.5), r"history.step\[0\]"),
    "predictions lack": (_drop("predictions/score"), "predictions lacks"),
    "predictions with more": (_set("predictions/fold", [0] * 120), "unknown"),
    "predictions ragged": (_shorten, "expected equal"),
    "molecule twice": (_repeat_molecule, "repeats molecule"),
    "molecule a number": (_set("predictions/molecule_id/0", 7), r"molecule_id\[0\] is 7"),
    "part train": (_set("predictions/part/0", "train"), r"part\[0\] is 'train'"),
    "label true": (_set("predictions/label/0", True), r"label\[0\] is True"),
    "label two": (_set("predictions/label/0", 2), r"label\[0\] is 2"),
    "binder that is hard": (_set("predictions/negative_set/0", "hard"), "row 0 has label 1"),
    "kind unknown": (_set("predictions/negative_set/0", "medium"), "negative_set"),
    "score text": (_set("predictions/score/0", "0.9"), r"score\[0\] is '0.9'"),
    "score missing": (_set("predictions/score/0", None), r"score\[0\] is missing"),
    "score not a number": (_set("predictions/score/0", float("nan")), r"score\[0\] is nan"),
    "score huge whole number": (_set("predictions/score/0", 10**5_000), "too large to show"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_field_is_named(make_run: Callable[..., Run], case: str) -> None:
    change, message = BAD[case]
    record = copy.deepcopy(make_run().record())
    change(record)
    with pytest.raises(RecordError, match=message):
        Run.from_record(record)


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_a_record_must_be_an_object(value: Any) -> None:
    with pytest.raises(RecordError, match="named fields"):
        Run.from_record(value)


def _text(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw)).decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not base64 !", "cut or changed"),
        ("é", "cut or changed"),
        (base64.b64encode(b"not zlib").decode(), "cut or changed"),
        (base64.b64encode(pickle.dumps({"name": "x"})).decode(), "cut or changed"),
        (_text(pickle.dumps({"name": "x"})), "not JSON"),
        (_text(b'{"score": NaN}'), "NaN"),
        (_text(b'{"score": -Infinity}'), "Infinity"),
        (_text(b'{"name": 1, "name": 2}'), "twice"),
        (_text(b"[" * 200_000), "not JSON"),
        (_text(b'{"n": ' + b"9" * 10_000 + b"}"), "not JSON"),
        (_text(b"\xff\xfe"), "not JSON"),
        (_text(b"[1, 2]"), "is a list"),
        (_text(b"{}")[:-6] + "==", "cut"),
        (base64.b64encode(zlib.compress(b"{}") + b"more").decode(), "something behind it"),
        ("A" * 300_001, "300,001 characters"),
        (b"bytes", "text that encode_record wrote"),
    ],
)
def test_texts_that_are_not_records_are_refused(text: Any, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        decode_record(text)


def test_a_number_that_overflows_is_refused_after_parsing(make_run: Callable[..., Run]) -> None:
    text = json.dumps(make_run().record()).replace("12.5", "1e999")
    with pytest.raises(RecordError, match=r"cost.seconds is inf"):
        Run.from_record(decode_record(_text(text.encode())))


def test_a_bomb_is_refused_in_little_memory() -> None:
    bomb = _text(b" " * 100_000_000)
    assert len(bomb) < records.MAX_TEXT
    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match="more than it may"):
            decode_record(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * records.MAX_JSON_BYTES
    finally:
        tracemalloc.stop()


def test_a_text_wrapped_by_a_mail_program_is_read(make_run: Callable[..., Run]) -> None:
    text = encode_record(make_run())
    wrapped = "\r\n  ".join(text[i : i + 76] for i in range(0, len(text), 76))
    assert decode_record(wrapped) == decode_record(text)


def test_one_changed_byte_is_noticed(make_run: Callable[..., Run]) -> None:
    text = encode_record(make_run())
    raw = bytearray(base64.b64decode(text))
    for place in (10, len(raw) // 2, len(raw) - 1):
        changed = raw.copy()
        changed[place] ^= 1
        with pytest.raises(RecordError):
            decode_record(base64.b64encode(changed).decode())


def test_encode_takes_a_record_too_and_checks_it(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert encode_record(run.record()) == encode_record(run)
    with pytest.raises(RecordError, match="unknown"):
        encode_record(run.record() | {"extra": 1})


@pytest.fixture(scope="module")
def small_record(make_run: Callable[..., Run]) -> dict[str, Any]:
    return make_run(n=1, epochs=1, steps=1).record()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@settings(max_examples=80, deadline=None)
@given(field=st.sampled_from(records._FIELDS), value=json_values)
def test_any_value_in_any_field_gives_a_run_or_a_record_error(
    small_record: dict[str, Any], field: str, value: Any
) -> None:
    with contextlib.suppress(RecordError):  # any other error fails the test
        assert isinstance(Run.from_record(small_record | {field: value}), Run)


def test_columns_with_missing_values_of_every_kind_become_null(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(epochs=1, steps=3)
    history = run.history.copy()
    history["auroc_hard"] = pd.Series([None, 0.5, np.nan, 0.25], dtype="object")
    history["au_prc_hard"] = pd.Series([pd.NA, 1, pd.NA, 0], dtype="Int64")
    columns = make_run(history=history).record()["history"]
    assert columns["auroc_hard"] == [None, 0.5, None, 0.25]
    assert columns["au_prc_hard"] == [None, 1, None, 0]


def test_predictions_without_a_column_cannot_be_recorded(make_run: Callable[..., Run]) -> None:
    run = make_run()
    with pytest.raises(RecordError, match="predictions lacks"):
        make_run(predictions=run.predictions.drop(columns="score")).record()
    with pytest.raises(RecordError, match="history lacks"):
        make_run(history=pd.DataFrame({"step": [1]})).record()


def test_a_run_interrupted_before_any_validation_is_recorded(make_run: Callable[..., Run]) -> None:
    started = (
        make_run().history.query("split == 'train'").drop(columns=list(records.METRIC_COLUMNS))
    )
    back = Run.from_record(make_run(history=started).record()).history
    assert len(back) == len(started)
    assert back[list(records.METRIC_COLUMNS)].isna().all(axis=None)
    nothing = Run.from_record(make_run(history=pd.DataFrame()).record()).history
    pd.testing.assert_frame_equal(nothing, records.empty_history())
