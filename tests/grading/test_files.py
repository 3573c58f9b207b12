"""Files of a submission: taken in within limits, nothing followed, nothing unpacked to disk."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursekit.errors import SubmissionError
from coursekit.grading.files import Limits, read_files

SMALL = Limits(notebook_bytes=2_000_000, total_bytes=3_000_000, entries=50, depth=4)


def make_zip(path: Path, members: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names, and writes them
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_notebook_a_folder_and_a_zip_give_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "runs/full").mkdir(parents=True)
    (folder / "02.ipynb").write_bytes(b"{}")
    (folder / "runs/full/record.json").write_bytes(b"[]")
    (folder / "runs/full/model.safetensors").write_bytes(b"1")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints/02.ipynb").write_bytes(b"old")
    archive = tmp_path / "it.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for path in folder.rglob("*"):
            z.write(path, path.relative_to(folder))
    for found in (read_files(folder), read_files(archive)):
        assert found.notebooks == {"02.ipynb": b"{}"}
        assert found.records == {"runs/full/record.json": b"[]"}
        assert found.weights == {"runs/full/model.safetensors": b"1"}
        assert found.notices == []
    assert read_files(folder / "02.ipynb").notebooks == {"02.ipynb": b"{}"}


def test_links_pipes_and_devices_are_named_and_left_alone(tmp_path: Path) -> None:
    secret = tmp_path / "gradebook.db"
    secret.write_text("grades")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.ipynb").write_bytes(b"{}")
    (folder / "b.ipynb").symlink_to(secret)
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "c.ipynb")
    found = read_files(folder)
    assert found.notebooks == {"a.ipynb": b"{}"}
    assert sorted(found.notices) == [
        "'b.ipynb': a symbolic link, left out",
        "'c.ipynb': a pipe, left out",
        "'out': a symbolic link, left out",
    ]
    link = tmp_path / "link.ipynb"
    link.symlink_to(folder / "a.ipynb")
    for refused in (link, folder / "c.ipynb"):
        with pytest.raises(SubmissionError, match=r"symbolic link|a pipe"):
            read_files(refused)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    for name in ("a.ipynb", "model.pt", "runs.pkl", "x.npy", "y.joblib", "helper.py"):
        (tmp_path / name).write_bytes(b"{}")
    found = read_files(tmp_path)
    assert found.records == {}
    assert found.weights == {}
    assert sum("can run code" in notice for notice in found.notices) == 4
    assert sum("left out" in notice for notice in found.notices) == 1


@pytest.mark.parametrize(
    "name", ["../../etc/x.ipynb", "/etc/x.ipynb", "..\\x.ipynb", "C:\\x.ipynb", "a/../../x.ipynb"]
)
def test_a_name_in_a_zip_leads_nowhere(tmp_path: Path, name: str) -> None:
    archive = make_zip(tmp_path / "s.zip", {"ok.ipynb": b"{}", name: b"evil"})
    before = sorted(p.name for p in tmp_path.rglob("*"))
    found = read_files(archive)
    assert list(found.notebooks) == ["ok.ipynb"]
    assert any("leads outside" in notice for notice in found.notices)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_a_link_in_a_zip_is_left_out(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("b.ipynb")
    link.external_attr = 0o120777 << 16
    found = read_files(make_zip(tmp_path / "s.zip", {"a.ipynb": b"{}", link: b"/etc/passwd"}))
    assert found.notebooks == {"a.ipynb": b"{}"}
    assert found.notices == ["'b.ipynb': a symbolic link, left out"]


@pytest.mark.parametrize("second", ["a.ipynb", "A.ipynb", "\uff41.ipynb"])
def test_two_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    members = {zipfile.ZipInfo("a.ipynb"): b"{}", zipfile.ZipInfo(second): b"[]"}
    with pytest.raises(SubmissionError, match="twice"):
        read_files(make_zip(tmp_path / "s.zip", members))


def test_bombs(tmp_path: Path) -> None:
    flat = make_zip(tmp_path / "flat.zip", {"a.ipynb": b" " * 1_900_000})
    with pytest.raises(SubmissionError, match="too much"):
        read_files(flat, SMALL)
    # A header that lies about the size: what comes out is what counts.
    raw = bytearray(make_zip(tmp_path / "lie.zip", {"a.ipynb": os.urandom(2_500_000)}).read_bytes())
    place = raw.rindex(b"PK\x01\x02")
    raw[place + 24 : place + 28] = struct.pack("<I", 1_000)
    (tmp_path / "lie.zip").write_bytes(raw)
    with pytest.raises(SubmissionError, match=r"damaged|more than"):
        read_files(tmp_path / "lie.zip", SMALL)
    many = make_zip(tmp_path / "many.zip", {f"{i}.txt": b"" for i in range(60)})
    with pytest.raises(SubmissionError, match="too many"):
        read_files(many, SMALL)
    inner = make_zip(tmp_path / "inner.zip", {"a.ipynb": b"{}"})
    nested = make_zip(tmp_path / "nested.zip", {"inner.zip": inner.read_bytes()})
    with pytest.raises(SubmissionError, match="no notebook"):
        read_files(nested, SMALL)
    three = {f"{i}.ipynb": os.urandom(1_900_000) for i in range(3)}
    with pytest.raises(SubmissionError, match=r"larger|add up"):
        read_files(make_zip(tmp_path / "sum.zip", three), Limits(total_bytes=4_000_000))


def test_encrypted_and_damaged_zips(tmp_path: Path) -> None:
    raw = bytearray(make_zip(tmp_path / "s.zip", {"a.ipynb": b"{}" * 99}).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + offset] |= 1
    (tmp_path / "s.zip").write_bytes(raw)
    with pytest.raises(SubmissionError, match="encrypted"):
        read_files(tmp_path / "s.zip")
    (tmp_path / "t.zip").write_bytes(b"PK not a zip")
    with pytest.raises(SubmissionError, match="damaged"):
        read_files(tmp_path / "t.zip")


def test_ten_thousand_files_and_deep_folders(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(SubmissionError, match="too many"):
        read_files(tmp_path, SMALL)
    deep = tmp_path / "deep"
    (deep / "/".join("abcdef")).mkdir(parents=True)
    (deep / "x.ipynb").write_bytes(b"{}")
    assert "nested too deep" in read_files(deep, SMALL).notices[0]


def test_sizes_and_absence(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_bytes(b" " * 2_000_001)
    with pytest.raises(SubmissionError, match="larger"):
        read_files(tmp_path / "a.ipynb", SMALL)
    with pytest.raises(SubmissionError, match="larger"):
        read_files(tmp_path, SMALL)
    for absent in (tmp_path / "none.ipynb", "a\0b.ipynb"):
        with pytest.raises(SubmissionError, match="no submission"):
            read_files(absent)


def test_messages_carry_no_control_characters(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_bytes(b"{}")
    (tmp_path / "\u202egnp.exe\x1b[2J").write_bytes(b"")
    notice = read_files(tmp_path).notices[0]
    assert notice.isascii()
    assert notice.isprintable()


def whole_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.ipynb", b"{}" * 50)
        archive.writestr("r/record.json", b"[1, 2]")
    return buffer.getvalue()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_bytes_are_files_or_an_error(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    raw = bytearray(whole_zip())
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=12)
    ):
        raw[place] = value
    cut = data.draw(st.integers(0, len(raw)) | st.just(len(raw)))
    path = tmp_path_factory.mktemp("any") / "s.zip"
    path.write_bytes(bytes(raw[:cut]))
    with contextlib.suppress(SubmissionError):
        read_files(path)
