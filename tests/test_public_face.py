"""``import coursekit``: quick, and with the names that lessons type."""

from __future__ import annotations

import subprocess
import sys

import pytest

import coursekit as ck

HEAVY = ("torch", "transformers", "rdkit", "matplotlib", "sklearn", "pandas", "IPython")
LESSONS_TYPE = (
    *("load_selection", "enrichment", "make_task", "load_task", "load_classifier"),
    *("HeadOnlyFinetune", "FullFinetune", "ProgressiveUnfreeze", "FinetuneStrategy", "Phase"),
    *("Run", "fingerprint_baseline", "compare", "paired_difference"),
    *("setup", "check", "hint", "show_solution", "progress", "handin"),
)


def test_importing_it_imports_nothing_heavy() -> None:
    code = f"import sys, coursekit; print([m for m in {HEAVY} if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "[]", printed.stderr


@pytest.mark.parametrize("name", ck.__all__)
def test_every_name_is_there_and_listed(name: str) -> None:
    assert getattr(ck, name) is not None
    assert name in dir(ck)


def test_the_names_that_lessons_type() -> None:
    assert set(LESSONS_TYPE) <= set(ck.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'load_tasks'; .* 'load_task'"):
        _ = ck.load_tasks
    with pytest.raises(AttributeError, match=r"'xyzzy'; it has .*FullFinetune.*make_task"):
        _ = ck.xyzzy
    assert not hasattr(ck, "torch")
