from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import pytest
from huggingface_hub import ModelCard
from made_up import ROOT

from coursekit.cli import main
from coursekit.data.paths import bundled
from coursekit.errors import EncoderError
from coursekit.models import model_card as module
from coursekit.models.model_card import command, model_card, write_card
from coursekit.models.pretrain import PretrainSettings


@pytest.fixture
def facts() -> dict[str, Any]:
    """Of an encoder that somebody pretrained on a file of their own."""
    return {
        "name": "mine",
        "settings": asdict(PretrainSettings(epochs=7, hidden=64, seed=3)),
        "files": {"my molecules.smi": "ab" * 32},
        "molecules": {"my molecules.smi": 12_345},
        "heldout": {"my molecules.smi": {"loss": 0.5, "accuracy": 0.9, "masked_tokens": 4_321}},
        "steps": 678,
        "minutes": 9.1,
        "device": "CPU",
        "threads": 2,
        "torch": "2.13.0",
        "parameters": 1_000_000,
    }


def parsed(line: str) -> tuple[list[Path], Path, PretrainSettings]:
    """What the command line makes of a command."""
    import shlex

    program, name, *arguments = shlex.split(line)
    assert (program, name) == ("coursekit", "pretrain")
    context = main.commands["pretrain"].make_context("pretrain", arguments)
    options = dict(context.params)
    return list(options.pop("files")), options.pop("out"), PretrainSettings(**options)


def test_the_bundled_card_is_the_one_that_its_facts_give(tmp_path: Path) -> None:
    """After a change: python -m coursekit.models.model_card data/coursekit-mini."""
    place = bundled("coursekit-mini")
    copy = tmp_path / "coursekit-mini"
    copy.mkdir()
    for name in ("pretraining.json", "sources.json"):
        shutil.copy(place / name, copy)
    assert write_card(copy).read_text("utf-8") == (place / "README.md").read_text("utf-8")


def test_the_bundled_card_says_what_a_reader_must_know() -> None:
    card = ModelCard.load(bundled("coursekit-mini/README.md"))
    assert card.data.license == "mit"
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "fill-mask"
    assert "chemistry" in card.data.tags
    facts = json.loads(bundled("coursekit-mini/pretraining.json").read_text())
    for name, digest in facts["files"].items():
        assert f"`{name}`" in card.text
        assert digest in card.text
        assert f"{facts['heldout'][name]['loss']:.3f}" in card.text
        assert f"{facts['molecules'][name]:,} molecules" in card.text
    assert "coursekit data enumerate -n 120000 --seed 20 --out own_library.smi" in card.text
    assert "10.1021/ci3001277" in card.text  # ZINC
    assert not re.search(r"(^|[\s(`\"])/\w", card.text)  # no path of the machine it was made on
    assert "not stated" not in card.text


def test_the_bundled_card_has_the_command_that_made_it() -> None:
    text = bundled("coursekit-mini/README.md").read_text("utf-8")
    files, out, settings = parsed(re.search(r"^coursekit pretrain .*$", text, re.M)[0])
    facts = json.loads(bundled("coursekit-mini/pretraining.json").read_text())
    assert [file.name for file in files] == list(facts["files"])
    assert asdict(settings) == facts["settings"]
    assert out == Path("data/coursekit-mini")


def test_the_code_in_the_card_runs_from_the_top_of_the_project() -> None:
    text = bundled("coursekit-mini/README.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    if not (ROOT / "data" / "coursekit-mini").is_dir():
        pytest.skip("not a checkout")
    names: dict[str, Any] = {}
    exec(code.replace('"data/', f'"{ROOT}/data/'), names)
    assert names["encoder"].config.num_hidden_layers == 6
    assert names["tokenizer"].tokenize("CBr") == ["C", "Br"]


def test_a_command_is_short_and_complete(facts: dict[str, Any]) -> None:
    line = command(facts, "out/mine")
    assert line == (
        "coursekit pretrain 'my molecules.smi' --out out/mine --epochs 7 --hidden 64 --seed 3"
    )
    assert parsed(line) == (
        [Path("my molecules.smi")],
        Path("out/mine"),
        PretrainSettings(epochs=7, hidden=64, seed=3),
    )


def test_every_option_of_the_command_line_is_known() -> None:
    options = {
        max(p.opts, key=len): p.name
        for p in main.commands["pretrain"].params
        if isinstance(p, click.Option) and p.name != "out"
    }
    assert {name: flag for flag, name in options.items()} == module.OPTIONS


def test_settings_beyond_the_command_line_are_told_in_python(
    facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts["settings"] = asdict(PretrainSettings(holdout=50, mask_share=0.15))
    calls: list[tuple] = []
    monkeypatch.setattr("coursekit.models.pretrain.pretrain", lambda *given: calls.append(given))
    exec(command(facts, "mine"), {})
    assert calls == [(["my molecules.smi"], "mine", PretrainSettings(holdout=50, mask_share=0.15))]


def test_a_card_says_what_it_does_not_know(facts: dict[str, Any]) -> None:
    card = ModelCard(model_card(facts))
    assert card.data.license is None
    assert card.text.count("not stated; write it into `sources.json`") == 2
    assert "678 steps in 9.1 minutes on CPU (threads: 2), with torch 2.13.0." in card.text
    assert "| `my molecules.smi` | 0.500 | 90.0% | 4,321 |" in card.text
    told = model_card(
        facts,
        {
            "license": "cc0-1.0",
            "out": "a/b",
            "files": {"my molecules.smi": {"what": "Drawn by hand", "license": "CC0"}},
        },
    )
    assert ModelCard(told).data.license == "cc0-1.0"
    assert "- What: Drawn by hand.\n- Terms: CC0." in told
    assert 'from_pretrained("a/b")' in told
    assert "not stated" not in told


def test_on_a_gpu_its_name_stands_in_the_card(facts: dict[str, Any]) -> None:
    assert "minutes on NVIDIA T4, with" in model_card({**facts, "device": "NVIDIA T4"})


def test_files_too_small_to_hold_out_are_not_measured(facts: dict[str, Any]) -> None:
    text = model_card({**facts, "heldout": {}})
    assert "Not measured" in text
    assert "held out." not in text


@pytest.mark.parametrize("content", [None, "{", '"a'])
def test_a_folder_without_facts_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "pretraining.json").write_text(content)
    with pytest.raises(EncoderError, match=r"not the folder of an encoder that `coursekit pretr"):
        write_card(tmp_path)


def test_the_module_writes_cards_by_command(
    facts: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pretraining.json").write_text(json.dumps(facts))
    assert module.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text("utf-8") == model_card(facts)
    assert module.main([]) == 2
    assert "usage: python -m coursekit.models.model_card FOLDER" in capsys.readouterr().err
