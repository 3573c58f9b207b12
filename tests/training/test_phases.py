from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coursekit.errors import TrainingError
from coursekit.training import Phase, Plan
from coursekit.training.phases import make_plan
from coursekit.training.plan import spans

GROUPS = ("embeddings", *(f"block.{i}" for i in range(6)), "head")
PARAMETERS = dict.fromkeys(GROUPS, 100_000) | {"head": 129}
HEAD = {"head": 1e-3}


def planned(*phases: object, epochs: int = 6, decay: str = "linear", warmup: float = 0.5) -> Plan:
    return make_plan(list(phases), PARAMETERS, epochs, decay, warmup)  # type: ignore[arg-type]


# ---------------------------------------------------------------- how fast


@pytest.mark.parametrize("decay", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_one_phase_without_overlap_is_what_transformers_schedules(decay, warmup):
    """Where warm-up and decay do not overlap, the shapes are those of Hugging Face."""
    from transformers import get_scheduler

    plan = planned(Phase(HEAD, 10), epochs=10, decay=decay, warmup=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if decay == "constant" else decay
    oracle = get_scheduler(name, optimizer, num_warmup_steps=0, num_training_steps=10)
    if decay == "constant":
        oracle = get_scheduler(name, optimizer, num_warmup_steps=warmup)
    for epoch in range(10):
        rise = min(1.0, epoch / warmup) if warmup and decay != "constant" else 1.0
        assert plan.factor(0, epoch) == pytest.approx(rise * oracle.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        oracle.step()


def test_each_phase_warms_up_and_the_decay_goes_on():
    plan = planned(Phase(HEAD, 2), Phase(HEAD, 2), epochs=4, warmup=0.5)
    assert plan.factor(0, 0.25) == pytest.approx(0.5 * (1 - 0.25 / 4))
    assert plan.factor(0, 1.0) == pytest.approx(1 - 1 / 4)
    assert plan.factor(1, 0.25) == pytest.approx(0.5 * (1 - 2.25 / 4))
    assert plan.factor(1, 2.0) == 0.0
    cosine = planned(Phase(HEAD, 2), Phase(HEAD, 2), epochs=4, warmup=0, decay="cosine")
    assert cosine.factor(1, 0) == pytest.approx(math.cos(math.pi / 4) ** 2)


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.sampled_from(["linear", "cosine", "constant"]),
    st.floats(0, 3),
    st.floats(0, 1),
)
def test_factors_are_shares(lengths, decay, warmup, through):
    phases = [Phase(HEAD, n) for n in lengths]
    plan = planned(*phases, epochs=sum(lengths), decay=decay, warmup=warmup)
    for number, length in enumerate(lengths):
        assert 0 <= plan.factor(number, through * length) <= 1


# ---------------------------------------------------------------- until when


@given(
    st.lists(st.none() | st.integers(1, 4), min_size=1, max_size=5),
    st.integers(1, 12),
)
def test_phases_share_the_epochs(wanted, epochs):
    plan = planned(*(Phase(HEAD, n) for n in wanted), epochs=epochs)
    got = [phase.epochs for phase in plan.phases]
    assert all(n is not None and n >= 1 for n in got)
    assert sum(got) == min(epochs, sum(n or epochs for n in wanted))
    # A phase that names its length gets it, unless the run is over before.
    assert all(n == w for n, w in zip(got[:-1], wanted, strict=False) if w is not None)
    # None leaves room for what comes later, where there is room at all.
    if epochs >= sum(n or 1 for n in wanted):
        assert len(got) == len(wanted)


def test_a_phase_that_only_patience_ends_leaves_the_next_one_its_epochs():
    plan = planned(Phase(HEAD, patience=1), Phase({"block.5": 1e-4}, 2), epochs=6)
    assert [phase.epochs for phase in plan.phases] == [4, 2]
    assert [plan.start_of(number) for number in (0, 1)] == [0, 4]


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ({"head": 1.0}, "phase 1 is a dict; phases.. must return Phase objects"),
        (Phase({}, 1, name="idle"), r"phase 1 \(idle\) trains nothing; name at least one group"),
        (Phase(["head"], 1), "phase 1 has learning_rates of type list; a dict from group"),
        (Phase({"block.6": 1e-3}, 1), r"phase 1 names the group 'block.6'; the model has \['emb"),
        (Phase({"head": 0.0}), "phase 1 gives 'head' the learning rate 0.0.*Leave a group out"),
        (Phase({"head": -1e-3}), "phase 1 gives 'head' the learning rate -0.001"),
        (Phase({"head": math.nan}), "phase 1 gives 'head' the learning rate nan"),
        (Phase({"head": math.inf}), "phase 1 gives 'head' the learning rate inf"),
        (Phase({"head": "3e-4"}), "phase 1 gives 'head' the learning rate '3e-4'"),
        (Phase(HEAD, 0), "phase 1 has epochs=0; a whole number from 1 on"),
        (Phase(HEAD, 1.5), "phase 1 has epochs=1.5"),
        (Phase(HEAD, 1, patience=0), "phase 1 has patience=0"),
    ],
)
def test_a_bad_phase_is_named(phase, words):
    with pytest.raises(TrainingError, match=words):
        planned(Phase(HEAD, 1), phase)


@pytest.mark.parametrize(
    ("phases", "words"),
    [([], "gave no phase"), (Phase(HEAD), "gave a Phase; a list"), (None, "gave a NoneType")],
)
def test_phases_must_be_a_list(phases, words):
    with pytest.raises(TrainingError, match=words):
        make_plan(phases, PARAMETERS, 3, "linear", 0.5)


# ---------------------------------------------------------------- how it is shown


def progressive(patience: int | None = None) -> Plan:
    opened = [GROUPS[-1 - n :] for n in range(8)]
    phases = [Phase(dict.fromkeys(groups, 3e-4) | {groups[0]: 1e-4}, 2) for groups in opened[:-1]]
    return planned(*phases, Phase(dict.fromkeys(GROUPS, 1e-4), patience=patience), epochs=20)


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        (GROUPS, "embeddings … head"),
        (GROUPS[-2:], "block.5, head"),
        (GROUPS[3:], "block.2 … head"),
        (("head", "block.2", "block.0", "block.1"), "block.0 … block.2, head"),
        (("embeddings", "block.3", "head"), "embeddings, block.3, head"),
        ((), ""),
    ],
)
def test_neighbors_are_shown_as_a_span(chosen, shown):
    assert spans(chosen, GROUPS) == shown


def test_the_table_says_what_trains():
    table = progressive(patience=2).table()
    assert list(table["epochs"]) == [2] * 7 + [6]
    assert list(table["first epoch"]) == list(range(0, 16, 2))
    assert list(table["trains"])[:4] == [
        "head",
        "block.5, head",
        "block.4 … head",
        "block.3 … head",
    ]
    assert list(table["trainable parameters"]) == [129 + 100_000 * n for n in range(8)]
    assert table["share"].iloc[-1] == 1
    assert list(table["lowest learning rate"]) == [1e-4] * 8
    assert list(table["highest learning rate"]) == [1e-4] + [3e-4] * 6 + [1e-4]


def test_a_plan_fits_a_terminal():
    lines = str(progressive(patience=2)).splitlines()
    assert len(lines) == 2 + 8
    assert max(map(len, lines)) < 100
    assert "8 phases, 20 epochs" in lines[0]
    assert "14-19" in lines[-1]
    assert "patience" not in str(progressive())


def test_a_plan_is_a_real_table_in_a_notebook():
    table = ElementTree.fromstring(progressive(patience=2)._repr_html_())
    assert table.findtext("caption", "").startswith("8 phases, 20 epochs")
    columns = [cell.text for cell in table.iterfind("thead/tr/th[@scope='col']")]
    assert columns[:4] == ["phase", "epochs", "patience", "trains"]
    rows = table.findall("tbody/tr")
    assert [row.findtext("th[@scope='row']") for row in rows] == list("01234567")
    assert [cell.text for cell in rows[-1]][1:4] == ["14-19", "2", "embeddings … head"]


def test_per_epoch_lists_every_group_with_its_rate():
    plan = planned(Phase(HEAD, 1), Phase({"head": 1e-3, "block.5": 5e-4}, 2), epochs=3)
    frame = plan.per_epoch()
    assert len(frame) == 3 * len(GROUPS)
    rates = frame.pivot_table("learning_rate", "epoch", "group")
    assert list(rates["block.5"]) == pytest.approx([0, 5e-4 * (1 - 1.5 / 3), 5e-4 * (1 - 2.5 / 3)])
    assert list(rates["head"]) == pytest.approx([1e-3 * (1 - x / 3) for x in (0.5, 1.5, 2.5)])
    assert (rates["embeddings"] == 0).all()


def test_a_plan_draws_itself():
    assert "From epoch 14, 8 of 8 groups train" in progressive().plot().alt
