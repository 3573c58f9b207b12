"""Formgrader in a real browser: autograde by button, read a reflection, late, release feedback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small import RIGHT_TANIMOTO, ROOT, WORDS, answered

from coursekit.grading.lateness import extend

pytest.importorskip("nbgrader")
sync_api = pytest.importorskip("playwright.sync_api", reason="NO PLAYWRIGHT: no browser tests")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.usefixtures("needs_sandbox"),
    pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: apt install chromium"),
]
PATIENCE = 180_000  # milliseconds; on a busy machine a click may take a minute
EVIL = "from IPython.display import HTML\nHTML('<img src=x onerror=\"document.title=1\"><b>x</b>')"


@pytest.fixture
def server(course_folder: Path) -> Iterator[str]:
    """A Jupyter server in the course's folder, as an instructor starts one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "JUPYTER_CONFIG_DIR": str(course_folder.parent / "jupyter"),
        "HOME": str(course_folder.parent),
    }
    line = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
    line += [f"--port={port}", "--IdentityProvider.token=", f"--ServerApp.root_dir={course_folder}"]
    log = (course_folder.parent / "server.log").open("wb")
    running = subprocess.Popen(line, cwd=course_folder, env=variables, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5)
                break
            except OSError:
                assert running.poll() is None, Path(log.name).read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(timeout=60)
        log.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def press(page: Any, kind: str, said: str) -> None:
    """Press one of the three buttons of the only row, and read what comes of it."""
    page.click(f"td.{kind} a")
    page.wait_for_selector(".modal.in .modal-title, .modal.show .modal-title")
    modal = page.inner_text(".modal-content")
    assert said in modal, modal
    page.click(".modal-footer button")
    page.wait_for_selector(".modal", state="detached")


def test_a_submission_by_buttons(
    course_folder: Path, hand_in: Callable[..., Path], server: str, page: Any, tmp_path: Path
) -> None:
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    exchange.chmod(0o777)
    with (course_folder / "nbgrader_config.py").open("a") as config:
        config.write(f"\nc.Exchange.root = {str(exchange)!r}\n")
    (course_folder / "source" / "00").mkdir(parents=True)
    hand_in("ada", answered({"00.4": RIGHT_TANIMOTO, "00.6": WORDS}, EVIL),
            "2026-03-05 12:00:00 UTC")  # fmt: skip

    page.goto(f"{server}/formgrader/manage_submissions/00")
    page.wait_for_selector("td.autograde a")
    press(page, "autograde", "Successfully autograded")
    page.wait_for_selector("text=needs manual grading")
    assert page.inner_text("td.score").startswith("2 / ")
    page.screenshot(path=str(tmp_path / "1-autograded.png"))

    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course_folder / 'gradebook.db'}") as book:
        submission = book.find_submission_notebook("00_small", "00", "ada").id
    page.goto(f"{server}/formgrader/submissions/{submission}/")
    answer = page.locator("#answer-00-6")
    answer.wait_for()
    text = page.inner_text("body")
    assert "Rubric of 00.6" in text
    assert "One point each" in text
    assert "00.4: right" in text
    assert page.title() == "00_small"  # the student's output did nothing
    below = answer.bounding_box()["y"]
    assert below < page.locator("text=Rubric of 00.6").bounding_box()["y"] < below + 900
    with page.expect_response(lambda r: "/api/grade/" in r.url and r.request.method == "PUT"):
        answer.fill("2.5")
        answer.press("Tab")
    with page.expect_response(lambda r: "/api/comment/" in r.url and r.request.method == "PUT"):
        page.fill("#answer-00-6-comment", "Say what a low load means.")
        page.locator("#answer-00-6-comment").press("Tab")
    page.locator("#answer-00-6").scroll_into_view_if_needed()
    page.screenshot(path=str(tmp_path / "2-reflection.png"))

    # Due three days before it came in, with two days more: one day late.
    page.goto(f"{server}/formgrader/manage_assignments")
    page.click("td.edit a")
    page.fill("input.modal-duedate", "2026-03-02T12:00")
    with page.expect_response(lambda r: "/api/assignment/" in r.url and r.request.method == "PUT"):
        page.click("button.save")
    page.wait_for_selector("td.duedate >> text=2026-03-02")
    extend(f"sqlite:///{course_folder / 'gradebook.db'}", "00", "ada", 2)

    page.goto(f"{server}/formgrader/manage_submissions/00")
    page.wait_for_selector("td.status >> text=graded")
    press(page, "generate-feedback", "Successfully generated feedback")
    press(page, "release-feedback", "Successfully released feedback")
    page.screenshot(path=str(tmp_path / "3-released.png"))
    (released,) = exchange.glob("coursekit/feedback/*.html")
    html = released.read_text()
    assert "Say what a low load means." in html
    assert "One point each" not in html
    page.goto(released.as_uri())
    page.wait_for_selector("text=4.05 of 15")  # less a tenth for the day
    assert "cost 0.45 points" in page.inner_text("body")
    page.screenshot(path=str(tmp_path / "4-feedback.png"))
