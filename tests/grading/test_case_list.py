"""Each kind of bad submission that must be stood has a test, and the page says which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from case_list import PAGE, PARTS, page
from hostile import CASES
from test_sandbox import BOMBS
from test_submission import CLAIMS

HERE = Path(__file__).resolve().parent
REFERENCES = sorted({r for part in PARTS.values() for some in part.values() for r in some})


@pytest.mark.parametrize("reference", REFERENCES)
def test_each_case_is_tested(reference: str) -> None:
    if "::" in reference:
        file, name = reference.split("::")
        assert re.search(rf"^def {name}\(", (HERE / file).read_text(), re.MULTILINE)
    elif reference.startswith("CLAIMS/"):
        assert reference.removeprefix("CLAIMS/") in CLAIMS
    elif reference.startswith("BOMBS/"):
        assert reference.removeprefix("BOMBS/") in BOMBS
    else:
        assert reference in CASES


def test_the_page_is_what_the_cases_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(CASES, CLAIMS, BOMBS), (
        "run python tests/grading/case_list.py"
    )
