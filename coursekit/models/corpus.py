"""Files of SMILES to pretrain on, each with a part set aside to measure on."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from coursekit.errors import EncoderError


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
    text = _text(path)
    if path.name.removesuffix(".gz").endswith(".csv"):
        smiles = _csv_column(path, text)
    else:
        smiles = [line.split()[0] for line in text.splitlines() if line.strip()]
    if not smiles:
        raise EncoderError(f"read_smiles: {path} is empty; one SMILES a line is expected")
    strange = next((s for s in smiles if not (s.isascii() and s.isprintable())), None)
    if strange is not None:
        raise EncoderError(
            f"read_smiles: {path} is not a text file of SMILES: it has {strange[:40]!r}, and a "
            "SMILES is written in printable ASCII characters"
        )
    return smiles


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")  # some editors on Windows begin a file with a mark
    except FileNotFoundError:
        raise EncoderError(f"read_smiles: there is no file {path}") from None
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise EncoderError(f"read_smiles: {path} is not a text file of SMILES: {error}") from error


def _csv_column(path: Path, text: str) -> list[str]:
    import io

    import pandas as pd

    try:
        frame = pd.read_csv(io.StringIO(text), dtype=str)
    except pd.errors.EmptyDataError:
        return []
    except pd.errors.ParserError as error:
        raise EncoderError(f"read_smiles: {path} cannot be read as csv: {error}") from error
    if "smiles" not in frame:
        raise EncoderError(
            f"read_smiles: {path} has columns {list(frame)}; one of them must be 'smiles'"
        )
    return [s.strip() for s in frame["smiles"].dropna() if s.strip()]


def read_corpus(path: str | Path, holdout: int, seed: int) -> Corpus:
    """Read one file and set ``holdout`` molecules aside (at most a tenth of the file)."""
    smiles = list(dict.fromkeys(read_smiles(path)))
    order = np.random.default_rng([seed, 1]).permutation(len(smiles))
    n = min(holdout, len(smiles) // 10)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    shuffled = [smiles[i] for i in order]
    return Corpus(Path(path).name, digest, shuffled[n:], shuffled[:n])
