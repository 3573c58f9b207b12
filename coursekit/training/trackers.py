"""The trackers known by name: four through the library accelerate, Langfuse through its own SDK.

Where they write and who may is set as their own manuals say, by environment variables. On resume a
run goes on in the tracker's run that it began, found by a name that its states keep.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PROJECT = "coursekit"
PACKAGES = {
    "tensorboard": ("accelerate", "tensorboard"),
    "mlflow": ("accelerate", "mlflow"),
    "wandb": ("accelerate", "wandb"),
    "comet": ("accelerate", "comet_ml"),
    "langfuse": ("langfuse",),
}


@dataclass(frozen=True)
class Whereabouts:
    """What a tracker is to know about a run.

    Args:
        title: for people.
        key: 32 hexadecimal digits, the same for a run that goes on.
        config: settings by name; plain data.
        folder: for trackers that write files.
        step: optimizer steps that were done before; above 0 where a run goes on.
    """

    title: str
    key: str
    config: dict[str, Any]
    folder: Path
    step: int


class Book(Protocol):
    """What accelerate's trackers have in common; all is called in one thread."""

    def start(self) -> None:
        """Open it."""

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Write down the settings."""

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        """Write down numbers."""

    def finish(self) -> None:
        """Close it, when all has arrived."""


def open_book(name: str, where: Whereabouts) -> Book:
    """The tracker of this name, not yet started."""
    return {
        "tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb, "comet": _comet,
        "langfuse": Langfuse,
    }[name](where)  # fmt: skip


def _tensorboard(where: Whereabouts) -> Book:
    from accelerate.tracking import TensorBoardTracker

    class WithPlainSettings(TensorBoardTracker):
        """Settings as TensorBoard takes them, once, in the run's own files."""

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            if not where.step:
                self.writer.add_text("settings", f"```\n{json.dumps(values, indent=1)}\n```")

    # What a killed process wrote beyond its last state is written again, and shown once.
    purge = where.step + 1 if where.step else None
    return WithPlainSettings(f"{PROJECT}-{where.key[:8]}", where.folder, purge_step=purge)


def _mlflow(where: Whereabouts) -> Book:
    import mlflow
    from accelerate.tracking import MLflowTracker

    experiment, run_id = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT), None
    if where.step:
        client = mlflow.MlflowClient()
        there = client.get_experiment_by_name(experiment)
        query = f"tags.`{PROJECT}.run` = '{where.key}'"
        found = client.search_runs([there.experiment_id], query) if there is not None else []
        run_id = found[0].info.run_id if found else None
    return MLflowTracker(
        experiment, run_id=run_id, run_name=where.title, tags={f"{PROJECT}.run": where.key}
    )


def _wandb(where: Whereabouts) -> Book:
    import wandb
    from accelerate.tracking import WandBTracker

    return WandBTracker(
        os.environ.get("WANDB_PROJECT", PROJECT),
        name=where.title,
        id=where.key,
        resume="allow",
        settings=wandb.Settings(console="off", disable_git=True),
    )


def _comet(where: Whereabouts) -> Book:
    import comet_ml
    from accelerate.tracking import CometMLTracker

    # Numbers and settings, and nothing about the user's code, machine or screen.
    private = dict.fromkeys(
        (
            "log_code", "log_graph", "log_git_metadata", "log_git_patch", "log_env_details",
            "parse_args", "auto_output_logging", "auto_param_logging", "auto_metric_logging",
            "auto_log_co2",
        ),
        False,
    )  # fmt: skip
    config = comet_ml.ExperimentConfig(display_summary_level=0, name=where.title, **private)
    return CometMLTracker(
        os.environ.get("COMET_PROJECT_NAME", PROJECT),
        experiment_key=where.key,
        mode="get_or_create",
        experiment_config=config,
    )


class Langfuse:
    """A run as a trace: an event for each validation, and the final scores as its scores.

    Single steps are left out: a trace is made for tens of things and not for thousands.
    """

    def __init__(self, where: Whereabouts) -> None:
        self._where = where

    def start(self) -> None:
        """Connect, and see whether the keys are right.

        Raises:
            RuntimeError: if they are not; the SDK alone would only be silent from then on.
        """
        import langfuse

        self._client = langfuse.Langfuse()
        if not self._client.auth_check():
            raise RuntimeError("Langfuse does not take LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Open the trace, with the settings as its input."""
        self._span = self._client.start_observation(
            trace_context={"trace_id": self._where.key}, name=self._where.title, input=values
        )

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        """An event where something was validated, a score where something was tested."""
        if any(name.startswith("valid/") for name in values):
            self._span.create_event(name="validation", metadata={"step": step, **values})
        for name, value in values.items():
            if name.startswith("test/"):
                self._client.create_score(
                    trace_id=self._where.key, name=name, value=value, data_type="NUMERIC"
                )

    def finish(self) -> None:
        """Close the trace, and wait until all is sent; the SDK's client serves later runs too."""
        self._span.end()
        self._client.flush()
