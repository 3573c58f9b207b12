"""What keeps an encoder near its pretraining while it learns a task: L2-SP, EWC and replay.

A strategy takes any of them, ``FullFinetune(penalties=(L2SP(), Replay()))``; on one engine they
mean the same under every strategy. L2-SP and EWC hold weights (module ``anchors``), replay goes on
with the pretraining (module ``replay``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from coursekit.errors import TrainingError

MOST_MOLECULES = 5_000  # they travel in the run's record


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """What all penalties share: being checked, described and made again."""

    known: ClassVar[dict[str, type[Penalty]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Penalty.known[cls.__name__] = cls

    def _expect(self, name: str, expected: str, holds: Callable[[Any], bool]) -> None:
        value = getattr(self, name)
        try:
            good = not isinstance(value, bool) and holds(value)
        except TypeError:
            good = False
        if not good:
            raise TrainingError(
                f"{type(self).__name__}: {name} is {value!r}; {expected} is expected"
            )

    def describe(self) -> dict[str, Any]:
        """Plain data from which ``rebuild_penalties`` makes the same penalty."""
        return {"penalty": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class L2SP(Penalty):
    """Decay toward the pretrained weights, in place of AdamW's decay toward zero.

    The penalty is ``strength / 2 * sum((w - w0)**2)`` over the weights of the encoder, where w0 is
    what they were when training began (Li, Grandvalet and Davoine 2018, arXiv 1802.01483). Its
    gradient goes past Adam's moments, as AdamW's decay does: each step takes a share
    ``learning rate * strength`` of the way back to w0. AdamW's own decay is off on these weights.

    Args:
        strength: the share taken back in a step, over the learning rate. A tenth a step holds
            firmly (100 at a learning rate of 1e-3), a thousandth hardly.
    """

    strength: float = 100.0

    def __post_init__(self) -> None:
        self._expect("strength", "a positive number", lambda v: 0 < v < math.inf)


@dataclass(frozen=True)
class EWC(Penalty):
    """As L2SP, but each weight is held as firmly as the pretraining task depends on it.

    Elastic weight consolidation (Kirkpatrick et al. 2017, doi 10.1073/pnas.1611835114): the
    penalty is ``strength / 2 * sum(F * (w - w0)**2)`` with F the diagonal of the Fisher information
    of the masked-token task. It is the mean, over molecules, of the squared gradient of one
    molecule's log-likelihood, its masked tokens drawn from what the encoder itself expects there;
    squaring the mean gradient of a batch would be another quantity (van de Ven 2025, arXiv
    2502.11756, compares). F is divided by its mean over the weights held, so that ``strength`` is
    on the scale of L2SP's.

    Args:
        strength: as L2SP's.
        molecules: pretraining molecules for F, a SMILES each, or how many of those that
            coursekit-mini was pretrained on.
        half: keep F in fp16, in half the memory.
    """

    strength: float = 30.0
    molecules: int | Sequence[str] = 200
    half: bool = False

    def __post_init__(self) -> None:
        self._expect("strength", "a positive number", lambda v: 0 < v < math.inf)
        _check_molecules(self)


@dataclass(frozen=True)
class Replay(Penalty):
    """Go on with the pretraining in every step: some of its molecules, with masked tokens.

    The mean loss over their masked tokens joins the task's loss. The masked-token head stays as it
    was pretrained. (Rehearsal, Robins 1995, doi 10.1080/09540099550039318.)

    Args:
        rate: molecules replayed for each molecule of the task in a step, at least one.
        weight: of the masked-token loss beside the task's. The default keeps nearly all that a
            weight of 1 keeps, and costs the task far less (docs/benchmarks.md).
        molecules: pretraining molecules to draw from, a SMILES each, or how many of those that
            coursekit-mini was pretrained on.
        mask_share: share of their tokens to be guessed.
    """

    rate: float = 0.5
    weight: float = 0.1
    molecules: int | Sequence[str] = 2_000
    mask_share: float = 0.3

    def __post_init__(self) -> None:
        self._expect("rate", "a positive number", lambda v: 0 < v < math.inf)
        self._expect("weight", "a positive number", lambda v: 0 < v < math.inf)
        self._expect("mask_share", "a share between 0 and 1", lambda v: 0 < v < 1)
        _check_molecules(self)


def _check_molecules(penalty: EWC | Replay) -> None:
    given, name = penalty.molecules, type(penalty).__name__
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return
    smiles = () if isinstance(given, str | int) else tuple(given)
    if not smiles or not all(isinstance(s, str) and s for s in smiles):
        raise TrainingError(
            f"{name}: molecules is {str(given)[:60]!r}; a list of SMILES, or a positive number, is "
            "expected. coursekit.models.corpus.read_smiles reads a file of them."
        )
    if len(smiles) > MOST_MOLECULES:
        raise TrainingError(
            f"{name}: {len(smiles):,} molecules; at most {MOST_MOLECULES:,} travel in a run's "
            "record. Draw some at random."
        )
    object.__setattr__(penalty, "molecules", smiles)  # as from a record, where tuples are lists


def check_penalties(owner: str, penalties: Any) -> tuple[Penalty, ...]:
    """The penalties of a strategy as a tuple.

    Raises:
        TrainingError: if something else is among them, or one kind twice.
    """
    if not isinstance(penalties, list | tuple) or not all(
        isinstance(penalty, Penalty) for penalty in penalties
    ):
        raise TrainingError(
            f"{owner}: penalties is {penalties!r}; a tuple of {', '.join(Penalty.known)} is "
            "expected, such as (L2SP(),)"
        )
    kinds = [type(penalty).__name__ for penalty in penalties]
    twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if twice:
        raise TrainingError(f"{owner}: penalties has {twice[0]} twice; add up their strengths")
    return tuple(penalties)


def rebuild_penalties(descriptions: Sequence[Mapping[str, Any]]) -> tuple[Penalty, ...]:
    """Make penalties again from their descriptions.

    Raises:
        TrainingError: if one is not known here, or an argument is not one of its own.
    """
    rebuilt = []
    for description in descriptions:
        arguments = dict(description)
        name = str(arguments.pop("penalty", None))
        cls = Penalty.known.get(name)
        if cls is None:
            raise TrainingError(
                f"rebuild: there is no penalty {name!r}; known are {sorted(Penalty.known)}"
            )
        unknown = sorted(set(arguments) - {f.name for f in fields(cls)})
        if unknown:
            raise TrainingError(f"rebuild: {name} has no argument {unknown}")
        rebuilt.append(cls(**arguments))
    return tuple(rebuilt)
