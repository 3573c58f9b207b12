"""Where a run was made: device and versions, and nothing that names a person or a machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from coursekit.version import __version__

PACKAGES = ("torch", "transformers", "scikit-learn", "rdkit", "numpy", "pandas")


def describe_environment(precision: str | None = None) -> dict[str, Any]:
    """What another person needs to know to make the same run again.

    Args:
        precision: the arithmetic the run trained in, "fp32", "bf16" or "fp16"; None where the
            word has no meaning (fingerprint baselines).

    Returns:
        Plain data: ``python``, ``platform`` (family, such as "Linux"), ``machine`` (processor
        family), ``device``, ``cores`` (that this process may use), ``precision`` and ``versions``
        (package name to version, None where not installed). No host name, user name or path:
        records travel to graders and into public notebooks.
    """
    versions: dict[str, str | None] = {"coursekit": __version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "device": _device_name(),
        "cores": _usable_cores(),
        "precision": precision,
        "versions": versions,
    }


def _device_name() -> str:
    # A process that never loaded torch cannot have used an accelerator: no need to load it now.
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(torch.cuda.current_device()))
    if torch is not None and torch.backends.mps.is_available():
        return "Apple GPU"
    return "CPU"


def _usable_cores() -> int:
    # Containers and clusters often lend fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
