"""The processes that train one model together, on many GPUs or hosts; mostly there is only one.

    torchrun --nproc-per-node 4 -m coursekit train --strategy full --out runs/full

Each computes the gradient of its share of an optimizer step's molecules; the shares are added up
before the step, so that all of them hold the same weights after it. What could come out differently
from one process to the next (a file that is read, a score, the time) is decided by the first one,
for all. ``docs/decisions/gradients-are-added-up.md`` says why the model is not wrapped.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from coursekit.errors import TrainingError

if TYPE_CHECKING:
    import pandas as pd

    from coursekit.models.classifier import Classifier

T = TypeVar("T")


class Processes:
    """The processes of this job, as one of them sees them.

    All of them must call the methods below in the same order.

    Args:
        rank: the number of this process, from 0 on.
        size: how many there are.
        device: where this one computes; None leaves the model where it is.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size, self.device = rank, size, device

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    # ------------------------------------------------------------------ a step

    def share(self, window: Sequence[np.ndarray], cut: bool = True) -> list[np.ndarray]:
        """This process's part of the batches of one optimizer step; it may be empty.

        Whole batches as far as they go round, and of each of the others every n-th molecule.

        Args:
            window: batches.
            cut: False where the molecules of a batch are compared with each other: then it stays
                whole, in one process.
        """
        if not cut:
            return list(window[self.rank :: self.size])
        round_ = len(window) // self.size * self.size
        parts = [*window[:round_][self.rank :: self.size]]
        parts += [rows[self.rank :: self.size] for rows in window[round_:]]
        return [rows for rows in parts if len(rows)]

    def sum_gradients(
        self, model: Classifier, losses: Mapping[str, torch.Tensor], fact: bool = False
    ) -> tuple[dict[str, torch.Tensor], bool]:
        """Add up the gradients of all processes, in place.

        A parameter that has a gradient in none of them goes without one, as it would in a single
        process; a process without molecules adds nothing.

        Args:
            model: after the backward passes of this process's share.
            losses: the share's part of the loss, and of others by name; scalars.
            fact: goes along, so that it costs no message of its own; see ``any``.

        Returns:
            The losses of the whole step, and whether the fact holds in at least one process.
        """
        if self.size == 1:
            return dict(losses), fact
        parameters = [p for p in model.parameters() if p.requires_grad]
        *used, holds = self._any_of_each([*(p.grad is not None for p in parameters), fact])
        moved = [p for p, somewhere in zip(parameters, used, strict=True) if somewhere]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in moved]
        flat = torch.cat(
            [*(v.reshape(1) for v in losses.values()), *(g.reshape(-1) for g in grads)]
        )
        with self._together():
            dist.all_reduce(flat)
        totals, *sums = flat.split([len(losses), *(p.numel() for p in moved)])
        for parameter, summed in zip(moved, sums, strict=True):
            parameter.grad = summed.view_as(parameter).to(parameter.dtype)
        return dict(zip(losses, totals, strict=True)), holds

    # ------------------------------------------------------------------ agree

    def any(self, fact: bool) -> bool:
        """Whether this holds in at least one process."""
        return fact if self.size == 1 else self._any_of_each([fact])[0]

    def _any_of_each(self, facts: Sequence[bool]) -> list[bool]:
        votes = torch.tensor(facts, dtype=torch.uint8)  # on the processor: a GPU need not wait
        with self._together():
            dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return [bool(vote) for vote in votes.tolist()]

    def once(self, function: Callable[[], T]) -> T:
        """Call this in the first process only, and give its result, or its error, to all."""
        if self.size == 1:
            return function()
        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = function()
            except Exception as error:
                told[1] = _that_travels(error)
        with self._together():
            dist.broadcast_object_list(told, src=0)
        result, failed = told
        if failed is not None:
            raise failed
        return result

    def gather(self, value: T) -> list[T]:
        """The value of each process, in all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._together():
            dist.all_gather_object(values, value)
        return values

    def spread(
        self, table: pd.DataFrame, function: Callable[[pd.DataFrame], np.ndarray]
    ) -> np.ndarray:
        """One number per row of a table, each process computing every n-th of them.

        Args:
            table: the same in all processes.
            function: gives numbers (M,) for M rows.

        Returns:
            Numbers (N,), in the order of the table, the same bits in all processes.
        """
        if self.size == 1:
            return function(table)
        shares = self.gather(function(table.iloc[self.rank :: self.size]))
        whole = np.empty(len(table), dtype=np.result_type(*shares))
        for rank, share in enumerate(shares):
            whole[rank :: self.size] = share
        return whole

    # ------------------------------------------------------------------ begin

    def begin(self, model: Classifier, identity: dict[str, Any]) -> None:
        """Give all processes the model of the first one, if they mean to make the same run.

        Args:
            model: moved to this process's device, its values overwritten.
            identity: of the run that each of them means to make.

        Raises:
            TrainingError: in all of them, naming the difference, if one means another run.
        """
        from coursekit.training.identity import differences

        if self.size == 1:
            return
        theirs = self.gather(identity)
        for rank, other in enumerate(theirs):
            differing = differences(theirs[0], other)
            if differing:
                raise TrainingError(
                    f"process {rank} (here) means to make another run than process 0 (there): "
                    f"{'; '.join(differing)}. Give all processes of a job the same arguments."
                )
        if self.device is not None and model.device.type == self.device.type:
            model.to(self.device)
        with self._together():
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, src=0)

    def seed(self, seed: int) -> int:
        """The seed of this process's dropout: the run's own in the first one."""
        if self.first:
            return seed
        return int(np.random.SeedSequence([seed, self.rank]).generate_state(1, np.uint64)[0])

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # of the connection; torch has no narrower class for all
            raise TrainingError(
                f"process {self.rank} of {self.size} has lost another process of this job, which "
                f"was stopped or does not answer ({error}). What was saved is kept: the same "
                "command goes on from there, also with fewer processes."
            ) from error


def processes() -> Processes:
    """The processes that a launcher (torchrun, accelerate launch) has started, or this one alone.

    Raises:
        TrainingError: if there are several, and the library accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    try:
        from accelerate import PartialState
    except ImportError:
        raise TrainingError(
            "training in several processes needs the library accelerate, which is not installed; "
            "run `pip install 'coursekit[distributed]'`"
        ) from None
    if torch.cuda.is_available():
        state = PartialState(backend="cuda:nccl,cpu:gloo")
    else:
        state = PartialState(cpu=True)  # without it, several processors count as one
    return Processes(state.process_index, state.num_processes, state.device)


def _that_travels(error: Exception) -> Exception:
    """The error, or where it cannot be sent to another process, its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
