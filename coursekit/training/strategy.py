"""What a strategy is: it turns a model into a list of phases; one loop runs them all.

Your own is one class with one method::

    class TopTwo(FinetuneStrategy):
        def phases(self, model, epochs):
            top = list(model.groups)[-3:]          # the last two blocks and the head
            return [Phase({group: self.lr for group in top}, epochs=epochs)]
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from coursekit.errors import TrainingError
from coursekit.training.objective import ClassWeight
from coursekit.training.penalties import Penalty, check_penalties, rebuild_penalties
from coursekit.training.phases import Phase, make_plan
from coursekit.training.plan import Decay, Plan

if TYPE_CHECKING:
    from coursekit.data.task import BindingTask
    from coursekit.models.classifier import Classifier
    from coursekit.runs import Run
    from coursekit.training.tracking import TrackerChoice

Monitor = Literal["loss", "auroc_easy", "auroc_hard", "au_prc_easy", "au_prc_hard"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Cache = Literal["auto", "off", "fp32", "fp16", "bf16"]
ADDED_BY_FIT = frozenset({"epochs", "phases", "encoder"})


@dataclass(frozen=True, kw_only=True)
class FinetuneStrategy:
    """What all strategies share; subclasses say in ``phases`` who trains when.

    Args:
        lr: peak learning rate of the head and, where a strategy does not lower it, of all blocks.
        batch_size: molecules in one forward pass. Where memory runs out, fewer go through at once
            from there on, and a step still learns from as many.
        accumulate: forward passes in one optimizer step; the loss is the mean over all molecules
            of the step, however they are divided.
        weight_decay: AdamW's, on matrices only, never on biases and norms.
        decay: shape of the learning rate over the whole run.
        warmup: epochs over which each phase's learning rates rise.
        clip: largest norm of the gradient.
        patience: end a run's last phase after so many validations without improvement.
        monitor: the validation number that decides on the best epoch and on patience.
        precision: ``"auto"`` takes bf16 where a GPU really has it, fp16 with a scaler on other
            GPUs, and fp32 on a CPU, where ``"bf16"`` pays if ``coursekit doctor`` finds it there.
        class_weight: how many negatives one binder counts for in training; ``"balanced"`` lets
            all binders together count as much as all negatives.
        label_smoothing: share of each label that is divided evenly between both classes.
        ema: decay of an exponential moving average of the weights, 0.99 or so; the averages are
            validated, compared for the best epoch, and given back. None does without.
        gradient_checkpointing: compute activations again in the backward pass in place of
            keeping them: the same numbers in less memory and more time.
        penalties: what keeps the encoder near its pretraining: any of ``L2SP``, ``EWC`` and
            ``Replay``.
        cache: how the states that frozen blocks leave are kept, so that those blocks run once
            for all epochs: ``"fp32"`` exactly, ``"fp16"`` and ``"bf16"`` in half the room and
            rounded, ``"off"`` not at all; ``"auto"`` is fp32 where two epochs or more gain by it.
        group_by_length: molecules of like length in each batch, as Trainer's strategy of that
            name has it: less padding where nothing is packed (on a GPU, in DeBERTa), but a step
            no longer speaks for all lengths.
    """

    lr: float = 3e-4
    batch_size: int = 32
    accumulate: int = 1
    weight_decay: float = 0.01
    decay: Decay = "linear"
    warmup: float = 0.5
    clip: float = 1.0
    patience: int | None = None
    monitor: Monitor = "loss"
    precision: Precision = "auto"
    class_weight: ClassWeight = None
    label_smoothing: float = 0.0
    ema: float | None = None
    gradient_checkpointing: bool = False
    penalties: tuple[Penalty, ...] = ()
    cache: Cache = "auto"
    group_by_length: bool = False

    # Came after the first records; described only where set, so that those stay what they are.
    added_later: ClassVar[frozenset[str]] = frozenset({"group_by_length"})
    rebuildable: ClassVar[dict[str, type[FinetuneStrategy]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        FinetuneStrategy.rebuildable[cls.__name__] = cls

    def __post_init__(self) -> None:
        for name in ("lr", "clip"):
            self._expect(name, "a positive number", lambda v: 0 < v < math.inf)
        for name in ("weight_decay", "warmup"):
            self._expect(name, "0 or a positive number", lambda v: 0 <= v < math.inf)
        for name in ("batch_size", "accumulate"):
            self._expect(name, "a whole number from 1 on", whole_from(1))
        words = {"decay": Decay, "monitor": Monitor, "precision": Precision, "cache": Cache}
        for name, kinds in words.items():
            known = get_args(kinds)
            self._expect(name, f"one of {', '.join(known)}", known.__contains__)
        self._expect("label_smoothing", "a share from 0 to less than 1", lambda v: 0 <= v < 1)
        if self.ema is not None:
            self._expect("ema", "None, or a decay from 0 to less than 1", lambda v: 0 <= v < 1)
        for name in ("gradient_checkpointing", "group_by_length"):
            self._expect(name, "True or False", lambda v: isinstance(v, bool))
        if self.class_weight not in (None, "balanced"):
            positive = "None, 'balanced' or a positive number"
            self._expect("class_weight", positive, lambda v: 0 < v < math.inf)
        check_penalties(type(self).__name__, self.penalties)

    def _expect(self, name: str, expected: str, holds: Callable[[Any], bool]) -> None:
        value = getattr(self, name)
        try:
            good = holds(value)
        except (TypeError, ValueError):
            good = False
        if not good:
            raise TrainingError(
                f"{type(self).__name__}: {name} is {value!r}; {expected} is expected"
            )

    def phases(self, model: Classifier, epochs: int) -> list[Phase]:
        """The phases for this model; the one method that a strategy must have.

        Args:
            model: its ``groups`` name what can train, input side first, the head last.
            epochs: what the user asked for in all.
        """
        raise TrainingError(
            f"{type(self).__name__} has no phases(); a strategy is a subclass that returns a list "
            "of Phase from phases(self, model, epochs)"
        )

    def prepare(self, model: Classifier) -> None:
        """Change the model's structure before it trains, where a strategy needs to.

        Adapters are put in here. Called again on a model that has been prepared, it must leave it
        as it is.
        """

    def parameter_groups(self, model: Classifier) -> Mapping[str, tuple[str, ...]]:
        """Parameter names by group, input side first: what the phases speak of.

        The model's own groups, unless a strategy cuts them finer.
        """
        return model.groups

    def plan(self, model: Classifier, epochs: int = 5) -> Plan:
        """What ``fit`` would do, to look at first; the model stays as it is.

        Raises:
            TrainingError: if a phase names a group that the model does not have, or the like.
        """
        copied = type(self).prepare is not FinetuneStrategy.prepare
        if copied:
            model = copy.deepcopy(model, {id(model.tokenizer): model.tokenizer})
            self.prepare(model)
        parameters = {
            group: sum(model.get_parameter(name).numel() for name in names)
            for group, names in self.parameter_groups(model).items()
        }
        phases = self.phases(model, epochs)
        if copied:
            model.to("meta")  # ESM holds itself in a cycle: they would wait for the collector
        return make_plan(phases, parameters, epochs, self.decay, self.warmup)

    def fit(
        self,
        model: Classifier,
        task: BindingTask,
        epochs: int = 5,
        seed: int = 0,
        checkpoint_dir: str | Path | None = None,
        resume_from: str | Path | None = None,
        tracker: TrackerChoice = None,
        heldout: Sequence[str] | None = None,
    ) -> Run:
        """Train the model in place, phase by phase, and keep the best epoch's weights.

        Args:
            model: from ``load_classifier``.
            task: what to learn; its ``valid`` part decides, its ``test`` part is only predicted.
            epochs: in all phases together.
            seed: of the order of molecules and of dropout.
            checkpoint_dir: where states are kept; a run that stopped half-way goes on from the
                newest whole one, a finished run is given back at once.
            resume_from: a folder of states to go on from where ``checkpoint_dir`` has none yet.
            tracker: "tensorboard", "mlflow", "wandb", "comet", "langfuse", a function that is
                called with each row of the history as it appears, or a list of these. One that
                fails is noted in the Run and gets no more.
            heldout: SMILES that were kept out of the encoder's pretraining, to measure what it
                forgets; the bundled encoder has its own, another is measured only if they are
                given. An empty list measures nothing.

        Returns:
            The Run; interrupted with ctrl-C, the Run so far.

        Raises:
            TrainingError: if the plan does not fit the model, if a checkpoint is of another run,
                or if the loss stops being a number.
        """
        from coursekit.training.loop import train

        return train(self, model, task, epochs, seed, checkpoint_dir, resume_from, tracker, heldout)

    def describe(self) -> dict[str, Any]:
        """Plain data from which ``rebuild`` makes the same strategy."""
        defaults = {f.name: f.default for f in fields(self) if f.name in self.added_later}
        settings = {k: v for k, v in asdict(self).items() if k not in defaults or v != defaults[k]}
        penalties = [penalty.describe() for penalty in self.penalties]
        return {"strategy": type(self).__name__, **settings, "penalties": penalties}


def rebuild(description: dict[str, Any]) -> FinetuneStrategy:
    """Make a strategy again from its description.

    Args:
        description: what ``describe`` gave, or the ``strategy`` of a Run, which has more.

    Raises:
        TrainingError: if its class is not known here, or an argument is not one of its own.
    """
    arguments = dict(description)
    name = arguments.pop("strategy", None)
    cls = FinetuneStrategy.rebuildable.get(str(name))
    if cls is None:
        raise TrainingError(
            f"rebuild: there is no strategy {name!r}; known are "
            f"{sorted(FinetuneStrategy.rebuildable)}. Import the module that defines it first."
        )
    own = {f.name for f in fields(cls)}
    arguments = {k: v for k, v in arguments.items() if k in own or k not in ADDED_BY_FIT}
    unknown = set(arguments) - own
    if unknown:
        raise TrainingError(f"rebuild: {name} has no argument {sorted(unknown)}")
    if "penalties" in arguments:
        arguments["penalties"] = rebuild_penalties(arguments["penalties"])
    return cls(**arguments)


def whole_from(least: int) -> Callable[[Any], bool]:
    """A check for whole numbers that are no smaller."""
    return lambda value: isinstance(value, int) and value >= least
