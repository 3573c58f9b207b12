"""Fetch KinDEL from its public bucket into a cache that a whole class can share.

KinDEL's license forbids commercial use and passing the data on, so coursekit carries none of it:
each user fetches it from its publisher, after accepting the license.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from coursekit.data import sources
from coursekit.data.heldout import load_heldout
from coursekit.data.kindel_license import AcceptLicence, require_license
from coursekit.data.published_splits import load_splits
from coursekit.data.schema import check_arrow_types, check_columns
from coursekit.data.shared_cache import (
    Say,
    locked,
    make_folder,
    read_json,
    share,
    writable,
    write_json,
)
from coursekit.data.transfer import Transfer, Version, discard
from coursekit.errors import CourseKitError, DownloadError

BASE_URL = "https://kin-del-2024.s3.amazonaws.com/data"


@dataclass(frozen=True)
class BucketFile:
    """One file of the bucket: how loaders call it, where it lies below the base, what it holds."""

    name: str
    path: str
    kind: Literal["selection", "splits", "heldout", "synthons"]


class _ChangedError(DownloadError):
    """The source really has another file now; fetching it again would not help."""


def bucket_files(target: str, full: bool = False) -> list[BucketFile]:
    """The files that belong to a target: selection, splits, held-out Kd, synthon tables.

    Raises:
        DownloadError: KinDEL has no such target.
    """
    if target not in sources.TARGETS:
        raise DownloadError(
            f"KinDEL has no target {target!r}; fetch one of: {', '.join(sources.TARGETS)}."
        )
    name = f"{target}_full" if full else target
    files = [BucketFile(name, sources.SELECTIONS[name], "selection")]
    for name in (f"{target}_random", f"{target}_disynthon"):
        files.append(BucketFile(name, sources.SPLITS[name], "splits"))
    for name in (f"{target}_ondna", f"{target}_offdna"):
        files.append(BucketFile(name, sources.HELDOUT[name], "heldout"))
    for cycle in "abc":
        files.append(BucketFile(f"synthons_{cycle}", f"synthons/reacted_{cycle}.csv", "synthons"))
    return files


def fetch(
    target: str,
    full: bool = False,
    base_url: str | None = None,
    cache: str | Path | None = None,
    accept_licence: AcceptLicence = None,
    *,
    say: Say | None = None,
    retries: int = 5,
    backoff: float = 1.0,
    timeout: float = 30.0,
) -> dict[str, Path]:
    """Fetch KinDEL's files for one target, or go on with a download that broke off.

    Each file is complete, verified and readable before it appears under its name. A file that is
    there already is verified again instead of fetched.

    Args:
        target: ``"mapk14"`` or ``"ddr1"``.
        full: the file of all 81 million molecules instead of the 1M file.
        base_url: where the bucket's layout begins; default ``COURSEKIT_KINDEL_URL``, else the
            public bucket.
        cache: the folder to fill; default ``kindel`` in ``cache_dir()``, where loaders look.
        accept_licence: True accepts KinDEL's license; a function is shown the summary and says
            yes or no; None asks on the terminal, once per user and cache.
        say: takes lines for the user; default writes them to stderr.
        retries: failures in a row, without a new byte, before giving up on a file.
        backoff: seconds before the first retry, doubled each time.
        timeout: seconds without an answer or a byte after which a connection counts as stalled.

    Returns:
        Loader name (``"mapk14"``, ``"mapk14_random"``, ``"synthons_a"``...) -> file.

    Raises:
        DownloadError: license not accepted, a file refused, a checksum or content that is wrong,
            or no disk space. What did arrive stays.
        KeyboardInterrupt: after saying how to go on.
    """
    say = say or _to_stderr
    files = bucket_files(target, full)
    base = (base_url or os.environ.get("COURSEKIT_KINDEL_URL") or BASE_URL).rstrip("/")
    if not base.startswith(("https://", "http://")):
        raise DownloadError(f"base address {base!r}: give one that starts with https://.")
    folder = Path(cache) if cache else sources.kindel_dir()
    make_folder(folder)
    require_license(folder, accept_licence, say)
    fetched: dict[str, Path] = {}
    failed: list[str] = []
    with httpx.Client(timeout=timeout, follow_redirects=True) as client:
        transfer = Transfer(client, say, retries=retries, backoff=backoff)
        for file in files:
            try:
                fetched[file.name] = _fetch_file(file, folder, base, transfer)
            except DownloadError as error:
                if file.kind == "selection":
                    raise
                # A missing companion must not keep the user from the others.
                failed.append(str(error))
    if failed:
        raise DownloadError(
            f"fetched {', '.join(fetched)}; {len(failed)} of {len(files)} files are missing:\n"
            + "\n".join(failed)
        )
    return fetched


def _fetch_file(file: BucketFile, folder: Path, base: str, transfer: Transfer) -> Path:
    target = folder / file.path
    make_folder(target.parent)
    if not writable(target.parent):
        if target.exists() and _still_good(file, folder, transfer.say):
            return target
        raise DownloadError(
            f"{target.parent}: you may not write there. Ask who keeps this cache, or set "
            "COURSEKIT_CACHE to a folder of your own."
        )
    with locked(target, transfer.say):
        if target.exists() and _still_good(file, folder, transfer.say):
            return target
        partial = target.with_name(target.name + ".part")
        version = transfer.receive(f"{base}/{file.path}", partial)
        try:
            sha256, how = _verify(file, partial, folder, version)
        except _ChangedError:
            raise
        except DownloadError as error:
            transfer.say(f"{error} Fetching it once more, from the beginning.")
            discard(partial)
            version = transfer.receive(version.url, partial)
            try:
                sha256, how = _verify(file, partial, folder, version)
            except DownloadError:
                discard(partial)
                raise
        share(partial)
        os.replace(partial, target)
        discard(partial)
        _record(file, folder, sha256, version, how)
    transfer.say(f"{file.path}: {how}")
    return target


def _verify(file: BucketFile, path: Path, folder: Path, version: Version) -> tuple[str, str]:
    """Checksum and content of a file that has arrived: its sha256, and what was compared."""
    sha256, md5 = _digests(path)
    if version.md5 and md5 != version.md5:
        raise DownloadError(
            f"{version.url}: the content arrived damaged (MD5 {md5}, the server says "
            f"{version.md5})."
        )
    _check_content(file, path, version.url)
    recorded = _recorded(file, folder)
    if recorded and recorded != sha256:
        raise (_ChangedError if version.md5 else DownloadError)(
            f"{version.url}: sha256 {sha256} is not the {recorded} recorded at the first verified "
            f"download. If KinDEL has published a new version, remove the entry {file.path!r} "
            f"from {folder / 'checksums.json'} and fetch again."
        )
    if recorded:
        return sha256, "verified against the sha256 recorded at the first download"
    stated = "matches the MD5 which the server states" if version.md5 else "arrived complete"
    return sha256, (
        f"{stated}; KinDEL publishes no sha256, so the one of this first download is recorded in "
        f"checksums.json ({sha256[:12]}…) and later ones are compared with it"
    )


def _still_good(file: BucketFile, folder: Path, say: Say) -> bool:
    """Whether a file in the cache is what was once verified; one put there by hand is recorded."""
    target = folder / file.path
    try:
        _check_content(file, target, str(target))
    except DownloadError as error:
        say(f"{error} Fetching it again.")
        return False
    sha256, _ = _digests(target)
    recorded = _recorded(file, folder)
    if recorded and sha256 != recorded:
        say(f"{target}: differs from its recorded sha256. Fetching it again.")
        return False
    how = "already here"
    if not recorded and writable(folder):
        how = "was already here and can be read; its sha256 is recorded now"
        _record(file, folder, sha256, Version(url=""), how)
    say(f"{file.path}: {how}")
    return True


def _check_content(file: BucketFile, path: Path, source: str) -> None:
    """Refuse a file that is not what its name promises, such as a proxy's log-in page."""
    try:
        if file.kind == "selection":
            schema = sources.open_parquet(path).schema_arrow
            check_columns(sources.stored_columns(schema), path.name)
            check_arrow_types(schema, path.name)
        elif file.kind == "splits":
            load_splits(path)
        elif file.kind == "heldout":
            load_heldout(path)
        else:
            cycle = file.name[-1]
            header = path.read_bytes()[:200].decode(errors="replace").partition("\n")[0].strip()
            if not {f"smiles_{cycle}", f"reacted_{cycle}"} <= set(header.split(",")):
                raise DownloadError(f"it begins with {header!r}, not with a synthon table's names.")
    except CourseKitError as error:
        raise DownloadError(f"{source}: not the file it should be: {error}") from error


def _recorded(file: BucketFile, folder: Path) -> str:
    entry: Any = read_json(folder / "checksums.json").get(file.path)
    return str(entry.get("sha256", "")) if isinstance(entry, dict) else ""


def _record(file: BucketFile, folder: Path, sha256: str, version: Version, how: str) -> None:
    ledger = folder / "checksums.json"
    entry = {
        "sha256": sha256,
        "size": (folder / file.path).stat().st_size,
        "url": version.url,
        "etag": version.etag,
        "verified": how,
        "date": time.strftime("%Y-%m-%d"),
    }
    with locked(ledger, lambda line: None):
        # The first verified download is the one all later ones are compared with.
        write_json(ledger, {file.path: entry, **read_json(ledger)})


def _digests(path: Path) -> tuple[str, str]:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
