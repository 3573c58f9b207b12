"""What the doctor says about machines that this one is not."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from coursekit import doctor
from coursekit.cli import main
from coursekit.doctor import GIB, PROFILES, Finding, examine, suggest_profile


def found(topic: str) -> Finding:
    return next(f for f in examine() if f.topic == topic)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make torch answer as on a machine with this GPU."""

    def pretend(name: str, gib: float, claims_bf16: bool, has_bf16: bool) -> None:
        facts = SimpleNamespace(total_memory=int(gib * GIB), name=name)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=0: name)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: facts)
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: claims_bf16 if including_emulation else has_bf16,
        )

    return pretend


def test_versions_are_those_installed() -> None:
    assert found("torch").found == version("torch")
    assert found("rdkit").state == "ok"


def test_a_t4_emulates_bf16_and_trains_in_fp16(gpu: Callable[..., None]) -> None:
    gpu("Tesla T4", 14.7, claims_bf16=True, has_bf16=False)
    assert "Tesla T4, 14.7 GiB" in found("device").found
    assert "emulated only, slow; training in fp16" in found("bf16").found
    assert found("bf16").state == "note"
    assert suggest_profile() == "t4"


def test_a_large_gpu_has_bf16_and_the_full_profile(gpu: Callable[..., None]) -> None:
    gpu("NVIDIA A100", 80, claims_bf16=True, has_bf16=True)
    assert found("bf16") == Finding("bf16", "in hardware; training in bf16")
    assert suggest_profile() == "full"


@pytest.mark.parametrize(
    ("cores", "memory", "profile"),
    [(2, 8 * GIB, "cpu"), (2, None, "cpu"), (1, 8 * GIB, "quick"), (4, 2 * GIB, "quick")],
)
def test_without_a_gpu_cores_and_memory_decide(
    cores: int, memory: int | None, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "cores", lambda: cores)
    monkeypatch.setattr(doctor, "memory_limit", lambda: memory)
    assert suggest_profile() == profile
    assert found("profile").found.startswith(f"{profile}: {PROFILES[profile]}")
    assert ("batch_size=8" in found("memory").remedy) == (memory == 2 * GIB)
    assert (found("memory").found == "unknown on this system") == (memory is None)


def test_what_is_missing_comes_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_rdkit(name: str) -> str:
        if name == "rdkit":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", without_rdkit)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    missing = found("rdkit")
    assert (missing.state, missing.remedy) == ("missing", "pip install rdkit")
    assert found("bwrap").remedy == "apt install bubblewrap"
    printed = CliRunner().invoke(main, ["doctor"]).output
    assert "missing  rdkit" in printed
    assert printed.strip().endswith("missing: rdkit")


def test_without_torch_it_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    topics = [f.topic for f in examine()]
    assert "device" not in topics
    assert "profile" in topics


def test_a_cache_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "file"))
    assert found("cache").state == "missing"
    assert found("cache").remedy == "set COURSEKIT_CACHE"


def test_a_full_disk_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(total=10 * GIB, used=9 * GIB, free=1 * GIB)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    assert found("cache").state == "note"


def test_a_container_s_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """cgroups: the smaller of the machine's memory and the container's."""
    read = Path.read_text

    def limited(self: Path, *args: object, **more: object) -> str:
        return f"{5 * GIB}\n" if self.name == "memory.max" else read(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", limited)
    monkeypatch.setattr(doctor.os, "sysconf", lambda name: {"SC_PAGE_SIZE": GIB}.get(name, 64))
    assert doctor.memory_limit() == 5 * GIB


@pytest.mark.parametrize(
    ("cpuinfo", "words"),
    [("flags: avx2 avx512_bf16", "in hardware (avx512_bf16)"), ("flags: avx2", "emulated only")],
)
def test_a_processor_s_bf16(cpuinfo: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    read = Path.read_text

    def pretended(self: Path, *args: object, **more: object) -> str:
        return cpuinfo if self.name == "cpuinfo" else read(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", pretended)
    assert words in found("bf16").found


def test_kindel_is_asked_for_where_it_is_not() -> None:
    assert found("KinDEL").remedy == "coursekit data fetch mapk14"
