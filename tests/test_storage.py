from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from coursekit import storage
from coursekit.storage import atomic_file, load_state, save_state, states, write_json

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "step": torch.tensor(7)}


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_replaced_when_the_block_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.txt"
    for content in ("first", "second"):
        with atomic_file(path) as temporary:
            assert temporary.parent == path.parent  # or replacing would not be atomic
            temporary.write_text(content)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == content
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_old_file_stays_when_the_block_fails(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_file(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_old_file_stays_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    for place, name in ((Path, "write_text"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, full_disk)
            with pytest.raises(OSError, match="No space left"):
                write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("-inf")]])
def test_numbers_that_json_does_not_have_are_refused(value: object, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"loss": 0.1, "name": "β"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"loss": value})
    assert json.loads(path.read_text("utf-8")) == {"loss": 0.1, "name": "β"}


def test_a_state_comes_back_bit_by_bit(tmp_path: Path) -> None:
    tied = torch.randn(3, 3)
    tensors = {
        **TENSORS,
        "tied": tied,
        "also tied": tied,
        "a view": tied.T[1:],
        "half": torch.randn(5).bfloat16(),
        "trains": torch.ones(2, requires_grad=True),
        "empty": torch.empty(0),
    }
    state = save_state(tmp_path, 12, tensors, {"step": 12, "list": [1, None, "x"]})
    assert state.name == "state-000000012"
    back, facts = load_state(state)
    assert facts == {"step": 12, "list": [1, None, "x"]}
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_the_newest_two_states_are_kept(tmp_path: Path) -> None:
    assert states(tmp_path) == states(tmp_path / "none") == []
    for step in (1, 2, 10, 999, 1_000):
        save_state(tmp_path, step, TENSORS, {"step": step})
    assert names(tmp_path) == ["state-000000999", "state-000001000"]
    assert [load_state(s)[1]["step"] for s in states(tmp_path)] == [999, 1_000]


def test_a_step_saved_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    for note in ("first", "second"):
        save_state(tmp_path, 3, TENSORS, note)
    assert [load_state(s)[1] for s in states(tmp_path)] == ["second"]


def test_what_a_killed_process_left_behind_is_no_state_and_goes_away(tmp_path: Path) -> None:
    save_state(tmp_path, 1, TENSORS, 1)
    half = tmp_path / ".state-000000002.deadbeef.tmp"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    assert [s.name for s in states(tmp_path)] == ["state-000000001"]
    save_state(tmp_path, 3, TENSORS, 3)
    assert names(tmp_path) == ["state-000000001", "state-000000003"]


@pytest.mark.parametrize("when", ["tensors", "facts", "replace"])
def test_a_full_disk_costs_the_new_state_only(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    save_state(tmp_path, 1, TENSORS, 1)

    def full_for_tensors(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        if when == "tensors":
            patch.setattr("safetensors.torch.save_file", full_for_tensors)
        elif when == "facts":
            patch.setattr(storage, "write_json", full_disk)
        else:
            patch.setattr(os, "replace", full_disk)
        with pytest.raises(OSError, match="No space left on device"):
            save_state(tmp_path, 2, TENSORS, 2)
    assert names(tmp_path) == ["state-000000001"]
    assert load_state(states(tmp_path)[0])[1] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_takes_no_more_is_an_os_error(tmp_path: Path) -> None:
    """The real thing, not its picture: a limit on the size of files, in a process of its own."""
    script = """
import resource, sys, torch
from pathlib import Path
from coursekit.storage import save_state
save_state(Path(sys.argv[1]), 1, {"a": torch.zeros(10)}, 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    save_state(Path(sys.argv[1]), 2, {"a": torch.zeros(100_000)}, 2)
except OSError as error:
    print("OSError:", error)
"""
    run = [sys.executable, "-c", script, str(tmp_path)]
    finished = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"OSError: {tmp_path}/state-000000002 cannot be written")
    assert names(tmp_path) == ["state-000000001"]


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_damaged_tensors_are_a_value_error(keep: int, tmp_path: Path) -> None:
    file = save_state(tmp_path, 1, TENSORS, 1) / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"tensors.safetensors is damaged"):
        load_state(file.parent)


def test_one_bit_that_has_turned_is_seen_wherever_it_is(tmp_path: Path) -> None:
    state = save_state(tmp_path, 1, TENSORS, {"loss": 0.25, "note": "as it was"})
    assert load_state(state)[1]["loss"] == 0.25
    rng = np.random.default_rng(0)
    for file in sorted(state.iterdir()):
        whole = file.read_bytes()
        for bit in rng.integers(8 * len(whole), size=100):
            turned = bytearray(whole)
            turned[bit // 8] ^= 1 << (bit % 8)
            file.write_bytes(turned)
            with pytest.raises((ValueError, FileNotFoundError)):
                load_state(state)
        file.write_bytes(whole)
    assert load_state(state)[1]["loss"] == 0.25


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_others_can_check_the_checksums(tmp_path: Path) -> None:
    state = save_state(tmp_path, 1, TENSORS, 1)
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=state, capture_output=True).stdout.count(b": OK") == 2


def test_damaged_or_missing_facts_are_told(tmp_path: Path) -> None:
    state = save_state(tmp_path, 1, TENSORS, {"step": 1})
    (state / "facts.json").write_text('{"step"')
    with pytest.raises(ValueError, match=r"facts\.json is damaged"):
        load_state(state)
    (state / "facts.json").unlink()
    with pytest.raises(FileNotFoundError):
        load_state(state)
    (state / "facts.json").write_text("1")
    (state / "tensors.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        load_state(state)
