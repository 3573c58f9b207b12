"""KinDEL's license: shown and accepted before anything is fetched, once per user and cache."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from coursekit.data.shared_cache import Say, locked, read_json, writable, write_json
from coursekit.errors import DownloadError

LICENSE_URL = "https://github.com/insitro/kindel/blob/main/LICENSE.md"
LICENSE_SUMMARY = f"""\
KinDEL is published by Insitro Inc. under Insitro's own license (code and data alike). In short:
  - research, teaching, personal experiments and benchmarks are allowed; commercial use is not
    (no sale, no paid service, no part of a commercial product);
  - the grant is yours and cannot be transferred: do not pass the files on, let others fetch
    them; the terms of CC BY-NC-SA 4.0 apply beside it;
  - no patent license is given, and no warranty.
This summary is not the license. The full text: {LICENSE_URL}"""

AcceptLicence = bool | Callable[[str], bool] | None


def require_license(folder: Path, accept: AcceptLicence, say: Say) -> None:
    """Return once this user has accepted KinDEL's license for this cache.

    Args:
        folder: the cache, which remembers who accepted.
        accept: True accepts; a function is shown the summary and says yes or no; None asks on the
            terminal; False refuses.
        say: takes lines for the user.

    Raises:
        DownloadError: not accepted, or nobody there to ask.
    """
    file = folder / "license-accepted.json"
    user = _user()
    if user in read_json(file) and accept is not False:
        return
    if accept is None:
        if sys.stdin is None or not sys.stdin.isatty():
            say(LICENSE_SUMMARY)
            raise DownloadError(
                "KinDEL's license has to be accepted once, and there is no terminal to ask on. "
                f"Read it ({LICENSE_URL}), then pass --accept-licence "
                "(in Python: accept_licence=True)."
            )
        accept = _ask
    if accept is True:
        say(LICENSE_SUMMARY)
    elif accept is False or not accept(LICENSE_SUMMARY):
        raise DownloadError("KinDEL's license was not accepted; nothing was fetched.")
    if writable(folder):
        with locked(file, say):
            date = time.strftime("%Y-%m-%d")
            write_json(file, {**read_json(file), user: f"accepted {LICENSE_URL} on {date}"})


def _ask(summary: str) -> bool:
    print(summary, file=sys.stderr)
    return input("Do you accept the license? [y/N] ").strip().lower() in ("y", "yes")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a password file
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
