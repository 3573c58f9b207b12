"""What this machine can do for the course: device, precision, memory, versions, what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

GIB = 1024**3

PROFILES = {
    "quick": "a smoke test of every step, one or two minutes",
    "cpu": "the bundled encoder and sample on a processor, a few minutes a lesson",
    "t4": "ChemBERTa on KinDEL with 15 GB of GPU memory, mixed precision",
    "full": "larger encoders, several seeds, a GPU of 30 GB or more",
}

# package -> what it is needed for
NEEDED = {
    "torch": "training",
    "transformers": "encoders",
    "scikit-learn": "scores and baselines",
    "rdkit": "molecules: labels, drawings, fingerprints",
    "numpy": "arrays",
    "pandas": "tables",
    "pyarrow": "parquet files",
    "matplotlib": "pictures",
    "ipywidgets": "sliders and explorers",
}
# extra -> what it is for, and its packages; not everybody wants them
EXTRAS = {
    "lab": ("notebooks on this machine", ("jupyterlab",)),
    "grading": ("grading a class", ("cloudpickle", "nbgrader", "nh3")),
    "adapters": ("LoRA", ("peft",)),
    "distributed": ("several GPUs or hosts", ("accelerate",)),
    "trackers": (
        "runs on a dashboard",
        ("accelerate", "comet-ml", "langfuse", "mlflow", "tensorboard", "wandb"),
    ),
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
    """Look at this machine; nothing is installed or downloaded."""
    least = _least_versions()
    findings = [Finding("python", platform.python_version())]
    findings += [_package(name, why, least.get(name, "")) for name, why in NEEDED.items()]
    findings += [_extra(name, why, packages) for name, (why, packages) in EXTRAS.items()]
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


def memory_free() -> int | None:
    """Bytes that this process could still take without swapping; None if unknown."""
    free: list[int] = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free += [int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):
        limit, used = (
            int(Path(f"/sys/fs/cgroup/memory.{name}").read_text(encoding="ascii"))
            for name in ("max", "current")
        )
        free.append(max(0, limit - used))
    return min(free) if free else None


def _least_versions() -> dict[str, str]:
    """Package -> the version that coursekit needs at least, by its own metadata."""
    try:
        lines = requires("coursekit") or []
    except PackageNotFoundError:  # a checkout on the path, not installed
        return {}
    found = (re.match(r"([\w.-]+)>=([\d.]+)$", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def _package(name: str, why: str, least: str) -> Finding:
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, f"not installed ({why})", "missing", f"pip install {name}")
    if least and _numbers(found) < _numbers(least):
        how = f"pip install --upgrade {name}"
        return Finding(name, f"{found}; coursekit needs {least} or newer", "missing", how)
    return Finding(name, found)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text.split("+")[0])]


def _extra(extra: str, why: str, packages: tuple[str, ...]) -> Finding:
    found, absent = [], []
    for name in packages:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            absent.append(name)
    if not absent:
        return Finding(extra, ", ".join(found))
    return Finding(
        extra,
        ", ".join([*found, f"{', '.join(absent)} not installed ({why})"]),
        "note",
        f"pip install 'coursekit[{extra}]'",
    )


def _torch() -> Any | None:
    """PyTorch, or None where it is not installed or cannot be loaded."""
    try:
        import torch
    except (ImportError, OSError):
        return None
    return torch


def _gpu_memory() -> int:
    torch = _torch()
    if torch is None or not torch.cuda.is_available():
        return 0
    return int(torch.cuda.get_device_properties(0).total_memory)


def _device() -> list[Finding]:
    torch = _torch()
    if torch is None:
        if importlib.util.find_spec("torch") is None:
            return []  # its own line says so
        how = "pip install --force-reinstall torch"
        return [Finding("device", "torch is there, but cannot be loaded", "missing", how)]
    if not torch.cuda.is_available():
        words = f"CPU, {cores()} cores, {torch.get_num_threads()} threads; training in fp32"
        device = Finding("device", words)
        if shutil.which("nvidia-smi"):
            device = Finding(
                "device", f"{words}; a GPU seems to be here, but torch cannot use it", "note",
                "a driver that works and a CUDA build of torch: pytorch.org/get-started",
            )  # fmt: skip
        return [device, Finding("bf16", _cpu_bf16())]
    from coursekit.models.precision import choose_precision, has_bf16

    device = torch.device("cuda")
    count = torch.cuda.device_count()
    name = torch.cuda.get_device_name(0)
    gib = _gpu_memory() / GIB
    real = has_bf16(device)
    claimed = torch.cuda.is_bf16_supported()
    words = "in hardware" if real else "emulated only, slow" if claimed else "no"
    return [
        Finding("device", f"{count} x {name}, {gib:.1f} GiB{_gpu_free(torch)}"),
        Finding(
            "bf16", f"{words}; training in {choose_precision('auto', device)}",
            "ok" if real else "note",
        ),
    ]  # fmt: skip


def _gpu_free(torch: Any) -> str:
    try:
        return f" ({torch.cuda.mem_get_info(0)[0] / GIB:.1f} free)"
    except RuntimeError:  # others have filled it, or keep it to themselves
        return " (none that this process can get)"


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
    free = memory_free()
    words = f"{limit / GIB:.1f} GiB" + ("" if free is None else f" ({free / GIB:.1f} free)")
    if limit < 3 * GIB:
        return Finding("memory", words, "note", "take batch_size=8 and the quick profile")
    if free is not None and free < GIB:
        return Finding("memory", words, "note", "close other programs, or notebooks still running")
    return Finding("memory", words)


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
