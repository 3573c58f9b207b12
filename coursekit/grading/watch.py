"""What the processes of a sandbox use together, looked at from outside.

Limits of the operating system hold for one process each, and some do not hold for root at all; the
sum is what takes a machine down. Linux only, like the sandbox.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
MAX_FILES = 50_000
"""Files that a notebook may make: small ones cost memory that no size limit counts."""


@dataclass(frozen=True)
class Usage:
    """What a process and its descendants hold now."""

    processes: int
    memory_bytes: int
    files: int


def usage(root: int) -> Usage:
    """Add up a process and all that descend from it.

    Args:
        root: id of the process. One that has ended uses nothing, nor does any where there is no
            ``/proc``.
    """
    if not Path("/proc/stat").exists():
        return Usage(0, 0, 0)
    parents: dict[int, int] = {}
    memory: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            # pid (name) state parent ... field 24 is the resident set; the name may hold anything.
            fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(name)] = int(fields[1])
        memory[int(name)] = int(fields[21]) * _PAGE
    children: dict[int, list[int]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    found, waiting = [], [root] if root in parents else []
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += children.get(process, [])
    return Usage(len(found), sum(memory[p] for p in found), _files(found[-1:]))


def resident(process: int) -> int:
    """Bytes of memory that a process has mapped now; 0 where there is none."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _files(processes: list[int]) -> int:
    """Files in the private folders, as the newest process sees them."""
    total = 0
    for process in processes:
        for folder in ("student", "tmp", "dev/shm"):
            try:
                status = os.statvfs(f"/proc/{process}/root/{folder}")
                mounted = os.stat(f"/proc/{process}/root/{folder}").st_dev != os.stat("/tmp").st_dev
            except OSError:
                continue
            if mounted:
                total += status.f_files - status.f_ffree
    return total
