from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from families import HIDDEN, small_encoder, tokenizer
from local_hub import LocalHub
from made_up import ROOT
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, BertForMaskedLM

from coursekit.data.paths import bundled
from coursekit.errors import EncoderError
from coursekit.models import load_classifier
from coursekit.models.hub import SAFE_COPIES

SMILES = ["C[C@H](Br)c1cc[nH]c1Cl", "CCO"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small BERT with the bundled tokenizer, as another project would have saved it."""
    place = tmp_path / "a bert"
    small_encoder("bert").save_pretrained(place)
    tokenizer().save_pretrained(place)
    return place


def as_pickle(folder: Path) -> Path:
    """Turn the safetensors of a folder into the pickle of old."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


# --- the bundled encoder ---------------------------------------------------------------------


def test_the_bundled_encoder_loads_by_name_and_by_folder() -> None:
    model = load_classifier(device="cpu")
    again = load_classifier(bundled("coursekit-mini"), device="cpu")
    assert model.name == again.name == "coursekit-mini"
    np.testing.assert_array_equal(model.embed(SMILES), again.embed(SMILES))
    assert model.origin == again.origin
    assert len(model.blocks) >= 6
    assert model.tokenizer.model_max_length == 160
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_bundled_encoder_is_small_and_has_no_pickle() -> None:
    files = list(bundled("coursekit-mini").iterdir())
    assert {f.name for f in files} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert (bundled("coursekit-mini") / "model.safetensors").stat().st_size <= 8_000_000
    assert not [f for f in files if f.suffix in {".bin", ".pt", ".pkl", ".ckpt"}]


def test_the_bundled_encoder_has_learned_smiles() -> None:
    """It closes the ring that is open; by chance one guess in 157 would be right."""
    from transformers import AutoModelForMaskedLM

    place = bundled("coursekit-mini")
    words = AutoTokenizer.from_pretrained(place)
    guesser = AutoModelForMaskedLM.from_pretrained(place).eval()
    right = 0
    for smiles in ("CC(=O)Nc1ccccc1", "O=C(NCc1ccccc1)c1ccncc1", "CCOC(=O)C1CCN(C)CC1"):
        ids = words(smiles, return_tensors="pt")["input_ids"]
        last = ids.shape[1] - 2
        hidden = ids.clone()
        hidden[0, last] = words.mask_token_id  # the digit that closes the last ring
        with torch.inference_mode():
            right += int(guesser(input_ids=hidden).logits[0, last].argmax() == ids[0, last])
    assert right == 3


@pytest.mark.slow
def test_others_load_the_bundled_encoder_without_coursekit(tmp_path: Path) -> None:
    script = f"""
import sys, torch
from transformers import AutoModel, AutoTokenizer
place = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(place)
encoder = AutoModel.from_pretrained(place).eval()
tokens = tokenizer({SMILES!r}, padding=True, return_tensors="pt")
with torch.inference_mode():
    hidden = encoder(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
torch.save(hidden.last_hidden_state[:, 0], sys.argv[2])
assert not [name for name in sys.modules if name.startswith("coursekit")]
"""
    out = tmp_path / "cls.pt"
    finished = python(script, str(bundled("coursekit-mini")), str(out), cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    expected = load_classifier(device="cpu").embed(SMILES)
    np.testing.assert_allclose(torch.load(out).numpy(), expected, atol=1e-5)


def python(
    script: str, *arguments: str, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, in a folder of its own."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PYTHONPATH"))}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd,
        env={**known, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


# --- folders ---------------------------------------------------------------------------------


def test_a_folder_of_another_project_loads(folder: Path) -> None:
    model = load_classifier(str(folder), pooling="mean", device="cpu")
    assert model.name == "a bert"
    assert model.width == HIDDEN
    encoder = AutoModel.from_pretrained(folder).eval()
    ids = tokenizer()(SMILES[0], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        hidden = encoder(input_ids=ids).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(model.embed(SMILES[:1])[0], hidden, atol=1e-5)


def test_loading_twice_gives_the_same_model_and_leaves_random_numbers_alone(tmp_path: Path) -> None:
    # A file without a pooler, as masked-token pretraining leaves it: the pooler is drawn.
    BertForMaskedLM(small_encoder("bert").config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = load_classifier(tmp_path, seed=5, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = load_classifier(tmp_path, seed=5, device="cpu")
    assert "encoder.pooler.dense.weight" in first.state_dict()
    assert first.origin == second.origin
    assert torch.equal(first.head[1].weight, second.head[1].weight)
    other = load_classifier(tmp_path, seed=6, device="cpu")
    assert not torch.equal(first.head[1].weight, other.head[1].weight)


def test_half_precision_weights_are_read_as_float32(folder: Path) -> None:
    AutoModel.from_pretrained(folder).half().save_pretrained(folder)
    assert {p.dtype for p in load_classifier(folder, device="cpu").parameters()} == {torch.float32}


def test_a_folder_that_holds_a_pickle_only_is_refused(folder: Path) -> None:
    with pytest.raises(EncoderError, match=r"'a bert' cannot be .*safetensors only.*convert"):
        load_classifier(as_pickle(folder))


def test_a_pickle_beside_safetensors_is_not_opened(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not a pickle, and never read")
    assert load_classifier(folder, device="cpu").width == HIDDEN


@pytest.mark.parametrize("missing", ["there/is/none", "./none", "~/none-of-it", Path("none")])
def test_a_folder_that_does_not_exist_is_named(missing: str | Path) -> None:
    with pytest.raises(EncoderError, match=r"load_classifier: there is no folder .*none"):
        load_classifier(missing)


def test_an_id_that_cannot_be_reached_is_named_with_the_remedy() -> None:
    with pytest.raises(EncoderError, match=r"no tokenizer for 'nobody/nothing' .*'coursekit-mini'"):
        load_classifier("nobody/nothing")


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    small_encoder("bert").save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="does not know carbon; are its files missing"):
        load_classifier(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_damaged_weights_are_refused(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(EncoderError, match="'a bert' cannot be loaded"):
        load_classifier(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(EncoderError, match="'a bert'"):
        load_classifier(folder)


def test_missing_weights_are_not_replaced_by_random_ones(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    missing = [name for name in weights if "layer.1.output" in name]
    kept = {name: value for name, value in weights.items() if name not in missing}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=rf"{len(missing)} of \d+ are missing in the file"):
        load_classifier(folder)


def test_a_tokenizer_of_another_encoder_is_refused(folder: Path) -> None:
    words = AutoTokenizer.from_pretrained(folder)
    words.add_tokens(["[Zr+4]", "[Zr+3]"])
    words.save_pretrained(folder)
    with pytest.raises(EncoderError, match=f"{len(words)} tokens for {len(words) - 2} embeddings"):
        load_classifier(folder)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_tokenizer_without_a_limit_gets_the_encoders(family: str, tmp_path: Path) -> None:
    small_encoder(family).save_pretrained(tmp_path)
    words = AutoTokenizer.from_pretrained(bundled("coursekit-mini"))
    words.model_max_length = 10**30
    words.save_pretrained(tmp_path)
    model = load_classifier(tmp_path, device="cpu")
    with pytest.warns(UserWarning, match="1 of 1 molecules have more than"):
        vector = model.embed(["C" * 500])
    assert np.isfinite(vector).all()


def test_albert_is_refused(tmp_path: Path) -> None:
    from transformers import AlbertConfig, AlbertModel

    config = AlbertConfig(
        vocab_size=160,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
    )
    AlbertModel(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="share weights"):
        load_classifier(tmp_path)


def test_chemberta_reads_atoms(chemberta_folder: Path) -> None:
    model = load_classifier(chemberta_folder, device="cpu")
    assert model.tokenizer.tokenize("Br[C@H]Cl") == ["Br", "[C@H]", "Cl"]
    together, alone = model.embed(["BrC", "C[C@H](C)Cl"]), model.embed(["BrC"])
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)
    with pytest.warns(UserWarning, match=r"1 of 2 molecules have atoms .* first: \[Zr\]C"):
        model.embed(["CO", "[Zr]C"])


# --- the hub ---------------------------------------------------------------------------------

CHEMBERTA = "DeepChem/ChemBERTa-77M-MLM"
LOAD = f"""
import json, sys, warnings
from coursekit.errors import EncoderError
from coursekit.models import load_classifier
said = {{}}
for name in sys.argv[1:]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = load_classifier(name, device="cpu")
        except EncoderError as error:
            said[name] = {{"refused": str(error)}}
            continue
    said[name] = {{
        "name": model.name,
        "origin": model.origin,
        "tokens": model.tokenizer.tokenize({SMILES[0]!r}),
        "warned": " ".join(str(w.message) for w in caught),
    }}
print("\\n" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def from_hub(
    tmp_path_factory: pytest.TempPathFactory, chemberta_folder: Path
) -> tuple[dict[str, dict], list[str], Path]:
    """What a fresh process with an empty cache says of four ids, and what the hub was asked.

    One process for all, because each takes seconds to import torch and transformers.
    """
    place = tmp_path_factory.mktemp("hub")
    good, old = place / "good", place / "old"
    small_encoder("bert").save_pretrained(good)
    tokenizer().save_pretrained(good)
    as_pickle(Path(shutil.copytree(good, old)))
    repositories = {
        "lab/a-bert": good,
        "lab/old": old,
        CHEMBERTA: as_pickle(Path(shutil.copytree(chemberta_folder, place / "deepchem"))),
        SAFE_COPIES[CHEMBERTA]: chemberta_folder,
    }
    with LocalHub(repositories) as hub:
        finished = python(
            LOAD,
            *("lab/a-bert", "lab/old", CHEMBERTA, "lab/none"),
            cwd=ROOT,
            HF_ENDPOINT=hub.url,
            HF_HOME=str(place / "cache"),
            HF_HUB_OFFLINE="0",
            HF_HUB_DISABLE_XET="1",
            HF_HUB_DISABLE_TELEMETRY="1",
        )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1]), hub.asked, good


def fetched(asked: list[str], name: str) -> set[str]:
    """Files of a repository whose content was sent."""
    return {line.rsplit("/", 1)[1] for line in asked if line.startswith(f"GET /{name}/resolve/")}


@pytest.mark.slow
def test_an_id_is_fetched_from_the_hub(from_hub) -> None:
    said, asked, good = from_hub
    assert said["lab/a-bert"]["origin"] == load_classifier(good, device="cpu").origin
    assert said["lab/a-bert"]["name"] == "lab/a-bert"
    assert fetched(asked, "lab/a-bert") >= {"model.safetensors", "tokenizer.json", "config.json"}


def test_chemberta_is_fetched_as_its_safetensors_copy(from_hub) -> None:
    said, asked, _ = from_hub
    assert said[CHEMBERTA]["name"] == CHEMBERTA
    assert said[CHEMBERTA]["tokens"][:5] == ["C", "[C@H]", "(", "Br", ")"]
    copy = SAFE_COPIES[CHEMBERTA]
    assert f"a pickle only; its safetensors copy {copy} is" in said[CHEMBERTA]["warned"]
    assert "model.safetensors" in fetched(asked, copy)
    assert not [line for line in asked if CHEMBERTA in line.replace(copy, "")]


def test_an_id_that_holds_a_pickle_only_is_refused_without_fetching_it(from_hub) -> None:
    said, asked, _ = from_hub
    assert "'lab/old' cannot be loaded" in said["lab/old"]["refused"]
    assert "safetensors only" in said["lab/old"]["refused"]
    assert fetched(asked, "lab/old")  # it was looked at
    assert not [name for name in fetched(asked, "lab/old") if name.endswith(".bin")]


def test_an_id_that_the_hub_does_not_have_is_refused(from_hub) -> None:
    said, _, _ = from_hub
    assert "no tokenizer for 'lab/none'" in said["lab/none"]["refused"]
