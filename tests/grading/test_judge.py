"""Points come from plain answers, in the parent; what cannot be judged goes to a person."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from course import dump, exercises, solved, student_version, the_master

from coursekit.checks import Exercise, Wrong, to_plain
from coursekit.data.binding_task import BindingTask
from coursekit.errors import GradingError
from coursekit.grading.execute import CellRun, Execution
from coursekit.grading.judge import HIDDEN, Judged, judge_notebook, load_hidden
from coursekit.grading.messages import CellOutput
from coursekit.grading.notebook import read_notebook
from coursekit.grading.rebuild import Rebuilt, rebuild
from coursekit.runs import Run

MASTER = the_master()


def rebuilt(notebook: dict[str, Any] | None = None) -> Rebuilt:
    return rebuild(MASTER, read_notebook(dump(notebook or solved())))


def ran(found: Rebuilt, answers: dict[str, Any], **states: Any) -> Execution:
    """An execution in which check cells handed in these values, already plain or not."""
    cells = {c.number: CellRun(c.number, "ran") for c in found.code}
    execution = Execution(cells)
    for cell in found.code:
        for exercise in cell.master.checks if cell.master else ():
            if exercise in answers:
                name = {"97.1": "mean", "97.2": "value"}[exercise]
                plain = {name: to_plain(answers[exercise])}
                execution.answers[exercise] = [(cell.number, plain)]
    return execution


def judged(answers: dict[str, Any], hidden: Any = None, **more: Any) -> dict[str, Judged]:
    found = rebuilt()
    results = judge_notebook(exercises(), found, ran(found, answers), hidden, **more)
    return {one.exercise: one for one in results}


def test_points_and_partial_points() -> None:
    found = judged({"97.1": 5.0, "97.2": 0.5})
    assert (found["97.1"].state, found["97.1"].points) == ("right", 2)
    assert (found["97.2"].state, found["97.2"].points) == ("wrong", 1.25)
    assert found["97.3"].state == "not attempted"


class AlwaysTrue:
    def __eq__(self, other: object) -> bool:
        return True

    def __float__(self) -> float:
        return 5.0

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "value", [AlwaysTrue(), math.nan, math.inf, "5.0", [5.0, 5.0], None, True, 1e308, {"mean": 5.0}]
)
def test_nothing_odd_is_right(value: Any) -> None:
    one = judged({"97.1": value})["97.1"]
    assert one.points == 0
    assert one.state in ("wrong", "not attempted")


def test_a_forged_answer_goes_to_a_person() -> None:
    found = rebuilt()
    execution = ran(found, {"97.2": 0.875})
    for forged in (
        {"kind": "number", "value": "nan", "points": 5},
        {"kind": "code"},
        {},
        {"a": {}},
    ):
        execution.answers["97.1"] = [(4, {"mean": forged})]
        one = judge_notebook(exercises(), found, execution)[0]
        assert (one.points, one.state) == (0, "cannot be checked")
        assert one.person


def test_the_check_cells_answer_counts_before_others() -> None:
    found = rebuilt()
    execution = ran(found, {"97.1": 5.0})
    execution.answers["97.1"].append((999, {"mean": to_plain(1.0)}))
    assert judge_notebook(exercises(), found, execution)[0].state == "right"
    execution.answers["97.1"] = [(999, {"mean": to_plain(1.0)}), (998, {"mean": to_plain(5.0)})]
    assert judge_notebook(exercises(), found, execution)[0].state == "right"


def test_hidden_checks_decide_and_are_not_told() -> None:
    def strict(value: Any) -> None:
        raise Wrong("SECRET: fails for ties", share=0.4)

    def broken(value: Any) -> None:
        raise ZeroDivisionError("SECRET")

    one = judged({"97.2": 0.875}, {"97.2": strict})["97.2"]
    assert (one.state, one.points, one.message) == ("wrong", 2.0, HIDDEN)
    assert "SECRET" in one.note
    assert "SECRET" not in one.message
    one = judged({"97.2": 0.5}, {"97.2": strict})["97.2"]
    assert one.points == 1.25
    one = judged({"97.2": 0.875}, {"97.2": lambda value: None})["97.2"]
    assert (one.state, one.points) == ("right", 5)
    one = judged({"97.2": 0.875}, {"97.2": broken})["97.2"]
    assert one.person
    assert "SECRET" not in one.message


def test_hidden_checks_are_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "hidden.py"
    path.write_text(
        "from coursekit.checks import Wrong\n"
        "def check_97_1(mean):\n    if mean != 5: raise Wrong('no')\n"
        "def check_nothing(mean):\n    pass\n"
    )
    hidden = load_hidden(path)
    assert list(hidden) == ["97.1"]
    assert judged({"97.1": 5.0}, hidden)["97.1"].state == "right"
    for bad in ("1 / 0", "def mean(mean):\n    pass\n"):
        path.write_text(bad)
        with pytest.raises(GradingError, match="expected functions such as check_02_4"):
            load_hidden(path)
    with pytest.raises(GradingError, match="expected a Python file"):
        load_hidden(tmp_path / "none.py")


def test_why_there_is_no_answer() -> None:
    found = rebuilt()
    execution = ran(found, {})
    numbers = [c.number for c in found.code]
    execution.cells[numbers[1]] = CellRun(
        numbers[1], "error", output=CellOutput(error=("NameError", "no x", "..."))
    )
    execution.cells[numbers[3]] = CellRun(
        numbers[3], "ended", why="it did not end within 4 seconds"
    )
    first, second, third = judge_notebook(exercises(), found, execution)
    assert (first.state, first.message) == ("wrong", "The cell stopped with NameError: no x")
    assert "did not end within" in second.message
    assert third.state == "not attempted"
    untouched = rebuilt(student_version())
    assert {o.state for o in judge_notebook(exercises(), untouched, ran(untouched, {}))} == {
        "not attempted"
    }
    execution.cells[numbers[4]] = CellRun(numbers[4], "not run")
    assert judge_notebook(exercises(), found, execution)[1].person


def test_a_run_without_its_record_is_a_persons() -> None:
    """Nothing is known of it here: it is neither right nor wrong."""
    found = rebuilt()
    stopped = ("NoRecordError", "fit: no record fits this run", "...")
    for answers in ({"97.1": 5.0}, {"97.1": 4.0}, {}):
        execution = ran(found, answers | {"97.2": 0.875})
        number = found.code[1].number
        execution.cells[number] = CellRun(number, "error", output=CellOutput(error=stopped))
        first, second, _ = judge_notebook(exercises(), found, execution)
        right = answers == {"97.1": 5.0}  # it did without
        assert (first.state == "right") == right
        assert (first.state == "cannot be checked") != right
        assert bool(first.person) != right
        assert right or "no record fits this run" in first.person
        assert first.points == (2 if right else 0)
        assert second.state == "right"


def test_runs_are_judged_by_the_instructors_labels(
    task: BindingTask, make_run: Callable[..., Run]
) -> None:
    run = make_run()
    lying = run.predictions.assign(label=1, negative_set="")
    lying["label"] = lying["label"].astype("int8")
    claimed = Run(**{**vars(run), "predictions": lying})
    seen: list[Run] = []

    def check(value: Any) -> None:
        seen.append(value)

    exercise = Exercise("97.2", "A run", 5, ("value",), check)
    found = rebuilt()
    execution = ran(found, {"97.2": claimed})
    judge_notebook([exercise], found, execution, tasks=[task])
    true = task.test.set_index("molecule_id")["label"]
    rows = seen[0].predictions.query("part == 'test'").set_index("molecule_id")["label"]
    assert rows.to_dict() == true.to_dict()
