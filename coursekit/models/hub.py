"""Encoders by name: the bundled one, a folder, or any on the Hugging Face hub."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from coursekit.data.paths import bundled
from coursekit.errors import EncoderError
from coursekit.models.classifier import Classifier, Pooling, seeded
from coursekit.models.tokenizer import repair_chemberta

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# Hubs' copies, in safetensors, of encoders whose own repository holds a pickle only.
SAFE_COPIES = {
    "DeepChem/ChemBERTa-77M-MLM": "yzimmermann/ChemBERTa-77M-MLM-safetensors",
}


def load_classifier(
    encoder: str | Path = "coursekit-mini",
    pooling: Pooling = "cls",
    seed: int = 0,
    dropout: float = 0.1,
    device: str | None = None,
) -> Classifier:
    """Load a pretrained encoder and put a fresh head on it.

    Args:
        encoder: ``"coursekit-mini"``, the bundled one; a Hugging Face id such as
            ``"DeepChem/ChemBERTa-77M-MLM"``; or a folder. Weights are read from safetensors only.
        pooling: ``"cls"`` or ``"mean"`` (over real tokens).
        seed: of the head's weights.
        dropout: on the pooled vector, in training.
        device: ``"cuda"`` where there is one, else ``"cpu"``.

    Raises:
        EncoderError: if there is no such encoder, it has no safetensors, or no blocks are found.
    """
    source, name = _locate(encoder)
    tokenizer = repair_chemberta(_load_tokenizer(source, name))
    with seeded(seed):  # weights that the file lacks, such as a pooler's, are drawn
        loaded, missing = _load_encoder(source, name)
    _check_fit(tokenizer, loaded, name)
    model = Classifier(loaded, tokenizer, pooling, dropout, name, seed)
    _check_complete(model, missing)
    model.source = source
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _locate(encoder: str | Path) -> tuple[str, str]:
    if str(encoder) == "coursekit-mini":
        return str(bundled("coursekit-mini")), "coursekit-mini"
    path = Path(encoder).expanduser()
    if path.is_dir():
        return str(path), path.resolve().name
    name = str(encoder)
    if isinstance(encoder, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EncoderError(f"load_classifier: there is no folder {path}")
    copy = SAFE_COPIES.get(name)
    if copy:
        warnings.warn(
            f"{name} is published as a pickle only; its safetensors copy {copy} is loaded instead",
            stacklevel=3,
        )
    return copy or name, name


def _load_tokenizer(source: str, name: str) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"load_classifier: no tokenizer for {name!r} ({_first_line(error)}). Give a hub id, a "
            "folder with tokenizer.json, or 'coursekit-mini'; without a network only what is "
            "already in the Hugging Face cache can be loaded."
        ) from error


def _load_encoder(source: str, name: str) -> tuple[PreTrainedModel, set[str]]:
    """The encoder, and the names of those of its weights that the file does not have."""
    from safetensors import SafetensorError
    from transformers import AutoModel

    try:
        with quiet_loading() as precision:
            encoder, info = AutoModel.from_pretrained(
                source,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **precision,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise EncoderError(
            f"load_classifier: {name!r} cannot be loaded ({_first_line(error)}). Weights are read "
            "from safetensors only, because a pickle can run any code: choose a repository or "
            "folder that has model.safetensors, or convert a pickle that you trust, once, by "
            "AutoModel.from_pretrained(...).save_pretrained(folder)."
        ) from error
    return encoder, set(info["missing_keys"])


@contextmanager
def quiet_loading() -> Iterator[dict[str, torch.dtype]]:
    """Load a model of transformers in fp32, without a bar and without news.

    That the masked-token head of a pretrained file is left behind is no news: it is on purpose.

    Yields:
        The argument of ``from_pretrained`` that asks for fp32, which transformers 4.56 renamed.
    """
    import transformers
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    version = tuple(int(x) for x in transformers.__version__.split(".")[:2])
    try:
        yield {"dtype" if version >= (4, 56) else "torch_dtype": torch.float32}
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _check_fit(tokenizer: PreTrainedTokenizerFast, encoder: PreTrainedModel, name: str) -> None:
    """Refuse a tokenizer that is not the encoder's; give it the limit that the encoder has."""
    rows = encoder.get_input_embeddings().num_embeddings
    if tokenizer.pad_token_id is None or len(tokenizer) > rows:
        raise EncoderError(
            f"load_classifier: the tokenizer of {name!r} does not belong to its encoder: "
            f"{len(tokenizer)} tokens for {rows} embeddings, padding is {tokenizer.pad_token!r}"
        )
    # Where the tokenizer's files are missing, transformers makes one that knows no word.
    if set(tokenizer("C")["input_ids"]) <= set(tokenizer.all_special_ids):
        raise EncoderError(
            f"load_classifier: the tokenizer of {name!r} does not know carbon; are its files "
            "missing (tokenizer.json, or vocab.json and merges.txt)?"
        )
    positions = getattr(encoder.config, "max_position_embeddings", None)
    if positions and tokenizer.model_max_length > positions:
        # Some families (RoBERTa) begin to count positions after the padding id.
        tokenizer.model_max_length = positions - tokenizer.pad_token_id - 1


def _check_complete(model: Classifier, missing: set[str]) -> None:
    """Refuse an encoder that would work with random weights in the place of missing ones."""
    used = [n.removeprefix("encoder.") for names in model.groups.values() for n in names]
    random = [name for name in used if name in missing]
    if random:
        raise EncoderError(
            f"load_classifier: the weights of {model.name!r} do not fit its config.json: "
            f"{len(random)} of {len(used)} are missing in the file, the first {random[0]!r}"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
