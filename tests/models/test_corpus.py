from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from coursekit.errors import EncoderError
from coursekit.models.corpus import read_corpus, read_smiles

SMILES = ["CCO", "c1ccccc1", "C[C@H](Br)Cl"]


def write(path: Path, content: str | bytes) -> Path:
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.smi", "CCO\nc1ccccc1\nC[C@H](Br)Cl\n"),
        ("names.smi", "CCO ethanol\nc1ccccc1\tbenzene ring\n\n  C[C@H](Br)Cl  \n"),
        ("windows.txt", "\ufeffCCO\r\nc1ccccc1\r\nC[C@H](Br)Cl"),
        ("a.smi.gz", "CCO\nc1ccccc1\nC[C@H](Br)Cl\n"),
        ("a.csv", "name,smiles\n\u03b2-x,CCO\nb,c1ccccc1\nno smiles,\nc,C[C@H](Br)Cl\n"),
        ("a.csv.gz", 'smiles,y\nCCO,1\n"c1ccccc1",2\n C[C@H](Br)Cl ,3\n'),
    ],
)
def test_smiles_are_read_from(name: str, content: str, tmp_path: Path) -> None:
    assert read_smiles(write(tmp_path / name, content)) == SMILES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("blank.smi", "\n  \n", r"blank.smi is empty; one SMILES a line"),
        ("empty.smi.gz", "", r"empty.smi.gz is empty"),
        ("empty.csv", "", r"empty.csv is empty"),
        ("header.csv", "smiles,y\n", r"header.csv is empty"),
        ("other.csv", "SMILES,y\nC,1\n", r"\['SMILES', 'y'\]; one of them must be 'smiles'"),
        ("ragged.csv", "smiles\nC\nC,1,2\n", r"cannot be read as csv"),
        ("binary.smi", bytes(range(256)), r"binary.smi is not a text file of SMILES"),
        ("zeros.smi", b"C\0\0\0\1", r"printable ASCII"),
        ("greek.smi", "CCO\nC\u03b1\n", "it has 'C\u03b1'"),
        ("text.csv", "smiles\nC\u03b1\n", "it has 'C\u03b1'"),
    ],
)
def test_what_is_no_file_of_smiles_is_refused(
    name: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(EncoderError, match=message):
        read_smiles(write(tmp_path / name, content))


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"there is no file .*none.smi"):
        read_smiles(tmp_path / "none.smi")
    with pytest.raises(EncoderError, match="not a text file"):
        read_smiles(tmp_path)
    plain = tmp_path / "plain.smi.gz"
    plain.write_text("CCO\n")
    with pytest.raises(EncoderError, match="not a text file of SMILES: Not a gzipped file"):
        read_smiles(plain)
    whole = gzip.compress(b"".join(b"%dC\n" % i for i in range(9999)))
    for damaged in (whole[:500], whole[:300] + bytes(100) + whole[400:]):
        plain.write_bytes(damaged)
        with pytest.raises(EncoderError, match="not a text file of SMILES"):
            read_smiles(plain)


def test_a_part_is_held_out_and_repeats_are_dropped(tmp_path: Path) -> None:
    smiles = ["C" * i for i in range(1, 101)]
    path = write(tmp_path / "a.smi", "\n".join(smiles + smiles[:50]))
    corpus = read_corpus(path, holdout=7, seed=3)
    assert len(corpus.heldout) == 7
    assert sorted(corpus.train + corpus.heldout, key=len) == smiles
    assert corpus.name == "a.smi"
    assert corpus.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_corpus(path, holdout=7, seed=3) == corpus
    assert read_corpus(path, holdout=7, seed=4).heldout != corpus.heldout
    assert len(read_corpus(path, holdout=2000, seed=3).heldout) == 10  # a tenth at most
    few = write(tmp_path / "few.smi", "C\nCC\n")
    assert read_corpus(few, holdout=2000, seed=3).heldout == []
