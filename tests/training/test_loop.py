from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import EPOCHS, STRATEGIES, tiny_task

from coursekit.errors import TrainingError
from coursekit.training import (
    ContrastiveFinetune,
    FinetuneStrategy,
    FullFinetune,
    HeadOnlyFinetune,
    LoRAFinetune,
    Phase,
)
from coursekit.training.journal import FLUSH_EVERY
from coursekit.training.optimizer import make_optimizer
from coursekit.training.session import Session
from coursekit.training.strategy import rebuild
from coursekit.training.validation import validation_scores

FULL = STRATEGIES["full"]
ALL = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())


class OneMolecule(FullFinetune):
    """Every batch one molecule."""


def valid_rows(run):
    return run.history[run.history["split"] == "valid"].reset_index(drop=True)


def train_rows(run):
    return run.history[run.history["split"] == "train"].reset_index(drop=True)


# ---------------------------------------------------------------- one optimizer step


@pytest.mark.parametrize("batch_size", [1, 5, 8])
@pytest.mark.parametrize("weighted", [{}, {"class_weight": 5.0, "label_smoothing": 0.1}])
def test_accumulated_batches_are_one_big_batch(
    weighted, batch_size, task, make_model, weights, monkeypatch
):
    """Uneven batches and an uneven last window too: 30 molecules in windows of 12 are 12, 12, 6.

    Some pieces have no binder at all; each molecule counts its own weight.
    """
    big = [np.arange(start, min(start + 12, 30)) for start in range(0, 30, 12)]

    def split_windows(self, epoch):
        size = self.strategy.batch_size
        return [[rows[i : i + size] for i in range(0, len(rows), size)] for rows in big]

    monkeypatch.setattr(Session, "windows", split_windows)
    found = []
    for size in (12, batch_size):
        model = make_model(dropout=False)
        model.head[0].p = 0.0
        run = FullFinetune(batch_size=size, lr=1e-3, **weighted).fit(model, task, epochs=2)
        found.append((weights(model), train_rows(run)["loss"].to_numpy()))
    (one, losses), (many, others) = found
    assert losses == pytest.approx(others, abs=1e-6)
    for name, value in one.items():
        assert torch.allclose(value, many[name], atol=1e-6, rtol=0), name


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_windows_divide_an_epoch(accumulate, task, make_model):
    strategy = replace(FULL, accumulate=accumulate)
    session = Session(strategy, make_model(), task, 2, 0, None, None)
    for epoch in (0, 1):
        windows = session.windows(epoch)
        rows = np.concatenate([rows for window in windows for rows in window])
        assert sorted(rows) == list(range(30))
        sizes = [sum(len(rows) for rows in window) for window in windows]
        full, left = divmod(30, 8 * accumulate)
        assert sizes == [8 * accumulate] * full + ([left] if left else [])
        assert max(len(rows) for window in windows for rows in window) <= 8
    assert str(session.windows(0)) == str(session.windows(0)) != str(session.windows(1))


@pytest.mark.parametrize(("family", "most"), [("bert", 2560), ("deberta-v2", 768)])
def test_a_step_learns_from_random_molecules_in_passes_of_like_length(
    family, most, task, make_model
):
    """On a processor; packed they are larger, as there is little padding in them."""
    session = Session(replace(FULL, batch_size=15), make_model(family), task, 2, 0, None, None)
    session.open_phase()
    session.lengths = session.lengths * 40  # as of molecules too large for one pass
    first, second = session.windows(0)
    assert len(first) > 1
    for rows in (*first, *second):
        held = session.lengths[rows]
        taken = held.sum() if family == "bert" else len(rows) * held.max()
        assert len(rows) == 1 or taken <= most
    order = session.lengths[np.concatenate(first)]
    assert list(order) == sorted(order, reverse=True)
    # Both windows hold short and long ones: lengths overlap.
    spans = [session.lengths[np.concatenate(window)] for window in (first, second)]
    assert max(s.min() for s in spans) < min(s.max() for s in spans)


def test_where_only_the_head_learns_one_pass_does(task, make_model):
    """Nothing is padded there, and nobody asks whether the encoder could be packed."""
    head = Session(HeadOnlyFinetune(batch_size=15), make_model(), task, 2, 0, None, None)
    head.open_phase()
    head.lengths = head.lengths * 1000
    head.model.encoder.register_forward_pre_hook(lambda *_: pytest.fail("the encoder ran"))
    assert [len(window) for window in head.windows(0)] == [1, 1]
    assert not head.packs


@ALL
def test_the_number_of_steps_is_known_before_the_first(strategy, task, make_model):
    for size, accumulate in ((8, 1), (4, 3), (7, 2), (64, 1)):
        sized = replace(strategy, batch_size=size, accumulate=accumulate)
        session = Session(sized, make_model(), task, EPOCHS, 0, None, None)
        session.open_phase()
        assert session.steps_per_epoch == len(session.windows(0))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_batches_grouped_by_length(accumulate, task, make_model):
    """Each molecule once an epoch, and in each batch those whose lengths are next to each other."""
    strategy = replace(FULL, group_by_length=True, accumulate=accumulate)
    session = Session(strategy, make_model(), task, 2, 0, None, None)
    lengths = session.lengths = np.random.default_rng(0).permutation(np.arange(10, 40))
    windows = session.windows(0)
    assert len(windows) == -(-4 // accumulate)
    assert sorted(i for window in windows for rows in window for i in rows) == list(range(30))
    batches = {tuple(range(start, min(start + 8, 40))) for start in range(10, 40, 8)}
    for window in windows:
        held = set(lengths[np.concatenate(window)])
        inside = [batch for batch in batches if set(batch) <= held]
        assert sum(map(len, inside)) == len(held)
        assert len(inside) == accumulate
    assert str(session.windows(0)) == str(session.windows(0))
    assert len({str(session.windows(epoch)) for epoch in range(5)}) > 1


def test_a_setting_that_came_later_leaves_earlier_records_as_they_are(task, make_model):
    """A record without it is that of a run which does not set it, and of no other."""
    grouped = replace(FULL, group_by_length=True)
    assert "group_by_length" not in FULL.describe()
    assert grouped.describe()["group_by_length"] is True
    assert rebuild(FULL.describe()) == FULL
    assert rebuild(grouped.describe()) == grouped
    first, second = (s.fit(make_model(), task, epochs=1) for s in (FULL, grouped))
    assert "group_by_length" not in first.strategy
    assert second.strategy["group_by_length"] is True
    with pytest.raises(TrainingError, match="group_by_length is 'yes'; True or False"):
        replace(FULL, group_by_length="yes")


def test_the_first_step_is_adamw_on_the_mean_loss(task, make_model, weights, monkeypatch):
    """One step against torch's own AdamW, unfused, on a loss written down by hand."""
    monkeypatch.setattr(Session, "windows", lambda self, epoch: [[np.arange(30)]])
    model, oracle = make_model(dropout=False), make_model(dropout=False)
    strategy = FullFinetune(lr=1e-3, layer_lr_decay=1.0, clip=0.05, warmup=0, decay="constant")
    strategy.fit(model, task, epochs=1)

    oracle.train()
    tokens = [torch.tensor(oracle.tokenizer([m])["input_ids"]) for m in task.train["smiles"]]
    probability = torch.cat([torch.sigmoid(oracle(ids, torch.ones_like(ids))) for ids in tokens])
    label = torch.tensor(task.train["label"].to_numpy(dtype=np.float32))
    loss = -(label * probability.log() + (1 - label) * (1 - probability).log()).sum() / 30
    loss.backward()
    with_gradient = [p for p in oracle.parameters() if p.grad is not None]
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in with_gradient))
    assert norm > 0.05
    for p in with_gradient:
        p.grad *= 0.05 / norm
    groups = [
        {"params": [p for p in with_gradient if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in with_gradient if p.ndim == 1], "weight_decay": 0.0},
    ]
    torch.optim.AdamW(groups, lr=1e-3, foreach=False).step()
    expected = weights(oracle)
    # Where a gradient is all but zero, AdamW's first step is its sign and noise decides.
    small = {id(p): p.grad.abs() < 1e-6 for p in with_gradient}
    by_name = dict(oracle.named_parameters())
    for name, value in weights(model).items():
        sure = ~small.get(id(by_name[name]), torch.zeros_like(value, dtype=torch.bool))
        assert torch.allclose(value[sure], expected[name][sure], atol=2e-6, rtol=0), name


def test_weight_decay_is_for_matrices(make_model):
    model = make_model()
    optimizer = make_optimizer(model, 0.1)
    names = {id(p): n for n, p in model.named_parameters()}
    decayed, kept = (
        {
            names[id(p)]
            for g in optimizer.param_groups
            if g["weight_decay"] == w
            for p in g["params"]
        }
        for w in (0.1, 0.0)
    )
    assert not decayed & kept
    assert decayed | kept == {name for names in model.groups.values() for name in names}
    assert not [n for n in decayed if n.endswith("bias") or "norm" in n.lower()]
    assert "head.1.weight" in decayed


def test_weight_decay_spares_what_is_frozen(task, make_model, weights, moved):
    model = make_model()
    before = weights(model)
    replace(STRATEGIES["progressive"], weight_decay=1.0).fit(model, task, epochs=1)
    assert moved(model, before, weights(model)) == {"head"}


# Those of a schedule are moved by its scheduler: see test_scheduled.py.
@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "scheduled"])
def test_learning_rates_in_the_history_are_the_plans(name, task, make_model):
    strategy = STRATEGIES[name]
    model = make_model()
    plan = strategy.plan(model, EPOCHS)
    rows = train_rows(strategy.fit(model, task, epochs=EPOCHS))
    steps = 4  # 30 molecules in batches of 8
    assert list(rows["step"]) == list(range(1, EPOCHS * steps + 1))
    assert list(rows["epoch"]) == [e for e in range(EPOCHS) for _ in range(steps)]
    for index, row in rows.iterrows():
        through = row["epoch"] - plan.start_of(row["phase"]) + (index % steps + 0.5) / steps
        for group in plan.groups:
            peak = plan.phases[row["phase"]].learning_rates.get(group, 0.0)
            rate = peak * plan.factor(row["phase"], through)
            assert row[f"learning_rate.{group}"] == pytest.approx(rate)
    learns = rows["loss"].notna()  # in a contrastive epoch the head does not
    assert learns.sum() >= steps
    assert (rows.loc[learns, "learning_rate.head"] > 0).all()


# ---------------------------------------------------------------- epochs, the best one, the end


@ALL
def test_it_learns(strategy, task, make_model):
    if not isinstance(strategy, LoRAFinetune):  # theirs is as fast as they bear
        strategy = replace(strategy, lr=3 * strategy.lr)
    if isinstance(strategy, ContrastiveFinetune):  # most of the epochs, and haste, for its head
        strategy = replace(strategy, contrastive_epochs=3, head_lr=0.2)
    run = strategy.fit(make_model(pooling="mean"), task, epochs=16)
    losses = train_rows(run).groupby("epoch")["loss"].mean().dropna()
    assert losses.iloc[-1] < 0.85 * losses.iloc[0]
    assert run.scores("test", n_boot=0).auroc_easy.value > 0.8


@pytest.mark.parametrize("monitor", ["loss", "auroc_easy", "au_prc_hard"])
@ALL
def test_the_best_epoch_comes_back(strategy, monitor, task, make_model, scores_of):
    # Far too fast, so that the best epoch is not the last one.
    strategy = replace(strategy, lr=10 * strategy.lr, monitor=monitor, decay="constant")
    model = make_model()
    run = strategy.fit(model, task, epochs=5, seed=2)
    rows = valid_rows(run)
    best = rows[monitor].idxmin() if monitor == "loss" else rows[monitor].idxmax()
    assert run.notes[-1] == f"weights of epoch {best}, the best by {monitor}"
    for part in ("valid", "test"):
        again = model.predict(list(task.part(part)["smiles"]))
        assert scores_of(run, part) == pytest.approx(again, abs=1e-6)
    for name, value in validation_scores(task.valid, scores_of(run, "valid")).items():
        assert rows.loc[best, name] == pytest.approx(value, abs=1e-6)
    scores = run.scores("valid", n_boot=0)
    assert scores.auroc_easy.value == pytest.approx(rows.loc[best, "auroc_easy"])
    assert scores.au_prc_hard.value == pytest.approx(rows.loc[best, "au_prc_hard"])


@ALL
def test_the_test_part_is_predicted_after_training_and_once(
    strategy, task, make_model, monkeypatch
):
    """What is scored on the way is chosen by, meant or not."""
    looked: list[tuple[bool, bool]] = []
    predict = Session.predict

    def note(self, part):
        looked.append((part is self.parts["test"], self.finished))
        return predict(self, part)

    monkeypatch.setattr(Session, "predict", note)
    run = strategy.fit(make_model(), task, epochs=EPOCHS)
    assert [finished for test, finished in looked if test] == [True]
    assert len(looked) >= 3
    assert set(run.history["split"]) == {"train", "valid"}


def test_patience_ends_a_phase_and_the_next_one_begins(task, make_model):
    class Patient(FinetuneStrategy):
        def phases(self, model, epochs):
            return [Phase({"head": 1e-12}, patience=2), Phase({"head": 1e-3, "block.2": 1e-3}, 3)]

    run = Patient(monitor="auroc_hard").fit(make_model(), task, epochs=20)
    rows = valid_rows(run)
    # Nothing moves in phase 0: one best validation and two without improvement.
    assert list(rows["phase"]) == [0] * 3 + [1] * 3
    assert list(rows["epoch"]) == list(range(6))
    assert run.notes[0] == (
        "phase 0 ended by patience after epoch 2: no better auroc_hard in 2 validations"
    )
    assert run.cost["epochs"] == 6


def test_patience_that_is_never_exhausted_changes_nothing(task, make_model, assert_same_bits):
    runs = [replace(FULL, patience=p).fit(make_model(), task, epochs=2) for p in (None, 2)]
    assert_same_bits(*runs)


@ALL
def test_a_seed_is_bit_for_bit_the_same_run(strategy, task, make_model, assert_same_bits, weights):
    models = [make_model() for _ in range(3)]
    runs = [strategy.fit(m, task, epochs=2, seed=s) for m, s in zip(models, (5, 5, 6), strict=True)]
    assert_same_bits(runs[0], runs[1])
    first, second, other = (weights(model) for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert not runs[0].predictions.equals(runs[2].predictions)


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("batch_size", [4, 64], ids=["seen in a loss", "seen in validation"])
def test_a_loss_that_explodes_stops_with_the_step_named(batch_size, task, make_model):
    model = make_model()
    strategy = FullFinetune(lr=1e30, batch_size=batch_size, warmup=0)
    with pytest.raises(
        TrainingError, match=r"at step \d+ \(epoch 0, phase 0\); .*spoiled.*Lower lr"
    ):
        strategy.fit(model, task, epochs=2)


def test_the_last_good_weights_come_back(task, make_model, weights):
    model = make_model()
    good: list[dict[str, torch.Tensor]] = []

    def watch(row):
        if row["split"] == "valid":
            good.append(weights(model))

    def poison(head, _):
        if len(good) == 2 and head.training:
            with torch.no_grad():
                head[1].weight.fill_(math.nan)

    model.head.register_forward_pre_hook(poison)
    words = r"loss is nan at step 9 \(epoch 2, phase 0\); the model has the weights of epoch 1 back"
    with pytest.raises(TrainingError, match=words):
        FULL.fit(model, task, epochs=4, tracker=watch)
    assert all(torch.equal(value, good[1][name]) for name, value in weights(model).items())
    assert model.fitted == ["FullFinetune"]


def test_losses_are_looked_at_before_they_grow_many(task, make_model):
    """Not only at the end of an epoch: a long epoch must not train on nothing."""
    model = make_model()
    with torch.no_grad():
        model.head[1].weight.fill_(math.nan)
    session = Session(OneMolecule(batch_size=1), model, task, 1, 0, None, None)
    for _ in range(FLUSH_EVERY - 1):
        session.count({"loss": torch.tensor(math.nan)}, {}, 1, 0.0)
    with pytest.raises(TrainingError, match="step 1 "):
        session.count({"loss": torch.tensor(math.nan)}, {}, 1, 0.0)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"train": 0, "valid": 6, "test": 6}, "train part has 0 binders and 0 negatives"),
        ({"train": 1, "valid": 6, "test": 6}, "train part has 1 binders and 0 negatives"),
        ({"train": 6, "valid": 0, "test": 6}, "valid part is empty"),
    ],
)
@ALL
def test_a_task_that_teaches_nothing(strategy, sizes, words, make_model, weights):
    model = make_model()
    before = weights(model)
    with pytest.raises(TrainingError, match=words):
        strategy.fit(model, tiny_task(sizes), epochs=2)
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())
    assert model.fitted == []


def test_a_monitor_that_cannot_be_measured(make_model):
    task = tiny_task()
    easy = task.valid[task.valid["negative_set"] != "hard"]
    object.__setattr__(task, "valid", easy.reset_index(drop=True))
    with pytest.raises(TrainingError, match=r"auroc_hard is to decide .* no hard negatives"):
        replace(FULL, monitor="auroc_hard").fit(make_model(), task, epochs=1)
    run = replace(FULL, monitor="auroc_easy").fit(make_model(), task, epochs=1)
    assert valid_rows(run)["auroc_hard"].isna().all()
    assert run.record()["history"]["auroc_hard"] == [None] * len(run.history)
    lacks = task.valid[task.valid["negative_set"] == "easy"].reset_index(drop=True)
    object.__setattr__(task, "valid", lacks)
    with pytest.raises(TrainingError, match="valid part has no binders to"):
        replace(FULL, monitor="au_prc_easy").fit(make_model(), task, epochs=1)


def test_a_valid_part_of_one_molecule_and_no_test_part(make_model):
    task = tiny_task({"train": 7, "valid": 1, "test": 0})
    run = OneMolecule(batch_size=1).fit(make_model(), task, epochs=1)
    assert list(run.predictions["part"]) == ["valid"]
    assert run.cost["steps"] == 7
    run.record()


@ALL
def test_no_epochs_are_no_run(strategy, task, make_model):
    with pytest.raises(TrainingError, match="epochs is 0"):
        strategy.fit(make_model(), task, epochs=0)


def test_a_strategy_that_no_record_can_carry(task, make_model):
    class Strange(FullFinetune):
        def describe(self):
            return super().describe() | {"where": torch.device("cpu")}

    with pytest.raises(TrainingError, match=r"Strange cannot be recorded: .*strategy.where"):
        Strange().fit(make_model(), task, epochs=1)


# ---------------------------------------------------------------- what a run says


def test_a_model_that_was_trained_before_is_noted(task, make_model, capsys):
    model = make_model()
    assert not HeadOnlyFinetune().fit(model, task, epochs=1).notes[0].startswith("the model")
    run = FULL.fit(model, task, epochs=1)
    assert run.notes[0].startswith("the model had been trained before, by HeadOnlyFinetune; load")
    assert "had been trained before" in capsys.readouterr().out
    assert run.strategy["encoder"]["fitted"] == ["HeadOnlyFinetune"]
    assert model.fitted == ["HeadOnlyFinetune", "FullFinetune"]


def test_a_tracker_gets_every_row(task, make_model):
    rows: list[dict] = []
    run = FULL.fit(make_model(), task, epochs=2, tracker=rows.append)
    pd.testing.assert_frame_equal(pd.DataFrame(rows, columns=run.history.columns), run.history)


def test_a_tracker_that_fails_stops_nothing(task, make_model, assert_same_bits, capsys):
    calls: list[int] = []

    def tracker(row):
        calls.append(row["step"])
        row.clear()  # nor can it spoil the history
        if len(calls) == 3:
            raise ConnectionError("no route to \x1b[31mhost\x1b[0m")

    run = FULL.fit(make_model(), task, epochs=2, tracker=tracker)
    assert len(calls) == 3
    assert run.notes[0] == "the tracker failed and is no longer called"
    assert "no route to" in capsys.readouterr().out
    assert_same_bits(run, FULL.fit(make_model(), task, epochs=2))
    run.record()


@ALL
def test_cost(strategy, task, make_model, set_clock):
    """Seconds are those of training: validation, prediction and saving do not count."""
    clock = iter(range(10**6))
    set_clock(lambda: next(clock))
    model = make_model()
    run = strategy.fit(model, task, epochs=EPOCHS)
    plan = strategy.plan(model, EPOCHS)
    opened = {group for phase in plan.phases for group in phase.learning_rates}
    assert run.cost["trainable_parameters"] == model.count(opened)
    assert run.cost["total_parameters"] == model.count()
    assert run.cost["epochs"] == EPOCHS
    assert run.cost["steps"] == len(train_rows(run)) == 4 * EPOCHS
    # Each step asks the clock at its begin and its end, each epoch once around its last flush,
    # and what is frozen once around its computation.
    freezes = model.groups["block.0"][0] not in {n for g in opened for n in model.groups[g]}
    freezes &= model.adapted is None  # adapters sit in every block
    freezes |= isinstance(strategy, ContrastiveFinetune)  # once its encoder has learned
    seconds = 4 * EPOCHS + EPOCHS + freezes
    assert run.cost["seconds"] == seconds
    assert run.cost["molecules_per_second"] == round(30 * EPOCHS / seconds, 1)


@pytest.mark.parametrize("seed", [-1, 0.5, "0"])
def test_a_seed_that_is_none(seed, task, make_model):
    with pytest.raises(TrainingError, match=r"seed is .* a whole number from 0 on is expected"):
        FULL.fit(make_model(), task, epochs=1, seed=seed)
