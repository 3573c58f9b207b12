"""The files of a submission, read within limits: a notebook, or a folder or zip with records.

Nothing is unpacked onto disk and no link is followed, so a name cannot lead anywhere; what a
submission holds beyond notebooks, records and weights is named and left alone.
"""

from __future__ import annotations

import os
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath

from coursekit.errors import SubmissionError

KINDS = {".ipynb": "notebook", ".json": "record", ".safetensors": "weights"}
_IGNORED = {"__MACOSX", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db", "__pycache__", ".git"}
_EXCHANGED = {"timestamp.txt", "submission_secret.txt"}
"""Put beside a submission by nbgrader's exchange, and read by what files a grade away."""
_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".dill", ".npy", ".npz", ".ckpt"}


@dataclass(frozen=True)
class Limits:
    """How large a submission may be.

    Args:
        notebook_bytes: one notebook, outputs included.
        record_bytes: one record file.
        weights_bytes: one safetensors file.
        total_bytes: everything that is read.
        entries: files and folders looked at.
        depth: folders within folders.
        ratio: how many times larger than its compressed form a file in a zip may be.
    """

    notebook_bytes: int = 30_000_000
    record_bytes: int = 4_000_000
    weights_bytes: int = 100_000_000
    total_bytes: int = 250_000_000
    entries: int = 1_000
    depth: int = 8
    ratio: int = 200

    def of(self, kind: str) -> int:
        """The limit for one file of a kind, in bytes."""
        return int(getattr(self, f"{kind}_bytes"))


@dataclass
class Files:
    """What was read out of a submission.

    Args:
        notebooks: content of each ``.ipynb`` by its name inside the submission.
        records: content of each ``.json``, of which some may be records.
        weights: content of each ``.safetensors``.
        notices: sentences on what was left out and why.
    """

    notebooks: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    weights: dict[str, bytes] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, kind: str, name: str, content: bytes, limits: Limits) -> None:
        """Keep one file's content.

        Raises:
            SubmissionError: with it, the submission is too large.
        """
        self.total += len(content)
        if self.total > limits.total_bytes:
            raise SubmissionError(f"the files add up to more than {limits.total_bytes:,} bytes")
        place = {"notebook": self.notebooks, "record": self.records, "weights": self.weights}
        place[kind][name] = content

    def notice(self, sentence: str) -> None:
        """Say what was left out; a flood of it is cut."""
        if len(self.notices) < 50:
            self.notices.append(sentence)


def read_files(path: str | Path, limits: Limits | None = None) -> Files:
    """Read a submission: one ``.ipynb``, a folder, or a ``.zip``.

    Args:
        path: the file or folder. It must not be a symbolic link.
        limits: of size, number and nesting.

    Raises:
        SubmissionError: it is not there, a link, too large, not a zip, or holds no notebook.
    """
    limits, path = limits or Limits(), Path(path)
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError) as error:
        raise SubmissionError(f"there is no submission: {_why(error)}") from error
    files = Files()
    if stat.S_ISDIR(mode):
        _read_folder(path, files, limits)
    elif stat.S_ISREG(mode) and path.suffix.lower() == ".zip":
        _read_zip(_read_regular(path, None, limits.total_bytes), files, limits)
    elif stat.S_ISREG(mode):
        content = _read_regular(path, None, limits.notebook_bytes)
        files.add("notebook", path.name, content, limits)
    else:
        raise SubmissionError(
            f"it is {_kind_of(mode)}; expected a notebook, a folder or a zip file"
        )
    if not files.notebooks:
        raise SubmissionError("there is no notebook (.ipynb) in it")
    return files


# --- folders --------------------------------------------------------------------------------------


def _read_folder(path: Path, files: Files, limits: Limits) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    seen = 0
    # Held by descriptor, never by path: a link put in place of a folder meanwhile is not followed.
    waiting = [(os.open(path, flags), PurePosixPath("."))]
    try:
        while waiting:
            folder, name = waiting.pop()
            try:
                for entry in sorted(_entries(folder, limits.entries - seen), key=lambda e: e.name):
                    seen += 1
                    inner = name / entry.name
                    if entry.name in _IGNORED or entry.name.startswith("._"):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if len(inner.parts) >= limits.depth:
                            files.notice(f"{_shown(inner)}: nested too deep, left out")
                            continue
                        waiting.append((os.open(entry.name, flags, dir_fd=folder), inner))
                    elif not entry.is_file(follow_symlinks=False):
                        mode = entry.stat(follow_symlinks=False).st_mode
                        files.notice(f"{_shown(inner)}: {_kind_of(mode)}, left out")
                    elif kind := _kind(str(inner), files):
                        content = _read_regular(entry.name, folder, limits.of(kind))
                        files.add(kind, str(inner), content, limits)
            finally:
                os.close(folder)
    except OSError as error:
        raise SubmissionError(f"the folder cannot be read: {_why(error)}") from error
    finally:
        for folder, _ in waiting:
            os.close(folder)


def _entries(folder: int, most: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        for number, entry in enumerate(found):
            if number >= most:
                raise SubmissionError("there are too many files in it")
            yield entry


def _read_regular(path: str | Path, folder: int | None, most: int) -> bytes:
    """Bytes of a regular file; a pipe would wait forever, a link leads elsewhere."""
    name = _shown(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise SubmissionError(f"{name} is {_kind_of(status.st_mode)}, not a file")
            content = file.read(most + 1)
    except OSError as error:
        raise SubmissionError(f"{name} cannot be read: {_why(error)}") from error
    if len(content) > most:
        raise SubmissionError(f"{name} is larger than {most:,} bytes")
    return content


# --- zips -----------------------------------------------------------------------------------------


def _read_zip(raw: bytes, files: Files, limits: Limits) -> None:
    try:
        with zipfile.ZipFile(BytesIO(raw)) as archive:
            members = archive.infolist()
            if len(members) > limits.entries:
                raise SubmissionError(f"the zip lists {len(members):,} files, too many")
            seen: dict[str, str] = {}
            for member in members:
                _read_member(archive, member, files, limits, seen)
    except SubmissionError:
        raise
    # zipfile meets damage with whatever its parts raise; none of it may end the grading of others.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError,
            RuntimeError, KeyError, IndexError, OverflowError, MemoryError) as error:  # fmt: skip
        raise SubmissionError(f"the zip is damaged ({type(error).__name__})") from error


def _read_member(
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    files: Files,
    limits: Limits,
    seen: dict[str, str],
) -> None:
    name, shown = member.filename, _shown(member.filename)
    parts = PurePosixPath(name).parts
    if member.is_dir() or any(p in _IGNORED or p.startswith("._") for p in parts):
        return
    if not _stays_inside(name):
        files.notice(f"{shown}: the name leads outside, left out")
        return
    mode = member.external_attr >> 16
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        files.notice(f"{shown}: {_kind_of(mode)}, left out")
        return
    kind = _kind(name, files)
    if kind is None:
        return
    if len(parts) > limits.depth:
        files.notice(f"{shown}: nested too deep, left out")
        return
    # Two files of one name: which is meant cannot be known, on some disks not even kept apart.
    same = unicodedata.normalize("NFKC", name).casefold()
    if same in seen:
        raise SubmissionError(f"the zip holds {shown} twice (also as {_shown(seen[same])})")
    seen[same] = name
    if member.flag_bits & 0x1:
        raise SubmissionError(f"{shown} is encrypted")
    most = limits.of(kind)
    if member.file_size > most or member.file_size > limits.ratio * max(member.compress_size, 50):
        raise SubmissionError(
            f"{shown} unpacks to {member.file_size:,} bytes from {member.compress_size:,}: too much"
        )
    with archive.open(member) as stream:  # what the header claims is not what comes out
        content = stream.read(most + 1)
    if len(content) > most:
        raise SubmissionError(f"{shown} unpacks to more than {most:,} bytes")
    files.add(kind, name, content, limits)


def _stays_inside(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return not (
        name.startswith(("/", "\\"))
        or ".." in parts
        or ":" in parts[0]
        or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    )


# --- names ----------------------------------------------------------------------------------------


def _kind(name: str, files: Files) -> str | None:
    if name in _EXCHANGED:
        return None
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in KINDS:
        return KINDS[suffix]
    if suffix in _PICKLES:
        files.notice(
            f"{_shown(name)}: never opened, for such files can run code; weights come as "
            ".safetensors, runs as record.json"
        )
    else:
        files.notice(f"{_shown(name)}: not a notebook, record or weights, left out")
    return None


def _shown(name: str | Path | PurePosixPath) -> str:
    """A stranger's name, safe to print: no control characters, nothing that turns text around."""
    return ascii(str(name))[:120]


def _kind_of(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _why(error: Exception) -> str:
    # Without the path: where the grader keeps its files is nothing for a student's feedback.
    return getattr(error, "strerror", None) or type(error).__name__
