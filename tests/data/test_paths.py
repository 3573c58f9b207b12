from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coursekit.data import paths
from coursekit.errors import CourseKitError


def test_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "class" / "cache"))
    assert paths.cache_dir() == tmp_path / "class" / "cache"
    assert paths.cache_dir().is_dir()


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "coursekit"),
        ("win32", "LOCALAPPDATA", "coursekit"),
        ("darwin", "HOME", "Library/Caches/coursekit"),
        ("linux", "HOME", ".cache/coursekit"),
        ("win32", "HOME", "AppData/Local/coursekit"),
    ],
)
def test_cache_is_the_platforms_own(tmp_path, monkeypatch, platform, variable, expected):
    for name in ("COURSEKIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, str(tmp_path))
    assert paths.cache_dir() == tmp_path / expected


def test_cache_that_cannot_be_made_names_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CourseKitError, match="COURSEKIT_CACHE"):
        paths.cache_dir()


def test_bundled_prefers_the_wheels_copy_and_falls_back_to_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "coursekit")
    in_checkout = tmp_path / "data" / "sample" / "x.txt"
    in_checkout.parent.mkdir(parents=True)
    in_checkout.write_text("checkout")
    assert paths.bundled("sample/x.txt") == in_checkout
    in_wheel = tmp_path / "coursekit" / "_bundled" / "sample" / "x.txt"
    in_wheel.parent.mkdir(parents=True)
    in_wheel.write_text("wheel")
    assert paths.bundled("sample/x.txt") == in_wheel


def test_bundled_file_that_is_missing():
    with pytest.raises(CourseKitError, match=r"no/such\.file"):
        paths.bundled("no/such.file")
    assert isinstance(paths.bundled(), Path)
