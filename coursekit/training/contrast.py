"""Supervised contrastive training: binders close to each other, and far from what only looks alike.

Source: Khosla et al. 2020, "Supervised contrastive learning", arXiv 2004.11362, equation 2. There
every class is pulled together; here only binders are, for what does not bind has nothing in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from coursekit.data.batches import encode
from coursekit.errors import TrainingError
from coursekit.models.precision import autocast
from coursekit.training.ema import apply_ema

if TYPE_CHECKING:
    from torch import nn

    from coursekit.training.session import Session

VALIDATION_BATCH = 256


@dataclass(frozen=True)
class Contrastive:
    """What a phase learns in place of telling binders from negatives.

    Args:
        temperature: similarities are divided by it; a lower one looks more at what is nearest,
            which here are the hard negatives.
        binders: least number of binders in a batch, where the train part has as many.
    """

    temperature: float = 0.1
    binders: int = 8


def supervised_contrast(
    vectors: torch.Tensor, binder: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The loss of a batch, with binders as anchors; a scalar, in nats.

    For each binder, the mean over the other binders of minus the log of its share in the softmax
    over all other molecules, by similarity over temperature; and the mean over binders.

    Args:
        vectors: of length one (B, D).
        binder: True for a binder (B,).
        temperature: see ``Contrastive``.

    Returns:
        Zero, with a graph, where there are fewer than two binders.
    """
    if int(binder.sum()) < 2:
        return vectors.sum() * 0.0
    similarity = vectors @ vectors.T / temperature  # (B, B)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    log_share = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    pairs = binder[:, None] & binder[None, :] & ~itself
    per_anchor = -(log_share * pairs).sum(1)[binder] / (binder.sum() - 1)
    return per_anchor.mean()


def stratified_batches(
    kinds: np.ndarray, batch_size: int, binders: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches of mixed molecules, each with its share of every kind and with enough binders.

    They are mixed in length too: among molecules of one length, length could not tell them apart,
    and the encoder would not learn to look past it.

    Args:
        kinds: negative set of each molecule, "" for a binder (N,).
        batch_size: molecules in a batch, before binders are added.
        binders: where a batch has fewer, others are added that appear elsewhere in the epoch too.
        rng: shuffles.

    Returns:
        Positions; every molecule is in one batch at least, none is twice in one.
    """
    members = [rng.permutation(np.flatnonzero(kinds == kind)) for kind in sorted(set(kinds))]
    dealt = np.concatenate(members)
    count = -(-len(kinds) // batch_size)
    batches = []
    for number in rng.permutation(count):
        batch = dealt[number::count]
        missing = binders - int((kinds[batch] == "").sum())
        if missing > 0:
            others = np.setdiff1d(np.flatnonzero(kinds == ""), batch)
            batch = np.concatenate([batch, rng.permutation(others)[:missing]])
        batches.append(rng.permutation(batch))
    return batches


class Contrast:
    """Contrastive training at work in one phase of a session.

    Args:
        session: its model has a projection, see ``contrastive.add_projection``.
        settings: of the phase.

    Raises:
        TrainingError: if the model has no projection, or the train part fewer than two binders.
    """

    def __init__(self, session: Session, settings: Contrastive) -> None:
        self.session, self.settings = session, settings
        if session.model.projection is None:
            raise TrainingError(
                f"{session.name}: a phase is contrastive, but the model has no projection; call "
                "coursekit.training.contrastive.add_projection in prepare()"
            )
        self.projection: nn.Module = session.model.projection
        self.kinds = session.parts["train"]["negative_set"].to_numpy(dtype=str)
        found = int((self.kinds == "").sum())
        if found < 2:
            raise TrainingError(
                f"{session.name}: the train part has {found} binders; contrastive training pulls "
                "at least two together"
            )

    def batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Positions of training molecules for an epoch."""
        size = self.session.strategy.batch_size
        return stratified_batches(self.kinds, size, self.settings.binders, rng)

    def vectors(self, rows: np.ndarray) -> torch.Tensor:
        """Projections of these training molecules, of length one (B, D)."""
        return self._project(self.session.tokens, rows)

    def loss(self, vectors: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """What ``supervised_contrast`` makes of the vectors (B, D) of these training molecules."""
        return self._loss(vectors, self.kinds[rows])

    def validation_scores(self) -> dict[str, float]:
        """``contrastive_loss`` of the valid part, without dropout, always in the same batches."""
        session = self.session
        part = session.parts["valid"]
        kinds = part["negative_set"].to_numpy(dtype=str)
        tokens = encode(session.model.tokenizer, list(part["smiles"]))
        rows = stratified_batches(kinds, VALIDATION_BATCH, 0, np.random.default_rng(0))
        session.model.eval()
        try:
            with apply_ema(session.model, session.average.values), torch.inference_mode():
                losses = [float(self._loss(self._project(tokens, r), kinds[r])) for r in rows]
        finally:
            session.model.train()
        return {"contrastive_loss": float(np.average(losses, weights=[len(r) for r in rows]))}

    def _project(self, tokens: Sequence[np.ndarray], rows: np.ndarray) -> torch.Tensor:
        with autocast(self.session.precision, self.session.model.device):
            projected = self.projection(self.session.pool(tokens, rows))
        return torch.nn.functional.normalize(projected.float(), dim=1)  # (B, D)

    def _loss(self, vectors: torch.Tensor, kinds: np.ndarray) -> torch.Tensor:
        binder = torch.from_numpy(kinds == "").to(vectors.device)
        return supervised_contrast(vectors, binder, self.settings.temperature)
