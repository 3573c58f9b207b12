from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from huggingface_hub import ModelCard
from made_up import ROOT, made_up_smiles
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from coursekit.cli import main
from coursekit.errors import EncoderError, TrainingError
from coursekit.models import load_classifier
from coursekit.models import pretrain as module
from coursekit.models.corpus import read_corpus
from coursekit.models.masking import mask_tokens, masked_token_scores
from coursekit.models.pretrain import PretrainSettings, _warm_cosine, pretrain
from coursekit.models.small_encoder import build_model
from coursekit.storage import states

# 24 steps in two epochs; the last batch of an epoch is smaller than the others.
TINY = PretrainSettings(
    blocks=2, hidden=16, heads=2, epochs=2, batch_size=32, learning_rate=0.01, holdout=20, seed=4
)
# The same on the command line, as far as it can be said there; 96 steps.
OPTIONS = ["--blocks=2", "--hidden=16", "--heads=2", "--epochs=2", "--batch-size=8", "--lr=0.01"]


def quiet(line: str) -> None:
    pass


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def done(corpus_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that an uninterrupted run leaves."""
    folder = tmp_path_factory.mktemp("done") / "encoder"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pretrain(corpus_files, folder, TINY, report=quiet)
    torch.set_num_threads(threads)
    return folder


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press ctrl-C in the middle of a step: a real signal, while its masks are drawn."""
    calls = 0

    def mask_and_press(*arguments):
        nonlocal calls
        calls += 1
        if calls == step:
            signal.raise_signal(signal.SIGINT)
        return mask_tokens(*arguments)

    monkeypatch.setattr(module, "mask_tokens", mask_and_press)


def test_same_seed_same_bits_and_another_seed_others(
    done: Path, corpus_files: list[Path], tmp_path: Path
) -> None:
    torch.manual_seed(12345)  # what came before must not matter
    pretrain(corpus_files, tmp_path / "again", TINY, report=quiet)
    assert weights(tmp_path / "again") == weights(done)
    pretrain(corpus_files, tmp_path / "other", replace(TINY, seed=5), report=quiet)
    assert weights(tmp_path / "other") != weights(done)


@pytest.mark.parametrize("step", [1, 12, 13, 22])
def test_interrupted_and_resumed_is_as_if_uninterrupted(
    step: int,
    done: Path,
    corpus_files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    with monkeypatch.context() as patch:
        interrupt_at(step, patch)
        with pytest.raises(KeyboardInterrupt):
            pretrain(corpus_files, tmp_path, TINY, report=said.append)
    assert f"interrupted at step {step}; the same command goes on from here" in said
    # The step in which ctrl-C came was finished, and that is the one that was saved.
    assert [s.name for s in states(tmp_path / "training")] == [f"state-{step:09d}"]
    assert not (tmp_path / "model.safetensors").exists()
    torch.manual_seed(999)
    pretrain(corpus_files, tmp_path, TINY, report=said.append)
    assert f"going on from step {step}" in said
    assert weights(tmp_path) == weights(done)


def test_interrupted_twice_is_as_if_uninterrupted(
    done: Path, corpus_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (5, 10):  # the second time ten steps after the first
        with monkeypatch.context() as patch:
            interrupt_at(step, patch)
            with pytest.raises(KeyboardInterrupt):
                pretrain(corpus_files, tmp_path, TINY, report=quiet)
    assert [s.name for s in states(tmp_path / "training")] == ["state-000000005", "state-000000015"]
    pretrain(corpus_files, tmp_path, TINY, report=quiet)
    assert weights(tmp_path) == weights(done)


def test_a_damaged_state_is_passed_over(
    done: Path, corpus_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(9, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        pretrain(corpus_files, tmp_path, TINY, save_every=0.0, report=quiet)
    older, newest = states(tmp_path / "training")
    assert (older.name[-2:], newest.name[-2:]) == ("08", "09")
    file = newest / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    said: list[str] = []
    pretrain(corpus_files, tmp_path, TINY, report=said.append)
    assert any(line.startswith("state-000000009 cannot be read (") for line in said)
    assert "going on from step 8" in said
    assert weights(tmp_path) == weights(done)


def test_a_state_of_something_else_is_passed_over(
    done: Path, corpus_files: list[Path], tmp_path: Path
) -> None:
    state = tmp_path / "training" / "state-000000001"
    state.mkdir(parents=True)
    (state / "facts.json").write_text('{"settings": {}}')
    (state / "tensors.safetensors").write_bytes((done / "model.safetensors").read_bytes())
    pretrain(corpus_files, tmp_path, TINY, report=quiet)
    assert weights(tmp_path) == weights(done)


def test_a_finished_run_is_not_trained_again(
    done: Path, corpus_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights(done)
    facts = json.loads((done / "pretraining.json").read_text())
    monkeypatch.setattr(module, "mask_tokens", None)  # a step would fail
    assert pretrain(corpus_files, done, TINY, report=quiet)["heldout"] == facts["heldout"]
    assert weights(done) == before


def test_another_run_is_refused_and_the_difference_named(
    done: Path, corpus_files: list[Path], tmp_path: Path
) -> None:
    before = weights(done)

    def differs(files: list[Path], settings: PretrainSettings) -> str:
        with pytest.raises(EncoderError, match="holds the state of another run") as error:
            pretrain(files, done, settings, report=quiet)
        assert "another folder to start anew" in str(error.value)
        return str(error.value)

    message = differs(corpus_files, replace(TINY, epochs=3, seed=7))
    assert "epochs is 2 there, 3 here; seed is 4 there, 7 here" in message
    assert "hidden" not in message
    # Another order of the files is another order of the molecules.
    assert "files are ['one.smi.gz', 'two.csv'] there, ['two.csv', 'one.smi.gz'] here" in differs(
        corpus_files[::-1], TINY
    )
    changed = tmp_path / "two.csv"
    changed.write_text(corpus_files[1].read_text().replace("m9", "n9", 1))
    assert "the content of two.csv has changed" in differs([corpus_files[0], changed], TINY)
    assert weights(done) == before


STOPPED = """
import signal, sys
from coursekit.cli import main
from coursekit.models import pretrain
mask_tokens, calls = pretrain.mask_tokens, []
def mask(*arguments):
    calls.append(1)
    if len(calls) == 30:
        signal.raise_signal(signal.SIGINT)
    return mask_tokens(*arguments)
pretrain.mask_tokens = mask
main(sys.argv[1:])
"""
KILLED = """
import os, signal, sys
from coursekit.cli import main
from coursekit.models import pretrain
from safetensors import torch as files
save_file = files.save_file
def half(tensors, path):
    save_file(tensors, path)
    if "000000030" in str(path):
        path.write_bytes(path.read_bytes()[:1000])
        os.kill(os.getpid(), signal.SIGKILL)
files.save_file = half
pretrain.pretrain.__defaults__ = (pretrain.PretrainSettings(), 0.0, print)  # save each step
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_ctrl_c_and_kill_on_the_command_line(corpus_files: list[Path], tmp_path: Path) -> None:
    """Two processes, one interrupted, one killed while it saves; both end with the right bits."""
    command = ["pretrain", *map(str, corpus_files), *OPTIONS]
    places = {"stopped": STOPPED, "killed": KILLED}
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", script, *command, "--out", str(tmp_path / name)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, script in places.items()
    }
    try:
        said = {name: process.communicate(timeout=120) for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
    output, errors = said["stopped"]
    assert processes["stopped"].returncode == 130, errors
    assert output.endswith("interrupted at step 30; the same command goes on from here\n")
    assert "Traceback" not in errors
    assert "the same command goes on from there" in errors
    assert processes["killed"].returncode == -signal.SIGKILL
    left = sorted(p.name[:16].rstrip(".") for p in (tmp_path / "killed" / "training").iterdir())
    assert left == [".state-000000030", "state-000000028", "state-000000029"]
    steps = {"whole": None, "stopped": 30, "killed": 29}
    for name, step in steps.items():
        again = CliRunner().invoke(main, [*command, "--out", str(tmp_path / name)])
        assert again.exit_code == 0, again.output
        assert (f"going on from step {step}" in again.output) == (name != "whole")
        assert not list((tmp_path / name / "training").glob(".*"))  # nothing half-written is left
        assert weights(tmp_path / name) == weights(tmp_path / "whole")


# --- what is learned, and from what ----------------------------------------------------------


def test_held_out_molecules_are_not_trained_on(
    corpus_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    encode = module.encode

    def note(tokenizer, smiles):
        seen.append(list(smiles))
        return encode(tokenizer, smiles)

    monkeypatch.setattr(module, "encode", note)
    facts = pretrain(corpus_files, tmp_path, replace(TINY, epochs=1), report=quiet)
    corpora = [read_corpus(file, TINY.holdout, TINY.seed) for file in corpus_files]
    heldout = {s for corpus in corpora for s in corpus.heldout}
    assert len(heldout) > 30
    # The files share molecules: some held out of one are in the other's training part.
    assert heldout & {s for corpus in corpora for s in corpus.train}
    assert len(seen) == 1
    assert not heldout & set(seen[0])
    assert len(seen[0]) == len(set(seen[0])) == 400 - len(heldout)
    assert set(facts["heldout"]) == {"one.smi.gz", "two.csv"}


def test_the_loss_goes_down(done: Path, corpus_files: list[Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(done)
    smiles = read_corpus(corpus_files[0], TINY.holdout, TINY.seed).heldout
    untrained = build_model(tokenizer, TINY.blocks, TINY.hidden, TINY.heads, TINY.seed)
    trained = AutoModelForMaskedLM.from_pretrained(done)
    before = masked_token_scores(untrained, tokenizer, smiles, TINY.mask_share)
    after = masked_token_scores(trained, tokenizer, smiles, TINY.mask_share)
    assert after["loss"] < 0.75 * before["loss"]
    assert after["accuracy"] > 2 * before["accuracy"]
    facts = json.loads((done / "pretraining.json").read_text())
    assert facts["heldout"]["one.smi.gz"] == pytest.approx(after)


def test_facts_tell_how_it_was_made(done: Path, corpus_files: list[Path]) -> None:
    facts = json.loads((done / "pretraining.json").read_text())
    assert facts["settings"] == asdict(TINY)
    assert facts["files"] == {
        f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in corpus_files
    }
    assert facts["molecules"] == {"one.smi.gz": 230, "two.csv": 230}
    assert facts["steps"] == 24
    model = AutoModelForMaskedLM.from_pretrained(done)
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    card = ModelCard.load(done / "README.md")
    assert card.data.library_name == "transformers"
    assert facts["files"]["two.csv"] in card.content
    assert str(done.parent) not in card.content


def test_what_is_written_is_a_plain_hugging_face_folder(done: Path) -> None:
    encoder, tokenizer = AutoModel.from_pretrained(done), AutoTokenizer.from_pretrained(done)
    assert tokenizer.decode(tokenizer("C[nH]Br")["input_ids"]) == "[CLS]C[nH]Br[SEP]"
    assert len(tokenizer) <= encoder.config.vocab_size < len(tokenizer) + 8
    # Class names and fields that transformers 4 knows as well.
    settings = json.loads((done / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert json.loads((done / "config.json").read_text())["global_rope_theta"] == 10_000
    model = load_classifier(done, device="cpu")
    assert len(model.blocks) == TINY.blocks
    saved = load_file(done / "model.safetensors")
    for name, value in encoder.state_dict().items():
        assert torch.equal(saved[f"model.{name}"], value)


def test_progress_is_reported(done: Path, corpus_files: list[Path], tmp_path: Path) -> None:
    said: list[str] = []
    pretrain(corpus_files, tmp_path, TINY, report=said.append)
    assert said[0].endswith("parameters, on cpu")
    assert said[1].startswith("step 24 of 24, loss ")
    assert said[1].endswith("about 0 min left")
    assert [line.split(":")[0] for line in said[2:]] == ["held-out one.smi.gz", "held-out two.csv"]


def test_a_handful_of_molecules_is_enough(tmp_path: Path) -> None:
    few = tmp_path / "few.smi"
    few.write_text("C\nCC\nCCO\n")
    facts = pretrain([few], tmp_path / "out", replace(TINY, epochs=5, batch_size=1), report=quiet)
    assert facts["heldout"] == {}
    assert facts["steps"] == 15
    assert "Not measured" in (tmp_path / "out" / "README.md").read_text()
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_two_files_of_one_name_are_refused(corpus_files: list[Path], tmp_path: Path) -> None:
    other = tmp_path / corpus_files[0].name
    other.write_bytes(corpus_files[0].read_bytes())
    with pytest.raises(EncoderError, match=r"two files are called 'one.smi.gz'.*rename one"):
        pretrain([corpus_files[0], other], tmp_path / "out", TINY)


def test_a_loss_that_is_not_finite_ends_the_run(corpus_files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step .*lower learning rate"):
        pretrain(corpus_files, tmp_path, replace(TINY, learning_rate=1e30), report=quiet)
    assert not (tmp_path / "model.safetensors").exists()
    assert not states(tmp_path / "training")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0; at least 1"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"mask_share": 1.0}, "mask_share is 1.0; a share between 0 and 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        PretrainSettings(**settings)


def test_heads_must_share_the_width(corpus_files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"3 heads cannot share a width of 16 .* 12 would do"):
        pretrain(corpus_files, tmp_path, replace(TINY, heads=3), report=quiet)


def test_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    rates = [_warm_cosine(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert _warm_cosine(0, 1, 0.03) == 1.0


def test_made_up_molecules_are_what_the_tests_take_them_for(corpus_files: list[Path]) -> None:
    smiles = made_up_smiles(400)
    assert len(set(smiles)) == 400
    one, two = (read_corpus(f, 0, 0).train for f in corpus_files)
    assert len(set(one) & set(two)) == 100


def test_one_block_is_too_few(corpus_files: list[Path], tmp_path: Path) -> None:
    """Transformers 5.15 cannot read back what has blocks of one kind only."""
    with pytest.raises(EncoderError, match=r"blocks is 1; at least 2"):
        pretrain(corpus_files, tmp_path, PretrainSettings(blocks=1, hidden=16, heads=2))
