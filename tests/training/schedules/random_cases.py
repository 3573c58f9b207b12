"""Schedules drawn at random, for ``make_traces.py``: what nobody thought of is in these."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

TORCH = "torch.optim.lr_scheduler."
FACTORS = [1.0, 0.9, 0.7, 0.6, 0.4, 0.3, 0.2]
CHANGES = (-0.1, -0.05, -0.02, 0.0, 0.03, 0.05)


def random_case(seed: int) -> dict[str, Any]:
    """A case as in ``make_traces.CASES``; the same for the same seed."""
    draw = random.Random(seed)
    phases = draw.choice([2, 3, 4])
    case: dict[str, Any] = {"losses": _losses(draw), "max_epochs": draw.choice([4, 8, 12])}
    settings: dict[str, Any] = {}
    if draw.random() < 0.5:
        case["patience"] = draw.randint(1, 3)
    if draw.random() < 0.3:
        case["min_delta"] = draw.choice([0.011, 0.033])
    if draw.random() < 0.25:
        settings["restore_best"] = False
    if draw.random() < 0.2:
        settings["base_max_lr"] = 5e-5
    case["scheduler"], wiring = _scheduler(draw)
    if wiring:
        case["pl"] = wiring
    if draw.random() < 0.1:
        case["schedule"] = None
        if draw.random() < 0.5:
            settings["reinit_lr_cfg"] = _new(draw, 0)
    else:
        by_epoch = draw.random() < 0.15
        case["schedule"] = _schedule(draw, phases, by_epoch)
        if by_epoch:
            settings["epoch_transitions_only"] = True
        if draw.random() < 0.2:
            settings["max_depth"] = draw.randint(0, phases - 1)
    return case | ({"fts": settings} if settings else {})


def _losses(draw: random.Random) -> list[float]:
    losses = [1.0]
    while draw.random() < 0.9 and len(losses) < 12:
        losses.append(round(losses[-1] + draw.choice(CHANGES), 3))
    return losses


def _schedule(draw: random.Random, phases: int, by_epoch: bool) -> dict[int, Any]:
    cuts = [0, *sorted(draw.sample((1, 2, 3), phases - 1)), 4]
    ends = sorted(draw.sample(range(1, 12), phases))
    schedule: dict[int, Any] = {}
    for number in range(phases):
        layers = [3 - n for n in range(cuts[number], cuts[number + 1])]
        phase: dict[str, Any] = {
            "params": [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
        }
        if by_epoch or (draw.random() < 0.3 and number < phases - 1):
            phase["max_transition_epoch"] = ends[number]
        if number and draw.random() < 0.3:
            phase["lr"] = draw.choice([2e-3, 3e-4, 1e-4])
        if number and draw.random() < 0.4:
            phase["new_lr_scheduler"] = _new(draw, number)
        if number and draw.random() < 0.15:
            made = {
                "class_path": "torch.optim.AdamW",
                "init_args": {"lr": draw.choice([2e-3, 5e-4])},
            }
            phase["new_optimizer"] = {"optimizer_init": made}
        schedule[number] = phase
    return schedule


def _new(draw: random.Random, open_phases: int) -> dict[str, Any]:
    scheduler, wiring = _scheduler(draw)
    found: dict[str, Any] = {"lr_scheduler_init": scheduler}
    if wiring:
        found["pl_lrs_cfg"] = wiring
    if open_phases and draw.random() < 0.5:
        given = [round(draw.uniform(1e-6, 1e-4), 7) for _ in range(open_phases)]
        found |= draw.choice([{"use_current_optimizer_pg_lrs": True}, {"init_pg_lrs": given}])
    return found


def _scheduler(draw: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """A scheduler, and how Lightning steps it."""
    small = draw.randint(2, 5)
    name, arguments = draw.choice(_kinds(draw, small))
    wiring: dict[str, Any] = {}
    if name == "ReduceLROnPlateau":
        wiring = {"monitor": "val_loss", "reduce_on_plateau": True}
    elif draw.random() < 0.2:
        wiring = {"interval": draw.choice(["epoch", "step"]), "frequency": draw.randint(1, 2)}
    return {"class_path": TORCH + name, "init_args": arguments}, wiring


def _kinds(draw: random.Random, small: int) -> Sequence[tuple[str, dict[str, Any]]]:
    return (
        ("StepLR", {"step_size": draw.randint(1, 3), "gamma": 0.7}),
        ("ExponentialLR", {"gamma": 0.8}),
        ("CosineAnnealingLR", {"T_max": small}),
        ("CosineAnnealingWarmRestarts", {"T_0": small}),
        ("LambdaLR", {"lr_lambda": FACTORS[: small + 1]}),
        ("LinearLR", {"start_factor": 0.3, "total_iters": small}),
        ("MultiStepLR", {"milestones": sorted(draw.sample(range(1, 9), 2)), "gamma": 0.5}),
        ("ConstantLR", {"factor": 0.5, "total_iters": small}),
        ("ReduceLROnPlateau", {"factor": 0.5, "patience": draw.randint(0, 2)}),
        ("ReduceLROnPlateau", {"factor": 0.5, "patience": draw.randint(0, 2)}),
    )
