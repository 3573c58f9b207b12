"""A run that has been recorded already, given back in place of training it again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coursekit.errors import CourseKitError, NoRecordError
from coursekit.runs import Run
from coursekit.training.identity import differences

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

RECORDS = "COURSEKIT_RECORDS"
TRAINING = "COURSEKIT_TRAINING"
Recorded = tuple[dict[str, Any], Run]
"""A run, and the identity of that which it stands for."""
_given_back: dict[Path, Recorded] = {}
"""What stands in this process for the finished runs that would be in these folders."""


def trains_nothing() -> bool:
    """Whether this is a machine on which ``fit`` gives recorded runs back, and never trains."""
    return os.environ.get(TRAINING) == "recorded"


@contextmanager
def really_trains() -> Iterator[None]:
    """Within it ``fit`` trains, wherever it runs: what is tried on a toy has no record anywhere."""
    kept = {name: os.environ.pop(name) for name in (RECORDS, TRAINING) if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def recorded_run(identity: dict[str, Any], folder: Path | None = None) -> Recorded | None:
    """Find the record of this very run below the folder that COURSEKIT_RECORDS names.

    A grading machine sets the variable, so that ``fit`` costs nothing there; so may a student
    whose runtime broke off. A record counts as the same run if strategy, epochs, encoder and its
    weights, task and seed all agree; one that was interrupted does not count.

    Where nothing is trained, a record that owns up to more than the cells do is better than none:
    it was interrupted, or a cell was run twice and its model had been trained before. Checks look
    at what it says. Never the other way: a record of a fresh model does not stand for a worn one.

    Args:
        identity: of the run that is about to train.
        folder: where its states would be kept; a run given back for it before is given back again,
            as a finished one is read from there.

    Returns:
        The Run and what it stands for, or None where there is no such folder or no such record.

    Raises:
        NoRecordError: there is no record, and COURSEKIT_TRAINING is "recorded", as a grading
            machine sets it that must not train.
    """
    records = os.environ.get(RECORDS)
    place = folder.resolve() if folder is not None else None
    before = _given_back.get(place) if records and place is not None else None
    if before is not None and not differences(before[0], identity):
        return before
    run = _find(Path(records), identity) if records else None
    if run is None and trains_nothing():
        raise NoRecordError(
            "fit: no record fits this run, and nothing is trained here. Was the record handed in, "
            "and made with this strategy, epochs, encoder, task and seed?"
        )
    if run is None:
        return None
    if place is not None:
        _given_back[place] = identity, run
    return identity, run


def stand_in(identity: dict[str, Any], run: Run, model: Classifier) -> None:
    """Let a model know that a recorded run stands in for its training; its weights stay.

    Args:
        identity: of the run that would have trained it.
        run: that is given back in its place.
        model: as ``fit`` was given it.
    """
    model.fitted = [*identity["strategy"]["encoder"]["fitted"], identity["strategy"]["strategy"]]
    model.recorded = run.forgetting or {}


def has_weights_to_train(model: Classifier) -> None:
    """Refuse to go on from weights that a recorded run has left elsewhere.

    Raises:
        NoRecordError: it stands in for this model's training.
    """
    if model.recorded is not None:
        raise NoRecordError(
            f"fit: a recorded run of {model.fitted[-1]} stands in for this model's training, so "
            "the weights to go on from are not here, and no record fits this run. Load a fresh "
            "model, or train the first run again where its record is not at hand."
        )


def _find(folder: Path, identity: dict[str, Any]) -> Run | None:
    worse = None
    for path in sorted(folder.rglob("record.json")):
        try:
            run = Run.load(path.parent)
        except (OSError, CourseKitError) as error:
            print(f"{path} is passed over: {error}")
            continue
        found = {"strategy": run.strategy, "task": run.task.get("fingerprint"), "seed": run.seed}
        if found == identity and not run.interrupted:
            return _told(run, path, "")
        if worse is None and trains_nothing() and _owns_up(found, identity):
            worse = run, path
    return _told(*worse, " as it is, interrupted or of a model trained before") if worse else None


def _owns_up(found: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Whether a record is of this run, but for an early end or for more training before it."""
    encoder = found["strategy"].get("encoder")
    fitted = encoder.get("fitted") if isinstance(encoder, dict) else None
    return isinstance(fitted, list) and not differences(identity, found)


def _told(run: Run, path: Path, how: str) -> Run:
    print(f"{run.name}: recorded in {path.parent}; given back{how}; the model stays as it is")
    return run
