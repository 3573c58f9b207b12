"""Masked-token pretraining of a small SMILES encoder, from any file of SMILES.

The encoder is a ModernBERT (Warner et al. 2024, arXiv 2412.13663): rotary positions, pre-norm and
gated feed-forward layers learn faster per second than a BERT of the same size. 30% of the tokens
are masked, which served small SMILES encoders better than 15% (MolEncoder, fabikru 2025).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coursekit.data.batches import bucketed_batches, encode, pad
from coursekit.errors import EncoderError
from coursekit.models.tokenizer import MAX_TOKENS, train_tokenizer
from coursekit.storage import load_state, save_state, states

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

IGNORED = -100


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


@dataclass(frozen=True)
class Corpus:
    """One file of SMILES, split into what is trained on and what is measured on."""

    name: str
    sha256: str
    train: list[str] = field(repr=False)
    heldout: list[str] = field(repr=False)


def read_smiles(path: str | Path) -> list[str]:
    """Read a file of SMILES: one a line (``.smi``, ``.txt``, also ``.gz``) or a csv with a header.

    In a csv the column ``smiles`` is taken; elsewhere the first word of each line.

    Raises:
        EncoderError: if the file is missing, is not text, or holds no SMILES.
    """
    path = Path(path)
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="ascii") as lines:
            rows = [line.strip() for line in lines if line.strip()]
    except FileNotFoundError:
        raise EncoderError(f"read_smiles: there is no file {path}") from None
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise EncoderError(f"read_smiles: {path} is not a text file of SMILES: {error}") from error
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv") and rows:
        import pandas as pd

        frame = pd.read_csv(path)
        if "smiles" not in frame:
            raise EncoderError(
                f"read_smiles: {path} has columns {list(frame)}; one of them must be 'smiles'"
            )
        return [str(s) for s in frame["smiles"].dropna()]
    if not rows:
        raise EncoderError(f"read_smiles: {path} is empty; one SMILES a line is expected")
    return [row.split()[0] for row in rows]


def read_corpus(path: str | Path, holdout: int, seed: int) -> Corpus:
    """Read one file and set ``holdout`` molecules aside (at most a tenth of the file)."""
    smiles = list(dict.fromkeys(read_smiles(path)))
    order = np.random.default_rng([seed, 1]).permutation(len(smiles))
    n = min(holdout, len(smiles) // 10)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    shuffled = [smiles[i] for i in order]
    return Corpus(Path(path).name, digest, shuffled[n:], shuffled[:n])


def build_model(tokenizer: PreTrainedTokenizerFast, settings: PretrainSettings) -> PreTrainedModel:
    """A ModernBERT with masked-token head and random weights, all blocks with full attention."""
    import torch
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    torch.manual_seed(settings.seed)
    config = ModernBertConfig(
        vocab_size=-(-len(tokenizer) // 8) * 8,
        hidden_size=settings.hidden,
        num_hidden_layers=settings.blocks,
        num_attention_heads=settings.heads,
        intermediate_size=2 * settings.hidden,
        max_position_embeddings=tokenizer.model_max_length,
        global_attn_every_n_layers=1,
        global_rope_theta=10_000.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        attn_implementation="sdpa",
    )
    return ModernBertForMaskedLM(config)


def mask_tokens(
    ids: torch.Tensor, special: torch.Tensor, share: float, mask_id: int, vocabulary: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide tokens and say which to guess (BERT's rule: 80% [MASK], 10% random, 10% left as is).

    Args:
        ids: token ids (B, T).
        special: True where a token is never masked (B, T).
        share: of the other tokens, how many are to be guessed.
        mask_id: id of [MASK].
        vocabulary: number of tokens to draw random ones from.
        seed: same seed, same masks.

    Returns:
        Corrupted ids (B, T) and labels (B, T), the latter -100 where nothing is to be guessed.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(ids.shape, generator=generator)
    chosen = (draw < share) & ~special
    labels = torch.where(chosen, ids, IGNORED)
    fate = torch.rand(ids.shape, generator=generator)
    random_ids = torch.randint(vocabulary, ids.shape, generator=generator)
    corrupted = torch.where(chosen & (fate < 0.8), mask_id, ids)
    corrupted = torch.where(chosen & (fate >= 0.9), random_ids, corrupted)
    return corrupted, labels


def masked_token_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    smiles: Sequence[str],
    mask_share: float = 0.3,
    seed: int = 0,
    batch_size: int = 256,
) -> dict[str, float]:
    """Loss (nats per masked token) and accuracy on held-out molecules, with fixed masks."""
    import torch

    device = next(model.parameters()).device
    tokens = encode(tokenizer, smiles)
    lengths = np.array([len(t) for t in tokens])
    special = torch.tensor(sorted(tokenizer.all_special_ids))
    loss, right, count = 0.0, 0, 0
    model.eval()
    with torch.inference_mode():
        for number, rows in enumerate(bucketed_batches(lengths, batch_size)):
            ids, mask = pad([tokens[i] for i in rows], tokenizer.pad_token_id)
            corrupted, labels = mask_tokens(
                ids,
                torch.isin(ids, special),
                mask_share,
                tokenizer.mask_token_id,
                len(tokenizer),
                seed * 1_000_003 + number,
            )
            logits = (
                model(input_ids=corrupted.to(device), attention_mask=mask.to(device))
                .logits.float()
                .cpu()
            )
            chosen = labels != IGNORED
            wanted = labels[chosen]
            loss += float(
                torch.nn.functional.cross_entropy(logits[chosen], wanted, reduction="sum")
            )
            right += int((logits[chosen].argmax(-1) == wanted).sum())
            count += int(chosen.sum())
    return {"loss": loss / count, "accuracy": right / count, "masked_tokens": count}


def pretrain(
    files: Sequence[str | Path],
    folder: str | Path,
    settings: PretrainSettings = PretrainSettings(),
    save_every: float = 120.0,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Pretrain an encoder and write it as a plain Hugging Face folder.

    Interrupted, it leaves its state in ``folder/training``; called again with the same settings
    and files it goes on from there and ends with the same weights (on a CPU, bit for bit).

    Args:
        files: files of SMILES, see ``read_smiles``.
        folder: receives ``config.json``, ``model.safetensors``, the tokenizer and
            ``pretraining.json`` (settings, data, scores).
        settings: size and length of the training.
        save_every: seconds between saved states.
        report: takes a line of progress.

    Returns:
        What ``pretraining.json`` says.

    Raises:
        EncoderError: if a file cannot be read, or the saved state is of other settings or files.
    """
    import torch

    folder = Path(folder)
    corpora = [read_corpus(file, settings.holdout, settings.seed) for file in files]
    heldout = {s for corpus in corpora for s in corpus.heldout}
    smiles = list(dict.fromkeys(s for c in corpora for s in c.train if s not in heldout))
    tokenizer = train_tokenizer(smiles, max_tokens=MAX_TOKENS)
    model = build_model(tokenizer, settings)
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
    step, seconds = _resume(model, optimizer, state_folder, identity, report)
    special = torch.tensor(sorted(tokenizer.all_special_ids))
    clock = _Clock(seconds)
    saved = time.monotonic()
    recent: list[torch.Tensor] = []

    def save() -> None:
        facts = {**identity, "step": step, "seconds": clock.seconds}
        save_state(state_folder, step, _tensors(model, optimizer), facts)

    model.train()
    try:
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
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda" and _has_bf16()):
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
                left = clock.left(step, total)
                report(
                    f"step {step:,} of {total:,}, loss {torch.stack(recent).mean().item():.3f}, "
                    f"about {left / 60:.0f} min left"
                )
                recent.clear()
                if time.monotonic() - saved > save_every:
                    save()
                    saved = time.monotonic()
    except KeyboardInterrupt:
        save()
        report(f"interrupted at step {step:,}; the same command goes on from here")
        raise
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
    (folder / "pretraining.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for name, score in scores.items():
        report(f"held-out {name}: loss {score['loss']:.3f}, accuracy {score['accuracy']:.3f}")
    return facts


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


@dataclass
class _Clock:
    """Seconds spent in all sittings, and an estimate of those to come from this one's pace."""

    before: float
    start: float = field(default_factory=time.monotonic)
    first_step: int | None = None

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def left(self, step: int, total: int) -> float:
        if self.first_step is None:
            self.first_step = step - 100
        done = max(step - self.first_step, 1)
        return (time.monotonic() - self.start) / done * (total - step)


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


def _tensors(model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer.{index}.{name}"] = value
    return tensors


def _resume(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    folder: Path,
    identity: dict[str, Any],
    report: Callable[[str], None],
) -> tuple[int, float]:
    for state in reversed(states(folder)):
        try:
            tensors, facts = load_state(state)
        except (OSError, ValueError) as error:
            report(f"{state.name} cannot be read ({error}); trying the one before")
            continue
        for key, value in identity.items():
            if facts[key] != value:
                raise EncoderError(
                    f"pretrain: {folder} holds a state of other {key}: {facts[key]}, asked for "
                    f"{value}. Give the same {key} to go on, or another folder to start anew."
                )
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        )
        saved = optimizer.state_dict()
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, moment = name.split(".")
                saved["state"].setdefault(int(index), {})[moment] = value
        optimizer.load_state_dict(saved)
        report(f"going on from step {facts['step']:,}")
        return int(facts["step"]), float(facts["seconds"])
    return 0, 0.0


def _has_bf16() -> bool:
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)
