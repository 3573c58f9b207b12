"""How close a task's molecules are to an encoder's pretraining, by what it guesses of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coursekit.data.batches import encode
from coursekit.data.binding_task import BindingTask
from coursekit.errors import EncoderError
from coursekit.models.masked_head import masked_model, scores_under
from coursekit.models.pretraining_molecules import heldout_molecules, knows_its_molecules

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

MEASURED_ON = 200  # molecules of each kind, at most
GROUPS = 10  # that the standard error comes from


@dataclass(frozen=True)
class Loss:
    """A masked-token loss with its standard error, both in nats per masked token.

    Args:
        mean: over groups of molecules.
        error: of that mean; 0 where there is one molecule only.
    """

    mean: float
    error: float

    def above(self, other: float, error: float = 0.0) -> bool:
        """Whether it lies above by more than two standard errors of the difference."""
        return self.mean - other > 2 * float(np.hypot(self.error, error))

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.error:.3f}"


@dataclass(frozen=True)
class Closeness:
    """What the encoder guesses of the task's molecules, beside two marks.

    Args:
        here: masked-token loss on molecules of the task, or None where it cannot be measured.
        heldout: on molecules held out of the pretraining, or None where none are known.
        guessing: the loss of whoever knows only how frequent each token is in the task.
        why: what could not be measured, and why; "" where all was.
    """

    here: Loss | None = None
    heldout: Loss | None = None
    guessing: float | None = None
    why: str = ""

    @property
    def foreign(self) -> bool:
        """Whether the encoder guesses the task's molecules no better than frequencies do."""
        return self.here is not None and not self._guessed(self.here)

    @property
    def untrained(self) -> bool:
        """Whether it guesses nothing at all, as an encoder with random weights does."""
        return self.foreign and (self.heldout is None or not self._guessed(self.heldout))

    @property
    def further(self) -> bool:
        """Whether the task's molecules are guessed worse than held-out ones of the pretraining."""
        if self.here is None or self.heldout is None:
            return False
        return self.here.above(self.heldout.mean, self.heldout.error)

    def _guessed(self, loss: Loss) -> bool:
        return self.guessing is not None and loss.mean + 2 * loss.error < self.guessing

    def __str__(self) -> str:
        if self.here is None:
            return f"Closeness to the pretraining was not measured: {self.why}"
        text = (
            f"Masked-token loss on the task's molecules is {self.here} nats; knowing only how "
            f"frequent each token is gives {self.guessing:.3f}"
        )
        if self.heldout is not None:
            text += f", and molecules held out of the pretraining have {self.heldout}"
        if self.untrained:
            text += ": the encoder knows nothing of molecules, as if it was not pretrained"
        elif self.foreign:
            text += ": such molecules are foreign to the encoder"
        if self.foreign or self.heldout is None:
            return f"{text}. {self.why}".rstrip()
        if not self.further:
            return f"{text}: the task is as close to the pretraining as those."
        assert self.guessing is not None
        way = (self.here.mean - self.heldout.mean) / (self.guessing - self.heldout.mean)
        return f"{text}: the task is further away, by {way:.0%} of the way to guessing."


def measure_closeness(
    model: Classifier, task: BindingTask, heldout: Sequence[str] | None = None, seed: int = 0
) -> Closeness:
    """Masked-token losses on the task's training molecules and on held-out pretraining molecules.

    Args:
        model: as it was pretrained; stays as it is.
        task: its training part is drawn from; labels are not looked at.
        heldout: molecules that were held out of the pretraining; None takes those of the bundled
            encoder, and no others are known.
        seed: of the draw.

    Returns:
        The losses, or why there are none.
    """
    if task.train.empty:
        return Closeness(why="the task has no training molecules.")
    try:
        whole = masked_model(model)
    except EncoderError as error:
        return Closeness(why=str(error).removeprefix("masked_model: "))
    drawn = task.train["smiles"].sample(min(MEASURED_ON, len(task.train)), random_state=seed)

    def loss(smiles: Sequence[str]) -> Loss:
        groups = np.array_split(np.array(smiles, dtype=object), min(GROUPS, len(smiles)))
        values = [
            scores_under(whole, model, list(group), seed=number)["loss"]
            for number, group in enumerate(groups)
        ]
        error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
        return Loss(float(np.mean(values)), float(error))

    known = list(heldout or ())[:MEASURED_ON]
    if heldout is None and knows_its_molecules(model):
        known = heldout_molecules(MEASURED_ON)
    why = (
        "How that compares with the pretraining is not known: coursekit does not have molecules "
        f"that were held out of the pretraining of {model.name}."
    )
    return Closeness(
        loss(list(drawn)),
        loss(known) if known else None,
        _guessing(model, list(drawn)),
        "" if known else why,
    )


def _guessing(model: Classifier, smiles: Sequence[str]) -> float:
    """Entropy of the tokens' frequencies, in nats; special tokens left out."""
    ids = np.concatenate(encode(model.tokenizer, list(smiles)))
    ids = ids[~np.isin(ids, model.tokenizer.all_special_ids)]
    shares = np.unique(ids, return_counts=True)[1] / max(len(ids), 1)
    return float(-(shares * np.log(shares)).sum())
