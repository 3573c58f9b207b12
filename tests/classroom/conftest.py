"""An instructor's folder with a small lesson: two exercises of lesson 00, and what came back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import ROOT, small_lesson

from coursekit.errors import GradingError
from coursekit.grading.sandbox import find_sandbox


@pytest.fixture(scope="session")
def needs_sandbox() -> None:
    pytest.importorskip("nbgrader")
    try:
        find_sandbox()
    except GradingError as error:
        pytest.skip(f"NO SANDBOX, its tests are not run: {error}")


@pytest.fixture
def course_folder(tmp_path: Path) -> Path:
    """A copy of ``autograder/`` with the small lesson as the one released."""
    folder = tmp_path / "autograder"
    folder.mkdir()
    for name in ("nbgrader_config.py", "course.yaml"):
        shutil.copy(ROOT / "autograder" / name, folder)
    settings = (folder / "course.yaml").read_text()
    settings = settings.replace("  - {name: sample}", "  []").replace("../", f"{ROOT}/")
    (folder / "course.yaml").write_text(settings)
    shutil.copytree(ROOT / "autograder" / "rubrics", folder / "rubrics")
    (folder / "release" / "00").mkdir(parents=True)
    (folder / "release" / "00" / "00_small.ipynb").write_text(json.dumps(small_lesson()))
    return folder


@pytest.fixture
def hand_in(course_folder: Path) -> Callable[..., Path]:
    def put(student: str, content: Any, timestamp: str | None = None) -> Path:
        place = course_folder / "submitted" / student / "00"
        place.mkdir(parents=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (place / "00_small.ipynb").write_text(text, encoding="utf-8")
        if timestamp is not None:
            (place / "timestamp.txt").write_text(timestamp)
        return place

    return put
