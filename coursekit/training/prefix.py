"""The frozen lower part of a model, computed once for all epochs of all phases that it serves.

While a block has not been opened, what it makes of a molecule is the same in each epoch. So one
pass over the molecules keeps the hidden states at each depth that the phases to come will start
from, and training then costs only what trains. Blocks are frozen in eval mode, so this is exact:
only sums over differently padded batches differ, in the last digit. States are found by the
weights that made them and by the molecules, so a stale one cannot be met.

Caching what is frozen: AutoFreeze (Liu et al. 2021, arXiv 2102.01386), PipeTransformer (He et al.
2021, arXiv 2102.03161). Both freeze as they go; unfreezing lets one pretrained pass serve it all.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from coursekit.data.batches import encode
from coursekit.data.paths import cache_dir
from coursekit.errors import CourseKitError, TrainingError
from coursekit.models.partway import Start, digests_below, frozen_depth, is_still, noting
from coursekit.models.precision import autocast
from coursekit.training.embeddings import frozen_embeddings
from coursekit.training.ragged import Ragged, size_of

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier
    from coursekit.training.plan import Plan
    from coursekit.training.strategy import Cache

BUDGET = "COURSEKIT_CACHE_MEMORY"


@dataclass(frozen=True)
class Below:
    """What is known of some molecules without running what is frozen.

    Args:
        pooled: (N, H), where the whole encoder is frozen.
        states: what the lowest ``depth`` blocks leave, where some of them are frozen.
        depth: so many blocks.
        seconds: what computing it took.
    """

    pooled: np.ndarray | None = None
    states: Ragged | None = None
    depth: int = 0
    seconds: float = 0.0

    def start(self, rows: np.ndarray, device: torch.device) -> Start | None:
        """Where the encoder starts from for these molecules; None for its beginning."""
        if self.states is None:
            return None
        return Start(self.depth, self.states.padded(rows, device))


NOTHING = Below()


class Prefix:
    """The cache of one run.

    Args:
        model: whose lower part is computed once.
        plan: its phases say which depths will be wanted.
        groups: parameter names by group, as the phases speak of them.
        cache: see ``FinetuneStrategy``.
        precision: of the passes.
        folder: for what does not fit into memory; the cache folder by default.
        note: called with a sentence for the run's notes, and a detail.

    Attributes:
        budget: bytes of memory for states; what goes beyond is in files.

    Raises:
        TrainingError: if COURSEKIT_CACHE_MEMORY is not a number of MiB.
    """

    def __init__(
        self,
        model: Classifier,
        plan: Plan,
        groups: Mapping[str, tuple[str, ...]],
        cache: Cache,
        precision: str,
        folder: Path | None,
        note: Callable[[str, str], None],
    ) -> None:
        self.model, self.cache, self.precision = model, cache, precision
        self.dtype = "fp32" if cache in ("auto", "off") else cache
        self._folder, self._note = folder, note
        self.budget = _budget()
        self._depths = [
            frozen_depth(
                model,
                {
                    id(model.get_parameter(n))
                    for group in phase.learning_rates
                    for n in groups[group]
                },
            )
            for phase in plan.phases
        ]
        worth = worth_it(self._depths, [phase.epochs or 1 for phase in plan.phases])
        self._wanted = {"auto": worth, "off": [False] * len(worth)}.get(cache, [True] * len(worth))
        self._frozen = self._depth = 0
        self._ahead: set[int] = set()
        self._fills = True
        self._digests: list[str] | None = None
        self._kept: dict[str, Ragged] = {}
        self._tokens: dict[str, list[np.ndarray]] = {}

    def open(self, phase: int) -> None:
        """Begin a phase: what its parameters leave frozen is looked at anew.

        Args:
            phase: number of the phase; the model has its parameters open and is in training mode.
        """
        top = len(self.model.blocks)
        self._frozen = frozen_depth(
            self.model, {id(p) for p in self.model.parameters() if p.requires_grad}
        )
        self._digests = None
        # Pooled vectors are small and outlive the run, so one epoch is enough for them.
        used = self._wanted[phase] or (self._frozen == top and self.cache != "off")
        used = used and self._frozen > 0 and is_still(self.model, self._frozen)
        self._depth = self._frozen if used else 0
        later = [self._depths[p] for p in served(self._depths, phase)[1:] if self._wanted[p]]
        self._ahead = {depth for depth in later if depth <= self._frozen and depth < top}
        if self._kept:
            digests = self._known_digests()
            alive = {digests[depth] for depth in self._ahead | {self._depth}}
            for key in [k for k in self._kept if k.split()[0] not in alive]:
                self._kept.pop(key).close()

    @property
    def per_token(self) -> int:
        """Bytes that a token's states take in this phase, for it and for those to come."""
        depths = (self._ahead | {self._depth}) - {0, len(self.model.blocks)}
        return len(depths) * size_of(np.ones(1, dtype=np.int64), self.model.width, self.dtype)

    def only_pooled(self) -> None:
        """Keep no states from the next phase on: a few steps do not pay for a pass over all."""
        self._wanted = [False] * len(self._wanted)

    def end(self, phase: int) -> None:
        """Begin the last predictions, of a model whose weights may be those of an earlier phase.

        Nothing is computed for the sake of later any more, and rounded states are not used: these
        predictions are those of the model as it is handed back.
        """
        self.open(phase)
        self._ahead, self._fills = set(), False
        if self.dtype != "fp32" and self._depth < len(self.model.blocks):
            self._depth = 0

    def close(self) -> None:
        """Let go of memory and files."""
        for states in self._kept.values():
            states.close()
        self._kept.clear()
        self._tokens.clear()

    def below(self, smiles: Sequence[str]) -> Below:
        """What the frozen part makes of these molecules, computed where it is not there yet."""
        depth, model = self._depth, self.model
        if not depth:
            return NOTHING
        molecules = hashlib.sha256("\n".join(smiles).encode()).hexdigest()
        digests = self._known_digests()
        if depth == len(model.blocks):
            pooled, seconds = frozen_embeddings(
                model, smiles, digests[-1], lambda: self._run(smiles, molecules, whole=True)
            )
            return Below(pooled=pooled, depth=depth, seconds=seconds)
        key, seconds = f"{digests[depth]} {molecules}", 0.0
        if key not in self._kept and self._fills:
            began = time.monotonic()
            self._run(smiles, molecules, whole=False)
            seconds = time.monotonic() - began
        return Below(None, self._kept.get(key), depth, seconds)

    def vectors(self, smiles: Sequence[str]) -> np.ndarray:
        """Pooled vectors (N, H) of molecules, the model in eval mode."""
        below = self.below(smiles)
        if below.pooled is not None:
            return below.pooled
        molecules = hashlib.sha256("\n".join(smiles).encode()).hexdigest()
        if molecules not in self._tokens:
            self._tokens[molecules] = encode(self.model.tokenizer, smiles)
        with autocast(self.precision, self.model.device):
            return self.model.embed_tokens(
                self._tokens[molecules],
                start=lambda rows: below.start(rows, self.model.device),
            )

    def _known_digests(self) -> list[str]:
        if self._digests is None:
            self._digests = digests_below(self.model, self._frozen, self.precision)
        return self._digests

    def _run(self, smiles: Sequence[str], molecules: str, whole: bool) -> np.ndarray:
        """One pass over molecules that keeps their states at all depths wanted.

        Returns:
            Their pooled vectors, where ``whole``.
        """
        tokens = encode(self.model.tokenizer, smiles)
        digests = self._known_digests()
        depths = self._ahead if whole else self._ahead | {self._depth}
        keys = {depth: f"{digests[depth]} {molecules}" for depth in depths}
        try:
            return self._keep(
                tokens, {depth: key for depth, key in keys.items() if key not in self._kept}, whole
            )
        except (OSError, MemoryError) as error:
            self._note(
                "from here on frozen blocks run in each epoch: no room for states", str(error)
            )
        # What has been kept so far is still good for this phase.
        self._ahead, self._fills = set(), False
        self.only_pooled()
        return self._keep(tokens, {}, whole) if whole else np.empty(0)

    def _keep(self, tokens: list[np.ndarray], keys: Mapping[int, str], whole: bool) -> np.ndarray:
        lengths = np.array([len(t) for t in tokens])
        size = size_of(lengths, self.model.width, self.dtype)
        memory = self.budget - sum(states.in_memory for states in self._kept.values())
        stores: dict[int, Ragged] = {}

        def add(rows: np.ndarray, mask: torch.Tensor) -> None:
            try:
                for depth, states in stores.items():
                    states.add(rows, found[depth], mask)
            except MemoryError as error:  # not to be tried again in halves: some are in by now
                raise OSError("the memory has no room for states") from error

        try:
            # The highest are wanted first, so memory is theirs.
            for depth in sorted(keys, reverse=True):
                folder = None if size <= memory else self._spill_folder()
                stores[depth] = Ragged(lengths, self.model.width, self.dtype, folder)
                memory -= stores[depth].in_memory
            casting = autocast(self.precision, self.model.device)
            with casting, noting(self.model, stores, whole) as found:
                pooled = self.model.embed_tokens(tokens, seen=add)
            for states in stores.values():
                states.finish()
        except BaseException:
            for states in stores.values():
                states.close()
            raise
        self._kept |= {keys[depth]: states for depth, states in stores.items()}
        return pooled

    def _spill_folder(self) -> Path:
        if self._folder is not None:
            return self._folder
        try:
            return cache_dir() / "prefix"
        except CourseKitError as error:
            raise OSError(str(error)) from error


def served(depths: Sequence[int], first: int) -> list[int]:
    """The phases that a pass at the beginning of phase ``first`` serves, that one included.

    Args:
        depths: of what is frozen, phase by phase.
        first: where something is frozen.
    """
    found, lowest = [], depths[first]
    for phase in range(first, len(depths)):
        if depths[phase] and depths[phase] <= lowest:
            found.append(phase)
        lowest = min(lowest, depths[phase])
    return found


def worth_it(depths: Sequence[int], epochs: Sequence[int]) -> list[bool]:
    """Whether each phase is better off with the cache: its pass must serve two epochs or more.

    Decided by the plan alone, so that a run that was stopped and goes on decides alike.
    """
    worth = [False] * len(depths)
    left = set(range(len(depths)))
    for first in range(len(depths)):
        if first in left:
            together = left & set(served(depths, first))
            left -= together
            for phase in together:
                worth[phase] = sum(epochs[p] for p in together) > 1
    return worth


def _budget() -> int:
    """Bytes of memory for states; a matter of the machine, and without effect on any number."""
    wanted = os.environ.get(BUDGET, "1024")
    try:
        mebibytes = float(wanted)
        if not 0 <= mebibytes < math.inf:
            raise ValueError
    except ValueError:
        raise TrainingError(
            f"{BUDGET} is {wanted!r}; a number of MiB from 0 on is expected"
        ) from None
    return int(mebibytes * 2**20)
