"""Write traces.json beside this file: what finetuning-scheduler 2.13.0 does, epoch by epoch.

    pip install finetuning-scheduler==2.13.0 lightning==2.6.6 torch==2.13.0
    python make_traces.py

The model is four 4x4 linear layers, 0 to 3; AdamW with learning rate 1e-3; two batches an epoch.
The validation loss is scripted, so neither weights nor seeds play a part. A case gives the losses
(the last one stays), the scheduler of phase 0, the schedule (none: generated, two parameters a
phase) and arguments of the callbacks; see ``CASES``. Of each epoch is kept what holds when its
first batch begins: the phase, the epoch that was restored from, the layers that train, the
learning rates by group (a group is what a phase opened, in order), the number of parameters with
moments and the optimizer; and the learning rates of the second batch where they are others.

After the cases thought of come cases drawn at random (``random_cases.py``), as far as it runs
them.
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

from random_cases import random_case

RANDOM = 40
LATE = [1.0, 0.8, 0.9, 0.95, 0.7, 0.9]
DOWN = [round(1.0 - 0.05 * n, 2) for n in range(12)]
FLAT = [1.0]
TORCH = "torch.optim.lr_scheduler."


def scheduler(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": TORCH + name, "init_args": arguments}


def new(name: str, pl: dict[str, Any] | None = None, more: Any = (), **arguments: Any) -> Any:
    found = {"lr_scheduler_init": scheduler(name, **arguments), **dict(more)}
    return {"new_lr_scheduler": found | ({"pl_lrs_cfg": pl} if pl else {})}


def optimizer(name: str, **arguments: Any) -> dict[str, Any]:
    return {"optimizer_init": {"class_path": f"torch.optim.{name}", "init_args": arguments}}


def layers(*numbers: int) -> list[str]:
    return [f"{n}.{kind}" for n in numbers for kind in ("weight", "bias")]


def three(*more: dict[str, Any]) -> dict[int, Any]:
    parts = [layers(3), layers(2, 1), layers(0)]
    more = (*more, *[{}] * (3 - len(more)))
    return {n: {"params": p, **m} for n, (p, m) in enumerate(zip(parts, more, strict=True))}


def four(*more: dict[str, Any]) -> dict[int, Any]:
    more = (*more, *[{}] * (4 - len(more)))
    return {n: {"params": layers(3 - n), **m} for n, m in enumerate(more)}


def until(*epochs: int) -> list[dict[str, Any]]:
    return [{"max_transition_epoch": epoch} for epoch in epochs]


STEP = scheduler("StepLR", step_size=1, gamma=0.7)
STEP3 = scheduler("StepLR", step_size=3, gamma=0.5)
LAMBDA = scheduler("LambdaLR", lr_lambda=[1.0, 0.9, 0.7, 0.6, 0.4, 0.3, 0.2])
PLATEAU = {"monitor": "val_loss", "reduce_on_plateau": True}
BY_LOSS = scheduler("ReduceLROnPlateau", factor=0.5, patience=1)
APPLIED = {"apply_lambdas_new_pgs": True}
CURRENT = {"use_current_optimizer_pg_lrs": True}
ONLY = {"epoch_transitions_only": True}
STEP2 = {"interval": "epoch", "frequency": 2}

CASES: dict[str, dict[str, Any]] = {
    "implicit_plateau": {"losses": FLAT, "schedule": None},
    "explicit_es": {"losses": LATE, "schedule": three()},
    "epoch_and_es": {
        "losses": DOWN, "max_epochs": 8,
        "schedule": three({"max_transition_epoch": 2}, {"max_transition_epoch": 5, "lr": 3e-4}),
    },
    "epoch_only": {
        "losses": LATE, "schedule": three(*until(1, 3, 5)), "fts": ONLY, "max_epochs": 4,
    },
    "reinit_lr": {
        "losses": FLAT, "schedule": None,
        "fts": {
            "reinit_lr_cfg": {
                "lr_scheduler_init": scheduler("StepLR", step_size=1, gamma=0.5),
            }
        },
    },
    "counters after a restore": {"losses": LATE, "schedule": three(), "scheduler": STEP3},
    "counters, twice restored": {"losses": FLAT, "schedule": four(), "scheduler": STEP3},
    "no scheduler": {"losses": LATE, "schedule": three(), "scheduler": None},
    "lambda": {"losses": LATE, "schedule": three(), "scheduler": LAMBDA},
    "lambda applied": {
        "losses": LATE, "schedule": three(), "scheduler": LAMBDA, "fts": APPLIED,
    },
    "multiplicative": {
        "losses": LATE, "schedule": three(),
        "scheduler": scheduler("MultiplicativeLR", lr_lambda=[1.0, 0.9, 0.8, 0.7, 0.6]),
    },
    "multiplicative applied": {
        "losses": LATE, "schedule": three(), "fts": APPLIED,
        "scheduler": scheduler("MultiplicativeLR", lr_lambda=[1.0, 0.9, 0.8, 0.7, 0.6]),
    },
    "plateau": {
        "losses": LATE, "schedule": three(), "scheduler": BY_LOSS, "pl": PLATEAU, "patience": 3,
    },
    "plateau, flat": {
        "losses": FLAT, "schedule": four(), "scheduler": BY_LOSS, "pl": PLATEAU, "patience": 3,
        "max_epochs": 14,
    },
    "plateau, least rate": {
        "losses": FLAT, "schedule": four(), "patience": 2, "pl": PLATEAU,
        "scheduler": scheduler("ReduceLROnPlateau", factor=0.1, patience=0, min_lr=2e-6),
    },
    "plateau begins in phase 1": {
        "losses": FLAT, "patience": 2,
        "schedule": four({}, new("ReduceLROnPlateau", PLATEAU, factor=0.5, patience=0)),
    },
    "cosine": {
        "losses": LATE, "schedule": three(),
        "scheduler": scheduler("CosineAnnealingLR", T_max=8, eta_min=1e-7),
    },
    "warm restarts": {
        "losses": FLAT, "schedule": four(), "patience": 2,
        "scheduler": scheduler("CosineAnnealingWarmRestarts", T_0=3, T_mult=2, eta_min=1e-7),
    },
    "linear": {
        "losses": LATE, "schedule": three(),
        "scheduler": scheduler("LinearLR", start_factor=0.1, total_iters=4),
    },
    "constant": {
        "losses": LATE, "schedule": three(),
        "scheduler": scheduler("ConstantLR", factor=0.5, total_iters=3),
    },
    "milestones": {
        "losses": LATE, "schedule": three(),
        "scheduler": scheduler("MultiStepLR", milestones=[2, 4], gamma=0.1),
    },
    "exponential": {
        "losses": FLAT, "schedule": four(), "scheduler": scheduler("ExponentialLR", gamma=0.5),
    },
    "every second epoch": {
        "losses": LATE, "schedule": three({}, new("StepLR", STEP2, step_size=1, gamma=0.1)),
        "pl": STEP2,
    },
    "a step a batch": {
        "losses": LATE, "pl": {"interval": "step"},
        "schedule": three({}, {}, new("StepLR", {"interval": "step"}, step_size=1, gamma=0.9)),
    },
    "a step every second batch": {
        "losses": FLAT, "schedule": four(), "pl": {"interval": "step", "frequency": 2},
    },
    "base_max_lr": {"losses": LATE, "schedule": three(), "fts": {"base_max_lr": 5e-4}},
    "base_max_lr and lr": {
        "losses": LATE, "schedule": three({}, {"lr": 2e-4}), "fts": {"base_max_lr": 5e-4},
    },
    "min_delta": {"losses": DOWN, "schedule": three(), "min_delta": 0.07, "max_epochs": 12},
    "min_delta, none": {"losses": DOWN, "schedule": three(), "min_delta": 0.04, "max_epochs": 6},
    "best without min_delta": {
        "losses": [1.0, 0.97, 0.95, 0.93, 0.98, 0.99], "schedule": four(), "min_delta": 0.1,
    },
    "no restore": {"losses": LATE, "schedule": three(), "fts": {"restore_best": False}},
    "no restore, new scheduler": {
        "losses": FLAT, "fts": {"restore_best": False},
        "schedule": four({}, {}, new("StepLR", step_size=1, gamma=0.5)),
    },
    "max_depth 1": {"losses": FLAT, "schedule": four(), "fts": {"max_depth": 1}, "patience": 2},
    "max_depth 0": {"losses": FLAT, "schedule": four(), "fts": {"max_depth": 0}, "patience": 2},
    "max_depth beyond": {"losses": FLAT, "schedule": three(), "fts": {"max_depth": 9}},
    "max_depth and epochs": {
        "losses": LATE, "schedule": three(*until(1, 3, 5)), "fts": {"max_depth": 1, **ONLY},
        "max_epochs": 3,
    },
    "epochs alone, longer": {
        "losses": LATE, "schedule": three(*until(1, 3, 5)), "fts": ONLY, "max_epochs": 7,
    },
    "epochs that fall": {
        "losses": DOWN, "schedule": four(*until(3, 2, 2)), "patience": 3, "max_epochs": 8,
    },
    "epochs that fall, alone": {
        "losses": LATE, "schedule": four(*until(3, 1, 4, 2)), "fts": ONLY, "max_epochs": 5,
    },
    "epochs and patience": {
        "losses": LATE, "schedule": three(*until(4, 5)), "patience": 2, "max_epochs": 9,
    },
    "last phase with an epoch": {
        "losses": DOWN, "schedule": three(*until(1, 2, 6)), "patience": 3, "max_epochs": 4,
    },
    "phase 0 with the latest epoch": {
        "losses": LATE, "schedule": three(*until(9, 2, 5)), "fts": ONLY, "max_epochs": 3,
    },
    "one phase with an epoch": {
        "losses": DOWN, "schedule": {0: {"params": layers(3, 2), **until(5)[0]}}, "max_epochs": 3,
    },
    "generated, no reinit": {"losses": LATE, "schedule": None},
    "generated, current rates": {
        "losses": FLAT, "schedule": None,
        "fts": {
            "reinit_lr_cfg": {
                "lr_scheduler_init": scheduler("StepLR", step_size=1, gamma=0.5),
                "use_current_optimizer_pg_lrs": True,
            }
        },
    },
    "generated, cosine anew": {
        "losses": FLAT, "schedule": None, "patience": 2,
        "fts": {
            "reinit_lr_cfg": {
                "lr_scheduler_init": scheduler("CosineAnnealingLR", T_max=4),
            }
        },
    },
    "generated, new optimizer": {
        "losses": FLAT, "schedule": None,
        "fts": {"reinit_optim_cfg": optimizer("AdamW", lr=5e-4, weight_decay=0.1)},
    },
    "generated, new optimizer and scheduler": {
        "losses": FLAT, "schedule": None,
        "fts": {
            "reinit_optim_cfg": optimizer("AdamW", lr=5e-4, weight_decay=0.1),
            "reinit_lr_cfg": {"lr_scheduler_init": scheduler("StepLR", step_size=1, gamma=0.5)},
        },
    },
    "init_pg_lrs": {
        "losses": FLAT,
        "schedule": four(
            {}, new("StepLR", None, {"init_pg_lrs": [2e-6]}, step_size=1, gamma=0.7),
            new("StepLR", None, {"init_pg_lrs": [1e-6, 2e-6]}, step_size=1, gamma=0.5),
        ),
    },
    "init_pg_lrs stay": {
        "losses": FLAT, "patience": 2,
        "schedule": four(
            {}, new("StepLR", None, {"init_pg_lrs": [2e-6]}, step_size=1, gamma=0.7),
            {}, new("StepLR", step_size=1, gamma=0.5),
        ),
    },
    "current rates, then first ones": {
        "losses": FLAT, "patience": 2,
        "schedule": four(
            {}, new("StepLR", None, CURRENT, step_size=1, gamma=0.7),
            {}, new("StepLR", step_size=1, gamma=0.5),
        ),
    },
    "current rates under lambda": {
        "losses": FLAT, "patience": 2,
        "schedule": four(
            {}, {},
            new("LambdaLR", None, CURRENT, lr_lambda=[1.0, 0.5, 0.1]),
        ),
    },
    "current rates under warm restarts": {
        "losses": FLAT, "patience": 2,
        "schedule": four(
            {}, {},
            new("CosineAnnealingWarmRestarts", None, CURRENT, T_0=3),
        ),
    },
    "other scheduler, then none": {
        "losses": FLAT, "patience": 2,
        "schedule": four({}, new("CosineAnnealingLR", T_max=6), {"lr": 3e-5}),
    },
    "plateau halves, then a scheduler": {
        "losses": [1.0, 0.9, 0.93, 0.96], "max_epochs": 12,
        "scheduler": scheduler("ReduceLROnPlateau", factor=0.5, patience=0), "pl": PLATEAU,
        "schedule": four({}, {}, {}, new("LambdaLR", lr_lambda=[1.0, 0.9, 0.7])),
    },
    "plateau halves, a new optimizer, and back": {
        "losses": [1.0, 1.05], "max_epochs": 12,
        "scheduler": scheduler("ReduceLROnPlateau", factor=0.5, patience=0), "pl": PLATEAU,
        "schedule": four(
            {}, {"new_optimizer": optimizer("AdamW", lr=2e-3)},
            new("StepLR", step_size=1, gamma=0.5),
        ),
    },
    "new optimizer": {
        "losses": FLAT, "patience": 2,
        "schedule": four({}, {"new_optimizer": optimizer("AdamW", lr=5e-4)}),
    },
    "new optimizer under lambda": {
        "losses": FLAT, "patience": 2, "scheduler": LAMBDA,
        "schedule": four({}, {"new_optimizer": optimizer("AdamW", lr=5e-4)}),
    },
    "new optimizer in phase 2": {
        "losses": LATE, "schedule": four({}, {}, {"new_optimizer": optimizer("AdamW", lr=5e-4)}),
    },
    "new optimizer and scheduler": {
        "losses": FLAT, "patience": 2,
        "schedule": four(
            {}, {},
            {"new_optimizer": optimizer("AdamW", lr=5e-4)} | new("StepLR", step_size=1, gamma=0.5),
        ),
    },
    "new optimizer, later a scheduler": {
        "losses": FLAT, "patience": 2,
        "schedule": four(
            {}, {"new_optimizer": optimizer("AdamW", lr=5e-4)}, {},
            new("StepLR", step_size=1, gamma=0.5),
        ),
    },
    "new optimizer with init_pg_lrs": {
        "losses": FLAT, "patience": 2,
        "schedule": four(
            {}, {},
            {"new_optimizer": optimizer("AdamW", lr=5e-4)}
            | new("StepLR", None, {"init_pg_lrs": [3e-6, 4e-6]}, step_size=1, gamma=0.5),
        ),
    },
    "SGD, then AdamW": {
        "losses": FLAT, "patience": 2, "fts": {"restore_best": False},
        "schedule": four(
            {}, {"new_optimizer": optimizer("SGD", lr=2e-3, momentum=0.9)}, {},
            {"new_optimizer": optimizer("AdamW", lr=1e-5)},
        ),
    },
}  # fmt: skip


def trace(case: dict[str, Any]) -> dict[str, Any]:
    """Run one case."""
    import lightning.pytorch as pl
    import torch
    from finetuning_scheduler import FinetuningScheduler, FTSCheckpoint, FTSEarlyStopping

    class Factors:
        def __init__(self, values: list[float]) -> None:
            self.values = values

        def __call__(self, epoch: int) -> float:
            return self.values[min(epoch, len(self.values) - 1)]

    def ready(tree: Any) -> Any:
        """Lists of factors as functions, which YAML and JSON cannot carry."""
        if isinstance(tree, dict):
            return {k: Factors(v) if k == "lr_lambda" else ready(v) for k, v in tree.items()}
        return tree

    losses, rows, restored = case["losses"], [], []
    first = case.get("scheduler", STEP)

    class Four(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            for n in range(4):
                self.add_module(str(n), torch.nn.Linear(4, 4))

        def training_step(self, batch: Any, _: int) -> Any:
            x = batch[0]
            for n in range(4):
                x = getattr(self, str(n))(x)
            return x.square().mean()

        def validation_step(self, *_: Any) -> None:
            scripted = torch.tensor(losses[min(self.current_epoch, len(losses) - 1)])
            self.log("val_loss", scripted.double(), on_epoch=True)

        def configure_optimizers(self) -> Any:
            # The groups of phase 0 alone, as its own examples do.
            names = case["schedule"][0]["params"] if case["schedule"] else layers(3)
            open_ = [p for n, p in self.named_parameters() if n in names]
            made = torch.optim.AdamW(open_, lr=1e-3)
            if first is None:
                return made
            given = ready(copy.deepcopy(first))
            cls = getattr(torch.optim.lr_scheduler, given["class_path"].removeprefix(TORCH))
            config = {"scheduler": cls(made, **given["init_args"]), **case.get("pl", {})}
            return {"optimizer": made, "lr_scheduler": config}

    class Watch(pl.Callback):
        def on_train_batch_start(
            self, trainer: Any, module: Any, batch: Any, batch_idx: int
        ) -> None:
            groups = trainer.optimizers[0].param_groups
            names = [n for n, p in module.named_parameters() if p.requires_grad]
            rates = [float(f"{g['lr']:.6g}") for g in groups]
            if batch_idx:
                if rates != rows[-1]["lrs"]:
                    rows[-1]["lrs_second_batch"] = rates
                return
            state = trainer.optimizers[0].state
            rows.append(
                {
                    "epoch": trainer.current_epoch,
                    "depth": fts.curr_depth,
                    "restored_from_epoch": restored.pop() if restored else None,
                    "layers": sorted({int(name[0]) for name in names}),
                    "lrs": rates,
                    "groups": [len(g["params"]) for g in groups],
                    "with_moments": sum(
                        bool(state[p]) for g in groups for p in g["params"] if p in state
                    ),
                    "optimizer": type(trainer.optimizers[0]).__name__,
                }
            )

    class Noting(FinetuningScheduler):
        def restore_best_ckpt(self) -> None:
            path = Path(self.trainer.checkpoint_callback.best_model_path).stem
            restored.append(int(path.split("epoch=")[1].split("-")[0]))
            super().restore_best_ckpt()

    settings = ready(copy.deepcopy(case.get("fts", {})))
    if case["schedule"] is not None:
        settings["ft_schedule"] = ready(copy.deepcopy(case["schedule"]))
    with tempfile.TemporaryDirectory() as folder:
        fts = Noting(log_dir=folder, **settings)
        callbacks: list[Any] = [fts, FTSCheckpoint(monitor="val_loss", dirpath=folder), Watch()]
        if not settings.get("epoch_transitions_only"):
            callbacks.append(
                FTSEarlyStopping(
                    monitor="val_loss",
                    patience=case.get("patience", 1),
                    min_delta=case.get("min_delta", 0.0),
                )
            )
        trainer = pl.Trainer(
            max_epochs=case.get("max_epochs", 20),
            callbacks=callbacks,
            default_root_dir=folder,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        data = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.ones(4, 4)), batch_size=2
        )
        torch.manual_seed(0)
        trainer.fit(Four(), data, data)
        found = {"rows": rows, "epochs_run": trainer.current_epoch, "depth": fts.curr_depth}
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    for name in ("lightning", "lightning.pytorch", "finetuning_scheduler"):
        logging.getLogger(name).setLevel(logging.ERROR)
    traces = {}
    for name, case in CASES.items():
        traces[name] = {"case": {"scheduler": STEP} | case, **trace(case)}
    for seed in itertools.count():
        if sum(name.startswith("random") for name in traces) == RANDOM:
            break
        case = random_case(seed)
        try:
            traces[f"random {seed}"] = {"case": case, **trace(case)}
        except (IndexError, KeyError, TypeError) as error:  # a fault of finetuning-scheduler's
            print(f"random {seed}: {type(error).__name__}: {error}")
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in traces.items())
    Path(__file__).with_name("traces.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
