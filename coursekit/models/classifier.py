"""An encoder with a classification head: what every strategy trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from coursekit.data.batches import encode, pad, passes
from coursekit.errors import EncoderError
from coursekit.models.blocks import find_parts, masked_mean
from coursekit.models.memory import free_memory, is_out_of_memory
from coursekit.models.partway import Start, starting, weights_digest
from coursekit.models.precision import even
from coursekit.models.side_by_side import side_by_side

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Pooling = Literal["cls", "mean"]
# Without gradients. On a processor, where the activations stay in its cache: on one core 1.4 times
# as fast as 128 molecules of 60 tokens at a time, for an encoder 128 wide.
EMBED_TOKENS = {"cpu": 1536}
EVEN_WIDTH = 8  # in bf16 on a processor; measured best of 4, 8 and 16


class Classifier(nn.Module):
    """A molecular encoder, a pooling of its last hidden states, and one linear output.

    Args:
        encoder: a Hugging Face encoder.
        tokenizer: the tokenizer that belongs to it.
        pooling: ``"cls"`` takes the first token's vector, ``"mean"`` the mean over real tokens.
        dropout: share of the pooled vector dropped in training.
        name: what tables call it.
        seed: of the head's weights.

    Attributes:
        groups: parameter names by group, in a molecule's order: ``embeddings``, ``block.0`` …,
            ``head``. A strategy speaks of these.
        origin: digest of the weights as loaded; a run's record names it.
        fitted: names of the strategies that have trained it, in order.
        recorded: what the run measured of its weights that was last given back from a record, in
            place of training; these weights are older then. None where they are what training made.
        blocks_path: where inside the encoder its blocks are.
        block_outputs: how a block gives its states, see ``EncoderParts.outputs``.
        adapted: rank, alpha, dropout and blocks of the adapters in it, or None.
        projection: layers that contrastive training puts behind the pooling, or None.
        source: the folder or hub id that it was loaded from, or None; see ``masked_model``.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        pooling: Pooling = "cls",
        dropout: float = 0.1,
        name: str = "encoder",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if pooling not in ("cls", "mean"):
            raise EncoderError(f"Classifier: pooling is {pooling!r}; 'cls' or 'mean' is expected")
        parts = find_parts(encoder)
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.name = name
        self.fitted: list[str] = []
        self.recorded: Mapping[str, Any] | None = None
        self.adapted: tuple[int, float, float, int | None] | None = None
        self.source: str | None = None
        self.projection: nn.Sequential | None = None
        # Made without drawing weights: the caller's random numbers stay as they are.
        linear = nn.utils.skip_init(nn.Linear, int(encoder.config.hidden_size), 1)
        with seeded(seed):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        self.head = nn.Sequential(nn.Dropout(dropout), linear)
        self.groups: dict[str, tuple[str, ...]] = {
            "embeddings": tuple(f"encoder.{n}" for n in parts.embeddings),
            **{
                f"block.{i}": tuple(f"encoder.{n}" for n in names)
                for i, names in enumerate(parts.blocks)
            },
            "head": tuple(f"head.{n}" for n, _ in self.head.named_parameters()),
        }
        self.blocks_path = parts.path
        self.block_outputs = parts.outputs
        for name_ in parts.unused:
            encoder.get_parameter(name_).requires_grad_(False)
        self.origin = self.digest()

    @property
    def block_list(self) -> nn.ModuleList:
        """Where the encoder keeps its blocks."""
        return self.encoder.get_submodule(self.blocks_path)  # type: ignore[return-value]

    @property
    def blocks(self) -> list[nn.Module]:
        """The encoder's blocks, input side first."""
        return list(self.block_list)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.head.parameters()).device

    @property
    def width(self) -> int:
        """Length of the pooled vector."""
        return int(self.encoder.config.hidden_size)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, start: Start | None = None
    ) -> torch.Tensor:
        """Logit of "binder" per molecule.

        Args:
            ids: token ids (B, T).
            mask: 1 for a token, 0 for padding (B, T).
            start: states that the lower blocks have left earlier; they are not run again.

        Returns:
            (B,), on the scale of a log-odds.
        """
        return self.classify(self.pool(ids, mask, start))

    def pool(
        self, ids: torch.Tensor, mask: torch.Tensor, start: Start | None = None
    ) -> torch.Tensor:
        """One vector per molecule, (B, H), from token ids (B, T); see ``forward``."""
        with starting(self, start and start.widened(ids.shape[1])):
            hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, T, H)
        return hidden[:, 0] if self.pooling == "cls" else masked_mean(hidden, mask)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """Logits (B,) from pooled vectors (B, H)."""
        return self.head(pooled).squeeze(-1)

    def train(self, mode: bool = True) -> Classifier:
        """Switch to training; what is frozen stays in eval, so that its dropout stays off."""
        super().train(mode)
        if mode:
            for module in self.modules():
                parameters = list(module.parameters())
                if parameters and not any(p.requires_grad for p in parameters):
                    module.eval()
        return self

    def open_groups(self, names: Iterable[str]) -> None:
        """Let these groups train and freeze all others.

        Raises:
            EncoderError: if a group does not exist.
        """
        names = set(names)
        unknown = names - set(self.groups)
        if unknown:
            raise EncoderError(
                f"open_groups: {sorted(unknown)} are no groups of {self.name}; "
                f"it has {list(self.groups)}"
            )
        self.open_parameters(p for group in names for p in self.groups[group])

    def open_parameters(self, names: Iterable[str]) -> None:
        """Let these parameters train and freeze all others of all groups."""
        names = set(names)
        for parameters in self.groups.values():
            for name in parameters:
                parameter = self.get_parameter(name)
                parameter.requires_grad_(name in names)
                if name not in names:
                    parameter.grad = None

    def count(self, names: Iterable[str] | None = None) -> int:
        """Number of parameters in these groups, in all of them by default."""
        chosen = self.groups if names is None else {n: self.groups[n] for n in names}
        return sum(self.get_parameter(p).numel() for ps in chosen.values() for p in ps)

    def batch(self, tokens: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask (B, T) of molecules on the model's device, as ``forward`` takes them.

        Args:
            tokens: token ids of B molecules.
        """
        width = even(max(len(ids) for ids in tokens), EVEN_WIDTH, self.device)
        most = getattr(self.encoder.config, "max_position_embeddings", None) or width
        ids, mask = pad(tokens, self.tokenizer.pad_token_id, width if width <= most else 0)
        return ids.to(self.device, non_blocking=True), mask.to(self.device, non_blocking=True)

    def embed(self, smiles: Sequence[str], batch_size: int = 128) -> np.ndarray:
        """Pooled vectors of molecules, without training anything; under ``torch.autocast`` in half.

        Args:
            smiles: N SMILES.
            batch_size: molecules at a time at most; fewer on a processor, where many would not fit
                its cache, and half as many where the memory does not hold them.

        Returns:
            float32 array (N, H), in the order given.
        """
        return self.embed_tokens(encode(self.tokenizer, smiles), batch_size)

    def embed_tokens(
        self,
        tokens: list[np.ndarray],
        batch_size: int = 128,
        start: Callable[[np.ndarray], Start | None] | None = None,
        seen: Callable[[np.ndarray, torch.Tensor], None] | None = None,
    ) -> np.ndarray:
        """Pooled vectors of molecules that are tokens already.

        Args:
            tokens: token ids of N molecules.
            batch_size: molecules at a time, and half as many from where memory runs out.
            start: gives the states to start from for these positions.
            seen: called after each batch with its positions and its mask (B, T).

        Returns:
            float32 array (N, H).
        """
        pooled = np.empty((len(tokens), self.width), dtype=np.float32)
        lengths = np.array([len(t) for t in tokens], dtype=np.int64)
        at_once = EMBED_TOKENS.get(self.device.type)

        def embed(model: Classifier, rows: np.ndarray) -> np.ndarray:
            ids, mask = self.batch([tokens[i] for i in rows])
            with torch.inference_mode():
                vectors = model.pool(ids, mask, start(rows) if start else None)
            pooled[rows] = vectors.float().cpu().numpy()
            if seen:
                seen(rows, mask)
            return rows

        left = np.arange(len(tokens))
        while len(left):
            done = [left[:0]]
            try:
                with self.evaluating():
                    batches = passes(left, lengths, batch_size, at_once)
                    done.extend(side_by_side(self, embed, batches))
                return pooled
            except (RuntimeError, MemoryError) as error:
                if batch_size == 1 or not is_out_of_memory(error):
                    raise
            free_memory(self.device)
            left = np.setdiff1d(left, np.concatenate(done))
            batch_size //= 2
        return pooled

    def predict(self, smiles: Sequence[str], batch_size: int = 128) -> np.ndarray:
        """Probability of "binder" per molecule, float64 (N,)."""
        return self.probabilities(self.embed(smiles, batch_size))

    def probabilities(self, pooled: np.ndarray) -> np.ndarray:
        """Probability of "binder", float64 (N,), from pooled vectors (N, H), without dropout.

        The head works in fp32 whatever the precision: half a logit's digits would make ties.
        """
        with self.evaluating(), torch.inference_mode():
            logits = self.classify(torch.from_numpy(pooled).to(self.device))
        return torch.sigmoid(logits.double()).cpu().numpy()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, the model is in eval mode; after it, in the mode it was in."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    def digest(self) -> str:
        """sha256 over names and values of all weights, and the pooling."""
        return weights_digest(self.state_dict(), self.pooling)

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {self.count([name]):,}" for name in self.groups)
        return f"Classifier({self.name}, pooling={self.pooling!r}; parameters: {shares})"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from this seed inside the block; the caller's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
