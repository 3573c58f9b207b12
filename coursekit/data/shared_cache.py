"""A folder which several users and processes may fill at the same time.

Files are as shared as the folder they lie in: where its group may write, the group may write them
too. So an instructor decides once (``mkdir``, ``chgrp``, ``chmod 2775``) and sets
``COURSEKIT_CACHE``; a private cache stays private.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from coursekit.errors import DownloadError

Say = Callable[[str], None]


def share(path: Path) -> None:
    """Let the group write a file or folder if it may write the folder around it."""
    with suppress(OSError):  # another user's file: its owner has decided
        if _group_writes(path.parent):
            path.chmod(path.stat().st_mode | (0o070 if path.is_dir() else 0o060))


def make_folder(folder: Path) -> None:
    """Make a folder, as shared as the one around it.

    Raises:
        DownloadError: that is not possible.
    """
    try:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            share(folder)
    except OSError as error:
        raise DownloadError(
            f"cannot make the folder {folder} ({error.strerror or error}). Set COURSEKIT_CACHE to "
            "a folder where you may write."
        ) from error


def writable(folder: Path) -> bool:
    """Whether this user may add files to a folder."""
    return os.access(folder, os.W_OK)


@contextmanager
def locked(target: Path, say: Say) -> Iterator[None]:
    """Hold the lock of one file; others who want it wait, and then find what was made.

    Raises:
        DownloadError: no lock can be made in that folder.
    """
    mode = 0o664 if _group_writes(target.parent) else 0o644
    lock = FileLock(target.with_name(f".{target.name}.lock"), mode=mode)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"{target.name}: another process is at it in this cache; waiting")
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise DownloadError(
            f"{target.parent}: cannot lock {target.name} ({error}). Set COURSEKIT_CACHE to a "
            "folder where you may write, on a file system that knows locks."
        ) from error
    try:
        yield
    finally:
        lock.release()


def read_json(file: Path) -> dict[str, Any]:
    """A small table of the cache; empty where it does not exist yet.

    Raises:
        DownloadError: it is there and is no JSON object.
    """
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DownloadError(f"{file}: cannot be read ({error}). Remove it and go on.") from error
    if not isinstance(content, dict):
        raise DownloadError(f"{file}: holds no table of entries. Remove it and go on.")
    return content


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Replace a small table of the cache, all of it or nothing."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    share(temporary)
    os.replace(temporary, file)


def _group_writes(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IWGRP)
