"""Every submission, however broken or hostile, ends in the one state that it deserves."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from course import RIGHT, exercises, solved, the_master
from hostile import CASES, HIDDEN_WORD, PERSON, TOKEN, WRONG, notebook, with_output
from test_gradebook import Gradebook, empty_gradebook, record  # noqa: F401
from test_gradebook import grades as cell_grades
from test_sandbox import LIMITS, sandbox, warm  # noqa: F401

from coursekit.checks import Wrong
from coursekit.data.binding_task import BindingTask
from coursekit.errors import GradingError
from coursekit.grading.feedback import feedback_content, feedback_page, sanitized
from coursekit.grading.fork_server import ForkServer
from coursekit.grading.report import Graded
from coursekit.grading.sandbox import Limits, Room, Sandbox
from coursekit.grading.submission import Assignment, grade_submission
from coursekit.runs import Run
from coursekit.runs.embedded import embed_record


def hidden(value: Any) -> None:
    if value != 0.875:
        raise Wrong(HIDDEN_WORD, share=0.25 if value == 0.5 else 0.0)


ASSIGNMENT = Assignment("97", the_master(), exercises(), hidden={"97.2": hidden}, limits=LIMITS)


BOB = (
    8.5,
    False,
    False,
    [("check-97-1", 2.0, None), ("check-97-2", 3.5, None), ("written-97-3", None, 3.0)],
)


@pytest.fixture(scope="session")
def shared_gradebook(
    empty_gradebook: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A gradebook in which somebody has a grade of a person's already."""
    path = tmp_path_factory.mktemp("class") / "gradebook.db"
    path.write_bytes(empty_gradebook.read_bytes())
    url = f"sqlite:///{path}"
    record(url, cell_grades(), student="bob")
    with Gradebook(url) as book:
        grade = book.find_grade("written-97-3", "97_tiny", "97", "bob")
        grade.manual_score, grade.needs_manual_grade = 3.0, False
        book.db.commit()
    return url


def row(url: str, student: str) -> tuple[float, bool, bool, list[Any]]:
    with Gradebook(url) as book:
        one = book.find_submission("97", student)
        parts = sorted((g.name, g.auto_score, g.manual_score) for g in one.notebooks[0].grades)
        return one.score, one.needs_manual_grade, one.notebooks[0].flagged, parts


def grade(path: Path, where: Room, assignment: Assignment = ASSIGNMENT, **more: Any) -> Graded:
    return grade_submission(path, "ada", assignment, where, **more)


@dataclasses.dataclass
class Outcome:
    student: str
    folder: Path
    before: list[tuple[str, int]]
    graded: Graded

    @property
    def out(self) -> Path:
        return self.folder / "out"


def listing(folder: Path) -> list[tuple[str, int]]:
    out = str(folder / "out")
    found = [(str(p), p.lstat().st_size) for p in folder.rglob("*")]
    return sorted(entry for entry in found if not entry[0].startswith(out))


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest,
    warm: ForkServer,  # noqa: F811
    shared_gradebook: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Outcome]]:
    """All cases as one class, two at a time, into one gradebook."""
    asked = {item.callspec.params.get("case") for item in request.session.items
             if hasattr(item, "callspec")}  # fmt: skip
    folder = tmp_path_factory.mktemp("submissions")

    def hand_in(numbered: tuple[int, str]) -> Outcome:
        number, name = numbered
        student, place = f"student-{number}", folder / str(number)
        (place / "handed in").mkdir(parents=True)
        path = CASES[name].make(place / "handed in")
        before = listing(place)
        graded = grade_submission(
            path, student, ASSIGNMENT, warm, gradebook=shared_gradebook, out=place / "out"
        )
        return Outcome(student, place, before, graded)

    names = [name for name in CASES if name in asked]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setenv("COURSE_TOKEN", TOKEN)
        yield dict(zip(names, pool.map(hand_in, enumerate(names)), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_each_gets_what_it_deserves(
    case: str, outcomes: dict[str, Outcome], shared_gradebook: str
) -> None:
    deserved, outcome = CASES[case], outcomes[case]
    graded = outcome.graded
    assert graded.state == deserved.state, graded
    assert graded.score == pytest.approx(deserved.points), graded.judged
    assert graded.warning == ""
    report = (outcome.out / "report.json").read_text()
    page = (outcome.out / "feedback.html").read_text()
    text = json.dumps(json.loads(report), ensure_ascii=False) + page
    assert re.search(deserved.word, text), text[:3_000]
    # One state, recorded in the gradebook too.
    score, by_person, flagged, _ = row(shared_gradebook, outcome.student)
    assert score == pytest.approx(deserved.points)
    assert flagged == (deserved.state == PERSON)
    assert by_person == (deserved.state != "graded")
    # Nothing secret in any output, nothing that acts in the page, no file anywhere else.
    assert TOKEN not in text
    assert HIDDEN_WORD not in page
    assert not re.search(r"<(script|iframe|svg|object|form|meta name=.refresh)", page)
    assert not re.search(r"<[^>]*\s(on\w+=|href=.javascript:)", page)
    assert listing(outcome.folder) == outcome.before


def test_nobody_elses_grades_were_touched(
    outcomes: dict[str, Outcome], shared_gradebook: str
) -> None:
    assert outcomes is not None
    assert row(shared_gradebook, "bob") == BOB


def test_the_suite_is_large_enough() -> None:
    assert len(CASES) >= 80


def test_the_same_again_gives_the_same(
    warm: ForkServer,  # noqa: F811
    shared_gradebook: str,
    tmp_path: Path,
) -> None:
    path = notebook(solved())(tmp_path)
    first = grade(path, warm, gradebook=shared_gradebook)
    before = Path(shared_gradebook.removeprefix("sqlite:///")).read_bytes()
    second = grade(path, warm, gradebook=shared_gradebook)
    assert (first.digest, first.judged, first.state) == (second.digest, second.judged, second.state)
    assert Path(shared_gradebook.removeprefix("sqlite:///")).read_bytes() == before


def test_a_student_id_that_could_do_harm(
    warm: ForkServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    path = notebook(solved())(tmp_path)
    for student in ("../bob", "=HYPERLINK(1)", "-rf", "\u202ebob", ""):
        with pytest.raises(GradingError, match="student id"):
            grade_submission(path, student, ASSIGNMENT, warm)


def test_a_sandbox_that_breaks_leaves_it_to_a_person(shared_gradebook: str, tmp_path: Path) -> None:
    broken = Sandbox("bubblewrap", "/bin/false")
    graded = grade(notebook(solved())(tmp_path), broken, gradebook=shared_gradebook)
    assert graded.state == PERSON
    assert "could not start" in graded.reasons[0]
    assert row(shared_gradebook, "ada")[1:3] == (True, True)


def test_without_a_sandbox_the_report_says_so_loudly(tmp_path: Path) -> None:
    graded = grade(notebook(solved())(tmp_path), Sandbox("none"), out=tmp_path / "out")
    assert graded.score == 7
    assert str(graded).startswith("UNSAFE")
    assert "WITHOUT A SANDBOX" in (tmp_path / "out/feedback.html").read_text()
    assert "WITHOUT" in json.loads((tmp_path / "out/report.json").read_text())["warning"]


# --- runs that were handed in -----------------------------------------------------------------


def edit(run: Run, change: Callable[[dict[str, Any]], Any]) -> str:
    """The record of a run after a change by hand, as a notebook would carry it."""
    import base64
    import zlib

    data = copy.deepcopy(run.record())
    change(data)
    packed = base64.b64encode(zlib.compress(json.dumps(data).encode())).decode()
    return f'<div data-coursekit-record="coursekit-record:{packed}"></div>'


def scores(run: Run, value: Callable[[dict[str, Any]], list[float]]) -> str:
    return edit(run, lambda d: d["predictions"].update(score=value(d["predictions"])))


def shortened(data: dict[str, Any]) -> None:
    for values in data["predictions"].values():
        del values[0]


CLAIMS: dict[str, tuple[Callable[[Run], str], str, str]] = {
    "a record of another task": (
        lambda r: edit(r, lambda d: d["task"].update(fingerprint="ab" * 32)),
        "graded",
        "another task",
    ),
    "NaN predictions": (
        lambda r: scores(r, lambda p: [float("nan")] * len(p["score"])),
        "graded",
        "cannot be used",
    ),
    "infinite predictions": (
        lambda r: scores(r, lambda p: [1e308 * 10] * len(p["score"])),
        "graded",
        "cannot be used",
    ),
    "constant predictions": (
        lambda r: scores(r, lambda p: [0.5] * len(p["score"])),
        PERSON,
        "same number",
    ),
    "labels as predictions": (
        lambda r: scores(r, lambda p: [float(x) for x in p["label"]]),
        PERSON,
        "different scores or fewer",
    ),
    "no probabilities": (
        lambda r: scores(r, lambda p: [x * 9 - 3 for x in p["score"]]),
        PERSON,
        "no probabilities",
    ),
    "missing molecules": (lambda r: edit(r, shortened), PERSON, "not predicted"),
    "a molecule twice": (
        lambda r: edit(
            r,
            lambda d: d["predictions"]["molecule_id"].__setitem__(
                0, d["predictions"]["molecule_id"][1]
            ),
        ),
        "graded",
        "cannot be used",
    ),
    "other labels": (
        lambda r: edit(
            r,
            lambda d: d["predictions"].update(
                negative_set=[
                    {"easy": "hard", "hard": "easy"}.get(k, k)
                    for k in d["predictions"]["negative_set"]
                ]
            ),
        ),
        PERSON,
        "another label",
    ),
    "only binders": (
        lambda r: edit(
            r,
            lambda d: d["predictions"].update(
                {
                    name: [
                        value
                        for value, label in zip(values, d["predictions"]["label"], strict=True)
                        if label
                    ]
                    for name, values in list(d["predictions"].items())
                }
            ),
        ),
        PERSON,
        "not predicted",
    ),
    "rounded until they tie": (
        lambda r: scores(r, lambda p: [round(x) * 0.5 for x in p["score"]]),
        PERSON,
        "different scores or fewer",
    ),
    "a cut record": (lambda r: edit(r, lambda d: None)[:600], "graded", "cannot be used"),
    "a pickle in place of it": (
        lambda r: '<div data-coursekit-record="coursekit-record:gASVAAAA"></div>',
        "graded",
        "cannot be used",
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_that_do_not_hold(
    name: str,
    warm: ForkServer,  # noqa: F811
    task: BindingTask,
    make_run: Callable[..., Run],
    tmp_path: Path,
) -> None:
    make, state, word = CLAIMS[name]
    assignment = dataclasses.replace(ASSIGNMENT, tasks=(task,))
    some = with_output(solved(WRONG), {"text/html": make(make_run())})
    graded = grade(notebook(some)(tmp_path), warm, assignment)
    assert graded.score == 0
    text = json.dumps(graded.to_plain())
    assert word in text, text
    assert graded.state in (state, PERSON)
    if state != PERSON:  # nothing usable was claimed, which is no crime
        assert all(layer.state == "not verified" for layer in graded.layers)


RUN_CELL = """# 97.1 The mean of the counts
mean = sum(counts) / len(counts)
from pathlib import Path
import json, os
from coursekit.runs import Run
run = Run.load(next(Path(os.environ["COURSEKIT_RECORDS"]).rglob("record.json")).parent)
import pandas as pd
import coursekit as ck
ck.check("97.3", run, ck.compare({"FullFinetune": run}).table)
print(os.environ.get("COURSEKIT_PROFILE"))"""


def test_a_run_travels_in_the_notebook_and_its_table_is_verified(
    warm: ForkServer,  # noqa: F811
    task: BindingTask,
    make_run: Callable[..., Run],
    tmp_path: Path,
) -> None:
    setup = '<table><tr><th scope="row">profile</th><td style="x">t4: a GPU</td></tr></table>'
    third = dataclasses.replace(exercises()[2], answers=("run", "table"), by_person=False)
    assignment = dataclasses.replace(
        ASSIGNMENT, tasks=(task,), exercises=(*exercises()[:2], third), limits=Limits()
    )
    for factor, state in ((1.0, "holds"), (1.2, "fails")):
        cell = RUN_CELL.replace(".table)", f".table * {factor})")
        some = solved(RIGHT | {"97.1": cell})
        with_output(some, {"text/html": [setup, embed_record(make_run())]})
        graded = grade(notebook(some)(tmp_path), warm, assignment)
        layers = {layer.name: layer.state for layer in graded.layers}
        assert layers["origin"] == "holds", graded.layers
        assert layers["coverage"] == "holds"
        assert layers["weights"] == "not verified"
        assert layers["table"] == state
        cells = graded.execution.cells.values()
        assert any(run.output.text.endswith("t4\n") for run in cells)
        assert graded.judged[0].points == 2


TRAINS = """# 97.1 The mean of the counts
import coursekit as ck
env = ck.setup()
run = ck.HeadOnlyFinetune().fit(ck.load_classifier(), ck.load_task(share=0.02), epochs=1)
print("trained in", env.profile.name, len(run.history))
mean = sum(counts) / len(counts)"""


def test_what_has_no_record_trains_in_quick_if_the_instructor_allows(
    sandbox: Sandbox,  # noqa: F811
    tmp_path: Path,
) -> None:
    some = notebook(solved(RIGHT | {"97.1": TRAINS}))(tmp_path)
    allowed = dataclasses.replace(ASSIGNMENT, limits=Limits(), train=True)
    graded = grade(some, sandbox, allowed)
    assert graded.judged[0].points == 2, graded.judged[0]
    shown = "".join(cell.output.text for cell in graded.execution.cells.values())
    assert re.search(r"trained in quick \d+", shown)
    refused = grade(some, sandbox, dataclasses.replace(allowed, train=False))
    assert refused.judged[0].points == 0
    assert "no record fits this run, and nothing is trained here" in refused.judged[0].message


def test_feedback_shows_what_was_run_and_nothing_that_acts() -> None:
    dirty = (
        "<p onclick=evil()>a</p><script>evil()</script><style>*{}</style><form action=x><input>"
        '<img src="http://evil/x.png" alt="x"><img src="data:image/png;base64,AA==" alt="y">'
        '<a href="javascript:evil()">b</a><meta http-equiv=refresh><object data=x></object>'
        '<img src="data:text/html;base64,AA==">'
    )
    clean = sanitized(dirty)
    for bad in (
        "evil",
        "onclick",
        "script",
        "style",
        "form",
        "input",
        "meta",
        "object",
        "text/html",
    ):
        assert bad not in clean
    assert "data:image/png;base64,AA==" in clean
    assert "<p>a</p>" in clean
    assert "too large" in sanitized("x" * 300_000)
    page = feedback_page(feedback_content(Graded("ada", "97", "graded")))
    assert "default-src 'none'" in page
