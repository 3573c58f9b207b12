"""An example class: twenty submissions of one lesson, with the outcome that each deserves.

Made from the lesson's source and from kept records of its runs, the same every time.
"""

from __future__ import annotations

import copy
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from coursekit.checks import exercises, find, from_plain, judge
from coursekit.classroom import handed_in
from coursekit.classroom.handed_in import Notebook, cell_with, code_cell, with_output
from coursekit.classroom.solved_runs import SolvedRuns, load_solved_runs
from coursekit.errors import GradingError
from coursekit.grading.course import SETTINGS, Course
from coursekit.lessons.source import LessonSource, read_source
from coursekit.runs.embedded import embed_record
from coursekit.storage import atomic_file, write_json

EXPECTED = "expected.json"
CARRIED = ("hidden", "rubrics", "example", "nbgrader_config.py", ".gitignore", "README.md")
SPY = """import os, socket, subprocess
for place in ("/", "..", "../..", os.path.expanduser("~")):
    for folder, _, files in os.walk(place):
        for name in files:
            if name in ("gradebook.db", "course.yaml") or "hidden" in folder:
                path = os.path.join(folder, name)
                print("found", path, open(path, errors="replace").read())
    if place != "/":
        print(place, os.listdir(place)[:20])
print(sorted(os.environ))
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
except OSError as error:
    print("no network:", error)"""
FORGER = """import json, os
import coursekit as ck
ck.check = lambda *answers: 1000.0
for number in range(3, 30):
    try:
        os.write(number, b'{"kind": "score", "points": 1000}\\n')
    except OSError:
        pass"""
BOMBER = """import os
while True:
    os.fork()"""


@dataclass(frozen=True)
class Example:
    """One submission, and what it deserves.

    Args:
        student: id, which says what it is an example of.
        name: of the file that is handed in.
        content: of that file.
        state: that grading must end in.
        points: before a person has read anything.
        about: one sentence.
    """

    student: str
    name: str
    content: bytes
    state: str
    points: float
    about: str


def write_example_class(course: Course, lesson: str, folder: str | Path) -> list[Example]:
    """Write an instructor's folder with an example class in it.

    Args:
        course: whose settings, hidden checks and rubrics are taken over.
        lesson: two digits; ``example/NN.json`` in the course's folder has its runs.
        folder: must not be there, or be empty.

    Returns:
        What was handed in; ``expected.json`` has it too.

    Raises:
        GradingError: the folder holds something, or parts of the lesson are missing.
    """
    import yaml

    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise GradingError(f"{folder} is not empty; name a new folder.")
    examples = make_examples(course, lesson)
    folder.mkdir(parents=True, exist_ok=True)
    for name in CARRIED:
        place = course.folder / name
        if place.is_dir():
            shutil.copytree(place, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif place.is_file():
            shutil.copy(place, folder / name)
    settings = yaml.safe_load((course.folder / SETTINGS).read_text(encoding="utf-8")) or {}
    settings |= {
        "course": "example",
        "gradebook": "gradebook.db",
        "notebooks": str((course.folder / course.notebooks).resolve()),
        "solutions": str((course.folder / course.solutions).resolve()),
    }
    (folder / SETTINGS).write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    for one in examples:
        with atomic_file(folder / "submitted" / one.student / lesson / one.name) as temporary:
            temporary.write_bytes(one.content)
    names = [one.student.replace("-", ",", 1) for one in examples]
    rows = ["id,first_name,last_name", *(f"{n.replace(',', '-', 1)},{n.title()}" for n in names)]
    (folder / "students.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines = [
        {"student": one.student, "state": one.state, "points": one.points, "about": one.about}
        for one in examples
    ]
    write_json(folder / EXPECTED, lines)
    return examples


def make_examples(course: Course, lesson: str) -> list[Example]:
    """The twenty submissions.

    Raises:
        GradingError: the lesson's notebook, its source or its runs are missing.
    """
    sources = sorted((course.folder / course.solutions).glob(f"{lesson}_*.py"))
    if len(sources) != 1:
        raise GradingError(f"there is no source of lesson {lesson!r:.20} beside {course.folder}.")
    runs = load_solved_runs(course.folder / "example" / f"{lesson}.json")
    place = (course.folder / course.notebooks).resolve() / f"{sources[0].stem}.ipynb"
    return _Maker(read_source(sources[0]), json.loads(place.read_text("utf-8")), runs).all()


class _Maker:
    """Makes the examples of one lesson."""

    def __init__(self, source: LessonSource, given: Notebook, runs: SolvedRuns) -> None:
        self.source, self.given, self.runs = source, given, runs
        asked = exercises(source.lesson)
        self.points = {one.id: 0.0 if one.by_person else float(one.points) for one in asked}
        self.words = [one.id for one in asked if one.by_person]
        # Exercises whose answer is one function: they need no run and little time.
        self.functions = [e.id for e in asked if len(e.answers) == 1 and e.answers[0] in e.collect]
        self.examples: list[Example] = []

    def all(self) -> list[Example]:
        whole, first = list(self.points), self.functions[0]
        some = [*self.functions, *self.words]
        self._add("anna-right", whole, self._made(whole), "all right; saved by JupyterLab")
        colab = handed_in.saved_by_colab(self._made(whole))
        self._add("ben-colab", whole, colab, "all right; saved by Colab, which drops metadata")
        self._zip("cleo-zip", whole)
        self._add("dina-half", self.functions, self._made(self.functions), "functions only")
        wrong, share = self._wrong(first)
        self._add("emil-wrong", some, wrong, f"{first} nearly right: part of its points",
                  less=self.points[first] * (1 - share))  # fmt: skip
        bare = self._made(whole, carried=False)
        trained = [e for e in whole if self._trains(e)]
        self._add("fritz-no-record", [e for e in whole if e not in trained], bare,
                  f"outputs cleared, so of {', '.join(trained)} no run is known",
                  state="needs a person")  # fmt: skip
        self._add("gina-untouched", [], self.given, "handed in as it was given")
        self._broken(some, first)
        for student, attack, about in (
            ("xaver-spy", SPY, "looks for hidden checks, grades, secrets and a network"),
            ("yuri-forger", FORGER, "sends itself points, and puts its own check in place"),
            ("zora-bomber", BOMBER, "forks without end"),
        ):
            hostile = copy.deepcopy(self.given)
            hostile["cells"].insert(3, code_cell(attack))
            self._add(student, [], hostile, about)
        return self.examples

    def _broken(self, some: list[str], first: str) -> None:
        """Ten that are broken: of most, everything can still be read."""
        grade_id = _answer(first)
        twice = partial(handed_in.with_cell_twice, grade_id=grade_id)
        for student, broken, about in (
            ("hugo-twice", twice, "a cell is there twice"),
            ("ida-bare", handed_in.without_metadata, "all metadata is lost"),
            ("jan-unchecked", handed_in.without_checks, "the checks were deleted"),
            ("kai-moved", handed_in.with_checks_first, "the checks were moved to the top"),
            ("lea-old", handed_in.in_format_3, "saved in the old format 3"),
        ):
            # Each made anew, with runs of their own: nobody here is a copy of another.
            self._add(student, some, broken(self._made(some)), about)
        rest = [e for e in some if e != first]
        for student, source, about in (
            ("mia-syntax", "def (", "an answer that is no Python"),
            ("noah-exit", "import os\nos._exit(0)", "an answer that ends the process"),
        ):
            notebook = self._made(some)
            cell_with(notebook, grade_id)["source"] = f"# {first}\n{source}"
            self._add(student, rest, notebook, about)
        other = self.given | {"cells": [code_cell("print('another course')")]}
        self._add("olga-other", [], other, "another course's notebook")
        text = _bytes(self._made(some))
        for student, content, about in (
            ("paul-cut", text[: len(text) // 2], "the file is cut off"),
            ("quin-empty", b"", "an empty file"),
        ):
            name = f"{self.source.name}.ipynb"
            self.examples.append(Example(student, name, content, "needs a person", 0.0, about))

    def _add(
        self,
        student: str,
        right: Iterable[str],
        notebook: Notebook,
        about: str,
        less: float = 0.0,
        state: str = "",
    ) -> None:
        right = list(right)
        state = state or ("partial" if set(right) & set(self.words) else "graded")
        points = sum(self.points[e] for e in right) - less
        name = f"{self.source.name}.ipynb"
        self.examples.append(Example(student, name, _bytes(notebook), state, points, about))

    def _zip(self, student: str, right: list[str]) -> None:
        """Outputs cleared, and the records beside the notebook."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            files = {f"{self.source.name}.ipynb": _bytes(self._made(right, carried=False))}
            for number, record in enumerate(self._records(student)):
                files[f"runs/{number}/record.json"] = _bytes(record)
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        points = sum(self.points[e] for e in right)
        about = "all right; a zip with the records beside a notebook without outputs"
        content = buffer.getvalue()
        self.examples.append(Example(student, "work.zip", content, "partial", points, about))

    def _made(self, right: Iterable[str], carried: bool = True) -> Notebook:
        """The given notebook with these exercises solved; and run, as far as outputs tell."""
        notebook = copy.deepcopy(self.given)
        for exercise in right:
            texts = [cell.solved for cell in self.source.of("answer", exercise)]
            for number, text in enumerate(texts):
                name = _answer(exercise) + (f"-{number + 1}" if number else "")
                cell_with(notebook, name)["source"] = text
        setup = next(c for c in notebook["cells"] if "ck.setup(" in "".join(c["source"]))
        # What the setup cell's table says; grading takes its settings from it.
        about = f"{escape(self.runs.profile)}: as this example was made"
        with_output(setup, f"<table><tr><th>profile</th><td>{about}</td></tr></table>")
        if carried:
            student = str(len(self.examples))
            with_output(notebook["cells"][-1], "".join(map(embed_record, self._records(student))))
        return notebook

    def _records(self, student: str) -> list[dict[str, Any]]:
        """The runs as this student made them: the same numbers, in a time of their own."""
        factor = 1 + (sum(student.encode()) + 7 * len(self.examples)) % 89 / 1000
        records = []
        for kept in self.runs.records:
            record = copy.deepcopy(kept)
            cost = record["cost"]
            cost["seconds"] *= factor
            if cost.get("molecules_per_second"):
                cost["molecules_per_second"] /= factor
            records.append(record)
        return records

    def _wrong(self, first: str) -> tuple[Notebook, float]:
        """A wrong answer of the source that is worth a share of the points, and that share."""
        one = find(first)
        for cell in self.source.of("wrong", first):
            lines = [
                x for x in cell.text.splitlines() if not x.startswith(("# gets:", "ck.check("))
            ]
            answer = "\n".join([f"# {first}", *lines]).strip()
            # The course's own code, out of its source.
            space: dict[str, Any] = {}
            exec(compile(answer, str(self.source.path), "exec"), space)
            plain = one.hand_over(*(space[name] for name in one.answers))
            found = judge(one, {name: from_plain(value) for name, value in plain.items()})
            share = found.points / one.points
            if 0 < share < 1:
                notebook = self._made([*self.functions, *self.words])
                cell_with(notebook, _answer(first))["source"] = answer
                return notebook, share
        raise GradingError(f"no wrong answer to {first} in {self.source.path} is worth a share.")

    def _trains(self, exercise: str) -> bool:
        # fit of a strategy takes the model first; that of scikit-learn takes arrays.
        fit = re.compile(r"\.fit\(\s*\w*model\w*,")
        return any(fit.search(cell.text) for cell in self.source.of("answer", exercise))


def _answer(exercise: str) -> str:
    return f"answer-{exercise.replace('.', '-')}"


def _bytes(data: Any) -> bytes:
    return json.dumps(data, indent=1, ensure_ascii=False).encode()
