"""Where a learner stands: progress, and handing in."""

from __future__ import annotations

from html import escape

from coursekit.checks import CheckResult, Exercise, exercises
from coursekit.checks.carried import fold
from coursekit.errors import AnswerError, CourseKitError
from coursekit.evaluation import compare
from coursekit.evaluation.metrics import METRICS
from coursekit.lessons import environment
from coursekit.lessons.front_end import show
from coursekit.lessons.journal import Journal
from coursekit.runs import Run


def progress(lesson: str | None = None) -> None:
    """Show each exercise of the lesson, with its state and points, from earlier days too.

    Args:
        lesson: two digits; the lesson that ``setup`` was called for by default.

    Raises:
        AnswerError: there is no such lesson.
    """
    show(*_standing(_journal(lesson)))


def handin(lesson: str | None = None) -> None:
    """Show what is done and what is missing, and put all answers into this cell's output.

    The saved notebook is then a complete submission by itself.

    Args:
        lesson: two digits; the lesson that ``setup`` was called for by default.

    Raises:
        AnswerError: there is no such lesson.
    """
    journal = _journal(lesson)
    html, text = _standing(journal)
    todo = [one.id for one, result in _results(journal) if not result.done]
    runs = _runs(journal)
    said = [f"Still open: {', '.join(todo)}." if todo else "Everything is answered."]
    for name, run in runs.items():
        said.append(f"Run {name}: {_summary(run)}")
    said.append(
        "To hand in: save the notebook now, then submit this one .ipynb file. The answers and the "
        "records of your runs are in the output of this cell; do not clear it."
    )
    paragraphs = "".join(f"<p>{escape(one)}</p>" for one in said)
    table = _table(runs)
    try:
        carrier = fold(journal.sheet, "All answers and records of this notebook (compressed)")
    except AnswerError as error:
        carrier = f"<p><strong>Not handed in:</strong> {escape(str(error))}</p>"
    shown = f"{html}{paragraphs}{table}{carrier}"
    show(shown, "\n".join([text, *said]))


def _journal(lesson: str | None) -> Journal:
    found = environment.current()
    lesson = lesson or (found.lesson if found else "")
    if not lesson:
        raise AnswerError('which lesson? Run the setup cell first, or name it: ck.progress("02")')
    return environment.journal(lesson)


def _results(journal: Journal) -> list[tuple[Exercise, CheckResult]]:
    return [
        (
            one,
            journal.results.get(
                one.id, CheckResult(one.id, "not attempted", 0, one.points, "", one.by_person)
            ),
        )
        for one in exercises(journal.lesson)
    ]


def _standing(journal: Journal) -> tuple[str, str]:
    rows, lines = [], []
    results = _results(journal)
    for one, result in results:
        more = []
        if one.id in journal.earlier:
            more.append("on an earlier day")
        if journal.hints.get(one.id):
            more.append(f"hints to level {journal.hints[one.id]}")
        note = ", ".join(more)
        rows.append(
            f'<tr><th scope="row">{one.id}</th><td style="text-align: left">{escape(one.title)}'
            f'</td><td style="text-align: left">{escape(result.verdict)}</td><td>{note}</td></tr>'
        )
        lines.append(f"{one.id}  {one.title:<34} {result.verdict}" + (f"; {note}" if note else ""))
    done = sum(result.done for _, result in results)
    points = sum(result.points for _, result in results)
    by_check = sum(one.points for one, _ in results if not one.by_person)
    by_person = sum(one.points for one, _ in results if one.by_person)
    total = (
        f"Lesson {journal.lesson}: {done} of {len(results)} exercises done, {points:g} of "
        f"{by_check:g} points by checks; {by_person:g} more are given by a person."
    )
    problem = f" Progress is {journal.problem}." if journal.problem else ""
    head = "".join(
        f'<th scope="col" style="text-align: left">{x}</th>'
        for x in ("exercise", "about", "state", "note")
    )
    html = (
        f"<table><caption>{escape(total + problem)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return html, "\n".join([total + problem, *lines])


def _runs(journal: Journal) -> dict[str, Run]:
    """The runs that were handed over, by name of the variable, each once."""
    found: dict[str, Run] = {}
    for id in journal.sheet:
        try:
            values = journal.sheet.values(id)
        except AnswerError:
            continue
        found |= {name: value for name, value in values.items() if isinstance(value, Run)}
    return found


def _summary(run: Run) -> str:
    device = run.environment.get("device", "unknown device")
    return f"{run.name}, task {run.task['name']}, seed {run.seed}, on {device}"


def _table(runs: dict[str, Run]) -> str:
    try:
        table = compare(runs, n_boot=0).table if runs else None
        return "" if table is None else str(table[list(METRICS.values())].round(3).to_html())
    except CourseKitError:  # runs on different tasks do not go into one table
        return ""
