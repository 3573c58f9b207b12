"""The cache of what is frozen: the same run, with the blocks below run once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from families import FAMILIES, small_classifier
from stopping import stopping_after
from tiny import COMMON, EPOCHS, PENALTIES, STRATEGIES
from torch import nn

from coursekit.errors import TrainingError
from coursekit.training import (
    FinetuneStrategy,
    LoRAFinetune,
    PartialFinetune,
    Phase,
    ProgressiveUnfreeze,
    ScheduledFinetune,
    prefix,
    ragged,
)
from coursekit.training.prefix import served, worth_it
from coursekit.training.session import Session

PROGRESSIVE = ProgressiveUnfreeze(**COMMON)
PARTIAL = PartialFinetune(**COMMON, blocks=1)
ADAPTERS = LoRAFinetune(**COMMON | {"lr": 1e-2}, rank=4, dropout=0.1, blocks=1)
CACHED = {
    "head": STRATEGIES["head"],
    "progressive": PROGRESSIVE,
    "partial": PARTIAL,
    "adapters": ADAPTERS,
    "scheduled": STRATEGIES["scheduled"],
}


class BackAndForth(FinetuneStrategy):
    """Freezes again what it has trained: the states of the first phases are stale in the later."""

    def phases(self, model, epochs):
        full = dict.fromkeys(model.groups, self.lr)
        top = dict.fromkeys(list(model.groups)[-2:], self.lr)
        return [Phase(top, 2), Phase(full, 1), Phase(top, 2), Phase({"head": self.lr}, 2)]


@pytest.fixture
def make(make_model):
    """A model whose every dropout is on, where a family's configuration has none too."""

    def build(family: str = "bert", **more):
        model = make_model(family, **more)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.1
        return model

    return build


@pytest.fixture
def in_files(monkeypatch):
    monkeypatch.setenv("COURSEKIT_CACHE_MEMORY", "0")


def assert_close(run, other):
    assert list(run.history["step"]) == list(other.history["step"])
    for name in ("loss", "auroc_hard"):
        ours, theirs = run.history[name].to_numpy(), other.history[name].to_numpy()
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    np.testing.assert_allclose(run.predictions["score"], other.predictions["score"], atol=2e-5)


# ---------------------------------------------------------------- the same run


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strategy", CACHED.values(), ids=CACHED.keys())
def test_cached_is_uncached(strategy, family, task, make):
    # Progressive: down to all blocks, where nothing is cached. Scheduled: two epochs of a phase.
    epochs = 2 if len(strategy.plan(make(family), 4).phases) == 1 else 4
    runs = {
        cache: replace(strategy, cache=cache).fit(make(family), task, epochs=epochs, seed=1)
        for cache in ("auto", "off")
    }
    assert_close(*runs.values())


@pytest.mark.parametrize("strategy", [STRATEGIES["full"], STRATEGIES["adapters"]])
def test_nothing_is_cached_where_all_blocks_train(strategy, task, make, assert_same_bits):
    exact = replace(strategy, cache="fp32")
    assert_same_bits(
        exact.fit(make(), task, epochs=2),
        replace(strategy, cache="off").fit(make(), task, epochs=2),
    )


def test_what_trained_in_between_is_computed_anew(task, make):
    runs = [BackAndForth(**COMMON, cache=c).fit(make(), task, epochs=7) for c in ("auto", "off")]
    assert_close(*runs)


@pytest.mark.parametrize(
    "more",
    [{"ema": 0.9}, {"gradient_checkpointing": True}, {"penalties": PENALTIES}],
    ids=["ema", "checkpointing", "penalties"],
)
def test_it_goes_with_other_settings(more, task, make):
    strategy = replace(PROGRESSIVE, **more)
    runs = [replace(strategy, cache=c).fit(make(), task, epochs=3) for c in ("auto", "off")]
    assert_close(*runs)


def test_in_bf16_it_comes_close(task, make):
    """Cached states and those of whole passes are rounded in rows of other molecules."""
    strategy = replace(PROGRESSIVE, precision="bf16")
    runs = [replace(strategy, cache=c).fit(make(), task, epochs=3) for c in ("auto", "off")]
    losses = [run.history["loss"].to_numpy() for run in runs]
    np.testing.assert_allclose(losses[0], losses[1], atol=0.01)
    scores = [run.predictions["score"].to_numpy(float) for run in runs]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.01)


def test_schedules_cut_across_groups(task, make, counted):
    """What counts is what trains, not whole blocks."""
    names = [name for name, _ in make().named_parameters() if "pooler" not in name][::-1]
    # Half of block 2, then the rest of it, then half of block 1.
    schedule = {
        phase: {"params": names[9 * phase : 9 * (phase + 1)], "max_transition_epoch": phase + 1}
        for phase in range(3)
    }
    strategy = ScheduledFinetune(**COMMON, schedule=schedule)
    runs = []
    for cache in ("auto", "off"):
        model, seen = counted()
        runs.append(replace(strategy, cache=cache).fit(model, task, epochs=4))
        counts = runs_of(model, seen, task.train)
        assert counts == ([{1}, {3}, {4}] if cache == "auto" else [{4}] * 3)
    assert_close(*runs)


@pytest.mark.parametrize("cache", ["fp16", "bf16"])
def test_rounded_states_come_close(cache, task, make):
    runs = [
        replace(PARTIAL, cache=c).fit(make(), task, epochs=EPOCHS, seed=2) for c in ("fp32", cache)
    ]
    losses = [run.history["loss"].to_numpy() for run in runs]
    off = np.abs(losses[0] - losses[1]).max()
    assert 1e-6 < off < (2e-3 if cache == "fp16" else 2e-2)


@pytest.mark.parametrize("cache", ["fp32", "fp16"])
def test_a_run_predicts_what_its_model_predicts(cache, task, make, scores_of):
    model = make()
    run = replace(PARTIAL, cache=cache).fit(model, task, epochs=EPOCHS)
    for part in ("valid", "test"):
        assert np.array_equal(scores_of(run, part), model.predict(list(task.part(part)["smiles"])))


# ---------------------------------------------------------------- run once


@pytest.fixture
def counted(make):
    """A model, and how often each molecule has gone through each of its blocks."""

    def build(**more):
        model, seen, now = make(**more), Counter(), []

        def note(_, __, given):
            # A row may hold several molecules, and padding behind each.
            ids = given["input_ids"][given["input_ids"] != model.tokenizer.pad_token_id]
            begins = (ids == model.tokenizer.cls_token_id).nonzero().flatten().tolist()
            now[:] = [tuple(part.tolist()) for part in ids.tensor_split(begins)[1:]]

        model.encoder.register_forward_pre_hook(note, with_kwargs=True)
        for index, block in enumerate(model.blocks):
            block.register_forward_hook(
                lambda *_, index=index: seen.update((index, molecule) for molecule in now)
            )
        return model, seen

    return build


def runs_of(model, seen, part):
    """For each block, the counts that occur among the molecules of a part."""
    tokens = model.tokenizer(list(part["smiles"]))["input_ids"]
    return [{seen[index, tuple(ids)] for ids in tokens} for index in range(len(model.blocks))]


@pytest.mark.parametrize("cache", ["auto", "bf16"])
def test_one_pass_serves_all_phases(cache, counted, task):
    model, seen = counted()
    replace(PROGRESSIVE, cache=cache).fit(model, task, epochs=3)  # head, block 2, block 1
    assert runs_of(model, seen, task.train) == [{1}, {1 + 1}, {1 + 1 + 1}]
    # The last predictions are the model's own where the cache is rounded.
    end = int(cache == "bf16")
    assert runs_of(model, seen, task.valid) == [{1 + end}, {1 + 1 + 1}, {1 + 1 + 1 + 1}]
    assert runs_of(model, seen, task.test) == [{1}, {1}, {1}]


@pytest.mark.parametrize("strategy", [PARTIAL, ADAPTERS])
def test_one_pass_serves_all_epochs(strategy, counted, task):
    model, seen = counted()
    strategy.fit(model, task, epochs=4)
    assert runs_of(model, seen, task.train) == [{1}, {1}, {4}]
    assert runs_of(model, seen, task.valid) == [{1}, {1}, {4 + 1}]


def test_off_is_off(counted, task):
    model, seen = counted()
    replace(STRATEGIES["head"], cache="off").fit(model, task, epochs=4)
    assert runs_of(model, seen, task.train) == [{4}] * 3


def test_one_epoch_is_not_worth_a_pass(counted, task, monkeypatch):
    losses, passes = {}, {}
    real = prefix.Prefix._run
    for cache in ("auto", "off", "fp32"):
        calls = passes[cache] = []
        monkeypatch.setattr(
            prefix.Prefix,
            "_run",
            lambda self, *a, to=calls, **k: to.append(1) or real(self, *a, **k),
        )
        model, seen = counted()
        run = replace(PARTIAL, cache=cache).fit(model, task, epochs=1)
        losses[cache] = list(run.history["loss"])
        assert runs_of(model, seen, task.train) == [{1}] * 3
    assert losses["auto"] == losses["off"] == pytest.approx(losses["fp32"], abs=1e-6)
    assert not passes["auto"]
    assert not passes["off"]
    assert passes["fp32"]


def test_weights_are_hashed_once_a_phase(task, make, monkeypatch):
    calls = []
    real = prefix.digests_below
    monkeypatch.setattr(prefix, "digests_below", lambda *a: calls.append(1) or real(*a))
    STRATEGIES["head"].fit(make(), task, epochs=20)
    assert len(calls) == 2  # and once at the end, when the best weights are back


def test_served():
    assert served([6, 5, 4, 3, 2, 1, 0], 0) == [0, 1, 2, 3, 4, 5]
    assert served([6, 5, 4, 3, 2, 1, 0], 3) == [3, 4, 5]
    assert served([4, 0, 4, 6], 0) == [0]  # all has trained in between
    assert served([4, 5, 3, 4, 2], 0) == [0, 2, 4]  # block 4 has trained; those below have not
    assert served([0, 4], 0) == []


def test_worth_it():
    assert worth_it([4], [1]) == [False]
    assert worth_it([4], [2]) == [True]
    assert worth_it([6, 5, 0], [1, 1, 9]) == [True, True, False]
    assert worth_it([4, 0, 4], [1, 5, 1]) == [False] * 3
    assert worth_it([4, 5, 3], [1, 1, 1]) == [True, False, True]


# ---------------------------------------------------------------- where it must not be used


@pytest.fixture
def a_session(task, make, tmp_path):
    """A session that stands at the beginning of its first phase."""

    def begin(strategy, model=None, epochs=3):
        found = Session(strategy, model or make(), task, epochs, 0, tmp_path / "states", None)
        found.open_phase()
        return found

    return begin


def depth_of(found):
    return found.below.depth


def test_depths(a_session):
    assert depth_of(a_session(STRATEGIES["head"])) == 3
    assert depth_of(a_session(PARTIAL)) == 2
    assert depth_of(a_session(ADAPTERS)) == 2
    assert depth_of(a_session(replace(ADAPTERS, blocks=2))) == 1
    assert depth_of(a_session(replace(ADAPTERS, blocks=None, cache="fp32"))) == 0
    assert depth_of(a_session(PARTIAL, epochs=1)) == 0
    assert depth_of(a_session(replace(STRATEGIES["full"], cache="fp32"))) == 0


def test_what_is_not_in_eval_mode_below_is_run(a_session, make):
    model = make()
    # A dropout that belongs to no frozen part, and so stays on.
    model.noise = nn.Dropout(0.2)
    model.blocks[1].register_forward_pre_hook(lambda _, args: (model.noise(args[0]), *args[1:]))
    assert depth_of(a_session(PARTIAL, model)) == 0


def test_whole_molecules_are_not_disturbed(a_session, task):
    """A penalty or a replay calls the model with molecules of its own, in between."""
    found = a_session(PARTIAL)
    model, rows = found.model, np.arange(4)
    model.eval()
    before = found.logits(rows)
    replayed = model.predict(["CCO", "C" * 30])
    assert torch.equal(found.logits(rows), before)
    assert np.array_equal(model.predict(["CCO", "C" * 30]), replayed)
    whole = model.predict(list(task.train["smiles"]))[rows]
    assert torch.sigmoid(before).detach().numpy() == pytest.approx(whole, abs=1e-5)


def test_other_weights_below_meet_no_stale_state(a_session, task):
    found = a_session(PARTIAL)
    valid = list(task.valid["smiles"])
    states = found.prefix.below(valid).states
    assert found.prefix.below(valid).states is states
    with torch.no_grad():
        found.model.blocks[1].get_parameter("output.dense.weight").mul_(1.01)
    found.open_phase()
    assert found.prefix.below(valid).states is not states
    found.model.eval()
    expected = found.model.embed(valid)
    assert np.array_equal(found.prefix.vectors(valid), expected)


# ---------------------------------------------------------------- memory, disk


@pytest.mark.parametrize("strategy", [PROGRESSIVE, ADAPTERS, replace(PARTIAL, cache="bf16")])
def test_files_and_memory_give_the_same_bits(strategy, task, make, assert_same_bits, monkeypatch):
    in_memory = strategy.fit(make(), task, epochs=3, seed=1)
    monkeypatch.setenv("COURSEKIT_CACHE_MEMORY", "0")
    assert_same_bits(strategy.fit(make(), task, epochs=3, seed=1), in_memory)


def test_what_does_not_fit_goes_into_a_file_without_a_trace(a_session, monkeypatch, tmp_path):
    tokens = sum(a_session(STRATEGIES["full"]).lengths)
    one_depth = tokens * 32 * 4 / 2**20
    monkeypatch.setenv("COURSEKIT_CACHE_MEMORY", str(one_depth * 1.5))
    found = a_session(PROGRESSIVE)
    kept = list(found.prefix._kept.values())
    assert [type(states._values) for states in kept] == [np.ndarray, np.memmap]
    assert all(len(states._values) == tokens for states in kept)
    assert sum(states.in_memory for states in kept) == tokens * 32 * 4
    assert list((tmp_path / "states").iterdir()) == []
    file = kept[1]._file
    found.prefix.close()
    assert file.closed
    assert not found.prefix._kept


def test_half_precision_takes_half_the_room(a_session):
    sizes = {
        cache: next(iter(a_session(replace(PARTIAL, cache=cache)).prefix._kept.values())).in_memory
        for cache in ("fp32", "fp16", "bf16")
    }
    assert sizes["fp32"] == 2 * sizes["fp16"] == 2 * sizes["bf16"] > 0


def test_depths_that_are_over_are_dropped(a_session):
    found = a_session(PROGRESSIVE, epochs=4)
    assert len(found.prefix._kept) == 2
    for left in (2, 1, 0):
        found.next_phase()
        found.open_phase()
        assert len(found.prefix._kept) == left


@pytest.mark.usefixtures("in_files")
@pytest.mark.parametrize("strategy", [PROGRESSIVE, PARTIAL, STRATEGIES["head"]])
def test_a_full_disk_costs_time_and_no_run(strategy, task, make, monkeypatch, capsys):
    off = replace(strategy, cache="off").fit(make(), task, epochs=3)
    monkeypatch.setattr(ragged, "LEFT_FREE", 2**60)
    run = strategy.fit(make(), task, epochs=3)
    assert_close(run, off)
    said = any("no room for states" in note for note in run.notes)
    assert said == ("not enough room is left" in capsys.readouterr().out)
    assert said == (strategy != STRATEGIES["head"])  # pooled vectors are small


@pytest.mark.usefixtures("in_files")
def test_a_disk_that_fills_up_in_the_middle(task, make, assert_same_bits, capsys):
    resource = pytest.importorskip("resource")
    uncached = replace(PARTIAL, cache="off").fit(make(), task, epochs=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        run = PARTIAL.fit(make(), task, epochs=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in capsys.readouterr().out
    assert_same_bits(run, uncached)


def test_what_is_there_stays_in_use_when_the_disk_is_full(a_session, monkeypatch, task):
    monkeypatch.setattr(ragged, "LEFT_FREE", 2**60)
    tokens = sum(a_session(STRATEGIES["full"]).lengths)
    monkeypatch.setenv("COURSEKIT_CACHE_MEMORY", str(tokens * 32 * 4 / 2**20 * 1.1))
    found = a_session(PARTIAL)  # the train part fits, the valid part beside it does not
    found.model.eval()
    assert found.below.depth == 2
    valid = task.valid
    expected = found.model.predict(list(valid["smiles"]))
    for _ in range(2):
        assert np.array_equal(found.predict(valid), expected)
    assert len(found.at.notes) == 1
    rows = np.arange(30)
    whole = found.model.predict(list(task.train["smiles"]))
    assert torch.sigmoid(found.logits(rows)).detach().numpy() == pytest.approx(whole, abs=1e-5)


@pytest.mark.usefixtures("in_files")
def test_no_folder_for_files_costs_no_run(task, make, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "file"))
    run = PARTIAL.fit(make(), task, epochs=2)
    assert any("no room for states" in note for note in run.notes)


@pytest.mark.parametrize("wanted", ["much", "-1", "nan", ""])
def test_a_budget_that_is_none(wanted, a_session, monkeypatch):
    monkeypatch.setenv("COURSEKIT_CACHE_MEMORY", wanted)
    with pytest.raises(TrainingError, match=r"COURSEKIT_CACHE_MEMORY is .*MiB"):
        a_session(PARTIAL)


def test_numbers_that_fp16_cannot_hold(task, make):
    model = make()
    with torch.no_grad():
        model.blocks[1].get_parameter("output.LayerNorm.weight").mul_(1e6)
    with pytest.raises(TrainingError, match=r"cache='fp16'.*65504.*bf16"):
        replace(PARTIAL, cache="fp16").fit(model, task, epochs=2)


def test_cache_is_one_of_five():
    with pytest.raises(TrainingError, match="cache is 'fp8'; one of auto, off, fp32"):
        PartialFinetune(cache="fp8")


# ---------------------------------------------------------------- stop, and go on


@pytest.mark.parametrize(
    ("strategy", "steps", "cache"),
    [
        (PROGRESSIVE, 2, "auto"),  # in the first phase, of pooled vectors
        (PROGRESSIVE, 6, "fp16"),  # in the second
        (PROGRESSIVE, 11, "auto"),  # in the third
        (PARTIAL, 6, "auto"),
        (PARTIAL, 11, "bf16"),
        (ADAPTERS, 6, "auto"),
    ],
)
def test_resumed_with_states_computed_anew(
    strategy, steps, cache, task, make, assert_same_bits, monkeypatch, tmp_path
):
    strategy, states = replace(strategy, cache=cache), tmp_path / "states"
    whole = strategy.fit(make(), task, epochs=3, seed=4)
    with stopping_after(steps):
        strategy.fit(make(), task, epochs=3, seed=4, checkpoint_dir=states)
    monkeypatch.setenv("COURSEKIT_CACHE_MEMORY", "0")  # and from files this time
    again = make(seed=9)
    again.origin = small_classifier("bert").origin
    assert_same_bits(strategy.fit(again, task, epochs=3, seed=4, checkpoint_dir=states), whole)
    # A finished run, read back: nothing is in a cache by then.
    read = make(seed=9)
    read.origin = again.origin
    assert_same_bits(strategy.fit(read, task, epochs=3, seed=4, checkpoint_dir=states), whole)
    assert not [path for path in states.iterdir() if not path.name.startswith("state-")]


def test_another_cache_is_another_run(task, make, tmp_path):
    PARTIAL.fit(make(), task, epochs=2, checkpoint_dir=tmp_path)
    with pytest.raises(TrainingError, match="cache is 'auto' there and 'bf16' here"):
        replace(PARTIAL, cache="bf16").fit(make(), task, epochs=2, checkpoint_dir=tmp_path)
