"""What becomes of a notebook on its way back: saved elsewhere, stripped, torn, doubled.

A notebook is data of nbformat 4; what is given is not changed.
"""

from __future__ import annotations

import copy
from typing import Any

Notebook = dict[str, Any]


def cell_with(notebook: Notebook, grade_id: str) -> dict[str, Any]:
    """The cell that has this ``grade_id``; the notebook's own, to be changed in place.

    Raises:
        LookupError: there is none.
    """
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id:
            return cell  # type: ignore[no-any-return]
    raise LookupError(grade_id)


def code_cell(source: str) -> dict[str, Any]:
    """A bare code cell, as a student adds one."""
    return {
        "cell_type": "code",
        "metadata": {},
        "source": source,
        "execution_count": None,
        "outputs": [],
    }


def with_output(cell: dict[str, Any], html: str) -> None:
    """Give a code cell an HTML output, as a front end keeps it."""
    cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": {"text/html": html}}]


def without_metadata(notebook: Notebook) -> Notebook:
    """As it is after cells were pasted into a new notebook."""
    bare = copy.deepcopy(notebook)
    for cell in bare["cells"]:
        cell["metadata"] = {}
        cell.pop("id", None)
    return bare


def saved_by_colab(notebook: Notebook) -> Notebook:
    """Format 4.0, ids of its own, sources line by line; unknown metadata dropped."""
    saved = copy.deepcopy(notebook)
    saved["nbformat_minor"] = 0
    saved["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3"}}
    for number, cell in enumerate(saved["cells"]):
        cell.pop("id", None)
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
        cell["metadata"] = {"id": f"aB{number}xYz", "outputId": "77", "colab_type": "code"}
    return saved


def in_format_3(notebook: Notebook) -> Notebook:
    """As programs of before 2015 save it: one worksheet, ``input`` in place of ``source``."""
    cells = []
    for cell in notebook["cells"]:
        old = {"cell_type": cell["cell_type"], "metadata": cell["metadata"]}
        old["input" if cell["cell_type"] == "code" else "source"] = cell["source"]
        if cell["cell_type"] == "code":
            old["outputs"] = [
                {"output_type": "display_data", "html": output["data"]["text/html"]}
                for output in cell["outputs"]
                if "text/html" in output.get("data", {})
            ]
        cells.append(old)
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}


def with_cell_twice(notebook: Notebook, grade_id: str) -> Notebook:
    """With a copy of one cell right behind it."""
    some = copy.deepcopy(notebook)
    place = some["cells"].index(cell_with(some, grade_id))
    some["cells"].insert(place, copy.deepcopy(some["cells"][place]))
    return some


def with_checks_first(notebook: Notebook) -> Notebook:
    """With all checks moved to the top."""
    some = copy.deepcopy(notebook)
    checks = [cell for cell in some["cells"] if "ck.check(" in "".join(cell["source"])]
    some["cells"] = checks + [cell for cell in some["cells"] if cell not in checks]
    return some


def without_checks(notebook: Notebook) -> Notebook:
    """With all checks deleted."""
    some = copy.deepcopy(notebook)
    some["cells"] = [c for c in some["cells"] if "ck.check(" not in "".join(c["source"])]
    return some
