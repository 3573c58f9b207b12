"""What the doctor says about machines that this one is not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from coursekit import doctor
from coursekit.cli import main
from coursekit.data.paths import cache_dir
from coursekit.doctor import GIB, PROFILES, Finding, examine, suggest_profile
from coursekit.errors import CourseKitError


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
        free = (int(gib / 2 * GIB), int(gib * GIB))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: free)
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: claims_bf16 if including_emulation else has_bf16,
        )

    return pretend


def test_versions_are_those_installed() -> None:
    assert found("torch").found == version("torch")
    assert found("rdkit").state == "ok"
    assert "not installed" not in found("grading").found


def test_a_t4_emulates_bf16_and_trains_in_fp16(gpu: Callable[..., None]) -> None:
    gpu("Tesla T4", 14.7, claims_bf16=True, has_bf16=False)
    assert found("device").found == "1 x Tesla T4, 14.7 GiB (7.3 free)"
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


def test_memory_that_others_have_taken_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory_limit", lambda: 16 * GIB)
    monkeypatch.setattr(doctor, "memory_free", lambda: GIB // 2)
    assert found("memory").found == "16.0 GiB (0.5 free)"
    assert found("memory").state == "note"
    monkeypatch.setattr(doctor, "memory_free", lambda: 9 * GIB)
    assert found("memory").state == "ok"


def test_a_gpu_that_others_have_filled(gpu: Callable[..., None], monkeypatch) -> None:  # type: ignore[no-untyped-def]
    gpu("Tesla T4", 14.7, claims_bf16=True, has_bf16=False)

    def refused(index: int) -> tuple[int, int]:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", refused)
    assert found("device").found.endswith("(none that this process can get)")


def test_a_gpu_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU build of torch on a machine with a driver."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert found("device").state == "note"
    assert "CUDA build" in found("device").remedy
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert found("device").state == "ok"


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


@pytest.mark.parametrize(
    ("installed", "state", "remedy"),
    [
        ("2.3.1+cu121", "missing", "pip install --upgrade torch"),
        ("2.4.0+cu121", "ok", ""),
        ("2.10.0", "ok", ""),
    ],
)
def test_a_version_too_old(
    installed: str, state: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch>=2.4", "nbgrader>=1; extra == x"])
    monkeypatch.setattr(doctor, "version", lambda name: installed if name == "torch" else "9")
    assert (found("torch").state, found("torch").remedy) == (state, remedy)
    assert ("needs 2.4 or newer" in found("torch").found) == (state == "missing")
    assert found("transformers").state == "ok"  # no bound is known here


def test_an_extra_that_nobody_asked_for_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_mlflow(name: str) -> str:
        if name in ("mlflow", "jupyterlab"):
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", without_mlflow)
    monkeypatch.setattr(doctor, "requires", lambda name: [])
    trackers = found("trackers")
    assert trackers.found.startswith("accelerate 1.0, comet-ml 1.0, langfuse 1.0, tensorboard 1.0")
    assert "mlflow not installed" in trackers.found
    assert (trackers.state, trackers.remedy) == ("note", "pip install 'coursekit[trackers]'")
    assert found("lab").remedy == "pip install 'coursekit[lab]'"
    assert found("grading") == Finding("grading", "cloudpickle 1.0, nbgrader 1.0, nh3 1.0")
    printed = CliRunner().invoke(main, ["doctor"]).output
    assert printed.strip().endswith("nothing is missing")


def test_not_installed_it_knows_no_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", absent)
    assert found("torch").state == "ok"


def test_without_torch_it_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(name: str) -> str:
        if name == "torch":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", without_torch)
    monkeypatch.setitem(sys.modules, "torch", None)  # as Python does where it is not installed
    findings = {f.topic: f for f in examine()}
    assert "device" not in findings
    assert findings["torch"].remedy == "pip install torch"
    assert findings["profile"].found.startswith(("cpu", "quick"))


def test_a_torch_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_torch", lambda: None)
    assert found("device").state == "missing"
    assert "--force-reinstall" in found("device").remedy
    assert found("profile").state == "ok"


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
    ("files", "free"),
    [
        ({"meminfo": f"MemTotal: 9 kB\nMemAvailable:   {3 * 1024**2} kB\n"}, 3 * GIB),
        (
            {
                "meminfo": f"MemAvailable: {3 * 1024**2} kB\n",
                "memory.max": str(4 * GIB),
                "memory.current": str(3 * GIB),
            },
            GIB,
        ),
        ({"meminfo": f"MemAvailable: {1024**2} kB\n", "memory.max": "max\n"}, GIB),
        ({}, None),
    ],
)
def test_free_memory(
    files: dict[str, str], free: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the machine has left, or what the container may still take, whichever is less."""

    def read(self: Path, *args: object, **more: object) -> str:
        if self.name not in files:
            raise FileNotFoundError(str(self))
        return files[self.name]

    monkeypatch.setattr(Path, "read_text", read)
    assert doctor.memory_free() == free


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


def test_kindel_is_asked_for_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("KinDEL").remedy == "coursekit data fetch mapk14"
    folder = cache_dir() / "kindel"
    folder.mkdir()
    (folder / "mapk14_1M.parquet").write_bytes(b"x" * (GIB // 64))
    assert found("KinDEL") == Finding("KinDEL", "MAPK14, 0.02 GiB")


def test_an_installation_without_its_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise CourseKitError(f"{name!r} is missing")

    monkeypatch.setattr("coursekit.data.paths.bundled", missing)
    assert found("coursekit-mini").state == found("sample").state == "missing"
    assert "wheel" in found("sample").remedy
