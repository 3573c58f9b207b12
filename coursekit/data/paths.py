"""Where coursekit's own files and its downloads lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from coursekit.errors import CourseKitError

_PACKAGE = Path(__file__).resolve().parent.parent


def bundled(name: str = "") -> Path:
    """A file or folder that comes with coursekit, such as ``"sample/selection.parquet"``.

    In a checkout these lie in the top-level ``data/``; a wheel carries them inside the package.

    Args:
        name: path below the bundle, with forward slashes; empty for the bundle itself.

    Raises:
        CourseKitError: this installation does not hold the file.
    """
    places = (_PACKAGE / "_bundled", _PACKAGE.parent / "data")
    for place in places:
        found = place / name
        if found.exists():
            return found
    raise CourseKitError(
        f"coursekit's bundled file {name!r} is missing; looked in {places[0]} and {places[1]}. "
        "Install coursekit from a wheel or a complete clone."
    )


def cache_dir() -> Path:
    """The folder for downloads, made when it is first asked for.

    ``COURSEKIT_CACHE`` names it; a class on one machine can share one folder that way. Otherwise
    it is the place which the operating system has for such files.

    Raises:
        CourseKitError: the folder cannot be made.
    """
    named = os.environ.get("COURSEKIT_CACHE", "").strip()
    folder = Path(named).expanduser() if named else _user_cache() / "coursekit"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseKitError(
            f"cannot make the cache folder {folder}: {error.strerror or error}. "
            "Set COURSEKIT_CACHE to a folder you may write to."
        ) from error
    return folder


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
