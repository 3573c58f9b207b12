"""What this machine can do for the course: device, precision, memory, versions, what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

GIB = 1024**3

PROFILES = {
    "quick": "a smoke test of every step, one or two minutes",
    "cpu": "the bundled encoder and sample on a processor, a few minutes a lesson",
    "t4": "ChemBERTa on KinDEL with 15 GB of GPU memory, mixed precision",
    "full": "larger encoders, several seeds, a GPU of 30 GB or more",
}

# package -> (why it is wanted, how to get it)
WANTED = {
    "torch": ("training", "pip install torch"),
    "transformers": ("encoders", "pip install transformers"),
    "scikit-learn": ("scores and baselines", "pip install scikit-learn"),
    "rdkit": ("molecules: labels, drawings, fingerprints", "pip install rdkit"),
    "jupyterlab": ("the notebooks on this machine", "pip install 'coursekit[lab]'"),
    "nbgrader": ("grading a class", "pip install 'coursekit[grading]'"),
    "ipywidgets": ("sliders and explorers", "pip install ipywidgets"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        topic: what was looked at.
        found: what is there.
        state: "ok", "note" or "missing".
        remedy: what to do where something is missing.
    """

    topic: str
    found: str
    state: str = "ok"
    remedy: str = ""

    def __str__(self) -> str:
        mark = {"ok": "ok     ", "note": "note   ", "missing": "missing"}[self.state]
        remedy = f"  -> {self.remedy}" if self.remedy else ""
        return f"{mark}  {self.topic:<14} {self.found}{remedy}"


def examine() -> list[Finding]:
    """Look at this machine; nothing is changed, downloaded or guessed."""
    findings = [Finding("python", platform.python_version())]
    findings += [_package(name, why, how) for name, (why, how) in WANTED.items()]
    if importlib.util.find_spec("torch") is not None:
        findings += _device()
    findings += [_memory(), _disk(), _bundle("coursekit-mini"), _bundle("sample")]
    findings += [
        _tool("bwrap", "the sandbox that grades a class", "apt install bubblewrap"),
        _kindel(),
    ]
    profile = suggest_profile()
    findings.append(Finding("profile", f"{profile}: {PROFILES[profile]}"))
    return findings


def suggest_profile() -> str:
    """The profile that fits this machine: "quick", "cpu", "t4" or "full"."""
    gpu = _gpu_memory()
    if gpu:
        return "full" if gpu >= 30 * GIB else "t4"
    memory = memory_limit()
    roomy = memory is None or memory >= 3 * GIB
    return "cpu" if cores() >= 2 and roomy else "quick"


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_limit() -> int | None:
    """Bytes of memory that this process may use, a container's limit included; None if unknown."""
    sizes: list[int] = []
    if hasattr(os, "sysconf"):
        with suppress(OSError, ValueError):
            sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path(limit).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return min(sizes) if sizes else None


def _package(name: str, why: str, how: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, f"not installed ({why})", "missing", how)


def _gpu_memory() -> int:
    if importlib.util.find_spec("torch") is None:
        return 0
    import torch

    if not torch.cuda.is_available():
        return 0
    return int(torch.cuda.get_device_properties(0).total_memory)


def _device() -> list[Finding]:
    import torch

    if not torch.cuda.is_available():
        words = f"CPU, {cores()} cores, {torch.get_num_threads()} threads; training in fp32"
        return [Finding("device", words), Finding("bf16", _cpu_bf16())]
    from coursekit.training.precision import choose_precision, has_bf16

    device = torch.device("cuda")
    count = torch.cuda.device_count()
    name = torch.cuda.get_device_name(0)
    gib = _gpu_memory() / GIB
    real = has_bf16(device)
    claimed = torch.cuda.is_bf16_supported()
    words = "in hardware" if real else "emulated only, slow" if claimed else "no"
    return [
        Finding("device", f"{count} x {name}, {gib:.1f} GiB"),
        Finding(
            "bf16", f"{words}; training in {choose_precision('auto', device)}",
            "ok" if real else "note",
        ),
    ]  # fmt: skip


def _cpu_bf16() -> str:
    """Whether the processor multiplies bfloat16 matrices itself (Linux tells)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown on this system; fp32 is used"
    for flag in ("amx_bf16", "avx512_bf16"):
        if flag in flags:
            return f"in hardware ({flag}), if asked for with precision='bf16'"
    return "emulated only; fp32 is used"


def _memory() -> Finding:
    limit = memory_limit()
    if limit is None:
        return Finding("memory", "unknown on this system", "note")
    gib = limit / GIB
    if gib < 3:
        return Finding(
            "memory", f"{gib:.1f} GiB", "note", "take batch_size=8 and the quick profile"
        )
    return Finding("memory", f"{gib:.1f} GiB")


def _disk() -> Finding:
    from coursekit.data.paths import cache_dir
    from coursekit.errors import CourseKitError

    try:
        folder = cache_dir()
    except CourseKitError as error:
        return Finding("cache", str(error), "missing", "set COURSEKIT_CACHE")
    free = shutil.disk_usage(folder).free / GIB
    state = ("ok", "") if free > 2 else ("note", "KinDEL's files need about 2 GiB")
    return Finding("cache", f"{folder}, {free:.0f} GiB free", *state)


def _bundle(name: str) -> Finding:
    from coursekit.data.paths import bundled
    from coursekit.errors import CourseKitError

    try:
        folder = bundled(name)
    except CourseKitError:
        return Finding(name, "not in this installation", "missing", "install a wheel or full clone")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    return Finding(name, f"bundled, {size / 1024**2:.1f} MiB")


def _tool(name: str, why: str, how: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(name, f"not found ({why})", "note", how)
    return Finding(name, path)


def _kindel() -> Finding:
    from coursekit.data.sources import selection_path
    from coursekit.errors import CourseKitError

    try:
        path = selection_path("mapk14")
    except CourseKitError:
        path = None
    if path is None or not path.exists():
        return Finding(
            "KinDEL", "MAPK14 not downloaded (the bundled sample needs no download)", "note",
            "coursekit data fetch mapk14",
        )  # fmt: skip
    return Finding("KinDEL", f"MAPK14, {path.stat().st_size / GIB:.2f} GiB")
