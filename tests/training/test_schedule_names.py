"""Files of finetuning-scheduler name the parameters of Hugging Face's classifiers; they load."""

from __future__ import annotations

import json
import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, deberta_v2, tokenizer
from transformers import AutoModelForSequenceClassification, DebertaV2Model

from coursekit.errors import TrainingError
from coursekit.models.classifier import Classifier
from coursekit.training import LoRAFinetune, ScheduledFinetune, rebuild
from coursekit.training.schedule_match import match

# As a user has it, for a classifier of three blocks: {base} is the family's prefix.
FILE = r"""
0:
  params:
  - {before}classifier.*
  max_transition_epoch: 1
1:
  params:
  - {before}pooler.dense.bias
  - {before}pooler.dense.weight
  - {before}{base}.encoder.layer.2.(output|attention|intermediate).*
  max_transition_epoch: 2
2:
  params:
  - {before}{base}.encoder.layer.[01]..*
  - {before}{base}.embeddings.*
"""
BEFORE = ["model.", "", "module.", "module.model."]
POOLED = r"phase 1: '.*pooler.dense.bias', '.*pooler.dense.weight' name only what takes no part"


def opened(model: Any, strategy: ScheduledFinetune) -> list[set[str]]:
    """Names of the parameters that each phase has open."""
    groups = strategy.parameter_groups(model)
    phases = strategy.plan(model, 6).phases
    return [{n for group in phase.learning_rates for n in groups[group]} for phase in phases]


@pytest.mark.parametrize("before", BEFORE, ids=lambda text: text or "bare")
@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "esm", "deberta-v2"])
def test_a_users_file_opens_what_it_says(family, before, make_model):
    model = make_model(family)
    text = FILE.format(before=before, base=model.encoder.base_model_prefix)
    with pytest.warns(UserWarning, match=POOLED):
        first, second, third = opened(model, ScheduledFinetune(text))
    names = {name for group in model.groups.values() for name in group}
    layer, rest = "encoder.encoder.layer.", ("encoder.encoder.layer.", "encoder.embeddings")
    parts = ("output.", "attention.", "intermediate.")
    assert first == set(model.groups["head"])
    assert second - first == {
        n for n in names if n.startswith(tuple(f"{layer}2.{p}" for p in parts))
    }
    assert third - second == {n for n in names if n.startswith(rest) and "layer.2." not in n}


EXAMPLES = find_spec("fts_examples")
OWN_FILES = [] if EXAMPLES is None else sorted(Path(EXAMPLES.origin).parent.rglob("*.yaml"))


@pytest.mark.parametrize(
    "path",
    [path for path in OWN_FILES if "- model.deberta." in path.read_text(encoding="utf-8")]
    or [
        pytest.param(None, marks=pytest.mark.skip("finetuning-scheduler (make bench) is not here"))
    ],
    ids=lambda path: path.stem if path else "none",
)
def test_the_examples_that_finetuning_scheduler_comes_with_load(path):
    """They are for DeBERTa with twelve blocks; one leaves the embeddings frozen."""
    config = deberta_v2().config
    config.num_hidden_layers = 12
    model = Classifier(DebertaV2Model(config), tokenizer(), name="deberta")
    text = path.read_text(encoding="utf-8")
    with pytest.warns(UserWarning, match=r"name(s)? only what .*such as (model\.)?pooler\.dense"):
        last = opened(model, ScheduledFinetune(path, lr=1e-3))[-1]
    frozen = {name for group in model.groups.values() for name in group} - last
    left_out = [line.strip(" #-") for line in text.splitlines() if "#- model." in line]
    assert frozen == {n.replace("model.deberta.", "encoder.") for n in left_out}


@pytest.mark.parametrize("before", BEFORE, ids=lambda text: text or "bare")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_of_hugging_faces_own_classifier_is_known(family, before, make_model):
    """Each is the parameter of the same weights here, the head's last layer, or passed over."""
    model = make_model(family)
    with torch.device("meta"):
        there = AutoModelForSequenceClassification.from_config(model.encoder.config)
    base = f"{there.base_model_prefix}."
    used = {name for names in model.groups.values() for name in names}
    left = set(used)
    for name, parameter in there.named_parameters():
        own = f"encoder.{name.removeprefix(base)}" if name.startswith(base) else None
        if re.fullmatch(r"classifier\.(out_proj\.)?(weight|bias)", name):
            own = f"head.1.{name.rpartition('.')[2]}"
        elif own is not None:
            assert model.get_parameter(own).shape == parameter.shape
        for entry in (before + name, re.escape(before + name)):
            if own in used:
                (found,) = match([[entry]], model)
                assert found == {entry: (own,)}
                left.discard(own)
            else:
                ((empty,),) = (tuple(f.values())[1:] for f in match([["head", entry]], model))
                assert empty == ()
    assert not left


def test_single_names_open_the_heads_weight_and_bias_apart(make_model):
    schedule = [["model.classifier.bias", "model.classifier.weight"]]
    assert match(schedule, make_model()) == [
        {"model.classifier.bias": ("head.1.bias",), "model.classifier.weight": ("head.1.weight",)}
    ]


def test_names_that_match_as_they_stand_mean_what_they_meant(make_model):
    """Where own names match, names elsewhere that match as well count for nothing."""
    model = make_model()
    for entry, wanted in {
        "head": model.groups["head"],
        r"(head\.1|classifier)\.bias": ("head.1.bias",),
        r"(block\.1|model\.bert\.embeddings\..*)": model.groups["block.1"],
        r".*\.embeddings\.LayerNorm\.bias": ("encoder.embeddings.LayerNorm.bias",),
    }.items():
        assert match([[entry]], model) == [{entry: wanted}]


def test_the_plan_shows_what_was_matched_and_what_was_passed_over(make_model):
    model = make_model()
    strategy = ScheduledFinetune(FILE.format(before="model.", base="bert"))
    with pytest.warns(UserWarning, match=POOLED):
        plan = strategy.plan(model, 6)
    entries = plan.entries().set_index("entry")
    assert entries.loc["model.classifier.*", "names"] == model.groups["head"]
    assert list(entries["parameters"]) == [2, 0, 0, 16, 32, 5]
    shown = str(plan).splitlines()
    (line,) = (line for line in shown if "model.classifier.*" in line)
    assert line.endswith("head.1.weight … head.1.bias")
    (line,) = (line for line in shown if "pooler.dense.bias" in line)
    assert line.endswith("passed over: not in this model")
    assert plan._repr_html_().count("<td>passed over: not in this model</td>") == 2


@pytest.mark.parametrize(
    "entry",
    ["bert.pooler.dense.*", "model.pooler.dense.weight", "pre_classifier.bias", ".*pooler.*"],
)
def test_a_phase_of_nothing_but_a_pooler_is_refused(entry, make_model):
    strategy = ScheduledFinetune({0: {"params": ["head"]}, 1: {"params": [entry]}})
    wanted = f"phase 1: {re.escape(repr(entry))} names only .*nothing is left.*take the phase out"
    with pytest.raises(TrainingError, match=wanted):
        strategy.plan(make_model(), 4)


def test_what_max_depth_leaves_closed_is_not_warned_of(make_model):
    schedule = {0: {"params": ["head"]}, 1: {"params": ["block.2", "model.pooler.dense.*"]}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ScheduledFinetune(schedule, max_depth=0).plan(make_model(), 4)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("model.bert.encoder.layer.9.*", "matches no parameter and no group of bert; did you mean"),
        ("model.roberta.encoder.layer.2.*", "matches no parameter and no group of bert"),
        ("model.clasifier.weight", "did you mean 'model.classifier.weight'?"),
        ("model.classifier", r"only the beginning.*write 'model.classifier.\*' .* all 2$"),
        (r"bert\.encoder\.layer\.2", r"only the beginning.*such as bert\.encoder.* all 16$"),
    ],
)
def test_a_name_that_matches_nothing_is_refused(entry, words, make_model):
    strategy = ScheduledFinetune({0: {"params": ["head"]}, 1: {"params": [entry]}})
    with pytest.raises(TrainingError, match=f"phase 1: {re.escape(repr(entry))}.*{words}"):
        strategy.plan(make_model(), 4)


def test_one_parameter_under_two_names_opens_once(make_model):
    with pytest.raises(TrainingError, match=r"phase 1: 'classifier.bias' matches head.1.bias, whi"):
        match([["head"], ["classifier.bias"]], make_model())


def test_names_beside_adapters(task, make_model):
    """An adapted layer's own weights are one level down, there and here."""
    model = make_model()
    LoRAFinetune(rank=2).prepare(model)
    layer = "encoder.layer.2.attention.self.query"
    own = f"encoder.{layer}.base_layer.weight"
    for entry in (f"model.bert.{layer}.weight", f"bert.{layer}.base_layer.weight", own):
        assert match([[entry]], model) == [{entry: (own,)}]
    (there,), (here,) = (
        match([[rf"{before}\.encoder\.layer\.2\..*"]], model)[0].values()
        for before in (r"model\.bert", "encoder")
    )
    assert there == here
    assert set(model.groups["block.2"]) < set(there)  # and the block's adapters


def test_it_trains_as_under_own_names(task, make_model, assert_same_bits):
    strategy = ScheduledFinetune(FILE.format(before="model.", base="bert"), lr=1e-3, batch_size=16)
    model = make_model()
    with pytest.warns(UserWarning, match=POOLED):
        run = strategy.fit(model, task, epochs=3)
    assert rebuild(json.loads(json.dumps(dict(run.strategy)))) == strategy
    schedule = {
        0: {"params": ["head"], "max_transition_epoch": 1},
        1: {"params": ["block.2"], "max_transition_epoch": 2},
        2: {"params": ["block.0", "block.1", "embeddings"]},
    }
    own = ScheduledFinetune(schedule, lr=1e-3, batch_size=16)
    assert_same_bits(run, own.fit(make_model(), task, epochs=3))
