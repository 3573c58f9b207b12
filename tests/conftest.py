"""What several tests stand on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported: two test processes on two cores must not ask for four threads.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for a server or for a process to be killed."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: none is left for the end, where others would wait for it."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def _shared(name: str) -> Path:
    folder = Path(os.environ.get("COURSEKIT_SHARED", ROOT.parent / "shared")) / "data" / name
    if not folder.is_dir():
        pytest.skip(
            f"real data is not here ({folder}): set COURSEKIT_SHARED to the folder that holds data/"
        )
    return folder


@pytest.fixture(scope="session")
def kindel_dir() -> Path:
    """Real KinDEL pieces: synthons, held-out Kd, splits, nine rows (never part of the project)."""
    return _shared("kindel")


@pytest.fixture(scope="session")
def zinc_file() -> Path:
    """249,455 ZINC SMILES, gzipped, one a line."""
    return _shared("smiles") / "zinc250k_mol_opt.smi.gz"


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own cache."""
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "cache"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what each notebook took, and each command of the grader's README.

    Tests record it, in whatever process they run.
    """
    recorded = [
        (str(name), seconds)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, seconds in report.user_properties
    ]
    for title, mark in (
        ("notebooks in the profile quick", r"(.*\.ipynb)$"),
        ("from an installation to grades.csv and feedback", r"autograder/README\.md (.*)"),
    ):
        took = [(m[1], float(s)) for name, s in recorded if (m := re.match(mark, name))]
        if took:
            terminalreporter.section(title)
            for name, seconds in sorted(took):
                terminalreporter.write_line(f"{seconds:6.0f} s  {name}")
            whole = sum(seconds for _, seconds in took)
            terminalreporter.write_line(f"{whole:6.0f} s  all ({whole / 60:.1f} minutes)")
