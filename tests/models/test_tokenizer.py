from __future__ import annotations

import gzip
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from coursekit.data.library import Library
from coursekit.data.paths import bundled
from coursekit.errors import EncoderError
from coursekit.models.tokenizer import (
    CHARACTERS,
    repair_chemberta,
    round_trips,
    split_atoms,
    train_tokenizer,
)

# Schwaller et al. 2018 (doi 10.1039/C8SC02339E), written down from the paper.
SCHWALLER = re.compile(
    r"(\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|/|:|~|@|\?|>|\*|\$"
    r"|%[0-9]{2}|[0-9])"
)


def losses(tokenizer: PreTrainedTokenizerFast, smiles: list[str]) -> list[str]:
    """Those that do not come back, or have an unknown token."""
    backend = tokenizer.backend_tokenizer  # its own batch calls take a third of the time
    backend.no_padding()  # it remembers what the last caller asked for
    backend.no_truncation()
    found = []
    for start in range(0, len(smiles), 10_000):
        portion = smiles[start : start + 10_000]
        encoded = backend.encode_batch_fast(portion, add_special_tokens=False)
        ids = [encoding.ids for encoding in encoded]
        back = backend.decode_batch(ids, skip_special_tokens=False)
        for before, numbers, after in zip(portion, ids, back, strict=True):
            if before != after or tokenizer.unk_token_id in numbers:
                found.append(before)
    return found


@pytest.mark.slow
def test_molecules_of_zinc_come_back(bundled_tokenizer, zinc_file: Path) -> None:
    """Every fifth; and of all, those with a piece that these do not have."""
    smiles = gzip.decompress(zinc_file.read_bytes()).decode().split()
    assert len(smiles) == 249_455
    chosen, pieces = smiles[::5], set()
    for one in chosen:
        pieces.update(SCHWALLER.findall(one))
    rare = [one for one in smiles if not pieces.issuperset(SCHWALLER.findall(one))]
    assert losses(bundled_tokenizer, chosen + rare) == []


@pytest.mark.slow
def test_every_molecule_of_the_bundled_sample_comes_back(bundled_tokenizer) -> None:
    columns = ["smiles", "smiles_a", "smiles_b", "smiles_c"]
    table = pd.read_parquet(bundled("sample/selection.parquet"), columns=columns)
    assert len(table) == 85_000
    for column in columns:
        assert losses(bundled_tokenizer, list(table[column].unique())) == []


def test_every_smiles_of_kindel_comes_back(bundled_tokenizer, kindel_dir: Path) -> None:
    tables = [*kindel_dir.rglob("*.csv")]
    assert len(tables) == 8  # three of synthons, four held out, nine rows of a selection
    smiles: set[str] = set()
    for path in tables:
        table = pd.read_csv(path)
        for column in table.columns[table.columns.str.match("smiles|reacted")]:
            smiles |= set(table[column].dropna())
    assert len(smiles) > 3_000
    assert losses(bundled_tokenizer, sorted(smiles)) == []


def test_members_of_the_kindel_library_come_back(bundled_tokenizer, kindel_dir: Path) -> None:
    library = Library.from_kindel(kindel_dir / "synthons")
    members = library.members(library.sample(3_000, seed=5))
    assert losses(bundled_tokenizer, members) == []
    # The sample is not of the plain kind only.
    text = "".join(members)
    assert all(piece in text for piece in ("Br", "Cl", "[C@@H]", "[nH]"))


@pytest.mark.parametrize(
    ("smiles", "tokens"),
    [
        ("CBr", ["C", "Br"]),
        ("ClCBr", ["Cl", "C", "Br"]),
        ("C[C@@H](N)C(=O)O", ["C", "[C@@H]", "(", "N", ")", "C", "(", "=", "O", ")", "O"]),
        ("F/C=C\\F", ["F", "/", "C", "=", "C", "\\", "F"]),
        ("c1cc[nH]c1", ["c", "1", "c", "c", "[nH]", "c", "1"]),
        ("C[N+](C)(C)C", ["C", "[N+]", "(", "C", ")", "(", "C", ")", "C"]),
        ("[O-]S(=O)[O-]", ["[O-]", "S", "(", "=", "O", ")", "[O-]"]),
        ("C[S@@](=O)c1cnccc1", [*"C", "[S@@]", *"(=O)c1cnccc1"]),
        ("[NH3+]CC.Cl", ["[NH3+]", "C", "C", ".", "Cl"]),
        # No token of its own: spelled, not lost.
        ("C%12CC%12", [*"C%12CC%12"]),
        ("[2H]C", [*"[2H]C"]),
        ("[13CH4]", [*"[13CH4]"]),
        ("[Zr+4]", [*"[Zr+4]"]),
        # What it has in common with a known atom is one token, the rest is spelled.
        ("[C@@H2]", ["[C@@H", "2", "]"]),
        ("[Br-]", ["[", "Br", "-", "]"]),
        ("[CH3:12]", ["[C", *"H3:12]"]),
        # Sc and Cn are elements only within brackets; outside, S and c are two atoms.
        ("Sc1ccccc1", [*"Sc1ccccc1"]),
    ],
)
def test_tokens_are_atoms(bundled_tokenizer, smiles: str, tokens: list[str]) -> None:
    assert bundled_tokenizer.tokenize(smiles) == tokens
    assert round_trips(bundled_tokenizer, smiles)


def test_special_tokens_frame_a_molecule(bundled_tokenizer) -> None:
    ids = bundled_tokenizer("CO")["input_ids"]
    assert bundled_tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "C", "O", "[SEP]"]
    assert bundled_tokenizer.decode(ids, skip_special_tokens=True) == "CO"


def test_known_molecules_have_a_token_per_atom_as_in_schwaller(bundled_tokenizer) -> None:
    table = pd.read_parquet(bundled("sample/selection.parquet"), columns=["smiles"])
    for smiles in table["smiles"][:2_000]:
        tokens = bundled_tokenizer.tokenize(smiles)
        assert tokens == SCHWALLER.findall(smiles)
        atoms = [t for t in tokens if t[0].isalpha() or t[0] == "["]
        assert len(atoms) == Chem.MolFromSmiles(smiles).GetNumAtoms()


def test_split_atoms_cuts_as_schwaller_does_and_loses_nothing() -> None:
    for smiles in ("C[C@H](Br)%12Cl.[Na+]%12", "O=C(O)c1cc2n(c1)[C@@](F)(I)C2", "[2H]C#N", "a"):
        assert "".join(split_atoms(smiles)) == smiles
    assert split_atoms("C%12[13C@H]BrCl1") == SCHWALLER.findall("C%12[13C@H]BrCl1")


@given(st.text(alphabet=CHARACTERS.replace(" ", ""), min_size=1, max_size=60))
def test_any_string_of_smiles_characters_comes_back(text: str) -> None:
    tokenizer = _bundled()
    if not any(special in text for special in tokenizer.all_special_tokens):
        assert round_trips(tokenizer, text)


def _bundled() -> PreTrainedTokenizerFast:
    from families import tokenizer

    return tokenizer()


def test_a_character_outside_of_smiles_is_unknown(bundled_tokenizer) -> None:
    assert not round_trips(bundled_tokenizer, "Cé")
    assert not round_trips(bundled_tokenizer, "C\nC")


def test_atoms_are_learned_from_the_corpus_by_their_count() -> None:
    tokenizer = train_tokenizer(["[Si](C)Br", "[SiH2]C%11CC%11"] * 3, min_count=3, max_tokens=77)
    assert tokenizer.tokenize("[Si]Br%11[SiH2]") == ["[Si]", "Br", "%11", "[SiH2]"]
    assert tokenizer.tokenize("Cl[SiH3]") == ["C", "l", "[SiH", "3", "]"]
    assert tokenizer.model_max_length == 77
    rarer = train_tokenizer(["[Si](C)Br", "[SiH2]C%11CC%11"] * 3, min_count=4)
    assert rarer.tokenize("[Si]%11") == [*"[Si]", "%11"]  # the ring occurs six times


def test_order_of_the_corpus_does_not_matter() -> None:
    corpus = ["[C@@H]Br", "Cl[nH]", "[N+]%10", "[C@H][C@@]"] * 5
    one, two = (train_tokenizer(c).backend_tokenizer.to_str() for c in (corpus, corpus[::-1]))
    assert one == two


def test_a_corpus_of_single_characters_will_do_but_not_an_empty_one() -> None:
    assert train_tokenizer(["CCO", "CCN"]).tokenize("CCl") == ["C", "C", "l"]
    with pytest.raises(EncoderError, match="no molecule in the corpus"):
        train_tokenizer([])


# --- ChemBERTa-77M -------------------------------------------------------------------------


def test_chemberta_is_broken_as_published(chemberta_folder: Path) -> None:
    """If this fails, transformers has learned to repair it and ``repair_chemberta`` can go."""
    tokens = AutoTokenizer.from_pretrained(chemberta_folder).tokenize("Br[C@H]Cl")
    assert tokens == [*"Br[C@H]Cl"]


def test_repaired_chemberta_uses_the_atoms_of_its_vocabulary(chemberta_folder: Path) -> None:
    published = AutoTokenizer.from_pretrained(chemberta_folder)
    repaired = repair_chemberta(AutoTokenizer.from_pretrained(chemberta_folder))
    smiles = "C[C@H](Br)c1c[nH]c(Cl)c1[N+]%10[O-]"
    assert repaired.tokenize(smiles) == SCHWALLER.findall(smiles)
    assert repaired.get_vocab() == published.get_vocab()
    ids = repaired(smiles)["input_ids"]
    assert ids[0] == published.cls_token_id
    assert ids[-1] == published.sep_token_id
    assert repaired.decode(ids, skip_special_tokens=True) == smiles
    assert repaired.model_max_length == 512
    assert repaired.special_tokens_map == published.special_tokens_map
    # What the vocabulary does not have is unknown, as it was to the network in pretraining.
    assert repaired.tokenize("[Zr]C") == ["[UNK]", "C"]
    assert repaired.convert_ids_to_tokens(repaired("C[MASK]")["input_ids"])[2] == "[MASK]"


def test_a_repaired_tokenizer_stays_repaired_when_saved(
    chemberta_folder: Path, tmp_path: Path
) -> None:
    repaired = repair_chemberta(AutoTokenizer.from_pretrained(chemberta_folder))
    repaired.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.tokenize("Br[C@H]Cl") == ["Br", "[C@H]", "Cl"]
    assert again("CBr")["input_ids"] == repaired("CBr")["input_ids"]


def test_other_tokenizers_are_left_as_they_are(bundled_tokenizer) -> None:
    assert repair_chemberta(bundled_tokenizer) is bundled_tokenizer
    single = train_tokenizer(["CCO"])  # no merges either, but no atom that they would make
    assert repair_chemberta(single) is single
