"""A student in a real JupyterLab: runs a lesson, watches, turns, answers, hands in, comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from lab import PATIENCE, THEME, Notebook, browser_path, jupyterlab, set_setting

from coursekit.checks import exercises
from coursekit.data import load_task
from coursekit.lessons.source import BEGIN, read_source

pytest.importorskip("jupyterlab")
pytest.importorskip("jupytext")
playwright = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "tests" / "artifacts"
LESSON = sorted(
    [*(ROOT / "notebooks").glob("01_*.ipynb"), *(ROOT / "notebooks").glob("02_*.ipynb")]
)[-1]

# Every picture that is shown in a cell that runs, by what it shows.
COLLECT = """
window.frames_seen = {};
setInterval(() => document.querySelectorAll('.jp-OutputArea-output img').forEach(image => {
    const prompt = image.closest('.jp-Cell').querySelector('.jp-InputPrompt').innerText;
    if (!prompt.includes('*')) return;
    const name = image.alt.split(':')[0];
    (window.frames_seen[name] ??= new Set()).add(image.src);
}), 50);
"""
EXPLORERS = """
explorer = ck.threshold_explorer(ck.fingerprint_baseline(task, "logistic"))
explorer
""", """
planned = ck.strategy_explorer(ck.load_classifier(env.encoder), task, ck.HeadOnlyFinetune())
planned
"""  # fmt: skip


@pytest.fixture
def page() -> Iterator[Any]:
    path = browser_path()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1300})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def student_file(folder: Path) -> tuple[Any, str]:
    """The learner's notebook with every exercise done but one, which is checked by a machine.

    Returns:
        The notebook as it is in the file, and the exercise that is open.
    """
    source = read_source(ROOT / "solutions" / f"{LESSON.stem}.py")
    notebook = nbformat.read(LESSON, as_version=4)
    open_ = [one.id for one in exercises(source.lesson) if not one.by_person][-1]
    for one in exercises(source.lesson):
        cells = [c for c in notebook.cells if c.id.startswith(f"answer-{one.id.replace('.', '-')}")]
        for cell, answer in zip(cells, source.of("answer", one.id), strict=True):
            if one.id != open_ and BEGIN in answer.text:
                cell.source = answer.solved
    if source.lesson == "01":  # lesson 02 takes few molecules by itself, in the quick profile
        load_task("sample", share=0.1).save(folder / "few")
        setup = next(cell for cell in notebook.cells if "ck.setup(" in cell.source)
        setup.source = setup.source.replace("ck.setup(", 'ck.setup(task="few", ')
    nbformat.write(notebook, folder / "lesson.ipynb")
    return notebook, open_


def place(notebook: Any, id: str) -> int:
    return next(i for i, cell in enumerate(notebook.cells) if cell.id == id)


def number_in(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1])


def picture_of(lab: Notebook, index: int, name: str) -> None:
    keep(lab.cell(index), name)


def keep(element: Any, name: str) -> None:
    """A picture of a part of the page, taken when JupyterLab has put everything in its place."""
    for _ in range(2):  # cells that come into sight are drawn then, and push others away
        element.scroll_into_view_if_needed()
        element.page.wait_for_timeout(400)
    element.screenshot(path=PICTURES / f"{name}.png")


@pytest.mark.slow
def test_a_student_does_a_lesson_and_finds_it_again(page: Any, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "course"
    for one in (home, folder, PICTURES):
        one.mkdir(exist_ok=True)
    notebook, exercise = student_file(folder)
    dashed = exercise.replace(".", "-")
    with jupyterlab(home, folder, COURSEKIT_PROFILE="quick") as address:
        lab = Notebook(page, address, "lesson.ipynb")
        page.evaluate(COLLECT)
        lab.run_all()
        last = max(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
        lab.wait_for(lambda: lab.prompt(last).strip("[]: \n").isdigit(), "the last cell has run")

        live = page.evaluate("Object.entries(frames_seen).map(([k, v]) => [k, v.size])")
        assert max(frames for name, frames in live if name.endswith("Finetune")) > 2, live
        keep(live_view(page), "curve-light")

        answer, check = place(notebook, f"answer-{dashed}"), place(notebook, f"check-{dashed}")
        assert "not attempted" in lab.cell(check).inner_text()
        source = read_source(ROOT / "solutions" / f"{LESSON.stem}.py")
        wrong = source.of("wrong", exercise)[0]
        lab.write(answer, wrong.text)
        assert "wrong" in lab.output(answer).first.inner_text()
        assert wrong.gets in lab.output(answer).first.inner_text()
        picture_of(lab, answer, "wrong-light")
        lab.write(answer, source.of("answer", exercise)[0].solved)
        lab.run(check)
        assert f"Exercise {exercise}: right" in lab.output(check).first.inner_text()
        picture_of(lab, check, "right-light")

        threshold, strategy = use_widgets(lab, last)
        handin = strategy + 1
        lab.add_below(strategy, "ck.handin()")
        assert "this one .ipynb" in lab.output(handin).first.inner_text()
        lab.save()
        set_setting(address, THEME, {"theme": "JupyterLab Dark"})
        lab = Notebook(page, address, "lesson.ipynb")  # the kernel runs on, and so do controls
        lab.cell(threshold).get_by_label("Threshold").wait_for()
        picture_of(lab, threshold, "threshold-dark")
        picture_of(lab, strategy, "strategy-dark")

        # As it comes to somebody else: another content, so that no signature vouches for it.
        kept = nbformat.read(folder / "lesson.ipynb", as_version=4)
        kept.cells.append(nbformat.v4.new_markdown_cell("Received."))
        nbformat.write(kept, folder / "received.ipynb")
        for theme in ("Dark", "Light"):
            set_setting(address, THEME, {"theme": f"JupyterLab {theme}"})
            lab = Notebook(page, address, "received.ipynb")
            looks_the_same_untrusted(lab, threshold)
            name = theme.lower()
            picture_of(lab, threshold, f"untrusted-threshold-{name}")
            keep(live_view(page), f"untrusted-curve-{name}")


def live_view(page: Any) -> Any:
    """The output that holds the curve of the first training."""
    return page.locator('.jp-OutputArea-child:has(img[alt*="validation AUROC on hard"])').first


def use_widgets(lab: Notebook, last: int) -> tuple[int, int]:
    """Two explorers, each by keyboard and by mouse; returns where they are."""
    page = lab.page
    threshold = lab.add_below(last, EXPLORERS[0].strip())
    shown = lab.output(threshold).nth(1)
    said = r"Scores from (\S+) on"
    before = number_in(shown.inner_text(), said)
    field = lab.cell(threshold).get_by_label("Threshold")
    field.focus()
    page.keyboard.press("ArrowUp")
    lab.wait_for(lambda: number_in(shown.inner_text(), said) > before, "a higher threshold")
    assert number_in(shown.inner_text(), said) == pytest.approx(
        float(field.input_value()), abs=1e-3
    )
    handle = lab.cell(threshold).locator(".noUi-handle")
    box, picture = handle.bounding_box(), shown.locator("img").get_attribute("src")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 80, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    lab.wait_for(lambda: number_in(shown.inner_text(), said) < before, "a lower threshold")
    assert shown.locator("img").get_attribute("src") != picture
    picture_of(lab, threshold, "threshold-light")

    strategy = lab.add_below(threshold, EXPLORERS[1].strip())
    shown = lab.output(strategy).nth(1)
    lab.wait_for(lambda: "more memory" in shown.inner_text(), "a measured cost")
    choose_next(lab, strategy, "Strategy")
    lab.wait_for(lambda: "ck.PartialFinetune()" in shown.inner_text(), "another strategy")
    choose_next(lab, strategy, "Blocks that train")
    lab.wait_for(lambda: "ck.PartialFinetune(blocks=3)" in shown.inner_text(), "three blocks")
    assert "not measured yet" in shown.inner_text()
    lab.cell(strategy).get_by_role("button", name="Measure time and memory").click()
    lab.wait_for(lambda: "more memory" in shown.inner_text(), "another measured cost")
    picture_of(lab, strategy, "strategy-light")
    value = lab.add_below(strategy, "print(planned.strategy.blocks, explorer.threshold)")
    blocks, kept = lab.output(value).first.inner_text().split()
    assert blocks == "3"
    assert float(kept) < before
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    page.keyboard.press("d")
    return threshold, strategy


def choose_next(lab: Notebook, index: int, label: str) -> None:
    """The next one of a list. JupyterLab keeps arrow keys for itself until the list is open."""
    lab.cell(index).get_by_label(label).focus()
    for key in ("Space", "ArrowDown", "Enter"):
        lab.page.keyboard.press(key)


def looks_the_same_untrusted(lab: Notebook, threshold: int) -> None:
    """Curve, its words and its table, and the explorer's picture; in place of controls a line."""
    curve = lab.page.locator('img[alt*="validation AUROC on hard negatives goes from"]').first
    curve.scroll_into_view_if_needed()
    assert curve.evaluate("image => image.complete && image.naturalWidth > 100")
    numbers = lab.page.locator("details:has(summary:text('Numbers by epoch'))").first
    numbers.locator("summary").click()
    assert re.search(r"0\.\d{3}", numbers.locator("tbody tr").first.inner_text())
    numbers.locator("summary").click()
    lab.cell(threshold).scroll_into_view_if_needed()  # what is out of sight has no text
    explorer = lab.output(threshold)
    lab.wait_for(lambda: explorer.nth(0).inner_text(), "the line in place of the controls")
    assert "work where this cell has been run" in explorer.nth(0).inner_text()
    assert not lab.cell(threshold).locator(".widget-box, .jupyter-widgets").count()
    image = explorer.nth(1).locator("img")
    assert image.evaluate("image => image.complete && image.naturalWidth > 100")
    assert len(image.get_attribute("alt")) > 100
    assert "enrichment" in explorer.nth(1).locator("table").inner_text()
