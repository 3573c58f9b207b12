"""What ``recommend`` says follows from sizes, costs and measured scores, and it says what lacks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from tiny import PRETRAINING, tiny_task

import coursekit as ck
from coursekit.data.binding_task import BindingTask
from coursekit.errors import TrainingError
from coursekit.models import load_classifier
from coursekit.models.classifier import seeded
from coursekit.models.pretraining_molecules import pretraining_molecules
from coursekit.training import closeness, recommend
from coursekit.training.advice import choose, nearest, put_together, unknowns
from coursekit.training.closeness import Closeness, Loss, measure_closeness
from coursekit.training.cost import ExpectedCost
from coursekit.training.measured import FOREST, Measured, candidates, measured

ROOT = Path(__file__).resolve().parents[2]
SCORES = {
    "quick": (0.60, 0.61, 0.60),
    "middling": (0.79, 0.80, 0.78),
    "slow": (0.80, 0.79, 0.81),  # on one seed of three below "middling"
    "slowest": (0.78, 0.77, 0.77),
    FOREST: (0.70, 0.70, 0.70),
}
MINUTES = {"quick": 0.1, "middling": 1.0, "slow": 3.0, "slowest": 9.0}


def costs(minutes: dict[str, float] = MINUTES, megabytes: float = 50.0) -> dict[str, ExpectedCost]:
    return {
        name: ExpectedCost(pd.DataFrame(), 50 * value, 60 * value, megabytes * value, "CPU")
        for name, value in minutes.items()
    }


def decided(budget: float, memory: float | None = None, scores=SCORES) -> tuple[str, str]:
    table = put_together(costs(), dict.fromkeys(MINUTES, 5), scores, budget, memory)
    choice, reasons = choose(table, scores)
    return choice, " ".join(reasons)


def test_the_highest_score_wins_where_it_is_clear() -> None:
    clear = SCORES | {"slow": (0.85, 0.86, 0.84)}
    choice, why = decided(60, scores=clear)
    assert choice == "slow"
    assert (
        "Of all, slow has the highest measured hard AUROC, 0.850 (0.840 to 0.860 on 3 seeds)" in why
    )
    assert "less than slow on every seed" in why


def test_of_two_that_cannot_be_told_apart_the_quicker_one() -> None:
    choice, why = decided(60)
    assert choice == "middling"
    assert "slow has the highest" in why
    assert "middling, with 0.790 (0.780 to 0.800 on 3 seeds), was not below it on every seed" in why
    assert "takes about 60 s in place of about 3.0 min" in why


@pytest.mark.parametrize(
    ("budget", "memory", "choice"),
    [(60, None, "middling"), (0.5, None, "quick"), (60, 20.0, "quick"), (2, 60.0, "middling")],
)
def test_a_smaller_budget_leads_to_a_cheaper_strategy(budget, memory, choice) -> None:
    found, why = decided(budget, memory)
    assert found == choice
    assert ("Over the budget" in why) == (budget < 9 or memory is not None)


def test_where_nothing_fits_the_quickest_is_named_and_said_not_to_fit() -> None:
    choice, why = decided(0.01)
    assert choice == "quick"
    assert "Nothing fits the budget. quick is the quickest, with about 6 s" in why


def test_where_the_forest_is_ahead_it_is_said() -> None:
    ahead = decided(60, scores=SCORES | {FOREST: (0.9, 0.9, 0.9)})[1]
    assert "at least as much as middling on every seed" in ahead
    partly = decided(60, scores=SCORES | {FOREST: (0.9, 0.7, 0.7)})[1]
    assert "less than middling on 2 of 3 seeds" in partly


def test_one_seed_is_called_one_seed() -> None:
    single = {name: values[:1] for name, values in SCORES.items()}
    choice, why = decided(60, scores=single)
    assert choice == "slow"
    assert "0.800 on the one seed measured" in why
    known = Measured("coursekit-mini", "mean", "sample", 0.07, {96: single}, {})
    told = unknowns(of_size(96), mini(), CLOSE, known, known.pretrained)
    assert "Some scores come from one seed" in " ".join(told)


def test_the_nearest_size_counts_in_doublings() -> None:
    sizes = {96: {}, 288: {}, 864: {}}
    assert [nearest(n, sizes) for n in (10, 160, 170, 288, 490, 510, 99_999)] == [
        96, 96, 288, 288, 288, 864, 864,
    ]  # fmt: skip


def mini(pooling: str = "mean"):
    return load_classifier("coursekit-mini", pooling=pooling)


def said(task: BindingTask, found: Closeness, model=None) -> str:
    known = Measured(
        "coursekit-mini", "mean", "sample", 0.07, {96: SCORES, 864: SCORES}, {288: SCORES}
    )
    return " ".join(unknowns(task, model or mini(), found, known, known.pretrained))


CLOSE = Closeness(Loss(0.07, 0.01), Loss(0.07, 0.01), 2.4)


def of_size(molecules: int, name: str = "sample") -> BindingTask:
    parts = tiny_task()
    train = pd.concat([parts.train] * -(-molecules // len(parts.train))).head(molecules)
    return BindingTask(name, train, parts.valid, parts.test, {})


def of_the_library() -> BindingTask:
    """96 molecules like those of the pretraining, with any labels."""
    task = of_size(96)
    smiles = pretraining_molecules(96)
    return BindingTask("sample", task.train.assign(smiles=smiles), task.valid, task.test, {})


def test_what_was_not_measured_is_said(make_model) -> None:
    near = said(of_size(288), CLOSE)
    assert "simulated counts" in near
    assert "Nor are schedules and contrastive learning" in near
    for other in ("were ever measured", "pooling", "was not measured", "is not known"):
        assert other not in near
    assert "60 training molecules are fewer than were ever measured" in said(of_size(60), CLOSE)
    assert "1,000 training molecules are more" in said(of_size(1000), CLOSE)
    assert "whether the order holds on mapk14" in said(of_size(288, "mapk14"), CLOSE)
    assert "mean pooling; this model's is cls" in said(of_size(288), CLOSE, mini("cls"))
    assert "How bert does was not measured" in said(of_size(288), CLOSE, make_model())
    nothing = Closeness(why="no head")
    assert "How far these molecules are from the pretraining is not" in said(of_size(96), nothing)
    far = Closeness(Loss(0.9, 0.05), Loss(0.07, 0.01), 2.4)
    assert "it is 0.900 ± 0.050 here" in said(of_size(96), far)


def test_an_encoder_with_random_weights_is_found_out() -> None:
    model, small = mini(), of_the_library()
    close = measure_closeness(model, small)
    assert (close.foreign, close.untrained, close.further) == (False, False, False)
    assert close.here.mean < 0.2 < 2 < close.guessing
    assert "as close to the pretraining" in str(close)
    with seeded(0):
        drawn = type(model.encoder)(model.encoder.config)
    model.encoder.load_state_dict(drawn.state_dict())
    lost = measure_closeness(model, small)
    assert lost.untrained
    assert "as if it was not pretrained" in str(lost)


def test_other_molecules_than_the_pretrainings_are_further_away() -> None:
    """Chains of carbon: nothing in the library looks like that. Some rings are nearer to it."""
    chains = measure_closeness(mini(), tiny_task())
    assert (chains.further, chains.foreign, chains.untrained) == (True, True, False)
    assert "such molecules are foreign to the encoder" in str(chains)
    task = of_size(96)
    rings = BindingTask("rings", task.train.assign(smiles=RINGS * 16), task.valid, task.test, {})
    close = measure_closeness(mini(), rings)
    assert (close.further, close.foreign) == (True, False)
    assert close.here.mean > 2 * close.heldout.mean
    assert "the task is further away, by" in str(close)


RINGS = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "CN(C)CCc1c[nH]c2ccc(CS(=O)(=O)N)cc12",
    "COc1ccc2[nH]cc(CCNC(C)=O)c2c1",
    "Clc1ccc2c(c1)C(=NCC(=O)N2)c1ccccc1",
)


def test_an_encoder_without_its_head_or_its_molecules_says_so(make_model) -> None:
    model = make_model()
    close = measure_closeness(model, tiny_task())
    assert close.heldout is None
    assert "does not have molecules that were held out of the pretraining of bert" in str(close)
    assert measure_closeness(model, tiny_task(), PRETRAINING).heldout is not None
    model.source = None
    close = measure_closeness(model, tiny_task())
    assert (close.here, close.untrained, close.further) == (None, False, False)
    assert "not measured: bert has no masked-token head" in str(close)


def test_what_is_known_of_another_encoder_is_said(make_model) -> None:
    known = Closeness(Loss(0.5, 0.01), None, 2.4, "Nothing to compare with.")
    assert not known.untrained
    assert str(known).endswith("gives 2.400. Nothing to compare with.")


def test_guessing_is_the_entropy_of_the_tokens() -> None:
    """ "CN" alone: two tokens, each half of the time."""
    found = closeness._guessing(mini(), ["CN", "NC"])
    assert found == pytest.approx(math.log(2))


def test_the_whole_of_it(make_model, weights) -> None:
    model, task = make_model(), tiny_task()
    before = weights(model)
    found = recommend(task, model, budget=60)
    assert all((weights(model)[name] == value).all() for name, value in before.items())
    assert not model.fitted
    options, text = candidates(len(task.train)), str(found)
    assert (found.strategy, found.epochs) == options[found.choice]
    assert set(found.table.index) == {*options, FOREST}
    assert found.table.loc[list(options), "fits"].all()
    assert (found.table.loc[list(options), "minutes"] > 0).all()
    assert text.startswith(f"Try {found.choice} first: ")
    assert "30 training molecules are fewer than were ever measured" in text
    known = measured()
    scores = known.pretrained[min(known.pretrained)]
    if known.untrained:
        scores = known.untrained[min(known.untrained)]
        assert "with an encoder of random weights" in found.reasons[0]
    else:
        assert "without pretraining was not measured" in text
    assert list(found.table["hard AUROC"]) == [
        pytest.approx(sum(scores[name]) / len(scores[name])) for name in found.table.index
    ]
    assert "on this CPU" in found.headline
    assert "<table" in found._repr_html_()
    assert found.headline in repr(found)
    quickest = str(found.table["minutes"].idxmin())
    assert recommend(task, model, budget=1e-9).choice == quickest


@pytest.mark.parametrize("wrong", [0, -1, math.inf, math.nan, "5"])
def test_a_budget_is_a_positive_number(wrong, make_model) -> None:
    with pytest.raises(
        TrainingError, match=r"recommend: budget is .* a positive number of minutes"
    ):
        ck.recommend(tiny_task(), make_model(), wrong)
    with pytest.raises(TrainingError, match=r"recommend: memory is .* a positive number of MB"):
        ck.recommend(tiny_task(), make_model(), 5, memory=wrong)


def test_no_molecules_no_advice(make_model) -> None:
    with pytest.raises(TrainingError, match="no training molecules"):
        recommend(tiny_task({"train": 0, "valid": 12, "test": 12}), make_model(), 5)


def test_what_it_rests_on_is_what_the_benchmark_wrote() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "data_size.json").read_text("utf-8"))
    found = measured()
    for kind in ("pretrained", "untrained"):
        own = getattr(found, kind)
        assert {str(size) for size in own} == set(results[kind])
        for size, seeds in results[kind].items():
            for name, values in own[int(size)].items():
                assert list(values) == [rows[name]["hard AUROC"] for rows in seeds.values()]
            assert set(own[int(size)]) == {*candidates(int(size)), FOREST}
    assert (found.encoder, found.task) == (results["encoder"], results["task"])
    assert found.masked_loss == results["masked_loss"]


def test_on_molecules_of_the_library_it_says_what_was_measured() -> None:
    """Close to the pretraining, plenty of time: nothing that was clearly worse is recommended."""
    found = recommend(of_the_library(), mini(), budget=6000)
    scores = measured().pretrained[96]
    best = max(candidates(96), key=lambda name: sum(scores[name]))
    assert any(a >= b for a, b in zip(scores[found.choice], scores[best], strict=True))
    assert not found.closeness.further
    assert "those measured at 96" in found.reasons[0]
