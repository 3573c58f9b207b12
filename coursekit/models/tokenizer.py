"""An atom-level SMILES tokenizer that never loses a character.

One token is one atom as a chemist writes it: ``C``, ``Cl``, ``[C@@H]``, ``%12``. The pattern
that cuts a SMILES into atoms goes back to Schwaller et al. 2018 (doi 10.1039/C8SC02339E).

A plain word list would turn a bracket atom it has not seen into ``[UNK]`` and lose it. Here the
tokenizer is a byte-pair model whose merges stay inside one atom: a known ``[nH]`` merges into one
token, an unknown ``[Zr+4]`` remains as its characters. Every ASCII SMILES round-trips.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from coursekit.errors import EncoderError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ATOM_PATTERN = r"\[[^\]]*\]|Br|Cl|%[0-9]{2}|."
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")
# Every character that may stand in a SMILES; enough to spell an atom that has no token of its own.
CHARACTERS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    "#%()*+-./:=@[\\]$~{}<>|^,;'\"!?&_` "
)
MAX_TOKENS = 160


def split_atoms(smiles: str) -> list[str]:
    """Cut a SMILES into atoms, bonds, rings and branches; joining the pieces gives it back."""
    return re.findall(ATOM_PATTERN, smiles)


def train_tokenizer(
    smiles: Iterable[str], min_count: int = 5, max_tokens: int = MAX_TOKENS
) -> PreTrainedTokenizerFast:
    """Make a tokenizer whose multi-character atoms are those that occur often enough.

    Args:
        smiles: the corpus, one SMILES an item.
        min_count: an atom of several characters gets a token of its own from so many occurrences.
        max_tokens: longest input, [CLS] and [SEP] included; longer ones are cut by the caller's
            ``truncation=True``.

    Returns:
        A Hugging Face fast tokenizer: ``[CLS] atoms [SEP]``, decoding back to the same SMILES.

    Raises:
        EncoderError: if the corpus is empty.
    """
    counts: Counter[str] = Counter()
    for line in smiles:
        counts.update(split_atoms(line))
    if not counts:
        raise EncoderError("train_tokenizer: there is no molecule in the corpus")
    atoms = sorted(atom for atom, n in counts.items() if n >= min_count and len(atom) > 1)
    return _build(atoms, max_tokens)


def _build(atoms: list[str], max_tokens: int) -> PreTrainedTokenizerFast:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    # Bracket atoms merge first and from the left, so that every prefix has one spelling only.
    atoms = sorted(atoms, key=lambda atom: (not atom.startswith("["), atom))
    merges: list[tuple[str, str]] = []
    for atom in atoms:
        for end in range(1, len(atom)):
            merge = (atom[:end], atom[end])
            if merge not in merges:
                merges.append(merge)
    pieces = dict.fromkeys(SPECIAL_TOKENS + tuple(CHARACTERS) + tuple(a + b for a, b in merges))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    model = models.BPE(vocab=vocabulary, merges=merges, unk_token="[UNK]")
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(ATOM_PATTERN), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        unk_token="[UNK]",
        model_max_length=max_tokens,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


def round_trips(tokenizer: PreTrainedTokenizerFast, smiles: str) -> bool:
    """Whether encoding and decoding gives the same string back, without an unknown token."""
    ids = tokenizer(smiles, add_special_tokens=False)["input_ids"]
    return tokenizer.unk_token_id not in ids and tokenizer.decode(ids) == smiles


def repair_chemberta(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Give ChemBERTa-77M back the atom-level tokens that its vocabulary holds but never uses.

    DeepChem/ChemBERTa-77M-MLM and its siblings ship an empty merges file, so its byte-pair model
    spells ``Br`` as ``B`` and ``r``, and every bracket atom letter by letter, although the
    vocabulary has ``Br`` and ``[C@H]`` (deepchem issue 4253). Cutting by atoms and looking the
    atom up in the vocabulary is what the network was pretrained with.

    Args:
        tokenizer: as loaded; returned as it is unless its merges are empty while its vocabulary
            holds atoms of several characters.

    Returns:
        A tokenizer with the same vocabulary ids.
    """
    import json

    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    model = spec["model"]
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    atoms = [t for t in vocabulary if len(split_atoms(t)) == 1 and len(t) > 1 and t.isascii()]
    atoms = [t for t in atoms if t not in tokenizer.all_special_tokens]
    if model.get("type") != "BPE" or model.get("merges") or not atoms:
        return tokenizer
    unknown = tokenizer.unk_token or next(iter(vocabulary))
    backend = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=unknown))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(ATOM_PATTERN), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = tokenizer.backend_tokenizer.post_processor
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **tokenizer.special_tokens_map,
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
        padding_side=tokenizer.padding_side,
    )
