"""One optimizer step, in as many forward passes as the memory asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from coursekit.errors import TrainingError
from coursekit.models.dropout import quick_dropout
from coursekit.models.memory import free_memory, is_out_of_memory
from coursekit.models.packed import packing
from coursekit.models.precision import autocast

if TYPE_CHECKING:
    from coursekit.training.session import Session


def step(session: Session, window: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """Move the weights once, and their average after them.

    Args:
        session: its phase is open and its learning rates are set.
        window: positions of the step's molecules, in batches.

    Returns:
        Scalars on the model's device: ``loss``, the objective before the step, mean over the
        molecules; and what penalties add under names of their own.

    Raises:
        TrainingError: if the memory does not even hold one molecule.
    """
    optimizer, scaler = session.optimizer, session.scaler
    molecules = sum(len(rows) for rows in window)
    losses = gradients(
        session, session.processes.share(window, cut=session.contrast is None), molecules
    )
    losses = session.processes.sum_gradients(session.model, losses)
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(session.model.parameters(), session.strategy.clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    losses |= session.retention.pull(optimizer)
    session.average.update()
    return losses


def gradients(session: Session, share: list[np.ndarray], molecules: int) -> dict[str, torch.Tensor]:
    """Gradients of a share of a window; where memory runs out, in passes half as large.

    The same molecules are taken again, with the random numbers that the failed attempt began
    with. So the gradient is that of the whole share, up to rounding, and with dropout up to
    which unit a random number falls on; a run with the smaller passes from this step on has the
    same bits. ``find_executable_batch_size`` of the library accelerate would not do here: it
    calls a whole training function again, from its beginning and with another effective batch.

    Args:
        session: its phase is open.
        share: batches of the window that this process computes; all of them where it is alone.
        molecules: how many the whole window has.

    Returns:
        The share's part of the objective, ``loss``, and of ``masked_loss`` where molecules are
        replayed; scalars.
    """
    at, device = session.at, session.model.device
    random = torch.get_rng_state()
    random_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    while True:
        try:
            return _one_attempt(session, share, molecules)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
        session.optimizer.zero_grad(set_to_none=True)
        free_memory(device)
        torch.set_rng_state(random)
        if random_gpu is not None:
            torch.cuda.set_rng_state(random_gpu, device)
        largest = max(len(rows) for rows in _pieces(share, at.fits))
        if largest == 1:
            tokens = max(session.lengths[rows].max() for rows in share)
            raise TrainingError(
                f"the memory of {device} does not hold the training of one molecule (the longest "
                f"of this step has {tokens} tokens): {reason}. Set gradient_checkpointing=True, "
                "train fewer blocks, or take a smaller encoder."
            )
        at.fits = largest // 2
        session.note(
            f"out of memory in step {at.step + 1}: from there on at most {at.fits} molecules go "
            "through the model at once; a step still learns from as many as before",
            reason,
        )


def _one_attempt(
    session: Session, share: list[np.ndarray], molecules: int
) -> dict[str, torch.Tensor]:
    total = torch.zeros((), device=session.model.device)
    contrast = session.contrast
    for rows in _pieces(share, session.at.fits):
        # The backward pass is inside too: it may compute activations again.
        with packing(session.model, session.packs), quick_dropout(session.model):
            # A sum over all the window's molecules: uneven batches weigh the same.
            if contrast is not None:
                loss = contrast.total(rows) / molecules
            else:
                with autocast(session.precision, session.model.device):
                    logits = session.logits(rows)  # (B,)
                loss = session.objective.total(logits, session.labels[rows]) / molecules
            if not loss.requires_grad:
                raise TrainingError(
                    f"phase {session.at.phase} opens {list(session.phase.learning_rates)}, but the "
                    "predictions do not depend on any parameter in there: nothing would be learned"
                )
            session.scaler.scale(loss).backward()
        total += loss.detach()
    at, name = session.at, "loss" if contrast is None else "contrastive_loss"
    return {name: total, **session.retention.replay(at.step, molecules, session.scaler, at.fits)}


def _pieces(share: list[np.ndarray], fits: int | None) -> list[np.ndarray]:
    """The share's batches, cut where they have more than ``fits`` molecules."""
    size = fits or max((len(rows) for rows in share), default=1)
    return [rows[i : i + size] for rows in share for i in range(0, len(rows), size)]
