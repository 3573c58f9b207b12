from __future__ import annotations

import json

import pytest
from kindel_bucket import BIG, content_of

from coursekit.data import download, transfer
from coursekit.data.download import fetch
from coursekit.data.heldout import load_heldout
from coursekit.data.selection import load_selection
from coursekit.data.sources import kindel_dir as cached
from coursekit.errors import DownloadError


@pytest.mark.parametrize("fault", ["truncates", "stalls"])
def test_a_broken_connection_is_gone_on_with(get, bucket, fault):
    bucket.faults[BIG] = [fault, fault]
    files = get()
    assert files["mapk14"].read_bytes() == bucket.files[BIG]
    size = len(bucket.files[BIG])
    assert bucket.ranges(BIG) == ["", f"bytes={size // 2}-", f"bytes={size // 2 + size // 4}-"]
    assert "trying again" in get.said


@pytest.mark.parametrize("fault", ["500", "503", "429", "drops at once"])
def test_a_server_in_trouble_is_asked_again(get, bucket, fault):
    bucket.faults[BIG] = [fault] * 3
    assert get()["mapk14"].read_bytes() == bucket.files[BIG]
    assert len(bucket.ranges(BIG)) == 4


def test_a_server_that_stays_in_trouble_is_given_up(get, bucket):
    bucket.faults[BIG] = ["500"] * 9
    with pytest.raises(DownloadError, match=r"gave up after 3 failures in a row; .*500.*run the"):
        get(retries=2)


def test_each_new_byte_is_progress_but_the_same_half_again_and_again_is_not(get, bucket):
    bucket.faults[BIG] = ["truncates"] * 8  # eight halvings: each brings something new
    assert get(retries=1)["mapk14"].read_bytes() == bucket.files[BIG]
    bucket.etag = lambda content: ""  # nothing to resume by: each attempt starts over
    bucket.faults["mapk14.parquet"] = ["truncates"] * 9
    with pytest.raises(DownloadError, match="gave up after 3 failures"):
        get(full=True, retries=2)


def test_no_server_at_all(tmp_path):
    with pytest.raises(DownloadError, match="gave up after 2 failures"):
        fetch("mapk14", base_url="http://127.0.0.1:9/data", accept_licence=True,
              retries=1, backoff=0.0, say=lambda line: None)  # fmt: skip


def test_retry_after_is_honored(get, bucket, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", waits.append)
    bucket.headers["Retry-After"] = "7"
    bucket.faults[BIG] = ["503"]
    get()
    assert waits == [7.0]


def test_waits_double_and_end(get, bucket, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", waits.append)
    bucket.faults[BIG] = ["500"] * 9
    get(retries=9, backoff=1.0)
    assert all(0.8 * 2**i <= min(w, 60) <= 1.2 * 2**i for i, w in enumerate(waits[:6]))
    assert max(waits) <= 72


@pytest.mark.parametrize(("status", "words"), [("403", "refuses"), ("404", "no such file")])
def test_a_refusal_is_final(get, bucket, status, words):
    bucket.faults[BIG] = [status]
    with pytest.raises(DownloadError, match=rf"{BIG}: the server answered {status} .*{words}"):
        get()
    assert len(bucket.asked) == 1
    bucket.faults[BIG] = ["401"]
    with pytest.raises(DownloadError, match="Check the base address"):
        get()


def test_a_missing_companion_does_not_cost_the_others(get, bucket):
    del bucket.files["splits/mapk14_random.parquet"]
    with pytest.raises(DownloadError, match=r"fetched mapk14, .*1 of 8 files are missing:\n.*404"):
        get()
    assert len(load_selection("mapk14")) == 40
    assert len(load_heldout("mapk14_offdna")) == 1


def test_a_server_that_ignores_ranges_starts_over(get, bucket):
    bucket.faults[BIG] = ["truncates", "ignores Range"]
    assert get()["mapk14"].read_bytes() == bucket.files[BIG]
    assert "from the beginning" in get.said


@pytest.mark.parametrize("fault", ["ignores If-Range", "other range", ""])
def test_a_file_that_changes_between_two_attempts_starts_over(get, bucket, selection, fault):
    bucket.faults[BIG] = ["truncates"]
    interrupted = bucket.files[BIG]
    with pytest.raises(DownloadError):
        get(retries=0)
    bucket.faults[BIG] = [fault] if fault else []
    if fault != "other range":
        bucket.files[BIG] = content_of(selection.iloc[::-1])
        assert bucket.files[BIG] != interrupted
    assert get()["mapk14"].read_bytes() == bucket.files[BIG]


def test_a_range_beyond_the_end_starts_over(get, bucket):
    bucket.faults[BIG] = ["truncates", "416"]
    assert get()["mapk14"].read_bytes() == bucket.files[BIG]


def test_a_server_that_gives_no_size(get, bucket):
    bucket.faults[BIG] = ["says no size"]
    assert get()["mapk14"].read_bytes() == bucket.files[BIG]


def test_a_rest_that_ends_early_without_a_size_is_noticed(get, bucket):
    bucket.faults[BIG] = ["truncates", "ends early"]
    assert get()["mapk14"].read_bytes() == bucket.files[BIG]
    assert len(bucket.ranges(BIG)) == 3
    assert "arrived of" in get.said


def test_an_address_that_leads_in_circles(get, bucket):
    bucket.faults[BIG] = ["302"] * 40
    bucket.headers["Location"] = f"{bucket.url}/{BIG}"
    with pytest.raises(DownloadError, match=r"redirects.*Check the base address"):
        get()


def test_a_partial_file_longer_than_the_whole_is_not_trusted(get, bucket):
    partial = cached() / f"{BIG}.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 10)
    tag = bucket.etag(bucket.files[BIG])
    version = transfer.Version(f"{bucket.url}/{BIG}", tag, "", 5, "")
    (partial.parent / f"{BIG}.part.json").write_text(json.dumps(vars(version)))
    assert get()["mapk14"].read_bytes() == bucket.files[BIG]


def test_last_modified_serves_where_there_is_no_strong_tag():
    modified = "Mon, 01 Sep 2025 10:00:00 GMT"
    assert transfer.Version("u", 'W/"weak"', modified).validator == modified
    assert transfer.Version("u", '"strong"', modified).validator == '"strong"'
    assert transfer.Version("u").validator == ""


def test_control_c_keeps_what_arrived_and_says_how_to_go_on(get, bucket, monkeypatch):
    bucket.faults[BIG] = ["truncates"]

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(transfer.time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert "Run the same command again" in get.said
    half = len(bucket.files[BIG]) // 2
    assert (cached() / f"{BIG}.part").stat().st_size == half
    assert not (cached() / BIG).exists()
    bucket.asked.clear()
    assert get()["mapk14"].read_bytes() == bucket.files[BIG]
    assert bucket.ranges(BIG) == [f"bytes={half}-"]
    assert not list(cached().rglob("*.part*"))


def test_a_download_stopped_before_its_verification_is_not_fetched_again(get, bucket, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(download, "_digests", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            get()
    bucket.asked.clear()
    get()
    assert bucket.ranges(BIG) == []


def test_sizes_read_well():
    sizes = [transfer._bytes(n) for n in (12, 34_500, 1_170_000, 8_200_000_000)]
    assert sizes == ["12 bytes", "34.5 kB", "1.2 MB", "8.20 GB"]
