"""What a record says about the machine, and what it must not say."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from coursekit.runs import describe_environment
from coursekit.version import __version__


def test_versions_are_those_that_run() -> None:
    found = describe_environment("bf16")
    assert found["precision"] == "bf16"
    assert found["python"] == platform.python_version()
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["coursekit"] == __version__
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)


def test_nothing_names_a_person_or_a_machine() -> None:
    text = json.dumps(describe_environment())
    for secret in (platform.node(), getpass.getuser(), str(Path.home()), str(Path.cwd())):
        assert not secret or secret not in text


def test_torch_is_not_loaded_to_describe_a_run_that_did_not_use_it() -> None:
    code = (
        "import sys, coursekit.runs as r; found = r.describe_environment(); "
        "assert found['device'] == 'CPU' and found['versions']['torch']; "
        "assert not {'torch', 'sklearn', 'matplotlib', 'rdkit'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("cuda", "mps", "name"), [(1, 0, "Tesla T4"), (0, 1, "Apple GPU")])
def test_an_accelerator_is_named(
    monkeypatch: pytest.MonkeyPatch, cuda: int, mps: int, name: str
) -> None:
    torch = SimpleNamespace(
        cuda=SimpleNamespace(
            is_available=lambda: bool(cuda),
            current_device=lambda: 0,
            get_device_name=lambda _: "Tesla T4",
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: bool(mps))),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert describe_environment()["device"] == name


def test_a_package_that_is_not_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coursekit.runs.environment.PACKAGES", ("no-such-package-here",))
    assert describe_environment()["versions"] == {
        "coursekit": __version__,
        "no-such-package-here": None,
    }
