"""Masked-token pretraining of a small SMILES encoder, from any file of SMILES.

30% of the tokens are masked, which served small SMILES encoders better than 15% (MolEncoder,
fabikru 2025). The encoder is the ModernBERT of ``small_encoder``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coursekit.data.batches import bucketed_batches, encode, pad
from coursekit.errors import EncoderError, TrainingError
from coursekit.interrupt import Interruptible
from coursekit.models.corpus import Corpus, read_corpus
from coursekit.models.masking import mask_tokens, masked_token_scores
from coursekit.models.model_card import write_card
from coursekit.models.pretrain_state import restore, save
from coursekit.models.small_encoder import build_model, save_encoder
from coursekit.models.tokenizer import MAX_TOKENS, train_tokenizer
from coursekit.storage import write_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class PretrainSettings:
    """How large, how long, how fast.

    Args:
        blocks: transformer blocks.
        hidden: width of a token's vector.
        heads: attention heads; must divide ``hidden``.
        epochs: passes over the corpus.
        batch_size: molecules in a step.
        learning_rate: peak, reached after the warm-up and brought to zero along a cosine.
        warmup: share of all steps.
        weight_decay: AdamW's, on matrices only.
        mask_share: share of the tokens to be guessed.
        holdout: molecules kept out of every file to measure on.
        seed: of weights, order and masks.

    Raises:
        EncoderError: if a size or a share cannot be.
    """

    blocks: int = 6
    hidden: int = 128
    heads: int = 4
    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 1.5e-3
    warmup: float = 0.03
    weight_decay: float = 0.01
    mask_share: float = 0.3
    holdout: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("blocks", "hidden", "heads", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise EncoderError(
                    f"PretrainSettings: {name} is {getattr(self, name)}; at least 1 is expected"
                )
        if not 0 < self.mask_share < 1:
            raise EncoderError(
                f"PretrainSettings: mask_share is {self.mask_share}; a share between 0 and 1, "
                "such as 0.3, is expected"
            )


def pretrain(
    files: Sequence[str | Path],
    folder: str | Path,
    settings: PretrainSettings = PretrainSettings(),
    save_every: float = 120.0,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Pretrain an encoder and write it as a plain Hugging Face folder.

    Interrupted or killed, it leaves its state in ``folder/training``; called again with the same
    settings and files it goes on from there and ends with the same weights (on a CPU, bit for
    bit). Ctrl-C is heeded between two steps, and the state is saved then.

    Args:
        files: files of SMILES, see ``read_smiles``.
        folder: receives ``config.json``, ``model.safetensors``, the tokenizer,
            ``pretraining.json`` (settings, data, scores) and the model card ``README.md``.
        settings: size and length of the training.
        save_every: seconds between saved states.
        report: takes a line of progress.

    Returns:
        What ``pretraining.json`` says.

    Raises:
        EncoderError: if a file cannot be read, or the saved state is of other settings or files.
        TrainingError: if the loss is no longer a finite number.
        KeyboardInterrupt: after ctrl-C, when the state is saved.
    """
    import torch

    from coursekit.models.precision import has_bf16

    folder = Path(folder)
    corpora = _read_all(files, settings)
    heldout = {s for corpus in corpora for s in corpus.heldout}
    smiles = list(dict.fromkeys(s for c in corpora for s in c.train if s not in heldout))
    tokenizer = train_tokenizer(smiles, max_tokens=MAX_TOKENS)
    model = build_model(tokenizer, settings.blocks, settings.hidden, settings.heads, settings.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    report(
        f"{len(smiles):,} molecules, {len(tokenizer)} tokens in the vocabulary, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters, on {device}"
    )
    tokens = encode(tokenizer, smiles)
    lengths = np.array([len(t) for t in tokens])
    steps_per_epoch = -(-len(tokens) // settings.batch_size)
    total = steps_per_epoch * settings.epochs
    optimizer = _optimizer(model, settings)
    identity = {
        "settings": asdict(settings),
        "files": {c.name: c.sha256 for c in corpora},
    }
    state_folder = folder / "training"
    step, seconds = restore(model, optimizer, state_folder, identity, report)
    special = torch.tensor(sorted(tokenizer.all_special_ids))
    clock = _Clock(seconds, step)
    saved = time.monotonic()
    recent: list[torch.Tensor] = []

    model.train()
    with Interruptible() as ctrl_c:
        for rows in _batches_from(lengths, settings, step, total, steps_per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _warm_cosine(step, total, settings.warmup)
            ids, mask = pad([tokens[i] for i in rows], tokenizer.pad_token_id)
            corrupted, labels = mask_tokens(
                ids,
                torch.isin(ids, special),
                settings.mask_share,
                tokenizer.mask_token_id,
                len(tokenizer),
                (settings.seed + 1) * 7_919_993 + step,
            )
            with torch.autocast(device, torch.bfloat16, enabled=has_bf16(torch.device(device))):
                loss = model(
                    input_ids=corrupted.to(device, non_blocking=True),
                    attention_mask=mask.to(device, non_blocking=True),
                    labels=labels.to(device, non_blocking=True),
                ).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            recent.append(loss.detach())
            if step % 100 == 0 or step == total:
                mean = _finite(torch.stack(recent).mean().item(), step)
                left = clock.left(step, total)
                report(
                    f"step {step:,} of {total:,}, loss {mean:.3f}, about {left / 60:.0f} min left"
                )
                recent.clear()
            if ctrl_c.asked or step == total or time.monotonic() - saved > save_every:
                save(model, optimizer, state_folder, identity, step, clock.seconds)
                saved = time.monotonic()
            if ctrl_c.asked:
                report(f"interrupted at step {step:,}; the same command goes on from here")
                raise KeyboardInterrupt
    scores = {
        c.name: masked_token_scores(model, tokenizer, c.heldout, settings.mask_share)
        for c in corpora
        if c.heldout
    }
    facts = {
        **identity,
        "molecules": {c.name: len(c.train) for c in corpora},
        "heldout": scores,
        "steps": total,
        "minutes": round(clock.seconds / 60, 1),
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    save_encoder(model, tokenizer, folder)
    write_json(folder / "pretraining.json", facts)
    write_card(folder)
    for name, score in scores.items():
        report(f"held-out {name}: loss {score['loss']:.3f}, accuracy {score['accuracy']:.3f}")
    return facts


def _read_all(files: Sequence[str | Path], settings: PretrainSettings) -> list[Corpus]:
    corpora = [read_corpus(file, settings.holdout, settings.seed) for file in files]
    names = [corpus.name for corpus in corpora]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EncoderError(
            f"pretrain: two files are called {twice[0]!r}; scores and the model card go by file "
            "name, so rename one"
        )
    return corpora


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise TrainingError(
            f"pretrain: the loss is {loss} at step {step:,}. Choose a lower learning rate, and "
            "another folder."
        )
    return loss


@dataclass
class _Clock:
    """Seconds spent in all sittings, and an estimate of those to come from this one's pace."""

    before: float
    first_step: int
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def left(self, step: int, total: int) -> float:
        return (time.monotonic() - self.start) / (step - self.first_step) * (total - step)


def _optimizer(model: PreTrainedModel, settings: PretrainSettings) -> torch.optim.Optimizer:
    import torch

    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def _batches_from(
    lengths: np.ndarray, settings: PretrainSettings, step: int, total: int, steps_per_epoch: int
) -> Iterator[np.ndarray]:
    while step < total:
        epoch, done = divmod(step, steps_per_epoch)
        rng = np.random.default_rng([settings.seed, 2, epoch])
        for rows in bucketed_batches(lengths, settings.batch_size, rng)[done:]:
            yield rows
            step += 1


def _warm_cosine(step: int, total: int, warmup: float) -> float:
    warm = max(1, round(total * warmup))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
