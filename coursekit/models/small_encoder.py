"""A small ModernBERT for SMILES: made with random weights, written for any transformers.

ModernBERT (Warner et al. 2024, arXiv 2412.13663): rotary positions, pre-norm and gated
feed-forward layers learn faster per second than a BERT of the same size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from coursekit.errors import EncoderError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def build_model(
    tokenizer: PreTrainedTokenizerFast, blocks: int, hidden: int, heads: int, seed: int
) -> PreTrainedModel:
    """A ModernBERT with masked-token head and random weights; every token attends to all others.

    Every second block is a local one in name, with a window wider than any input: transformers
    5.15 cannot read back a ModernBERT whose blocks are all global.

    Args:
        tokenizer: gives the vocabulary and the longest input.
        blocks: transformer blocks.
        hidden: width of a token's vector.
        heads: attention heads; must divide ``hidden``.
        seed: of the weights.

    Raises:
        EncoderError: if there are fewer than two blocks, or ``heads`` does not divide ``hidden``
            into even parts.
    """
    import torch
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    if blocks < 2:  # one of either kind, see above
        raise EncoderError(f"pretrain: blocks is {blocks}; at least 2 are expected")
    if hidden % (2 * heads):  # rotary positions turn pairs of channels
        raise EncoderError(
            f"pretrain: {heads} heads cannot share a width of {hidden} in even parts; "
            f"{hidden // (2 * heads) * 2 * heads or 2 * heads} would do"
        )
    torch.manual_seed(seed)
    config = ModernBertConfig(
        vocab_size=-(-len(tokenizer) // 8) * 8,
        hidden_size=hidden,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=tokenizer.model_max_length,
        global_attn_every_n_layers=2,
        local_attention=2 * tokenizer.model_max_length,
        global_rope_theta=10_000.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        attn_implementation="sdpa",
    )
    return ModernBertForMaskedLM(config)


def save_encoder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write model and tokenizer so that transformers 4.48 and 5.x load them without coursekit."""
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    # Class names that only the newest transformers knows would lock out the others.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("model_type") == "modernbert" and "rope_parameters" in config:
        # transformers 4 reads the rotary base under its older name.
        config["global_rope_theta"] = config["rope_parameters"]["full_attention"]["rope_theta"]
        path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
