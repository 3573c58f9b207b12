from __future__ import annotations

import json
import shlex

import pytest

from coursekit.data.paths import bundled
from coursekit.errors import EncoderError
from coursekit.models import load_classifier
from coursekit.models.masked_head import masked_token_loss
from coursekit.models.pretraining_molecules import (
    HELDOUT,
    HELDOUT_SEED,
    MEMBERS,
    MEMBERS_SEED,
    heldout_molecules,
    pretraining_molecules,
)

MINI = bundled("coursekit-mini")


def facts(name: str) -> dict:
    return json.loads((MINI / name).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_held_out_molecules_are_those_of_the_card():
    """The card's score on 2,000 molecules comes out again: no others would give it."""
    expected = facts("pretraining.json")["heldout"]["own_library.smi"]
    found = masked_token_loss(load_classifier("coursekit-mini"), heldout_molecules())
    assert found["masked_tokens"] == expected["masked_tokens"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert found["accuracy"] == pytest.approx(expected["accuracy"], rel=1e-3)


def test_the_numbers_are_those_of_the_command_on_the_card():
    what = facts("sources.json")["files"]["own_library.smi"]["what"]
    words = shlex.split(what.split("`")[1])
    assert words[:3] == ["coursekit", "data", "enumerate"]
    assert (words[words.index("-n") + 1], words[words.index("--seed") + 1]) == ("120000", "20")
    assert (MEMBERS, MEMBERS_SEED) == (120_000, 20)
    settings = facts("pretraining.json")["settings"]
    assert (settings["holdout"], (settings["seed"], 1)) == (HELDOUT, HELDOUT_SEED)
    assert facts("pretraining.json")["molecules"]["own_library.smi"] == MEMBERS - HELDOUT


def test_trained_on_and_held_out_share_none():
    trained, heldout = pretraining_molecules(300), heldout_molecules(300)
    assert len(set(trained)) == len(set(heldout)) == 300
    assert not set(trained) & set(heldout)
    assert heldout_molecules(40) == heldout[:40]


def test_no_more_than_there_are():
    with pytest.raises(EncoderError, match="number is 2001; 1 to 2,000"):
        heldout_molecules(HELDOUT + 1)
    with pytest.raises(EncoderError, match="number is 0; 1 to 118,000"):
        pretraining_molecules(0)
