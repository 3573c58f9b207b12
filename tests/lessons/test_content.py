"""What lessons promise their readers: widgets in their place, sources, terms, words to pictures."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
import pytest

from coursekit.lessons.generate import sources
from coursekit.lessons.source import LessonSource, read_source

pytest.importorskip("jupytext")
ROOT = Path(__file__).resolve().parents[2]


@lru_cache
def lessons() -> tuple[LessonSource, ...]:
    return tuple(map(read_source, sources(ROOT)))


@pytest.fixture(params=sources(ROOT), ids=lambda path: path.stem)
def source(request: pytest.FixtureRequest) -> LessonSource:
    return read_source(request.param)


def prose(source: LessonSource) -> str:
    """What everybody reads, without headings."""
    cells = [c.text for c in source.cells if c.kind == "markdown" and not c.role]
    return re.sub(r"(?m)^#.*$", "", "\n\n".join(cells))


WIDGETS = {
    "00": ["negatives_explorer"],
    "02": ["strategy_explorer", "threshold_explorer"],
    "03": ["strategy_explorer", "unfreezing_player"],
    "04": ["unfreezing_player"],
    "05": ["forgetting_tradeoff"],
}


@pytest.mark.parametrize("lesson", WIDGETS)
def test_widgets_are_where_their_idea_is(lesson: str) -> None:
    source = next(one for one in lessons() if one.lesson == lesson)
    code = "\n".join(c.text for c in source.cells if c.kind == "code" and c.role != "wrong")
    for widget in WIDGETS[lesson]:
        assert f"ck.{widget}(" in code


# Where a term is first used, it is set in bold, with what it means around it.
TERMS = """
DNA-encoded library, target, matrix, load, read, SMILES, replicate, Poisson, enrichment,
easy negative, hard negative, disynthon, fingerprint, Tanimoto, AUROC, AU-PRC, precision, interval,
transformer, encoder, token, block, pretrained, batch, mask, pooling, frozen, head, epoch,
prevalence, fine-tuning, logit, binary cross-entropy, optimizer, gradient, learning rate,
validation, warm-up, checkpoint, catastrophic forgetting, embedding,
progressive unfreezing, freeze map, discriminative, frozen-prefix cache, seed,
implicit schedule, explicit schedule, early stopping, restore-best, learning-rate schedule,
nats, L2-SP, EWC, Fisher information, replay, LoRA,
neighbor purity, supervised contrastive loss, softmax, anchor, temperature, projection
"""
ASIDES = ("**Why this lesson", "**After it you can", "**Ask your assistant", "**To go further")


@pytest.mark.parametrize("term", [" ".join(one.split()) for one in TERMS.split(",")])
def test_a_term_is_defined_where_it_is_first_used(term: str) -> None:
    words = r"[\s-]".join(map(re.escape, re.split(r"[ -]", term)))
    used = re.compile(rf"\b{words}(?:s|es)?\b", re.IGNORECASE)
    for source in lessons():
        for paragraph in re.split(r"\n\s*\n", prose(source)):
            text = re.sub(r"`[^`]*`", "", paragraph)
            if used.search(text) and not text.strip().startswith(ASIDES):
                marked = re.findall(r"\*{1,2}([^*]+)\*{1,2}", text)
                assert any(used.search(one) for one in marked), text
                return
    raise AssertionError(f"no lesson speaks of {term}")


_CITED = re.compile(
    r"\b[A-Z][\w-]+(?: et al\.| and [A-Z]\w+|, [A-Z]\w+ and [A-Z]\w+)? (?:19|20)\d\d"
)


def test_what_is_cited_can_be_found(source: LessonSource) -> None:
    """Author and year come with a DOI or a number of arXiv; each lesson has some."""
    text = " ".join(prose(source).split())
    cited = list(_CITED.finditer(text))
    assert cited
    for one in cited:
        after = text[one.end() : one.end() + 12]
        assert re.match(r",? ?\(?(doi 10\.|arXiv \d)", after), text[one.start() : one.end() + 30]


def test_every_exercise_has_a_goal(source: LessonSource) -> None:
    parts = re.split(r"(?m)^### Exercise (\d\d\.\d+)", "\n".join(
        c.text for c in source.cells if c.kind == "markdown" and not c.role
    ))  # fmt: skip
    from coursekit.checks import find

    for id, text in zip(parts[1::2], parts[2::2], strict=True):
        assert find(id).by_person or "**Goal:** " in text, id


def test_it_says_what_changes_on_kindel_and_with_a_larger_encoder(source: LessonSource) -> None:
    text = " ".join(prose(source).split())
    assert '`task="mapk14"`' in text
    if "load_classifier(" in source.path.read_text(encoding="utf-8"):
        assert '`encoder="DeepChem/ChemBERTa-77M-MLM"`' in text
        code = "\n".join(c.text for c in source.cells if c.kind == "code" and c.role != "wrong")
        assert set(re.findall(r"load_classifier\(([\w.]+)", code)) == {"env.encoder"}


def test_every_picture_is_read_in_words(source: LessonSource) -> None:
    """After a cell that shows a picture comes prose, before another one does."""
    kept = nbformat.read(ROOT / "solutions" / f"{source.name}.ipynb", as_version=4)
    unread = ""
    pictures = 0
    for cell in kept.cells:
        if cell.cell_type == "markdown" and len(cell.source.split()) > 8:
            unread = ""
        elif shows_a_picture(cell):
            pictures += 1
            assert not unread, f"nothing is said between {unread} and {cell.id}"
            unread = cell.id
    assert not unread
    assert pictures >= 2


def shows_a_picture(cell: Any) -> bool:
    shown = (str(o.get("data", {}).get("text/html", "")) for o in cell.get("outputs", []))
    return any("<img " in html for html in shown)
