from __future__ import annotations

import getpass
import hashlib
import io
import json
import os
import shutil
import stat
import threading
import time
from collections import namedtuple

import pytest
from filelock import FileLock
from kindel_bucket import BIG, content_of

from coursekit.data import kindel_license, shared_cache, transfer
from coursekit.data.download import BASE_URL, bucket_files, fetch
from coursekit.data.heldout import load_heldout
from coursekit.data.published_splits import load_splits
from coursekit.data.selection import load_selection
from coursekit.data.sources import kindel_dir as cached
from coursekit.errors import DownloadError


def leftovers() -> list[str]:
    return [str(path) for path in cached().rglob("*.part*")]


def test_loaders_find_what_was_fetched(get, bucket, selection):
    files = get()
    assert files["mapk14"].read_bytes() == bucket.files[BIG]
    assert set(files) == {file.name for file in bucket_files("mapk14")}
    assert len(load_selection("mapk14")) == len(selection)
    assert len(load_splits("mapk14_random", n_rows=len(selection))) == len(selection)
    assert load_heldout("mapk14_ondna")["kd_nm"].tolist() == [12.5]
    assert files["synthons_b"] == cached() / "synthons" / "reacted_b.csv"
    assert not leftovers()


def test_the_full_file_lies_beside_the_1m_file(get):
    assert get(full=True)["mapk14_full"].name == "mapk14.parquet"
    assert load_selection("mapk14_full").shape == (40, 13)


def test_first_download_records_its_checksum_and_says_so(get, bucket):
    get()
    record = json.loads((cached() / "checksums.json").read_text())
    assert record[BIG]["sha256"] == hashlib.sha256(bucket.files[BIG]).hexdigest()
    assert record[BIG]["size"] == len(bucket.files[BIG])
    assert record[BIG]["url"] == f"{bucket.url}/{BIG}"
    assert "KinDEL publishes no sha256" in get.said
    assert "matches the MD5" in get.said


def test_a_second_call_verifies_and_fetches_nothing(get, bucket):
    get()
    bucket.asked.clear()
    get()
    assert bucket.asked == []
    assert "already here" in get.said


def test_address_from_the_environment(bucket, monkeypatch):
    monkeypatch.setenv("COURSEKIT_KINDEL_URL", bucket.url + "/")
    assert "mapk14" in fetch("mapk14", accept_licence=True)
    assert BASE_URL.startswith("https://kin-del-2024.s3.amazonaws.com")


def test_wrong_target_and_wrong_address():
    with pytest.raises(DownloadError, match="no target 'braf'; fetch one of: mapk14, ddr1"):
        fetch("braf")
    with pytest.raises(DownloadError, match="starts with https"):
        fetch("mapk14", base_url="s3://kin-del-2024/data")


# --- wrong content --------------------------------------------------------------------------


def test_damage_on_the_way_is_found_by_the_stated_md5_and_mended(get, bucket):
    bucket.faults[BIG] = ["corrupts"]
    assert get()["mapk14"].read_bytes() == bucket.files[BIG]
    assert "arrived damaged" in get.said


def test_damage_that_stays_is_an_error_and_leaves_nothing(get, bucket):
    bucket.faults[BIG] = ["corrupts"] * 2
    with pytest.raises(DownloadError, match=r"arrived damaged \(MD5"):
        get()
    assert not (cached() / BIG).exists()
    assert not leftovers()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (BIG, b"<html>please log in</html>"),
        (BIG, b"PAR1 and then nothing more"),
        ("splits/mapk14_random.parquet", b"<html>"),
        ("heldout/mapk14_ondna.csv", b"<html>"),
        ("synthons/reacted_a.csv", b"<html>"),
    ],
)
def test_a_page_instead_of_the_file_is_refused(get, bucket, path, content):
    bucket.files[path] = content
    with pytest.raises(DownloadError, match="not the file it should be"):
        get()
    assert not (cached() / path).exists()


def test_a_selection_of_other_columns_is_refused(get, bucket, selection):
    bucket.files[BIG] = content_of(selection.drop(columns="seq_load"))
    with pytest.raises(DownloadError, match="'seq_load' is missing"):
        get()


@pytest.mark.parametrize("states_md5", [True, False])
def test_a_later_download_must_match_the_recorded_checksum(get, bucket, selection, states_md5):
    if not states_md5:
        bucket.etag = lambda content: f'"{len(content)}-2"'
    first = get()["mapk14"]
    first.unlink()
    bucket.files[BIG] = content_of(selection.iloc[::-1])
    bucket.asked.clear()
    with pytest.raises(DownloadError, match=r"recorded at the first .*remove the entry"):
        get()
    assert len(bucket.ranges(BIG)) == (1 if states_md5 else 2)
    ledger = cached() / "checksums.json"
    ledger.write_text(json.dumps({}))
    assert get()["mapk14"].read_bytes() == bucket.files[BIG]


def test_same_content_again_is_verified_against_the_record(get):
    get()["mapk14"].unlink()
    get()
    assert "verified against the sha256" in get.said


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_file_damaged_in_the_cache_is_fetched_again(get, bucket, damage):
    path = get()["mapk14"]
    content = bucket.files[BIG]
    if damage == "cut":
        path.write_bytes(content[:-50])
    else:
        path.write_bytes(content[:500] + bytes([content[500] ^ 255]) + content[501:])
    assert get()["mapk14"].read_bytes() == content
    assert "Fetching it again" in get.said


def test_a_file_put_there_by_hand_is_taken_and_recorded(get, bucket):
    cached().mkdir(parents=True)
    (cached() / BIG).write_bytes(bucket.files[BIG])
    get()
    assert bucket.ranges(BIG) == []
    recorded = json.loads((cached() / "checksums.json").read_text())[BIG]
    assert recorded["sha256"] == hashlib.sha256(bucket.files[BIG]).hexdigest()


def test_tags_that_are_no_md5_are_not_taken_for_one(get, bucket):
    bucket.etag = lambda content: '"0123456789abcdef0123456789abcdef"'
    with pytest.raises(DownloadError, match="arrived damaged"):
        get()
    bucket.headers["x-amz-server-side-encryption"] = "aws:kms"
    get()
    assert "arrived complete" in get.said


@pytest.mark.parametrize("content", ["{not json", "[]"])
def test_a_broken_ledger_is_named(get, content):
    cached().mkdir(parents=True)
    (cached() / "checksums.json").write_text(content)
    with pytest.raises(DownloadError, match=r"checksums\.json"):
        get()


# --- disk, sharing, license -----------------------------------------------------------------


def test_a_disk_too_small_is_found_before_anything_is_written(get, bucket, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1000))
    with pytest.raises(DownloadError, match=r"are needed and 1\.0 kB are free.*COURSEKIT_CACHE"):
        get()
    assert not (cached() / f"{BIG}.part").exists()


def test_a_disk_that_fills_up_on_the_way(get, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer.os, "fsync", full)
    with pytest.raises(DownloadError, match=r"No space left on device.*Free disk space"):
        get()
    assert (cached() / f"{BIG}.part").exists()


def test_a_cache_is_as_shared_as_its_folder(get, tmp_path, monkeypatch):
    previous = os.umask(0o022)
    try:
        for name, mode, group_writes in (("class", 0o2775, True), ("own", 0o755, False)):
            root = tmp_path / name
            root.mkdir()
            root.chmod(mode)
            monkeypatch.setenv("COURSEKIT_CACHE", str(root))
            get()
            made = [path for path in root.rglob("*") if path.exists()]
            assert len(made) > 15
            assert {bool(p.stat().st_mode & stat.S_IWGRP) for p in made} == {group_writes}
    finally:
        os.umask(previous)


def test_two_at_once_fetch_each_file_once(bucket, tmp_path):
    bucket.faults[BIG] = ["stalls"]
    results: list[object] = []

    def one() -> None:
        results.append(
            fetch("mapk14", base_url=bucket.url, accept_licence=True, backoff=0.0, timeout=0.3,
                  say=lambda line: None)["mapk14"].read_bytes()
        )  # fmt: skip

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [bucket.files[BIG]] * 3
    assert len(bucket.ranges(BIG)) == 2  # the stalled one and its rest
    assert len(bucket.ranges("synthons/reacted_a.csv")) == 1


def test_waiting_for_another_process_is_said(get):
    get()
    held = threading.Event()

    def hold() -> None:
        with FileLock(cached() / f".{BIG}.lock"):
            held.set()
            time.sleep(0.2)

    threading.Thread(target=hold).start()
    assert held.wait(5)
    get()
    assert f"{BIG}: another process is at it" in get.said


def test_a_cache_for_reading_only_serves_what_it_holds(get, bucket, monkeypatch):
    get()
    monkeypatch.setattr(shared_cache.os, "access", lambda path, mode: False)
    bucket.asked.clear()
    assert get()["mapk14"].exists()
    assert bucket.asked == []
    (cached() / BIG).unlink()
    with pytest.raises(DownloadError, match="you may not write there"):
        get()


def test_folders_and_locks_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot make the folder"):
        fetch("mapk14", cache=tmp_path / "file" / "kindel", accept_licence=True)

    def no_locks(self, *arguments: object, **options: object) -> None:
        raise NotImplementedError("no locks on this file system")

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    with pytest.raises(DownloadError, match="cannot lock"):
        fetch("mapk14", accept_licence=True, say=lambda line: None)


def test_without_a_terminal_the_license_needs_the_option(get, bucket, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(DownloadError, match="--accept-licence"):
        get(accept_licence=None)
    assert bucket.asked == []
    assert "commercial" in get.said
    assert "https://github.com/insitro/kindel" in get.said


def test_the_license_is_asked_once_per_user(get, bucket, monkeypatch):
    asked: list[str] = []

    def yes(summary: str) -> bool:
        asked.append(summary)
        return True

    get(accept_licence=yes)
    get(accept_licence=yes)
    get(accept_licence=None)
    assert len(asked) == 1
    monkeypatch.setattr(getpass, "getuser", lambda: "another student")
    get(accept_licence=yes)
    assert len(asked) == 2
    accepted = json.loads((cached() / "license-accepted.json").read_text())
    assert "another student" in accepted
    assert len(accepted) == 2


@pytest.mark.parametrize("answer", [False, lambda summary: False])
def test_a_license_not_accepted_fetches_nothing(get, bucket, answer):
    with pytest.raises(DownloadError, match="not accepted; nothing was fetched"):
        get(accept_licence=answer)
    assert bucket.asked == []


@pytest.mark.parametrize(("typed", "accepted"), [("y", True), ("YES", True), ("", False)])
def test_on_a_terminal_the_user_types_the_answer(get, monkeypatch, capsys, typed, accepted):
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr("builtins.input", lambda prompt: typed)
    if accepted:
        assert get(accept_licence=None)
    else:
        with pytest.raises(DownloadError, match="not accepted"):
            get(accept_licence=None)
    assert "This summary is not the license" in capsys.readouterr().err


def test_a_user_without_a_name(monkeypatch):
    def nobody() -> str:
        raise KeyError("no password file")

    monkeypatch.setattr(kindel_license.getpass, "getuser", nobody)
    assert kindel_license._user() == str(os.getuid())
