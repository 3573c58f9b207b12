"""Trains a run again from its record, in a process of its own, within limits.

A record comes from a stranger: its strategy must be one of coursekit's own, its encoder one that is
on this machine, and whatever it asks for ends with the process at a limit of memory or time.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coursekit.data.binding_task import BindingTask
from coursekit.errors import CourseKitError, GradingError
from coursekit.grading.weights import ENCODERS
from coursekit.runs import Run

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier
    from coursekit.training.strategy import FinetuneStrategy

HEAD_SEEDS = 64
"""Seeds of the head's first weights that are tried: a record has their digest and not the seed."""
MEMORY = 16 * 2**30
_MARK = "coursekit-again:"
_NOT_PASSED_ON = ("COURSEKIT_RECORDS", "COURSEKIT_TRAINING", "COURSEKIT_PROFILE")


def train_again(
    run: Run, task: BindingTask, device: str | None = None, seconds: float = 3_600.0
) -> Run:
    """Train a run again.

    Args:
        run: what is claimed.
        task: the instructor's, with the run's fingerprint.
        device: "cpu" or "cuda"; the best there is by default.
        seconds: after which it is given up.

    Raises:
        GradingError: it cannot be trained again, and why.
    """
    told = _ask(run, task, device, seconds, cost=False)
    return Run.from_record(told["record"])


def expected_seconds(
    run: Run, task: BindingTask, device: str | None = None, seconds: float = 600.0
) -> float:
    """How long :func:`train_again` will take, from a few steps of each phase.

    Raises:
        GradingError: it cannot be trained again, and why.
    """
    return float(_ask(run, task, device, seconds, cost=True)["seconds"])


def _ask(
    run: Run, task: BindingTask, device: str | None, seconds: float, cost: bool
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="coursekit-again-") as folder:
        task.save(Path(folder) / "task")
        job = {"record": run.record(), "task": f"{folder}/task", "device": device, "cost": cost}
        kept = {k: v for k, v in os.environ.items() if k not in _NOT_PASSED_ON}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "coursekit.grading.again"],
                input=json.dumps(job),
                capture_output=True,
                text=True,
                timeout=seconds,
                env=kept | {"COURSEKIT_CACHE": f"{folder}/cache"},
            )
        except subprocess.TimeoutExpired:
            raise GradingError(f"it did not end within {seconds:.0f} s") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if not lines:
        said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise GradingError(f"the process that trained it ended without a result: {said[0][:300]}")
    told: dict[str, Any] = json.loads(lines[-1].removeprefix(_MARK))
    if "error" in told:
        raise GradingError(str(told["error"]))
    return told


def rebuilt(run: Run, device: str | None = None) -> tuple[FinetuneStrategy, Classifier, int]:
    """The strategy, the model as it was before training, and the epochs of a run.

    Raises:
        GradingError: the record does not lead to them.
    """
    from coursekit.models import load_classifier
    from coursekit.training.strategy import FinetuneStrategy, rebuild

    described = dict(run.strategy)
    name, encoder = described.get("strategy"), described.get("encoder")
    known = FinetuneStrategy.rebuildable.get(str(name))
    if known is None or not known.__module__.startswith("coursekit."):
        raise GradingError(f"{name!a:.40} is no strategy of coursekit, and nobody else's is run")
    if run.interrupted:
        raise GradingError("it was interrupted, at a step that the seed does not give again")
    epochs = described.get("epochs")
    if type(epochs) is not int or not isinstance(encoder, Mapping):
        raise GradingError("its record does not say epochs or encoder")
    if not isinstance(described.get("schedule"), Mapping | None):
        raise GradingError("its schedule is no table")  # a text could name a file of ours
    if encoder.get("name") not in ENCODERS or encoder.get("pooling") not in ("cls", "mean"):
        raise GradingError(f"encoder {encoder.get('name')!a:.40} is not on this machine")
    if encoder.get("fitted"):
        raise GradingError("its model had been trained by another run before")
    strategy = rebuild(described)
    for seed in dict.fromkeys((0, run.seed, *range(HEAD_SEEDS))):
        model = load_classifier(str(encoder["name"]), encoder["pooling"], seed=seed, device=device)
        if model.origin == encoder.get("origin"):
            return strategy, model, epochs
    raise GradingError(
        "its model did not begin with the bundled weights and a head of a small seed; was another "
        "version of coursekit used?"
    )


def main() -> None:
    """Do the one job on standard input."""
    job = json.load(sys.stdin)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    memory = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))
    try:
        told = _do(job)
    except (CourseKitError, MemoryError) as error:
        told = {"error": f"{error or type(error).__name__}"}
    print(f"\n{_MARK}{json.dumps(told)}")


def _do(job: Mapping[str, Any]) -> dict[str, Any]:
    from coursekit.training import expected_cost
    from coursekit.training.identity import identity_of

    run, task = Run.from_record(job["record"]), BindingTask.load(job["task"])
    strategy, model, epochs = rebuilt(run, job["device"])
    identity = identity_of(strategy, strategy.plan(model, epochs), model, task, epochs, run.seed)
    if identity["strategy"] != dict(run.strategy):
        raise GradingError("its settings give other phases here than its record has")
    if job["cost"]:
        return {"seconds": expected_cost(strategy, model, task, epochs, run.seed).total}
    return {"record": strategy.fit(model, task, epochs=epochs, seed=run.seed).record()}


if __name__ == "__main__":
    main()
