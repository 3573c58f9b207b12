"""A filter of system calls for the sandbox: what no lesson needs and kernel exploits like.

Written as the classic BPF program that bubblewrap takes (Linux ``seccomp(2)``, mode filter). Calls
on the list fail with "not permitted", as does a clone into new namespaces; sockets other than local
and internet ones do not exist, for some of them (vsock) leave a network namespace.
"""

from __future__ import annotations

import platform
import struct

# Linux's system call tables: architecture mark; numbers of socket(2), clone(2), what is refused:
# ptrace, process_vm_*, kexec_*, modules, bpf, perf_event_open, keys, mounts, swap, reboot, unshare,
# setns, userfaultfd, open_by_handle_at, quotactl, acct, ports, syslog; io_uring and new mounts.
_NEW = "425 426 427 428 429 430 431 432 433 442"
_TABLES = {
    "x86_64": (
        0xC000003E,
        41,
        56,
        "101 310 311 246 320 175 313 176 321 298 248 249 250 165 166 155 167 168 169 272 308 323 "
        f"304 179 163 172 173 103 {_NEW}",
    ),
    "aarch64": (
        0xC00000B7,
        198,
        220,
        "117 270 271 104 294 105 273 106 280 241 217 218 219 40 39 41 224 225 142 97 268 282 265 "
        f"60 89 116 {_NEW}",
    ),
}
_SOCKETS = (1, 2, 10, 16)  # unix, internet 4 and 6, netlink
_CLONE3 = 435  # everywhere
_NEW_NAMESPACES = 0x7E020000  # clone's: mount, cgroup, host name, message, user, process, net
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NOT_PERMITTED, _NO_SUCH_CALL, _NO_SUCH_FAMILY = 1, 38, 97


def seccomp_filter(machine: str | None = None) -> bytes | None:
    """The program for this machine's architecture.

    Args:
        machine: as ``platform.machine()`` names it.

    Returns:
        Bytes for ``bwrap --seccomp``; None where the table of system calls is not known here.
    """
    table = _TABLES.get(machine or platform.machine())
    if table is None:
        return None
    mark, socket, clone, refused = table
    program = [
        (_LOAD, 0, 0, 4),  # the architecture: numbers mean something else on another
        (_EQUAL, 1, 0, mark),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the number of the call
        (_AT_LEAST, 0, 1, 0x40000000),  # x32, with a table of its own
        (_RETURN, 0, 0, _ERROR | _NOT_PERMITTED),
    ]
    for number in map(int, refused.split()):
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | _NOT_PERMITTED)]
    program += [(_EQUAL, 0, 4, clone), (_LOAD, 0, 0, 16), (_ANY_BIT, 0, 1, _NEW_NAMESPACES)]
    program += [(_RETURN, 0, 0, _ERROR | _NOT_PERMITTED), (_RETURN, 0, 0, _ALLOW)]
    # Its flags lie in memory, where no filter sees them; libraries then take the one above.
    program += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERROR | _NO_SUCH_CALL)]
    program += [(_EQUAL, 0, len(_SOCKETS) + 2, socket), (_LOAD, 0, 0, 16)]
    for left, family in zip(range(len(_SOCKETS), 0, -1), _SOCKETS, strict=True):
        program.append((_EQUAL, left, 0, family))
    program += [(_RETURN, 0, 0, _ERROR | _NO_SUCH_FAMILY), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
