"""A lesson's one source, ``solutions/NN_name.py``, and the notebooks that are cut out of it.

The source is in jupytext's py:percent form. A cell says in its marker what it is for::

    # %% coursekit="answer 00.1"      the learner's cell; what is between ### BEGIN SOLUTION and
                                      ### END SOLUTION is not given to learners
    # %% coursekit="check 00.1"       calls ck.check("00.1", ...)
    # %% coursekit="wrong 00.1"       a wrong answer, and from its first comment on, "# gets:", a
                                      part of the message that it must get; for tests only
    # %% [markdown] coursekit="hint 00.1"      one hint; several, from a nudge to nearly the answer
    # %% [markdown] coursekit="rubric 00.6"    what a person looks for
    # %% [markdown] coursekit="success 00.1"   a list of what a learner can say or do afterwards,
                                      and below it questions to ask an assistant, one a paragraph

A cell without a role is for everybody. The head of the file says how long it all takes, in minutes:
of computing by profile, and for each exercise of the learner, on two CPU cores and on a T4::

    #   coursekit:
    #     minutes: {quick: 1, cpu: 2, t4: 4, full: 8}
    #     exercises: {"02.1": [20], "02.2": [15, 1, 2]}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coursekit.checks import Exercise, exercises
from coursekit.errors import CourseKitError
from coursekit.lessons.texts import ExerciseText, LessonText
from coursekit.lessons.times import ExerciseTime, exercise_times, with_times
from coursekit.version import __version__

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
ROLES = ("answer", "check", "wrong", "hint", "rubric", "success")
_GETS = re.compile(r"\A# gets: (.+)\n")
_PLACEHOLDER = re.compile(r"\w+(, \w+)* = \.\.\.( *#.*)?")


@dataclass(frozen=True)
class SourceCell:
    """One cell of a source.

    Args:
        kind: "code" or "markdown".
        text: as it stands there.
        role: one of :data:`ROLES`, or "".
        exercise: the id that the role is about, or "".
    """

    kind: str
    text: str
    role: str = ""
    exercise: str = ""

    @property
    def gets(self) -> str:
        """Of a wrong answer: the words that its message must have."""
        match = _GETS.match(self.text)
        return match[1].strip() if match else ""

    @property
    def solved(self) -> str:
        """The text with the solution in it, without marks and without placeholders."""
        if BEGIN not in self.text:
            return self.text
        marks = (BEGIN, END)
        lines = [
            line
            for line in self.text.splitlines()
            if line.strip() not in marks and not _PLACEHOLDER.fullmatch(line)
        ]
        return "\n".join(lines)

    @property
    def solution(self) -> str:
        """What is between the marks, moved to the left; of all regions of the cell."""
        kept: list[str] = []
        inside = False
        for line in self.text.splitlines():
            if line.strip() in (BEGIN, END):
                inside = line.strip() == BEGIN
            elif inside or line.startswith("def "):
                kept.append(line)
        return "\n".join(kept).strip("\n")


@dataclass(frozen=True)
class LessonSource:
    """A source, read.

    Args:
        path: of the file.
        lesson: two digits.
        title: of the lesson.
        minutes: of running it, by profile.
        times: of each exercise.
        cells: in order.
    """

    path: Path
    lesson: str
    title: str
    minutes: dict[str, float]
    times: dict[str, ExerciseTime]
    cells: tuple[SourceCell, ...]

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.path.stem

    def of(self, role: str, exercise: str) -> list[SourceCell]:
        """The cells with this role for this exercise."""
        return [c for c in self.cells if c.role == role and c.exercise == exercise]

    def texts(self) -> LessonText:
        """Hints, solutions and rubrics."""
        return LessonText(
            self.title,
            self.minutes,
            {
                one.id: ExerciseText(
                    tuple(_plain(c.text) for c in self.of("hint", one.id)),
                    "\n\n".join(c.solution for c in self.of("answer", one.id)),
                    "\n\n".join(_plain(c.text) for c in self.of("rubric", one.id)),
                    *_success(self.of("success", one.id)),
                )
                for one in exercises(self.lesson)
            },
        )

    def rubrics(self) -> str:
        """What graders read beside answers in words: a heading and a text for each exercise."""
        parts = [f"# Rubrics of lesson {self.lesson}\n"]
        for one in exercises(self.lesson):
            if text := "\n\n".join(c.text for c in self.of("rubric", one.id)):
                parts.append(f"## {one.id} {one.title}: {one.points:g} points\n\n{text}\n")
        return "\n".join(parts)


def read_source(path: str | Path) -> LessonSource:
    """Read a lesson's source, and refuse one whose parts do not belong together.

    Raises:
        CourseKitError: what is missing or wrong, by exercise.
    """
    import jupytext

    path = Path(path)
    notebook = jupytext.read(path, fmt="py:percent")
    facts = notebook.metadata.get("coursekit", {})
    cells = tuple(_cell(path, cell) for cell in notebook.cells)
    minutes = {str(k): float(v) for k, v in dict(facts.get("minutes", {})).items()}
    times = exercise_times(facts.get("exercises", {}))
    source = LessonSource(path, path.name[:2], _title(cells), minutes, times, cells)
    problems = [problem for one in exercises(source.lesson) for problem in _problems(source, one)]
    known = {one.id for one in exercises(source.lesson)}
    problems += [
        f"{c.exercise} is no exercise" for c in cells if c.role and c.exercise not in known
    ]
    if problems:
        raise CourseKitError(f"{path.name}: {'; '.join(problems)}.")
    return source


def solution_cells(source: LessonSource, wrong: bool = False) -> list[SourceCell]:
    """What a reader of the solutions gets; with ``wrong`` also the wrong answers, for tests."""
    kept = []
    for cell in source.cells:
        if cell.role in ("hint", "success") or (cell.role == "wrong" and not wrong):
            continue
        text = _given(source, cell.solved)
        if cell.role == "rubric":
            text = f"**What a good answer holds.** {text}"
        kept.append(SourceCell(cell.kind, text, cell.role, cell.exercise))
    return kept


def learner_cells(source: LessonSource) -> list[SourceCell]:
    """What nbgrader makes the learner's notebook of: still with the solutions in their marks."""
    return [
        SourceCell(cell.kind, _given(source, cell.text), cell.role, cell.exercise)
        for cell in source.cells
        if cell.role in ("", "answer", "check")
    ]


def _given(source: LessonSource, text: str) -> str:
    """The text with the kit's version in it, and with the time of each exercise."""
    versioned = text.replace("made_with=ck.__version__", f'made_with="{__version__}"')
    return with_times(versioned, source.times)


def _cell(path: Path, cell: Any) -> SourceCell:
    role, _, exercise = str(cell.metadata.get("coursekit", "")).partition(" ")
    if role and role not in ROLES:
        raise CourseKitError(f"{path.name}: {role!r} is no role of a cell; there are {ROLES}")
    return SourceCell(cell.cell_type, cell.source, role, exercise)


def _problems(source: LessonSource, one: Exercise) -> list[str]:
    found = []
    answers = "\n".join(c.text for c in source.of("answer", one.id))
    check = "\n".join(c.text for c in source.of("check", one.id))
    if BEGIN not in answers:
        found.append(f"{one.id} has no answer with a solution in it")
    call = f'ck.check("{one.id}", {", ".join(one.answers)})'
    if call not in " ".join(check.split()).replace("( ", "(").replace(", )", ")"):
        found.append(f"{one.id} has no check cell with {call}")
    if one.id not in source.times:
        found.append(f'{one.id} has no time: exercises: {{"{one.id}": [minutes, cpu, t4]}}')
    if len(source.of("hint", one.id)) < 2:
        found.append(f"{one.id} has fewer than two hints")
    if not all(_success(source.of("success", one.id))):
        found.append(f"{one.id} has no success list with a question for an assistant below it")
    if one.by_person and not source.of("rubric", one.id):
        found.append(f"{one.id} has no rubric")
    if not one.by_person and not source.of("wrong", one.id):
        found.append(f"{one.id} has no wrong answer")
    found += [f"a wrong answer to {one.id} gets nothing" for c in source.of("wrong", one.id)
              if not c.gets]  # fmt: skip
    return found


def _title(cells: tuple[SourceCell, ...]) -> str:
    for cell in cells:
        if cell.kind == "markdown" and cell.text.startswith("# "):
            return cell.text.splitlines()[0][2:].strip()
    raise CourseKitError("a lesson begins with a heading, # and its title")


def _success(cells: list[SourceCell]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The items of the list, and the paragraphs below it."""
    parts = re.split(r"\n\s*\n|\n(?=- )", "\n\n".join(c.text for c in cells).strip())
    items = [_plain(part.removeprefix("- ")) for part in parts if part.startswith("- ")]
    asked = [_plain(part) for part in parts if part and not part.startswith("- ")]
    return tuple(items), tuple(asked)


def _plain(text: str) -> str:
    return " ".join(text.split("\n")) if "```" not in text else text
