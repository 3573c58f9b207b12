"""The site, built once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``make site`` makes, built without a warning; once for all test processes."""
    pytest.importorskip("myst_nb")
    pytest.importorskip("latex2mathml")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / "site"
    with FileLock(shared / "site.lock"):
        if not (made / "built").exists():
            _build(made)
            (made / "built").touch()
    return made / "html"


def _build(made: Path) -> None:
    began = time.monotonic()
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    built = subprocess.run(
        [*command, "-d", str(made / "doctrees"), str(ROOT / "docs"), str(made / "html")],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    print(f"the site is built in {time.monotonic() - began:.0f} s")


@pytest.fixture(scope="session")
def files(site: Path) -> list[Path]:
    """The pages of the site, without the theme's own templates."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
