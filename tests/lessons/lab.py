"""A real JupyterLab with a real browser before it, and what a student's hands do there."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TOKEN = "a-token-of-this-test"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NOTICES = "@jupyterlab/apputils-extension:notification"
THEME = "@jupyterlab/apputils-extension:themes"
PATIENCE = 240_000  # ms: what takes seconds on a quiet machine may take minutes on a busy one


def browser_path() -> str:
    """The system's Chromium; skips, visibly, where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("there is no Chromium here: install the package chromium")
    return found


@contextmanager
def jupyterlab(home: Path, folder: Path, **environment: str) -> Iterator[str]:
    """A server of its own for the notebooks in ``folder``; gives its address, without token.

    Args:
        home: where it keeps its settings, signatures and runtime files.
        folder: where the notebooks are.
        environment: for the kernels.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {name: str(home / name.lower()) for name in names}
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home),
    }
    options = {"port": port, "port_retries": 0, "root_dir": folder, "open_browser": False}
    command = [sys.executable, "-m", "jupyter", "lab", f"--IdentityProvider.token={TOKEN}"]
    command += [f"--ServerApp.{name}={value}" for name, value in options.items()]
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    page = home / "jupyter_config_dir" / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True)  # students do not have the instructor's extension
    page.write_text('{"disabledExtensions": {"@jupyter/nbgrader": true}}')
    log = home / "server.log"
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, env={**os.environ, **own, **environment}, stdout=out, stderr=out
        )
        try:
            _wait_until_it_answers(server, f"{address}/api/status?token={TOKEN}", log)
            set_setting(address, NOTICES, {"fetchNews": "false", "checkForUpdates": False})
            yield address
        finally:
            server.terminate()
            server.wait(30)


def set_setting(address: str, plugin: str, values: dict[str, Any]) -> None:
    """Change a setting of the server's JupyterLab, as its settings editor would."""
    request = urllib.request.Request(
        f"{address}/lab/api/settings/{plugin}?token={TOKEN}",
        json.dumps({"raw": json.dumps(values)}).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=60).close()


def _wait_until_it_answers(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text(errors="replace")
            time.sleep(0.2)
    raise AssertionError(f"JupyterLab does not answer: {log.read_text(errors='replace')}")


class Notebook:
    """One notebook in a browser's page.

    Args:
        page: of Playwright.
        address: of the server.
        name: of the file.
    """

    def __init__(self, page: Any, address: str, name: str) -> None:
        self.page = page
        page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        page.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for()

    def cell(self, index: int) -> Any:
        """The n-th cell, from 0."""
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')

    def prompt(self, index: int) -> str:
        """What stands beside a code cell: "[3]:", or "[*]:" while it runs."""
        return str(self.cell(index).locator(".jp-InputPrompt").first.inner_text())

    def run_all(self) -> None:
        """The menu's Run All Cells."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    def write(self, index: int, text: str) -> None:
        """Replace what is in a cell, and run it."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(text)
        self.run(index)

    def run(self, index: int) -> None:
        """Run a cell from the keyboard, and wait until it has run."""
        before = self.prompt(index)
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.wait_for(lambda: self.prompt(index) not in (before, "[*]:", "[ ]:"), f"cell {index}")

    def add_below(self, index: int, text: str) -> int:
        """Insert a cell below another from the keyboard, run it, and say where it is."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("b")
        self.cell(index + 1).wait_for()
        self.write(index + 1, text)
        return index + 1

    def output(self, index: int) -> Any:
        """All outputs of a cell."""
        return self.cell(index).locator(".jp-OutputArea-child")

    def save(self) -> None:
        """Ctrl-S, and wait until the tab no longer says that something changed."""
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Control+s")
        self.wait_for(lambda: not self.page.locator(".jp-mod-dirty").count(), "the file is saved")

    def wait_for(self, what: Any, said: str) -> None:
        """Look every now and then until it is so."""
        for _ in range(PATIENCE // 100):
            if what():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"waited in vain for: {said}")
