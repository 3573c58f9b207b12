"""A room of its own for a process that is already running: Linux namespaces, and no way back.

What bubblewrap does for a program that it starts, these calls do for a fork of a warm process (see
:mod:`coursekit.grading.template`). Each is a thin cover of a system call; the order matters:
:func:`leave`, then a fork, then :func:`furnish` and :func:`renounce` in the fork.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from coursekit.grading.seccomp import seccomp_filter

_USER, _MOUNTS, _PROCESSES, _NETWORK = 0x10000000, 0x00020000, 0x20000000, 0x40000000
_MESSAGES, _HOST_NAME, _CGROUPS = 0x08000000, 0x04000000, 0x02000000
_NOSUID, _NODEV, _NOEXEC, _READ_ONLY = 2, 4, 8, 1
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_SET_DUMPABLE, _CAPBSET_DROP, _SET_NO_NEW_PRIVS, _SET_SECCOMP = 4, 24, 38, 22
_CAP_AMBIENT, _CLEAR_ALL, _SECCOMP_FILTER = 47, 4, 2
_CAPABILITY_VERSION_3 = 0x20080522
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mount.argtypes = [
    ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p,
]  # fmt: skip
_LIBC.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def leave(uid: int) -> None:
    """Enter new user, mount, process, network, message and host name namespaces.

    Only children of this process are in the new process namespace.

    Args:
        uid: what the user, and the group, is called in there.

    Raises:
        OSError: the system allows no namespaces here.
    """
    own_uid, own_gid = os.geteuid(), os.getegid()
    flags = _USER | _MOUNTS | _PROCESSES | _NETWORK | _MESSAGES | _HOST_NAME | _CGROUPS
    _call("unshare", _LIBC.unshare(flags))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {own_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{uid} {own_gid} 1")
    # No namespaces within these: their owner could mount and trace again.
    Path("/proc/sys/user/max_user_namespaces").write_text("0")


def fresh_proc() -> None:
    """Mount ``/proc`` anew, whole: where parts are covered, no namespace below may have its own."""
    _mount(b"proc", "/proc", b"proc", _NOSUID | _NODEV | _NOEXEC)


def furnish(folders: Mapping[str, int], files: int) -> None:
    """Give this process, the first of its process namespace, private folders, ``/proc`` and a net.

    Everything else stays as it was, which is read-only; mounts below a private folder stay too.

    Args:
        folders: path to size in bytes.
        files: how many each folder may hold.
    """
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    for folder, size in folders.items():
        kept = {place: os.open(place, os.O_PATH) for place in _mounts_below(folder)}
        options = f"size={size},nr_inodes={files},mode=1777".encode()
        _mount(b"tmpfs", folder, b"tmpfs", _NOSUID | _NODEV, options)
        for place, handle in kept.items():
            Path(place).mkdir(parents=True, exist_ok=True)
            _mount(f"/proc/self/fd/{handle}".encode(), place, None, _BIND | _RECURSIVE)
            os.close(handle)
    terminals = b"newinstance,ptmxmode=0666,mode=620"
    _mount(b"devpts", "/dev/pts", b"devpts", _NOSUID | _NOEXEC, terminals)
    # Read-only, for its settings belong to whom the grader's user is outside.
    _mount(b"proc", "/proc", b"proc", _NOSUID | _NODEV | _NOEXEC | _READ_ONLY)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # up, running


def renounce() -> None:
    """Give up every capability for good, and the system calls that no lesson needs."""
    number = 0
    while _LIBC.prctl(_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    _call("prctl", _LIBC.prctl(_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0))
    header, nothing = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    _call("capset", _LIBC.capset(header, nothing))
    _call("prctl", _LIBC.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    program = seccomp_filter()
    if program is not None:
        memory = ctypes.create_string_buffer(program)
        packed = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(memory))
        place = ctypes.create_string_buffer(packed)
        found = _LIBC.prctl(_SET_SECCOMP, _SECCOMP_FILTER, ctypes.addressof(place), 0, 0)
        _call("seccomp", found)


def hide(hidden: bool) -> None:
    """Whether other processes of this user may look into this one."""
    _call("prctl", _LIBC.prctl(_SET_DUMPABLE, int(not hidden), 0, 0, 0))


def _mounts_below(folder: str) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    below = sorted({p for p in points if Path(folder) in Path(p).parents})
    # A mount within another comes with it.
    return [p for p in below if not any(Path(other) in Path(p).parents for other in below)]


def _mount(
    source: bytes | None, target: str, kind: bytes | None, flags: int, options: bytes | None = None
) -> None:
    _call(f"mount {target}", _LIBC.mount(source, target.encode(), kind, flags, options))


def _call(name: str, result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
