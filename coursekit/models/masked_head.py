"""The masked-token head that an encoder was pretrained with, put back on an encoder that trains.

``load_classifier`` leaves that head in its file. Here it is read again, once somebody wants to
know what the encoder still knows of its pretraining, or to go on with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from coursekit.errors import EncoderError
from coursekit.models.classifier import Classifier, seeded
from coursekit.models.masking import masked_token_scores

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

MASK_SHARE = 0.3


def masked_model(model: Classifier) -> PreTrainedModel:
    """The classifier's encoder below the masked-token head of its pretraining.

    The encoder is the classifier's own, not a copy: what trains in one has trained in the other.
    The head is frozen. Where it shares a matrix with the token embeddings, it still does.

    Args:
        model: from ``load_classifier``.

    Returns:
        A model of transformers, whose ``logits`` have shape (B, T, vocabulary).

    Raises:
        EncoderError: if the encoder's file holds no masked-token head, or its tokenizer no
            [MASK].
    """
    what = f"masked_model: {model.name} has no masked-token head"
    ways = "Choose an encoder that was published with it, such as 'coursekit-mini'."
    if model.source is None:
        raise EncoderError(f"{what}: it was not loaded from a file by load_classifier. {ways}")
    if model.tokenizer.mask_token_id is None:
        raise EncoderError(f"{what}: its tokenizer has no token to mask others with. {ways}")
    try:
        with seeded(0):  # what the file lacks is drawn, and refused below
            whole, info = _load(model.source)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0][:200]
        raise EncoderError(f"{what} that can be loaded ({first}). {ways}") from error
    below = f"{whole.base_model_prefix}."
    absent = sorted(name for name in info["missing_keys"] if not name.startswith(below))
    absent = [name for name in absent if not _shared(whole, name, below)]
    if absent:
        raise EncoderError(
            f"{what}: {', '.join(absent[:3])} {'is' if len(absent) == 1 else 'are'} not among its "
            f"weights. {ways}"
        )
    setattr(whole, whole.base_model_prefix, model.encoder)
    whole.tie_weights()
    mine = {id(parameter) for parameter in model.encoder.parameters()}
    for parameter in whole.parameters():
        if id(parameter) not in mine:
            parameter.requires_grad_(False)
    return whole.to(model.device)


def _load(source: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    from transformers import AutoModelForMaskedLM

    from coursekit.models.hub import quiet_loading

    with quiet_loading() as precision:
        whole, info = AutoModelForMaskedLM.from_pretrained(
            source,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **precision,
        )
    return whole, info


def _shared(whole: nn.Module, name: str, below: str) -> bool:
    """Whether a weight of the head is also one of the encoder's, under another name."""
    wanted = dict(whole.named_parameters(remove_duplicate=False)).get(name)
    return wanted is not None and any(
        parameter is wanted
        for other, parameter in whole.named_parameters(remove_duplicate=False)
        if other.startswith(below)
    )


def masked_token_loss(
    model: Classifier, smiles: Sequence[str], mask_share: float = MASK_SHARE, seed: int = 0
) -> dict[str, float]:
    """How well the encoder still guesses masked tokens, with the head of its pretraining.

    Args:
        model: as it is now, trained or not; it stays as it is.
        smiles: molecules that were held out of the pretraining, see ``heldout_molecules``.
        mask_share: share of the tokens to be guessed.
        seed: of the masks; the same seed hides the same tokens.

    Returns:
        ``loss`` (nats per masked token), ``accuracy`` and ``masked_tokens``.

    Raises:
        EncoderError: if the encoder has no masked-token head, or there are no molecules; or a
            recorded run stands in for the model's training and did not measure this.
    """
    if not len(smiles):
        raise EncoderError("masked_token_loss: there are no molecules; give at least one SMILES")
    if model.recorded is not None:
        return _as_recorded(model.recorded, smiles, mask_share, seed)
    return scores_under(masked_model(model), model, smiles, mask_share, seed)


def molecules_fingerprint(smiles: Sequence[str]) -> str:
    """By which a run's forgetting names the molecules that it was measured on."""
    return hashlib.sha256("\n".join(smiles).encode()).hexdigest()


def _as_recorded(
    forgetting: Mapping[str, Any], smiles: Sequence[str], mask_share: float, seed: int
) -> dict[str, float]:
    """The loss that a run measured once it had trained, for a model that was not trained here."""
    asked = (molecules_fingerprint(smiles), mask_share, seed)
    if asked != (forgetting.get("fingerprint"), MASK_SHARE, 0):
        measured = f"{forgetting['molecules']} others" if forgetting else "none"
        raise EncoderError(
            "masked_token_loss: a recorded run stands in for this model's training, so its "
            f"weights are not here, and of these molecules the run says nothing; it measured "
            f"{measured}. Give `fit(..., heldout=...)` those that you measure, and train again."
        )
    return {
        "loss": forgetting["loss_after"],
        "accuracy": forgetting["accuracy_after"],
        "masked_tokens": forgetting["masked_tokens"],
    }


def scores_under(
    whole: PreTrainedModel,
    model: Classifier,
    smiles: Sequence[str],
    mask_share: float = MASK_SHARE,
    seed: int = 0,
) -> dict[str, float]:
    """``masked_token_loss`` where the model with its masked-token head is at hand already."""
    with _in_eval_mode(whole):
        return masked_token_scores(whole, model.tokenizer, smiles, mask_share, seed)


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Without dropout inside the block; each part has its own mode back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
