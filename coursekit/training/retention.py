"""What a session does about the encoder's pretraining: measure what is lost of it, and hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from coursekit.errors import EncoderError, TrainingError
from coursekit.models.masked_head import (
    MASK_SHARE,
    masked_model,
    molecules_fingerprint,
    scores_under,
)
from coursekit.models.precision import autocast
from coursekit.models.pretraining_molecules import (
    heldout_molecules,
    knows_its_molecules,
    pretraining_molecules,
)
from coursekit.training.anchors import Anchors
from coursekit.training.fisher import diagonal_fisher, masked_log_likelihoods
from coursekit.training.penalties import EWC, L2SP, Penalty, Replay
from coursekit.training.replay import Replayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from coursekit.models.classifier import Classifier
    from coursekit.training.session import Session

MEASURED_ON = 200


class Retention:
    """The penalties of one run at work, and its forgetting.

    Args:
        session: its model is prepared and has the weights that training begins from; each of its
            processes replays a share of a step's molecules.
        heldout: molecules to measure forgetting on, none to measure nothing; None takes those of
            the bundled encoder, and measures nothing for another.

    Attributes:
        held: names of the parameters that L2-SP or EWC hold: they know no other decay.
        before: masked-token scores before training, or None where nothing is measured.

    Raises:
        TrainingError: if a penalty has nothing to hold, or no molecules.
        EncoderError: if it needs a masked-token head and the encoder has none.
    """

    def __init__(self, session: Session, heldout: Sequence[str] | None = None) -> None:
        self.penalties: Sequence[Penalty] = session.strategy.penalties
        self.model, self.groups, self.processes = session.model, session.groups, session.processes
        self.seed, self.precision = session.seed, session.precision
        owner, plan, groups, model = session.name, session.plan, session.groups, session.model
        penalties, seed = self.penalties, session.seed
        opened = {group for phase in plan.phases for group in phase.learning_rates}
        training = [name for group in groups if group in opened for name in groups[group]]
        inside = [name for name in training if name.startswith("encoder.")]
        own = [name for name in inside if ".lora_" not in name]
        holds = any(isinstance(penalty, L2SP | EWC) for penalty in penalties)
        for penalty in penalties:
            _check_use(owner, penalty, inside if isinstance(penalty, Replay) else own, opened)
        self.held = frozenset(own) if holds else frozenset()
        self.encoder_trains = bool(inside)
        self._given = heldout
        self.before: dict[str, float] | None = None
        self.anchors: Anchors | None = None
        self._whole: PreTrainedModel | None = None
        replay = next((p for p in penalties if isinstance(p, Replay)), None)
        self._replayer = (
            Replayer(replay, model, _molecules(replay, model), seed) if replay else None
        )
        if heldout or any(isinstance(p, EWC | Replay) for p in penalties):
            _ = self.whole  # what is missing is said before anything trains

    @cached_property
    def heldout(self) -> tuple[str, ...]:
        """The molecules that forgetting is measured on; none where it is not."""
        if self._given is not None:
            return tuple(self._given)
        return tuple(heldout_molecules(MEASURED_ON)) if knows_its_molecules(self.model) else ()

    @property
    def whole(self) -> PreTrainedModel:
        """The encoder below the masked-token head of its pretraining."""
        if self._whole is None:
            self._whole = masked_model(self.model)
        return self._whole

    def begin(self) -> None:
        """Take the model as it is now for the pretrained one: measure it, and keep its weights."""
        if self.heldout:
            self.before = self.processes.once(self.measure)
        self.hold()

    def hold(self) -> None:
        """Keep the weights as they are now, as those to hold the model near."""
        if self.held:
            ewc = next((p for p in self.penalties if isinstance(p, EWC)), None)
            fisher = None if ewc is None else self.processes.once(lambda: self._fisher(ewc))
            names = sorted(self.held)
            self.anchors = Anchors(self.model, names, self.penalties, fisher)

    def replay(
        self, step: int, molecules: int, scaler: torch.amp.GradScaler, fits: int | None = None
    ) -> dict[str, torch.Tensor]:
        """Add the gradient of the replayed molecules to that of the task.

        Args:
            step: number of the optimizer step.
            molecules: of the task in this step.
            scaler: of fp16.
            fits: most molecules to run at once.

        Returns:
            ``masked_loss``, or nothing where nothing is replayed or the encoder is frozen now.
        """
        if self._replayer is None or not any(
            parameter.requires_grad for parameter in self.model.encoder.parameters()
        ):
            return {}
        total = torch.zeros((), device=self.model.device)
        for batch in self._replayer.batches(step, molecules, self.processes, fits):
            with autocast(self.precision, self.model.device):
                logits = self.whole(input_ids=batch.ids, attention_mask=batch.mask).logits
            loss = batch.share_of_loss(logits)
            scaler.scale(self._replayer.settings.weight * loss).backward()
            total += loss.detach()
        return {"masked_loss": total}

    def pull(self, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        """Pull the weights that train toward their anchors, after the optimizer's step.

        Args:
            optimizer: has the learning rate of each group of the plan.

        Returns:
            ``penalty``, or nothing where nothing is held.
        """
        if self.anchors is None:
            return {}
        rates = {group["name"]: float(group["lr"]) for group in optimizer.param_groups}
        by_name = {name: rates[group] for group, names in self.groups.items() for name in names}
        return {"penalty": self.anchors.pull(self.model, by_name)}

    def forgetting(self) -> dict[str, Any] | None:
        """What the Run says: masked-token loss and accuracy before training and now."""
        if self.before is None:
            return None
        after = self.processes.once(self.measure) if self.encoder_trains else self.before
        return {
            "molecules": len(self.heldout),
            "masked_tokens": int(self.before["masked_tokens"]),
            "fingerprint": molecules_fingerprint(self.heldout),
            **{
                f"{number}_{when}": round(scores[number], 6)
                for number in ("loss", "accuracy")
                for when, scores in (("before", self.before), ("after", after))
            },
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a saved state needs of the weights held; see ``load``."""
        return {} if self.anchors is None else self.anchors.tensors()

    def load(self, before: dict[str, float] | None, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on with what was measured and kept when training began."""
        self.before = before
        if self.held:
            self.anchors = Anchors.load(self.model, self.penalties, tensors)

    def measure(self) -> dict[str, float]:
        """How well the encoder guesses the masked tokens of its held-out molecules now."""
        return scores_under(self.whole, self.model, self.heldout)

    def _fisher(self, ewc: EWC) -> dict[str, torch.Tensor]:
        """The Fisher of the masked-token task, of the weights held, in eval mode; on the CPU."""
        model, modes = self.model, [(m, m.training) for m in self.whole.modules()]
        parameters = {name: model.get_parameter(name) for name in sorted(self.held)}
        flags = [(p, p.requires_grad) for p in parameters.values()]
        smiles = _molecules(ewc, model)
        self.whole.eval()
        try:
            for parameter, _ in flags:
                parameter.requires_grad_(True)
            values = masked_log_likelihoods(self.whole, model, smiles, MASK_SHARE, self.seed)
            return {n: f.cpu() for n, f in diagonal_fisher(values, parameters).items()}
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            for module, mode in modes:
                module.training = mode


def _check_use(owner: str, penalty: Penalty, names: Sequence[str], opened: set[str]) -> None:
    if names:
        return
    name, trains = type(penalty).__name__, ", ".join(sorted(opened))
    if isinstance(penalty, Replay):
        why = "replay trains the encoder, and the encoder stays frozen"
    else:
        why = f"{name} holds the encoder's own weights near the pretrained ones, and none trains"
    raise TrainingError(
        f"{owner}: {why} (what trains: {trains}). Nothing can be forgotten there but through "
        f"adapters, which Replay can train too; leave {name} out, or open a block."
    )


def _molecules(penalty: EWC | Replay, model: Classifier) -> list[str]:
    if not isinstance(penalty.molecules, int):
        return list(penalty.molecules)
    if not knows_its_molecules(model):
        raise TrainingError(
            f"{type(penalty).__name__}: coursekit does not have the molecules that {model.name} "
            "was pretrained on, only those of coursekit-mini; give some, "
            f"{type(penalty).__name__}(molecules=[...])"
        )
    try:
        return pretraining_molecules(penalty.molecules)
    except EncoderError as error:
        raise TrainingError(f"{type(penalty).__name__}: {error}") from error
