"""Pretraining molecules, replayed with their masked-token loss beside the task's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from coursekit.data.batches import encode, pad
from coursekit.models.masking import IGNORED, mask_tokens
from coursekit.training.penalties import Replay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coursekit.models.classifier import Classifier
    from coursekit.training.processes import Processes

STREAM = 6_007  # keeps the draws apart from those of the task's batches


class Replayer:
    """Draws molecules for each step and masks them.

    Which molecules and which masks depends on the seed and the number of the step and on nothing
    else, so a run that is resumed replays what it would have.

    Args:
        settings: rate, weight and share of masked tokens.
        model: has the tokenizer.
        smiles: what to draw from.
        seed: of the run.
    """

    def __init__(
        self,
        settings: Replay,
        model: Classifier,
        smiles: Sequence[str],
        seed: int,
    ) -> None:
        self.settings, self.model, self.seed = settings, model, seed
        self.tokens = encode(model.tokenizer, smiles)
        self.special = torch.tensor(sorted(model.tokenizer.all_special_ids))

    def rows(self, step: int, molecules: int) -> np.ndarray:
        """Positions of the molecules replayed in a step that learns so many of the task."""
        number = max(1, round(self.settings.rate * molecules))
        rng = np.random.default_rng([self.seed, STREAM, step])
        return rng.choice(len(self.tokens), size=number, replace=number > len(self.tokens))

    def batches(
        self, step: int, molecules: int, processes: Processes, fits: int | None = None
    ) -> Iterator[Masked]:
        """This process's share of a step's molecules, masked, at most ``fits`` at a time."""
        tokenizer, device = self.model.tokenizer, self.model.device
        chosen = [self.tokens[row] for row in self.rows(step, molecules)]
        ids, mask = pad(chosen, tokenizer.pad_token_id)  # (R, T)
        own = int(np.random.default_rng([self.seed, STREAM, step, 1]).integers(2**62))
        corrupted, labels = mask_tokens(
            ids,
            torch.isin(ids, self.special),
            self.settings.mask_share,
            tokenizer.mask_token_id,
            len(tokenizer),
            own,
        )
        guessed = int((labels != IGNORED).sum())
        share = np.arange(len(chosen))[processes.rank :: processes.size]
        size = fits or len(chosen)
        for i in range(0, len(share), size):
            rows = torch.from_numpy(share[i : i + size])
            yield Masked(
                corrupted[rows].to(device), mask[rows].to(device), labels[rows].to(device), guessed
            )


@dataclass(frozen=True)
class Masked:
    """Molecules with masked tokens.

    Args:
        ids: token ids, some of them hidden (R, T).
        mask: 1 for a token, 0 for padding (R, T).
        labels: the token to guess, -100 where none is (R, T).
        guessed: tokens to guess in the whole step.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    guessed: int

    def share_of_loss(self, logits: torch.Tensor) -> torch.Tensor:
        """What these add to the step's mean loss, from logits (R, T, V); a scalar, in nats."""
        total = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), self.labels.flatten(), reduction="sum"
        )
        return total / self.guessed
