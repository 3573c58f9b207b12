"""What Colab lacks, and nothing else: a package that is there is never touched."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version

NEVER = ("torch", "numpy", "pandas", "scipy", "transformers")
"""Replaced under a running kernel, these break it; their absence means another machine than
Colab, for a person to set up."""


def missing_packages() -> list[str]:
    """Packages that coursekit needs and that are not installed."""
    try:
        lines = requires("coursekit") or []
    except PackageNotFoundError:  # a checkout on the path, not installed
        return []
    needed = [match[0] for line in lines if "extra ==" not in line and (match := _name(line))]
    return [name for name in needed if not _installed(name)]


def install_command(packages: list[str]) -> list[str]:
    """The command that installs these and leaves everything else as it is."""
    return [sys.executable, "-m", "pip", "install", "-q", "--no-deps", *packages]


def install_missing(packages: list[str]) -> list[str]:
    """Install what is missing; returns sentences on what was done, or what a person has to do."""
    ours = [name for name in packages if name not in NEVER]
    said = [
        f"{name} is missing, which coursekit never installs by itself: pip install {name}"
        for name in packages
        if name in NEVER
    ]
    if not ours:
        return said
    done = subprocess.run(install_command(ours), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [*said, f"{', '.join(ours)} could not be installed: {last}"]
    return [*said, f"installed {', '.join(ours)}; nothing else was changed"]


def _name(requirement: str) -> re.Match[str] | None:
    return re.match(r"[A-Za-z0-9._-]+", requirement)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
