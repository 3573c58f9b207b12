"""``autograder/README.md``: each command in it, in order, on the class that it makes."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small import ROOT

pytestmark = pytest.mark.usefixtures("needs_sandbox")
pytest.importorskip("jupytext")
README = ROOT / "autograder" / "README.md"
WALK = "autograder/README.md"


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


def test_it_names_the_commands_that_matter() -> None:
    text = "\n".join(commands())
    for word in ("example-class", "generate_assignment", "coursekit grade 01", "export --to csv",
                 "generate_feedback", "assign 01 --seed-from", "extend 01", "--to canvas",
                 "--to moodle"):  # fmt: skip
        assert word in text


def test_from_nothing_to_grades(tmp_path: Path, record_property: Any) -> None:
    """All twenty, held against what they deserve; how long it took is printed after the tests."""
    home = tmp_path / "autograder"
    shutil.copytree(ROOT / "autograder", home, ignore=shutil.ignore_patterns("__pycache__"))
    settings = (home / "course.yaml").read_text()
    (home / "course.yaml").write_text(settings.replace("../", f"{ROOT}/"))
    folder = home
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for number, command in enumerate(commands(), 1):
        if command.startswith("cd "):
            folder = folder / command.removeprefix("cd ")
            continue
        # The programs as modules: an installation of this checkout is not needed for them.
        line = re.sub(r"^(coursekit|nbgrader)\b", rf"{sys.executable} -m \1", command)
        began = time.monotonic()
        done = subprocess.run(
            line, shell=True, cwd=folder, env=environment, capture_output=True, text=True
        )
        record_property(f"{WALK} {number:2}: {command}", time.monotonic() - began)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr[-4_000:]}"
        if command == "coursekit grade 01":
            assert "leaked" not in done.stderr, done.stderr
            graded = done.stdout
        if command == "coursekit export --to csv 01":
            rows = {r["student_id"]: r for r in csv.DictReader((folder / "grades.csv").open(
                encoding="utf-8-sig"))}  # fmt: skip
            shutil.copy(folder / "grades.csv", tmp_path)
    expected = {one["student"]: one for one in json.loads((folder / "expected.json").read_text())}
    in_grades = {"graded": "final", "partial": "waiting", "needs a person": "waiting"}
    assert rows.keys() == expected.keys()
    assert len(rows) == 20
    for student, deserved in expected.items():
        report = json.loads((folder / "autograded" / student / "01" / "report.json").read_text())
        assert report["state"] == deserved["state"], (student, report["reasons"], graded)
        assert rows[student]["state"] == in_grades[deserved["state"]], rows[student]
        points = float(rows[student]["points"] or 0)
        assert points == pytest.approx(deserved["points"], abs=1e-3), (student, graded)
        assert (folder / "feedback" / student / "01" / "01_frozen_embeddings.html").is_file()
    assert len(list(folder.glob("personal/01/*/*.ipynb"))) == 20
    canvas = (folder / "grades-canvas.csv").read_text()
    assert "mia-syntax" in canvas
