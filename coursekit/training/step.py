"""One optimizer step, in as many forward passes as the memory asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from coursekit.errors import TrainingError
from coursekit.models.dropout import quick_dropout
from coursekit.models.generators import generators, set_generators
from coursekit.models.memory import free_memory, is_out_of_memory
from coursekit.models.packed import packing
from coursekit.models.precision import autocast

if TYPE_CHECKING:
    from coursekit.training.session import Session


def step(session: Session, window: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """Move the weights once, and their average after them; neither where fp16 overflows.

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
    losses, short = gradients(
        session, session.processes.share(window, cut=session.contrast is None), molecules
    )
    losses, short_somewhere = session.processes.sum_gradients(session.model, losses, bool(short))
    if short_somewhere:
        _agree_on_what_fits(session, short)
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(session.model.parameters(), session.strategy.clip)
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    if scaler.get_scale() < scale:  # a gradient overflowed fp16: the optimizer has not stepped
        return losses
    losses |= session.retention.pull(optimizer)
    session.average.update()
    return losses


def gradients(
    session: Session, share: list[np.ndarray], molecules: int
) -> tuple[dict[str, torch.Tensor], dict[int, str]]:
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
        replayed; scalars. Where memory ran out, also how many molecules were tried next, with
        the reason; more than one number where it ran out again.
    """
    short: dict[int, str] = {}
    at, device = session.at, session.model.device
    drawn = generators(device)
    while True:
        try:
            return _one_attempt(session, share, molecules), short
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
        session.optimizer.zero_grad(set_to_none=True)
        free_memory(device)
        set_generators(device, drawn)
        # A process with no molecules in a step may still replay some.
        largest = max((len(rows) for rows in _pieces(share, at.fits)), default=at.fits or molecules)
        if largest == 1:
            lengths = session.lengths
            tokens = max((lengths[rows].max() for rows in share), default=lengths.max())
            raise TrainingError(
                f"the memory of {device} does not hold the training of one molecule (the longest "
                f"of this step has {tokens} tokens): {reason}. Set gradient_checkpointing=True, "
                "train fewer blocks, or take a smaller encoder."
            )
        at.fits = largest // 2
        short[at.fits] = reason


def _agree_on_what_fits(session: Session, short: dict[int, str]) -> None:
    """What the memory of one process does not hold, none of them tries again; all note it.

    Args:
        session: in the step in which memory ran out somewhere.
        short: what this process found, see ``gradients``.
    """
    at = session.at
    found = {n: why for theirs in session.processes.gather(short) for n, why in theirs.items()}
    at.fits = min(found)
    for fits in sorted(found, reverse=True):
        session.note(
            f"out of memory in step {at.step + 1}: from there on at most {fits} molecules go "
            "through the model at once; a step still learns from as many as before",
            found[fits],
        )


def _one_attempt(
    session: Session, share: list[np.ndarray], molecules: int
) -> dict[str, torch.Tensor]:
    at, contrast = session.at, session.contrast
    total = torch.zeros((), device=session.model.device)
    # A contrastive loss compares all of a batch, and cuts it by itself.
    for rows in _pieces(share, at.fits) if contrast is None else share:
        # The backward pass is inside too: it may compute activations again.
        with packing(session.model, session.packs), quick_dropout(session.model):
            learn = _classify if contrast is None else _compare
            total += learn(session, rows, molecules)
    name = "loss" if contrast is None else "contrastive_loss"
    return {name: total, **session.retention.replay(at.step, molecules, session.scaler, at.fits)}


def _classify(session: Session, rows: np.ndarray, molecules: int) -> torch.Tensor:
    """Gradients of the classification of these molecules; their part of the window's loss."""
    with autocast(session.precision, session.model.device):
        logits = session.logits(rows)  # (B,)
    # A sum over all the window's molecules: uneven batches weigh the same.
    loss = session.objective.total(logits, session.labels[rows]) / molecules
    _backward(session, loss)
    return loss.detach()


def _compare(session: Session, rows: np.ndarray, molecules: int) -> torch.Tensor:
    """Gradients of the contrastive loss of a batch; its part of the window's loss.

    Where the memory does not hold the batch, vectors are made in pieces, without a graph; and once
    the loss of them all has said how each should move, again with one and with the same dropout.
    Source: Gao et al. 2021, arXiv 2101.06983.
    """
    contrast, device = session.contrast, session.model.device
    assert contrast is not None
    pieces, share = _pieces([rows], session.at.fits), len(rows) / molecules
    if len(pieces) == 1:
        loss = contrast.loss(contrast.vectors(rows), rows) * share
        _backward(session, loss)
        return loss.detach()
    drawn, found = [], []
    with torch.no_grad():
        for piece in pieces:
            drawn.append(generators(device))
            found.append(contrast.vectors(piece))
    vectors = torch.cat(found).requires_grad_()  # (B, D)
    loss = contrast.loss(vectors, rows) * share
    moves = torch.autograd.grad(loss, vectors)[0].split([len(piece) for piece in pieces])
    for piece, states, move in zip(pieces, drawn, moves, strict=True):
        set_generators(device, states)
        _backward(session, (contrast.vectors(piece) * move).sum())
    return loss.detach()


def _backward(session: Session, loss: torch.Tensor) -> None:
    if not loss.requires_grad:
        raise TrainingError(
            f"phase {session.at.phase} opens {list(session.phase.learning_rates)}, but the "
            "predictions do not depend on any parameter in there: nothing would be learned"
        )
    session.scaler.scale(loss).backward()


def _pieces(share: list[np.ndarray], fits: int | None) -> list[np.ndarray]:
    """The share's batches, cut where they have more than ``fits`` molecules."""
    size = fits or max((len(rows) for rows in share), default=1)
    return [rows[i : i + size] for rows in share for i in range(0, len(rows), size)]
