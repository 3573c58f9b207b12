"""Bring one file over HTTP, however often the connection breaks.

What has arrived lies in ``<name>.part``, with a small note beside it that says which version of
the file it is a part of. The next attempt, in this call or a week later, asks only for the rest,
and only if the file at the source is still the same (``Range`` with ``If-Range``, RFC 9110).
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from coursekit.bars import bar
from coursekit.data.shared_cache import Say, share
from coursekit.errors import DownloadError

_SPARE_DISK = 16 << 20  # never fill a disk to the last byte
_LONGEST_WAIT = 60.0
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Version:
    """Which version of a file a partial download belongs to.

    Args:
        url: where it comes from.
        etag: the server's entity tag, "" where it gives none.
        modified: the server's Last-Modified, "" where it gives none.
        size: bytes of the whole file, None where the server does not say.
        md5: the MD5 of the content, where the tag is one (S3, uploaded in one part), else "".
    """

    url: str
    etag: str = ""
    modified: str = ""
    size: int | None = None
    md5: str = ""

    @property
    def validator(self) -> str:
        """What ``If-Range`` can rely on; "" where the server gives nothing that will do."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    @classmethod
    def of(cls, response: httpx.Response, url: str) -> Version:
        """Read the version from a server's answer."""
        length = response.headers.get("Content-Length", "")
        etag = response.headers.get("ETag", "")
        plain = re.fullmatch(r'"([0-9a-f]{32})"', etag)
        # Under KMS encryption S3's tag has the same shape and is no MD5.
        encrypted = "kms" in response.headers.get("x-amz-server-side-encryption", "")
        return cls(
            url=url,
            etag=etag,
            modified=response.headers.get("Last-Modified", ""),
            size=int(length) if length.isdigit() else None,
            md5=plain.group(1) if plain and not encrypted else "",
        )


class _AgainError(Exception):
    """This attempt failed in a way that another may not."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Transfer:
    """How files are brought.

    Args:
        client: with its timeout set; a connection that sends nothing for so long has stalled.
        say: takes lines for the user.
        retries: give up after so many failures in a row that brought no new byte.
        backoff: seconds to wait after the first of them, doubled each time.
    """

    client: httpx.Client
    say: Say
    retries: int = 5
    backoff: float = 1.0

    def receive(self, url: str, partial: Path) -> Version:
        """Complete a partial download; then ``partial`` holds the whole file, not yet verified.

        Raises:
            DownloadError: the server refuses, the disk is too small, or the retries are used up.
            KeyboardInterrupt: after saying what is kept.
        """
        try:
            return self._persist(url, partial)
        except KeyboardInterrupt:
            self.say(
                f"{partial.stem}: stopped; {_bytes(_size(partial))} are kept in {partial}. "
                "Run the same command again to go on from there."
            )
            raise
        except httpx.HTTPError as problem:  # too many redirects, and the like
            raise DownloadError(f"{url}: {problem}. Check the base address.") from problem
        except OSError as problem:
            raise DownloadError(
                f"{partial}: cannot write ({problem.strerror or problem}). Free disk space or "
                "check the folder's permissions, then run the same command again to go on."
            ) from problem

    def _persist(self, url: str, partial: Path) -> Version:
        furthest = failures = 0
        while True:
            try:
                return self._attempt(url, partial)
            except (httpx.TransportError, _AgainError) as problem:
                here = _size(partial)
                failures = 1 if here > furthest else failures + 1
                furthest = max(here, furthest)
                reason = str(problem) or type(problem).__name__
                if failures > self.retries:
                    raise DownloadError(
                        f"{url}: gave up after {failures} failures in a row; the last one: "
                        f"{reason}. {_bytes(here)} are kept; check the network and run the same "
                        "command again to go on from there."
                    ) from problem
                wait = min(_LONGEST_WAIT, self.backoff * 2 ** (failures - 1))
                wait *= random.uniform(0.8, 1.2)  # a class must not come back all at once
                wait = max(wait, getattr(problem, "wait", 0.0))
                self.say(
                    f"{partial.stem}: {reason}; {_bytes(here)} are here, trying again in "
                    f"{wait:.0f} s"
                )
                time.sleep(wait)

    def _attempt(self, url: str, partial: Path) -> Version:
        known = _read_note(partial)
        here = _size(partial)
        if known is None or known.url != url or not known.validator:
            here = 0
        elif known.size == here:
            return known
        # The bytes on disk must be the bytes at the source, so no compression on the way.
        headers = {"Accept-Encoding": "identity"}
        if here and known:
            headers |= {"Range": f"bytes={here}-", "If-Range": known.validator}
        with self.client.stream("GET", url, headers=headers) as response:
            if response.status_code == 206 and here and known:
                _require_same(response, known, here, partial)
                version = known
            elif response.status_code == 200:
                if here:
                    self.say(f"{partial.stem}: from the beginning; the source cannot go on")
                here = 0
                version = Version.of(response, url)
                discard(partial)
                _note(partial).write_text(json.dumps(asdict(version)), encoding="utf-8")
                share(_note(partial))
            else:
                raise _refusal(response, url, partial)
            _check_disk(partial, None if version.size is None else version.size - here)
            _copy(response, partial, here, version.size)
        arrived = _size(partial)
        if version.size is not None and arrived != version.size:
            if arrived > version.size:
                discard(partial)
            raise _AgainError(f"{_bytes(arrived)} arrived of {_bytes(version.size)}")
        return version


def discard(partial: Path) -> None:
    """Forget a partial download."""
    partial.unlink(missing_ok=True)
    _note(partial).unlink(missing_ok=True)


def _copy(response: httpx.Response, partial: Path, here: int, size: int | None) -> None:
    shown = bar(desc=partial.stem, total=size, initial=here, unit="B", unit_scale=True)
    with shown, partial.open("ab" if here else "wb") as file:
        share(partial)
        # As it comes: chunks of a set size would lose the last one when the connection breaks.
        for chunk in response.iter_raw():
            file.write(chunk)
            shown.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def _require_same(response: httpx.Response, known: Version, here: int, partial: Path) -> None:
    """Some servers send a range of a newer file, whatever If-Range says: then start over."""
    stated = response.headers.get("Content-Range", "").strip()
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", stated)
    start, total = match.groups() if match else ("", "*")
    same_size = known.size is None or total in ("*", str(known.size))
    if (
        start != str(here)
        or not same_size
        or response.headers.get("ETag", known.etag) != known.etag
    ):
        discard(partial)
        raise _AgainError("the file has changed at the source")


def _refusal(response: httpx.Response, url: str, partial: Path) -> Exception:
    status = response.status_code
    if status == 416:
        discard(partial)
        return _AgainError("the source cannot go on from there")
    if status in _WORTH_ANOTHER_TRY:
        after = response.headers.get("Retry-After", "")
        wait = min(_LONGEST_WAIT, float(after)) if after.isdigit() else 0.0
        return _AgainError(f"the server answered {status} {response.reason_phrase}", wait)
    if status == 404:
        advice = "There is no such file; check the target and the base address."
    elif status == 403:
        advice = (
            "The server refuses access; S3 also says so of a file that is not there. Check the "
            "base address, and whether your network blocks it."
        )
    else:
        advice = "Check the base address."
    return DownloadError(f"{url}: the server answered {status} {response.reason_phrase}. {advice}")


def _check_disk(partial: Path, needed: int | None) -> None:
    free = shutil.disk_usage(partial.parent).free
    if needed is not None and free < needed + _SPARE_DISK:
        raise DownloadError(
            f"{partial.parent}: {_bytes(needed)} more are needed and {_bytes(free)} are free. "
            "Free some space, or set COURSEKIT_CACHE to a folder on a larger disk."
        )


def _note(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _read_note(partial: Path) -> Version | None:
    try:
        return Version(**json.loads(_note(partial).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    for unit, scale in (("kB", 1e3), ("MB", 1e6)):
        if count < 1000 * scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1e9:.2f} GB"
