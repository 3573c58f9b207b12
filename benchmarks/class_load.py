"""A class of 200 on two processors, sandboxed: is anybody lost, does memory grow, how fast is it?

    python benchmarks/class_load.py [--submissions 200] [--stock 3] [--kills 10] [--again 60]

The lesson's solution is run once, as a student would, and saved: its runs travel in it. Of twenty
submissions seventeen are that notebook, each with durations of its own, two are as given out, one
is cut off. Then ``coursekit grade`` does all of them in one go; does some again, killed with
SIGKILL at random moments and called anew each time, to a gradebook that must be the same; and stock
``nbgrader autograde``, which has neither sandbox nor records and so trains, does a few of the same
files. Results go to ``benchmarks/results/class_load.json``.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coursekit.grading.gradebook import register_assignment
from coursekit.grading.master import read_master
from coursekit.grading.watch import usage
from coursekit.lessons.environment import PROFILE, RUNS
from coursekit.lessons.notebooks import as_text, run_notebook, solution_notebook
from coursekit.lessons.source import read_source
from coursekit.runs import decode_record, describe_environment, encode_record
from coursekit.runs.embedded import MARKER
from coursekit.storage import write_json

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_RECORD = re.compile(MARKER + r"([A-Za-z0-9+/=]+)")


@dataclass(frozen=True)
class Lesson:
    """A lesson's notebook as it was given out, and as somebody solved and ran it.

    Args:
        number: two digits.
        path: of the one given out.
        given: its content.
        solved: the same with answers and outputs.
        profile: that it was run in.
        seconds: that running it took.
    """

    number: str
    path: Path
    given: dict[str, Any]
    solved: dict[str, Any]
    profile: str
    seconds: float


def run_lesson(number: str, profile: str) -> Lesson:
    """Solve a lesson and run it, which trains."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    (source,) = (ROOT / "solutions").glob(f"{number}_*.py")
    given = json.loads(path.read_text(encoding="utf-8"))
    began = time.monotonic()
    done = run_notebook(solution_notebook(read_source(source)), profile)
    seconds = time.monotonic() - began
    print(f"lesson {number} solved and run in {seconds:.0f} s", flush=True)
    solved = copy.deepcopy(given)
    answers = [cell for cell in json.loads(as_text(done))["cells"] if cell["cell_type"] == "code"]
    mine = [cell for cell in solved["cells"] if cell["cell_type"] == "code"]
    for cell, answer in zip(mine, answers, strict=True):
        cell["outputs"] = answer["outputs"]
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = answer["source"]
    return Lesson(number, path, given, solved, profile, seconds)


def solved_by(lesson: Lesson, student: int) -> str:
    """The solved notebook with the durations of a student's own machine, to the millisecond."""
    factor = 1 + student / 1_000

    def own(found: re.Match[str]) -> str:
        record = decode_record(found[1])
        record["cost"]["seconds"] *= factor
        if record["cost"].get("molecules_per_second"):
            record["cost"]["molecules_per_second"] /= factor
        return MARKER + encode_record(record)

    notebook = copy.deepcopy(lesson.solved)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html")
            if html is not None:
                text = html if isinstance(html, str) else "".join(html)
                output["data"]["text/html"] = _RECORD.sub(own, text)
    return json.dumps(notebook)


def hand_in(folder: Path, lesson: Lesson, number: int) -> dict[str, str]:
    """Fill ``submitted/`` of a folder; what each student handed in, by their name."""
    kinds = {}
    for index in range(number):
        student = f"s{index:03d}"
        kinds[student] = {3: "given", 11: "given", 17: "cut"}.get(index % 20, "right")
        given = kinds[student] == "given"
        text = json.dumps(lesson.given) if given else solved_by(lesson, index)
        text = text[: len(text) // 2] if kinds[student] == "cut" else text
        place = folder / "submitted" / student / lesson.number
        place.mkdir(parents=True)
        (place / lesson.path.name).write_text(text, encoding="utf-8")
    return kinds


def course(folder: Path, lesson: Lesson, number: int) -> dict[str, str]:
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


def whole_class(folder: Path, lesson: Lesson, number: int, jobs: int) -> dict[str, Any]:
    """Grade all of it in one go, with memory looked at twice a second."""
    kinds = course(folder, lesson, number)
    seen: list[int] = []
    began = time.monotonic()
    process = start(folder, lesson.number, jobs)

    def look() -> None:
        while process.poll() is None:
            seen.append(usage(process.pid).memory_bytes)
            time.sleep(0.5)

    watcher = threading.Thread(target=look)
    watcher.start()
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if len(lines) % 20 == 1:
            print(line, end="", flush=True)
    process.wait()
    watcher.join()
    seconds = time.monotonic() - began
    print(*lines[-12:], sep="", flush=True)
    reports = {
        student: json.loads(
            (folder / f"autograded/{student}/{lesson.number}/report.json").read_text()
        )
        for student in kinds
    }
    right = [reports[student] for student in kinds if kinds[student] == "right"]
    tenth = max(len(seen) // 10, 1)
    return {
        "submissions": number,
        "lost": number - len(scores(folder, lesson.number)),
        "not as they deserve": sorted(s for s in kinds if not deserved(kinds[s], reports[s])),
        "seconds": seconds,
        "seconds a submission": seconds / number,
        "seconds of a right submission, by itself": statistics.fmean(r["seconds"] for r in right),
        "of which its cells": statistics.fmean(
            sum(cell["seconds"] for cell in report["cells"]) for report in right
        ),
        # Pages that processes share count once for each: this is more than what is used.
        "memory, second tenth (MB)": max(seen[tenth : 2 * tenth], default=0) / 1e6,
        "memory, last tenth (MB)": max(seen[-tenth:], default=0) / 1e6,
    }


def deserved(kind: str, report: dict[str, Any]) -> bool:
    """Whether a submission got the state and the points of its kind."""
    points = sum(one["points"] for one in report["exercises"] if not one["by_person"])
    most = sum(one["max_points"] for one in report["exercises"] if not one["by_person"])
    state = {"right": "partial", "given": "graded", "cut": "needs a person"}[kind]
    return report["state"] == state and points == (most if kind == "right" else 0)


def killed(folder: Path, lesson: Lesson, number: int, jobs: int, kills: int) -> dict[str, Any]:
    """Grade them, killed again and again; the gradebook it comes to."""
    course(folder, lesson, number)
    moments = random.Random(0)
    for _ in range(kills):
        process = start(folder, lesson.number, jobs)
        assert process.stdout is not None
        process.stdout.readline()
        # A line for each submission: wait for some, then for a part of one.
        for _ in range(moments.randint(0, max(number // (kills + 2), 1))):
            process.stdout.readline()
        time.sleep(moments.uniform(0, 3))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        done = len(list(folder.glob(f"autograded/*/{lesson.number}/report.json")))
        print(f"killed with {done} of {number} recorded", flush=True)
    output, _ = start(folder, lesson.number, jobs).communicate()
    print(output.splitlines()[-1], flush=True)
    return scores(folder, lesson.number)


def stock(folder: Path, lesson: Lesson, number: int) -> float:
    """Seconds a submission by nbgrader alone, on right submissions."""
    shutil.rmtree(folder, ignore_errors=True)
    for index in range(number):
        place = folder / "submitted" / f"s{index:03d}" / lesson.number
        place.mkdir(parents=True)
        (place / lesson.path.name).write_text(solved_by(lesson, index), encoding="utf-8")
    release = folder / "release" / lesson.number
    release.mkdir(parents=True)
    shutil.copy(lesson.path, release)
    url = f"sqlite:///{folder / 'gradebook.db'}"
    register_assignment(url, lesson.number, read_master(lesson.path))
    (folder / "nbgrader_config.py").write_text(
        "c = get_config()\nc.Execute.timeout = 3600\nc.ExecutePreprocessor.timeout = 3600\n"
    )
    line = [sys.executable, "-m", "nbgrader", "autograde", lesson.number, "--create"]
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", RUNS)}
    environment = kept | {PROFILE: lesson.profile, "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    seconds = (time.monotonic() - began) / number
    graded = len(list((folder / "autograded").glob(f"*/{lesson.number}/*.ipynb")))
    if done.returncode or graded != number:
        raise RuntimeError(f"stock nbgrader graded {graded} of {number}: {done.stderr[-2_000:]}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lesson", default="02")
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--stock", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--again", type=int, default=60, help="submissions of the killed class")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    folder, out = HERE / "scratch" / "class_load", HERE / "results" / "class_load.json"
    lesson = run_lesson(given.lesson, given.profile)
    found: dict[str, Any] = {"lesson": given.lesson, "profile": given.profile, "jobs": given.jobs}
    found["environment"] = describe_environment("fp32")
    found["seconds of a student's run"] = lesson.seconds
    found |= whole_class(folder / "whole", lesson, given.submissions, given.jobs)
    write_json(out, found)
    if given.stock:
        found["stock, submissions"] = given.stock
        found["stock, seconds a submission"] = stock(folder / "stock", lesson, given.stock)
        for name, ours in (
            ("times as fast as stock", "seconds a submission"),
            ("times as fast as stock, one at a time", "seconds of a right submission, by itself"),
        ):
            found[name] = found["stock, seconds a submission"] / found[ours]
        write_json(out, found)
    if given.kills:
        number = min(given.again, given.submissions)
        again = killed(folder / "killed", lesson, number, given.jobs, given.kills)
        whole = scores(folder / "whole", lesson.number)
        found["kills"], found["submissions of the killed class"] = given.kills, number
        found["same gradebook after the kills"] = again == {
            s: whole[s] for s in sorted(whole)[:number]
        }
        write_json(out, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
