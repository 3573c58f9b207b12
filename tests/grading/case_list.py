"""Every kind of bad submission that a grader of notebooks should stand, and where each is tested.

``python tests/grading/case_list.py`` writes docs/grading_cases.md; a test holds the page to it.
References: a name in CASES of hostile.py, in CLAIMS of test_submission.py or in BOMBS of
test_sandbox.py, or a test as file::name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "grading_cases.md"

MACHINERY: dict[str, tuple[str, ...]] = {
    "tracebacks hidden": ("traceback hidden",),
    "an object that equals everything": ("always equal",),
    "later cells blanked by an input transformer": ("checks blanked",),
    "asserts or calls dropped by an AST transformer": ("asserts dropped", "calls dropped"),
    "a formatter that shows another number": ("formatter lies",),
    "cells tagged to be skipped": ("skip tags, right", "skip tags, wrong"),
    "the running cell read from the history": ("reads the running cell",),
    "hidden checks read from the folder": (
        "reads its folder", "test_sandbox.py::test_nothing_secret_is_in_there"),
    "grades changed in the gradebook": (
        "gradebook sought", "test_submission.py::test_nobody_elses_grades_were_touched"),
    "a score of NaN or below zero": ("NaN", "below zero"),
    "a score above the maximum": ("above the most", "points forged in messages"),
    "a startup file left for the next student": (
        "startup file", "test_sandbox.py::test_what_one_submission_leaves_behind_no_other_finds"),
    "tokens in the environment": ("environment read",),
    "a signal to the parent process": ("parent killed", "own group killed"),
    "a solution cell twice": ("cell twice",),
    "a symbolic link": ("symbolic link",),
    "a script in an output": ("script in output",),
    "a detached child process": (
        "detached child",
        "test_sandbox.py::test_signals_reach_nobody_outside_and_children_do_not_survive"),
    "a warning on stderr of a right solution": ("warning on stderr",),
    "the process ended from inside": ("hard exit", "hard exit in an answer", "exit", "sys.exit"),
    "an endless loop, deaf or swallowing": (
        "endless loop", "deaf endless loop", "swallows every exception"),
    "a check cell deleted": ("check deleted",),
    "all metadata stripped": ("metadata stripped",),
    "points or grade marks changed": ("points changed", "grade cell added"),
    "a check cell edited or made text": ("check as text", "check edited"),
    "checks moved before solutions": ("checks before solutions",),
    "another kernel, NaN in JSON, an old format": ("wrong kernel", "NaN in JSON", "old format"),
    "a file cut off, empty, or in latin-1": ("cut off", "empty file", "latin-1"),
    "a flood of output, input(), a racing thread": ("flood", "asks for input", "a racing thread"),
}  # fmt: skip

FILES_AND_CODE: dict[str, tuple[str, ...]] = {
    "fork bomb": ("fork bomb", "BOMBS/fork bomb"),
    "memory bomb": ("memory bomb", "BOMBS/memory bomb", "BOMBS/memory of many"),
    "disk fill": ("disk fill", "BOMBS/disk fill", "BOMBS/large file", "BOMBS/shared memory"),
    "a million small files": ("BOMBS/many files", "ten thousand files"),
    "zip slip": ("zip slip",),
    "zip bomb": ("zip bomb",),
    "two names in a zip that are one": ("zip with two of a name",),
    "a path in a student's or notebook's name": (
        "test_submission.py::test_a_student_id_that_could_do_harm", "zip slip"),
    "names that turn around or begin with a dash": ("names that turn around",),
    "a huge output": ("huge picture in an output", "too large"),
    "deep nesting": ("deep JSON", "many values"),
    "widget state": ("widget state",),
    "two notebooks whose names differ by case": ("two notebooks, alike",),
    "line ends and byte order marks": ("line ends and mark",),
    "sources line by line": ("saved by Colab",),
    "attachments": ("attachments",),
    "shell and other magics": ("shell", "magics"),
    "an extension loaded": ("an extension",),
    "packages installed while grading": ("pip install",),
    "data sent out": ("phones home",),
    "side effects on processors and GPUs": ("side effects",),
    "metrics and random numbers patched": ("metrics patched",),
    "modules poisoned": ("modules poisoned",),
    "objects searched for labels": ("looks for labels",),
    "the clock patched": ("clock patched",),
    "outputs forged": ("outputs forged",),
    "a timestamp forged": ("timestamp forged",),
    "a formula in a name": (
        "test_submission.py::test_a_student_id_that_could_do_harm",),
}  # fmt: skip

RUNS: dict[str, tuple[str, ...]] = {
    "another student's record": ("test_copies.py::test_a_copy_is_found",),
    "an old record under new code": (
        "test_sandbox.py::test_fit_answers_from_the_harvested_record",),
    "a record of another task": ("CLAIMS/a record of another task",),
    "pickles": ("pickles", "CLAIMS/a pickle in place of it"),
    "weights with an absurd header": (
        "absurd safetensors", "test_verify.py::test_files_that_are_no_weights"),
    "predictions that are no numbers": ("CLAIMS/NaN predictions", "CLAIMS/infinite predictions"),
    "constant predictions": ("CLAIMS/constant predictions",),
    "predictions that are no probabilities": ("CLAIMS/no probabilities",),
    "rows in another order": ("test_verify.py::test_the_order_of_rows_does_not_matter",),
    "molecules missing or twice": ("CLAIMS/missing molecules", "CLAIMS/a molecule twice"),
    "labels in the predictions": (
        "CLAIMS/labels as predictions",
        "test_layers.py::test_labels_in_the_scores_are_caught_by_plausibility_alone"),
    "the same predictions as somebody else": ("test_copies.py::test_a_copy_is_found",),
    "molecules of one class only": ("CLAIMS/only binders",),
    "ties": ("CLAIMS/rounded until they tie",),
    "other labels than the task's": ("CLAIMS/other labels",),
    "a record cut off": ("CLAIMS/a cut record",),
}  # fmt: skip

PARTS = {
    "What is done to the notebook and its machinery": MACHINERY,
    "Files, and what code does": FILES_AND_CODE,
    "Runs that are claimed": RUNS,
}


def page(cases: Mapping[str, Any], claims: Mapping[str, Any], bombs: Mapping[str, Any]) -> str:
    """The page: each case with the score it deserves, its state, and what is said."""
    parts = [
        "# Bad submissions, and what becomes of them",
        "<!-- made by tests/grading/case_list.py; do not edit -->",
        "Each of these is handed in, run in the sandbox and graded by the tests in "
        "`tests/grading`. Points are of 7 for two exercises, where the submission is otherwise "
        "right or otherwise wrong as the case needs it; a reflection is left untouched. What is "
        "said is what reasons, messages, outputs or findings must contain.",
    ]
    for title, some in PARTS.items():
        rows = ["| case | tested as | points | state | said |", "|---|---|---:|---|---|"]
        for words, references in some.items():
            for number, reference in enumerate(references):
                first = words if number == 0 else ""
                rows.append(f"| {first} | {_row(reference, cases, claims, bombs)} |")
        parts.append(f"## {title}\n\n" + "\n".join(rows))
    used = {reference for some in PARTS.values() for r in some.values() for reference in r}
    rows = ["| tested as | points | state | said |", "|---|---:|---|---|"]
    rows += [f"| {_row(name, cases, claims, bombs)} |" for name in cases if name not in used]
    parts.append("## And more\n\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _row(
    reference: str, cases: Mapping[str, Any], claims: Mapping[str, Any], bombs: Mapping[str, Any]
) -> str:
    if "::" in reference:
        return f"`{reference}` | | |"
    kind, _, name = reference.rpartition("/") if reference.split("/")[0] in (
        "CLAIMS", "BOMBS") else ("", "", reference)  # fmt: skip
    if kind == "CLAIMS":
        _, state, word = claims[name]
        return f"{name} | | {state} | {_said(word)}"
    if kind == "BOMBS":
        return f"{name}, as a cell among others | | costs its own cell | {_said(bombs[name][1])}"
    case = cases[name]
    return f"{name} | {case.points:g} | {case.state} | {_said(case.word)}"


def _said(word: str) -> str:
    return " or ".join(word.split("|"))


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from hostile import CASES
    from test_sandbox import BOMBS
    from test_submission import CLAIMS

    PAGE.write_text(page(CASES, CLAIMS, BOMBS), encoding="utf-8")
