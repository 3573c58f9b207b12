"""Run records out of a submission: from its outputs and from files beside it, before it is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coursekit.errors import RecordError
from coursekit.runs import Run, blind, decode_record
from coursekit.runs.blind import BlindPredictions, run_digest
from coursekit.runs.embedded import BLIND_MARKER, find_embedded
from coursekit.runs.record import parse_json

MAX_RECORDS = 40
_PROFILE = re.compile(r">profile</th><td[^<>]{0,200}>(quick|cpu|t4|full):")


@dataclass(frozen=True)
class Harvested:
    """One run that the student claims, read and validated.

    Args:
        run: the run.
        digest: sha256 of its record, the same for the same run wherever it was found.
        place: where it was found, in words.
        record: the record itself, plain data, for the sandbox to be given.
    """

    run: Run
    digest: str
    place: str
    record: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Harvest:
    """All records of a submission, each once, and sentences on those that could not be read.

    Args:
        runs: what was trained.
        notices: what could not be read.
        blind: predictions of blind molecules, in order.
    """

    runs: tuple[Harvested, ...]
    notices: tuple[str, ...] = ()
    blind: tuple[BlindPredictions, ...] = ()

    def for_task(self, fingerprints: Iterable[str]) -> Harvest:
        """Only the runs that were made on one of these tasks; the others are named."""
        known = set(fingerprints)
        kept = tuple(h for h in self.runs if h.run.task["fingerprint"] in known)
        others = [
            f"the run {h.run.name!a} in {h.place} was made on another task "
            f"(fingerprint {h.run.task['fingerprint'][:12]}); it does not count here"
            for h in self.runs
            if h not in kept
        ]
        return Harvest(kept, (*self.notices, *others), self.blind)


def profile_in(html: Iterable[str]) -> str:
    """The profile that ``setup`` chose, as its output says; "" where it is not there.

    Settings follow from it, and a record fits only the settings it was made with.
    """
    for text in html:
        if found := _PROFILE.search(text):
            return found[1]
    return ""


def harvest(html: Iterable[str], files: Mapping[str, bytes] | None = None) -> Harvest:
    """Read every record in a notebook's HTML outputs and in the files beside it.

    Args:
        html: the HTML outputs, in order.
        files: content of ``.json`` files by name; those that are no records are passed over.

    Returns:
        The runs. Of one run found twice the first is kept. Nothing raises: what cannot be read
        becomes a notice.
    """
    found: dict[str, Harvested] = {}
    blind_ones: list[BlindPredictions] = []
    notices: list[str] = []
    tried = 0
    for number, text in enumerate(html, start=1):
        for embedded in find_embedded(text):
            tried += 1
            if tried > MAX_RECORDS:
                break
            try:
                _keep(decode_record(embedded), f"output {number}", found)
            except RecordError as error:
                notices.append(f"a record in output {number} cannot be used: {error}")
        for embedded in find_embedded(text, BLIND_MARKER):
            tried += 1
            if tried > MAX_RECORDS:
                break
            try:
                blind_ones.append(BlindPredictions.from_record(decode_record(embedded)))
            except RecordError as error:
                notices.append(f"blind predictions in output {number} cannot be used: {error}")
    for name, content in (files or {}).items():
        tried += 1
        if tried > MAX_RECORDS:
            break
        try:
            data = parse_json(content)
            if "schema" not in data:
                continue  # some other JSON file
            if data["schema"] == blind.SCHEMA:
                blind_ones.append(BlindPredictions.from_record(data))
            else:
                _keep(data, ascii(name), found)
        except RecordError as error:
            notices.append(f"the file {name!a} is no usable record: {error}")
    if tried > MAX_RECORDS:
        notices.append(f"more than {MAX_RECORDS} records were found; the rest was not read")
    return Harvest(tuple(found.values()), tuple(notices[:MAX_RECORDS]), tuple(blind_ones))


def _keep(data: dict[str, Any], place: str, found: dict[str, Harvested]) -> None:
    run = Run.from_record(data)
    digest = run_digest(data)
    found.setdefault(digest, Harvested(run, digest, place, data))
