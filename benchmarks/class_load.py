"""A class of 200 on two processors, sandboxed: is anybody lost, does memory grow, how fast is it?

    python benchmarks/class_load.py [--lesson 01] [--submissions 200] [--stock 5] [--kills 10]

The same notebooks are graded three times: by ``coursekit grade`` from its start to its end; by it
again, killed with SIGKILL at random moments and called anew each time, to the same gradebook; and
some of them by stock ``nbgrader autograde``, which has neither sandbox nor records and so trains.
Of twenty submissions, seventeen are right, two as they were given out, one is cut off. Results go
to ``benchmarks/results/class_load.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from coursekit.grading.gradebook import register_assignment
from coursekit.grading.master import read_master
from coursekit.grading.watch import usage
from coursekit.runs import describe_environment
from coursekit.storage import write_json

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def notebooks(lesson: str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The learner's notebook: its path, as given, and with the solution and its outputs."""
    (path,) = (ROOT / "notebooks").glob(f"{lesson}_*.ipynb")
    (solution,) = (ROOT / "solutions").glob(f"{lesson}_*.ipynb")
    given, solved = (json.loads(p.read_text(encoding="utf-8")) for p in (path, path))
    code = [c for c in json.loads(solution.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    mine = [c for c in solved["cells"] if c["cell_type"] == "code"]
    for cell, answer in zip(mine, code, strict=True):
        cell["outputs"] = answer["outputs"]
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = answer["source"]
    return path, given, solved


def hand_in(folder: Path, lesson: str, number: int) -> dict[str, str]:
    """Fill ``submitted/`` of a folder; what each student handed in, by their name."""
    path, given, solved = notebooks(lesson)
    kinds = {}
    for index in range(number):
        student, place = f"s{index:03d}", folder / "submitted" / f"s{index:03d}" / lesson
        kinds[student] = {3: "given", 11: "given", 17: "cut"}.get(index % 20, "right")
        notebook = given if kinds[student] == "given" else solved
        notebook = notebook | {"cells": [*notebook["cells"], _signature(student)]}
        text = json.dumps(notebook)
        place.mkdir(parents=True)
        text = text[: len(text) // 2] if kinds[student] == "cut" else text
        (place / path.name).write_text(text, encoding="utf-8")
    return kinds


def _signature(student: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": f"handed in by {student}"}


def course(folder: Path, lesson: str, number: int) -> dict[str, str]:
    """An instructor's folder with submissions."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = (ROOT / "autograder" / "course.yaml").read_text().replace("../", f"{ROOT}/")
    (folder / "course.yaml").write_text(settings)
    for name in ("hidden", "rubrics"):
        shutil.copytree(ROOT / "autograder" / name, folder / name)
    return hand_in(folder, lesson, number)


def start(folder: Path, lesson: str, jobs: int) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "coursekit", "grade", lesson]
    line += ["--course", str(folder), "--jobs", str(jobs)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True, start_new_session=True)


def scores(folder: Path, lesson: str) -> dict[str, list[tuple[Any, ...]]]:
    """Automatic scores by student, as the gradebook has them."""
    query = """
        select s.student_id, b.name, g.auto_score, g.needs_manual_grade from grade g
        join submitted_notebook n on n.id = g.notebook_id
        join submitted_assignment s on s.id = n.assignment_id
        join base_cell b on b.id = g.cell_id order by 1, 2
    """
    found: dict[str, list[tuple[Any, ...]]] = {}
    with sqlite3.connect(folder / "gradebook.db") as base:
        for student, *rest in base.execute(query):
            found.setdefault(student, []).append(tuple(rest))
    return found


def whole_class(folder: Path, lesson: str, number: int, jobs: int) -> dict[str, Any]:
    """Grade all of it in one go, with memory looked at twice a second."""
    kinds = course(folder, lesson, number)
    seen: list[int] = []
    began = time.monotonic()
    process = start(folder, lesson, jobs)

    def look() -> None:
        while process.poll() is None:
            seen.append(usage(process.pid).memory_bytes)
            time.sleep(0.5)

    watcher = threading.Thread(target=look)
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    seconds = time.monotonic() - began
    print(output.splitlines()[0], *output.splitlines()[-12:], sep="\n", flush=True)
    reports = {
        student: json.loads((folder / f"autograded/{student}/{lesson}/report.json").read_text())
        for student in kinds
    }
    wrong = [
        student
        for student, report in reports.items()
        if report["state"] not in {"right": ("partial", "graded"), "given": ("graded",),
                                   "cut": ("needs a person",)}[kinds[student]]
    ]  # fmt: skip
    tenth = max(len(seen) // 10, 1)
    return {
        "submissions": number,
        "lost": number - len(scores(folder, lesson)),
        "not in the state they deserve": wrong,
        "seconds": seconds,
        "seconds a submission": seconds / number,
        "of which inside the sandbox": sum(
            cell["seconds"] for report in reports.values() for cell in report["cells"]
        )
        / number
        / jobs,
        # Pages that processes share count once for each: this is more than what is used.
        "memory, second tenth (MB)": max(seen[tenth : 2 * tenth], default=0) / 1e6,
        "memory, last tenth (MB)": max(seen[-tenth:], default=0) / 1e6,
    }


def killed(folder: Path, lesson: str, number: int, jobs: int, kills: int) -> dict[str, Any]:
    """Grade all of it, killed again and again; the gradebook it comes to."""
    course(folder, lesson, number)
    moments = random.Random(0)
    for _ in range(kills):
        process = start(folder, lesson, jobs)
        assert process.stdout is not None
        process.stdout.readline()
        # A line for each submission: wait for some, then for a part of one.
        for _ in range(moments.randint(0, max(number // (kills + 2), 1))):
            process.stdout.readline()
        time.sleep(moments.uniform(0, 3))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        done = len(list(folder.glob(f"autograded/*/{lesson}/report.json")))
        print(f"killed with {done} of {number} recorded", flush=True)
    output, _ = start(folder, lesson, jobs).communicate()
    print(output.splitlines()[-1])
    return {"kills": kills, "gradebook": scores(folder, lesson)}


def stock(folder: Path, lesson: str, number: int) -> float:
    """Seconds a submission by nbgrader alone, on right submissions."""
    shutil.rmtree(folder, ignore_errors=True)
    path, _, solved = notebooks(lesson)
    for index in range(number):
        place = folder / "submitted" / f"s{index:03d}" / lesson
        place.mkdir(parents=True)
        (place / path.name).write_text(json.dumps(solved), encoding="utf-8")
    release = folder / "release" / lesson
    release.mkdir(parents=True)
    shutil.copy(path, release)
    register_assignment(f"sqlite:///{folder / 'gradebook.db'}", lesson, read_master(path))
    (folder / "nbgrader_config.py").write_text(
        "c = get_config()\nc.ExecutePreprocessor.timeout = 3600\nc.Execute.timeout = 3600\n"
    )
    line = [sys.executable, "-m", "nbgrader", "autograde", lesson, "--create"]
    environment = os.environ | {"COURSEKIT_PROFILE": "cpu", "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    seconds = (time.monotonic() - began) / number
    if done.returncode:
        raise RuntimeError(f"stock nbgrader failed: {done.stderr[-2_000:]}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lesson", default="01")
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--stock", type=int, default=5)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    folder = HERE / "scratch" / "class_load"
    found = whole_class(folder / "whole", given.lesson, given.submissions, given.jobs)
    again = killed(folder / "killed", given.lesson, given.submissions, given.jobs, given.kills)
    found["kills"] = given.kills
    found["same gradebook after the kills"] = again["gradebook"] == scores(
        folder / "whole", given.lesson
    )
    if given.stock:
        found["stock, seconds a submission"] = stock(folder / "stock", given.lesson, given.stock)
        found["times as fast as stock"] = (
            found["stock, seconds a submission"] / found["seconds a submission"]
        )
    found |= {"lesson": given.lesson, "jobs": given.jobs}
    found["environment"] = describe_environment("fp32")
    write_json(HERE / "results" / "class_load.json", found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
