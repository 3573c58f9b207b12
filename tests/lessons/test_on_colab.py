"""With Colab's versions (``make colab``): the kit came in beside them and replaced none."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from coursekit.lessons.install import NEVER, missing_packages

ROOT = Path(__file__).resolve().parents[2]
LISTED = dict(
    re.findall(r"^([a-z_-]+)==(\S+)", (ROOT / "constraints-colab.txt").read_text("utf-8"), re.M)
)


def test_the_list_has_what_the_kit_never_installs() -> None:
    assert set(NEVER) | {"ipython", "ipywidgets"} <= set(LISTED)


def test_nothing_of_colab_was_replaced() -> None:
    if version("ipython") != LISTED["ipython"]:
        pytest.skip("these are not Colab's versions: make colab")
    found = {name: installed(name) for name in LISTED}
    assert found == LISTED
    assert missing_packages() == []


def installed(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "not there"
