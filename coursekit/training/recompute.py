"""Gradient checkpointing: activations are computed again in the backward pass, and not kept.

Source: Chen et al. 2016, arXiv 1604.06174; the implementation is that of transformers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from coursekit.errors import TrainingError

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier


@contextmanager
def gradient_checkpointing(model: Classifier, wanted: bool) -> Iterator[None]:
    """Train the encoder's blocks with checkpoints inside the block, and not after it.

    Args:
        model: whose encoder it is; one that had it on before keeps it.
        wanted: False changes nothing.

    Raises:
        TrainingError: if the encoder's family cannot.
    """
    encoder = model.encoder
    if not wanted or any(getattr(m, "gradient_checkpointing", False) for m in encoder.modules()):
        yield
        return
    if not encoder.supports_gradient_checkpointing:
        raise TrainingError(
            f"gradient_checkpointing is True, but {type(encoder).__name__} ({model.name}) does "
            "not support it in this version of transformers; set it to False, and where memory "
            "is short lower batch_size or train fewer blocks"
        )
    # Later versions of transformers have the two methods under another name. The older, reentrant
    # way finds no gradient to go on with where the blocks below are frozen (transformers issue
    # 21381).
    renamed = hasattr(encoder, "activation_checkpointing_enable")
    word = "activation" if renamed else "gradient"
    cached = getattr(encoder.config, "use_cache", None)
    if cached:
        encoder.config.use_cache = False  # means nothing to an encoder, and transformers warns
    getattr(encoder, f"{word}_checkpointing_enable")({"use_reentrant": False})
    try:
        yield
    finally:
        getattr(encoder, f"{word}_checkpointing_disable")()
        if cached:
            encoder.config.use_cache = cached
