"""Tasks of one's own: each is the same again, unlike the others', and found in wrong hands."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from small import RIGHT_TANIMOTO, ROOT, small_lesson

import coursekit as ck
from coursekit.checks.truth import facts_of_task, task_named, the_task
from coursekit.classroom.handed_in import cell_with, with_output
from coursekit.classroom.review import review_lesson
from coursekit.cli import main
from coursekit.data.variants import variant_of
from coursekit.grading.course import open_course
from coursekit.grading.personal import Personal
from coursekit.grading.report import Graded
from coursekit.grading.sandbox import find_sandbox
from coursekit.grading.submission import grade_submission
from coursekit.runs.embedded import embed_record

SETUP = 'import coursekit as ck\nenv = ck.setup(lesson="00")\nprint(env.task)'


@pytest.fixture
def course_folder(course_folder: Path) -> Path:
    """With a setup cell, a task, and three students."""
    lesson = small_lesson()
    lesson["cells"][1]["source"] = SETUP
    (course_folder / "release" / "00" / "00_small.ipynb").write_text(json.dumps(lesson))
    settings = course_folder / "course.yaml"
    settings.write_text(settings.read_text().replace("  []", "  - {name: sample}"))
    (course_folder / "students.csv").write_text("id,first_name\nada,Ada\nbob,Bob\neve,Eve\n")
    return course_folder


def assign(folder: Path) -> dict[str, Path]:
    students = str(folder / "students.csv")
    line = ["assign", "00", "--seed-from", "student", "--students", students]
    done = CliRunner().invoke(main, [*line, "--course", str(folder)])
    assert done.exit_code == 0, done.output
    return {p.parent.name: p for p in folder.glob("personal/00/*/00_small.ipynb")}


def test_names_are_keyed_and_the_same_again() -> None:
    one, other = (Personal(key * 32, "sample", ("ada", "bob")) for key in ("a", "b"))
    assert one.task_name("ada") == one.task_name("ada")
    names = {p.task_name(s) for p in (one, other) for s in ("ada", "bob")}
    assert len(names) == 4
    assert one.owner(one.task_name("bob")) == "bob"
    assert one.owner(other.task_name("bob")) is None
    assert len({variant_of(name) for name in names}) == 4
    assert "a" * 32 not in repr(one)
    for name in ("sample", "sample@", "sample@XYZ", "a@b@0123456789abcdef", "sample@0123"):
        assert variant_of(name) is None


def test_assign_writes_a_notebook_for_each(course_folder: Path) -> None:
    written = assign(course_folder)
    assert set(written) == {"ada", "bob", "eve"}
    texts = {student: path.read_text() for student, path in written.items()}
    assert len(set(texts.values())) == 3
    given = json.loads(texts["ada"])
    setups = [c for c in given["cells"] if "ck.setup(" in c["source"]]
    assert setups[0]["source"].startswith('import coursekit as ck\nenv = ck.setup(task="sample@')
    assert stat.S_IMODE((course_folder / "secret.key").stat().st_mode) == 0o600
    secret = (course_folder / "secret.key").read_text()
    (course_folder / "students.csv").write_text("id\nzoe\n")
    assert set(assign(course_folder)) == {"ada", "bob", "eve", "zoe"}
    assert (course_folder / "secret.key").read_text() == secret
    assert written["ada"].read_text() == texts["ada"]
    assert json.loads((course_folder / "personal/00.json").read_text())["students"] == [
        "ada", "bob", "eve", "zoe"
    ]  # fmt: skip


def hand_in(notebook: Path, run: Any, tmp_path: Path) -> Path:
    data = json.loads(notebook.read_text())
    cell_with(data, "answer-00-4")["source"] = RIGHT_TANIMOTO
    with_output(data["cells"][1], embed_record(run))
    path = tmp_path / f"{notebook.parent.name}.ipynb"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.usefixtures("needs_sandbox")
def test_another_students_task_is_found(course_folder: Path, tmp_path: Path) -> None:
    written = assign(course_folder)
    course = open_course(course_folder)
    assignment = course.assignment("00")
    assert assignment.personal is not None
    tasks = {s: task_named(assignment.personal.task_name(s)) for s in ("ada", "bob")}
    plain = ck.load_task("sample")
    ada, bob = tasks["ada"], tasks["bob"]
    assert len({ada.fingerprint, bob.fingerprint, plain.fingerprint}) == 3
    shared = len(set(ada.test["molecule_id"]) & set(bob.test["molecule_id"]))
    assert shared < 0.5 * len(ada.test)
    assert ada.summary().equals(bob.summary())  # as hard for the one as for the other
    assert the_task("task", facts_of_task(ada.share(0.1))).fingerprint != ada.fingerprint
    assert ck.load_selection(ada.name).equals(ck.load_selection("sample"))

    runs = {s: ck.fingerprint_baseline(t.share(0.1), "logistic") for s, t in tasks.items()}
    runs["plain"] = ck.fingerprint_baseline(plain.share(0.1), "logistic")

    def graded(notebook: str, run: str) -> Graded:
        path = hand_in(written[notebook], runs[run], tmp_path)
        return grade_submission(path, "ada", assignment, find_sandbox())

    own = graded("ada", "ada")
    assert own.state == "graded"
    assert own.score == 2.0
    assert [layer.state for layer in own.layers if layer.name == "task"] == ["holds"]
    assert any(layer.name == "coverage" and layer.state == "holds" for layer in own.layers)
    printed = "".join(cell.output.text for cell in own.execution.cells.values())
    assert assignment.personal.task_name("ada") in printed

    for notebook, run, word in (("ada", "bob", "given to bob"), ("bob", "bob", "given to bob"),
                                ("ada", "plain", "given to nobody")):  # fmt: skip
        other = graded(notebook, run)
        assert other.state == "needs a person"
        assert any(word in reason for reason in other.reasons), other.reasons
        printed = "".join(cell.output.text for cell in other.execution.cells.values())
        assert assignment.personal.task_name("bob") not in printed  # the rebuilt one is Ada's


@pytest.mark.usefixtures("needs_sandbox")
def test_a_class_is_looked_at_as_a_whole_and_tasks_are_drawn_once(course_folder: Path) -> None:
    written = assign(course_folder)
    course = open_course(course_folder)
    personal = course.assignment("00").personal
    assert personal is not None
    shares = {s: task_named(personal.task_name(s)).share(0.1) for s in ("ada", "bob")}
    runs = {s: ck.fingerprint_baseline(share, "logistic") for s, share in shares.items()}
    for student in ("ada", "bob"):
        place = course_folder / "submitted" / student / "00"
        place.mkdir(parents=True)
        hand_in(written[student], runs[student], place)
    line = ["grade", "00", "--course", str(course_folder), "--jobs", "1"]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    kept = course_folder / "class" / "tasks"
    assert len(list(kept.iterdir())) == 2
    task_named.cache_clear()
    work, _ = review_lesson(course, "00")
    assert task_named.cache_info().misses == 0
    # Runs on shares of tasks, as the lessons make them, are the class's runs.
    assert {run.student for run in work.runs} == {"ada", "bob"}
    for run in work.runs:
        assert run.value("auroc_hard") == pytest.approx(
            runs[run.student].scores(n_boot=0).auroc_hard.value, abs=1e-6
        )
    assert [reference.name for reference in work.references] != []


def test_a_lost_secret_stops_grading(course_folder: Path) -> None:
    assign(course_folder)
    (course_folder / "secret.key").unlink()
    with pytest.raises(ValueError, match="Restore them from a backup"):
        open_course(course_folder).assignment("00")


def test_the_real_lessons_can_be_given_out_so() -> None:
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        assert sum("".join(c["source"]).count("ck.setup(") for c in cells) == 1, path
