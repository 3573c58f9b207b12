from __future__ import annotations

import pytest
import yaml
from families import FAMILIES

from coursekit.errors import TrainingError
from coursekit.training import ScheduledFinetune
from coursekit.training.schedule_match import cut, match

BLOCKS = ["block.0", "block.1", "block.2"]
LAYER = "encoder.encoder.layer"


@pytest.fixture
def model(make_model):
    return make_model()


def names(model, *groups: str) -> set[str]:
    return {name for group in groups for name in model.groups[group]}


@pytest.mark.parametrize(
    ("entry", "groups"),
    [
        ("head", ["head"]),
        ("block.1", ["block.1"]),
        ("embeddings", ["embeddings"]),
        (r"block\.[12]", ["block.1", "block.2"]),
        (r"encoder\.encoder\.layer\.(1|2)\..*", ["block.1", "block.2"]),
        (r"encoder.encoder.layer.{0,11}.(output|attention|intermediate).*", BLOCKS),
        (".*", ["embeddings", *BLOCKS, "head"]),
    ],
)  # fmt: skip
def test_what_an_entry_means(entry, groups, model):
    ((found,),) = (tuple(m.values()) for m in match([[entry]], model))
    assert set(found) == names(model, *groups)
    assert len(found) == len(set(found))


def test_a_name_is_itself_whatever_it_means_as_a_pattern(model):
    """The dots of a name would match other characters, its end other endings."""
    name = f"{LAYER}.1.output.dense.bias"
    assert match([[name]], model) == [{name: (name,)}]


def test_patterns_match_whole_names(model):
    """finetuning-scheduler matches beginnings, so that a pattern opens more than it says."""
    with pytest.raises(
        TrainingError, match=r"only the beginning of names, such as .*layer\.1\.att"
    ):
        match([[r"encoder\.encoder\.layer\.1\.attention"]], model)
    weights = match([[r".*layer\.1\..*LayerNorm\.weight"]], model)
    assert [len(found) for found in weights[0].values()] == [2]


def test_a_group_that_phases_share_is_cut(model):
    phases = match(
        [["head.1.bias"], [rf"{LAYER}\.2\..*bias"], [rf"{LAYER}\.2\..*weight", "block.1"]], model
    )
    groups = cut(model.groups, phases)
    assert list(groups) == [
        *("embeddings", "block.0", "block.1", "block.2 phase 2", "block.2 phase 1"),
        *("head rest", "head phase 0"),
    ]
    assert groups["block.1"] == model.groups["block.1"]
    assert groups["head phase 0"] == ("head.1.bias",)
    assert sorted(p for piece in groups.values() for p in piece) == sorted(
        p for group in model.groups.values() for p in group
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_opened_from_the_top(family, make_model):
    model = make_model(family)
    schedule = yaml.safe_load(ScheduledFinetune(base_max_lr=2e-4).dump(model))
    assert schedule == {
        0: {"params": ["head"]},
        1: {"params": ["block.2"], "lr": 2e-4},
        2: {"params": ["block.1"], "lr": 2e-4},
        3: {"params": ["block.0"], "lr": 2e-4},
        4: {"params": ["embeddings"], "lr": 2e-4},
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_two_parameters_a_phase_from_the_output_side(family, make_model):
    """As finetuning-scheduler generates it, but for parameters that take no part in the output."""
    model = make_model(family)
    schedule = ScheduledFinetune(generate="pairs").schedule_for(model)
    flat = [name for phase in schedule.values() for name in phase["params"]]
    used = {name for group in model.groups.values() for name in group}
    assert flat == [name for name, _ in model.named_parameters() if name in used][::-1]
    sizes = [len(phase["params"]) for phase in schedule.values()]
    assert set(sizes[:-1]) == {2}
    assert sizes[-1] == 2 - len(used) % 2
    assert [phase.get("lr") for phase in schedule.values()] == [None] + [1e-5] * (len(sizes) - 1)


@pytest.mark.parametrize("generate", ["blocks", "pairs"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_phase_opens_what_its_entries_say(family, generate, make_model):
    model = make_model(family)
    strategy = ScheduledFinetune(generate=generate, lr=1e-3)
    groups = strategy.parameter_groups(model)
    opened: set[str] = set()
    wanted: set[str] = set()
    for number, phase in enumerate(strategy.plan(model, epochs=500).phases):
        for entry in strategy.schedule_for(model)[number]["params"]:
            wanted |= set(model.groups.get(entry, (entry,)))
        opened = {name for group in phase.learning_rates for name in groups[group]}
        assert opened == wanted, number
    assert opened == {name for group in model.groups.values() for name in group}
