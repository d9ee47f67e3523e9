"""The journal of a prediction run, which may be killed at any byte and started again.

Every input of the manifest (:mod:`pneumoseg.prediction.run_folder`) ends as one line of
``predictions.jsonl`` or of ``failures.csv``. Lines are appended in input order, each with one
write, and synced to disk once a batch. So after a kill the two files hold a prefix of the manifest
and at most one torn line, which is dropped. After a power cut they may hold up to one batch of
lines beyond that prefix; those inputs are done again.

Memory: nothing here grows with the number of inputs but two sets of 16-byte digests (paths while
the manifest is made, image ids during the run), about 0.1 GB each for a million inputs.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from pneumoseg.errors import UsageError
from pneumoseg.prediction.run_folder import (
    FAILURES,
    FINDINGS,
    MANIFEST,
    START_ANEW,
    Entry,
    check_same_call,
    digest,
    read_manifest,
    read_run,
    remove_run,
    run_document,
    write_run,
)
from pneumoseg.writing.tables import failure_line, failures_header, printable, record_line


@dataclass(frozen=True)
class Tally:
    """Counts over everything in the journal."""

    read: int = 0
    failed: int = 0
    suspected: int = 0
    with_lesion: int = 0

    @property
    def done(self) -> int:
        """Inputs with a line in the journal."""
        return self.read + self.failed

    def with_record(self, record: dict[str, Any]) -> Tally:
        """Count one finding's record."""
        return replace(
            self,
            read=self.read + 1,
            suspected=self.suspected + bool(record["positive"]),
            with_lesion=self.with_lesion + bool(record["lesions"]),
        )

    def with_failure(self) -> Tally:
        """Count one failure."""
        return replace(self, failed=self.failed + 1)


@dataclass(frozen=True)
class Recovered:
    """What an earlier run left: its counts, and digests of its image ids and inputs."""

    tally: Tally = field(default_factory=Tally)
    image_ids: set[bytes] = field(default_factory=set)
    inputs: set[bytes] = field(default_factory=set)


def begin(
    out: Path,
    call: dict[str, Any],
    *,
    batch_size: int,
    overwrite: bool,
    kind: type[Entry] = Entry,
) -> Recovered:
    """Make a folder this call's: anew, or going on after what an earlier call of its kind did.

    Args:
        out: the run's folder, locked.
        call: what must be the same for a run to be resumed.
        batch_size: how many inputs are journalled together.
        overwrite: remove an earlier run first.
        kind: what the manifest's lines are.

    Raises:
        UsageError: the folder holds another call's run, or one that cannot be resumed.
    """
    if overwrite:
        remove_run(out)
    earlier = read_run(out)
    if earlier is None:
        # First of all: it marks the folder as a run's.
        write_run(out, run_document(call, batch_size, None))
        return Recovered()
    check_same_call(earlier["call"], call, out)
    return recover(out, may_lie_ahead=earlier["batch_size"], kind=kind)


def recover(out: Path, *, may_lie_ahead: int, kind: type[Entry] = Entry) -> Recovered:
    """Find the prefix of the manifest that is done and cut the journal back to exactly that.

    Args:
        out: the run's folder, locked.
        may_lie_ahead: whole lines beyond the prefix that a power cut explains (one batch).
        kind: what the manifest's lines are.

    Raises:
        UsageError: a finished input has changed since, or the journal does not follow the manifest.
    """
    found = Recovered()
    findings = _Cursor(out / FINDINGS, _finding_path)
    failures = _Cursor(out / FAILURES, _failure_path, header=failures_header().encode())
    tally = found.tally
    changed: str | None = None
    for entry in read_manifest(out, kind):
        path = printable(entry.path)
        if findings.path == path:
            record = findings.advance()
            tally = tally.with_record(record)
            found.image_ids.add(digest(record["image_id"]))
        elif failures.path == path:
            failures.advance()
            tally = tally.with_failure()
        else:
            break
        found.inputs.add(digest(entry.absolute))
        if changed is None and entry.changed:
            changed = entry.path
    if changed is not None:
        raise UsageError(f"{changed} has changed since it was predicted into {out}; {START_ANEW}")
    if findings.count_ahead() + failures.count_ahead() > may_lie_ahead:
        raise UsageError(
            f"the results in {out} do not follow its {MANIFEST}, as if a file had been edited; "
            f"{START_ANEW}"
        )
    findings.cut()
    failures.cut()
    return replace(found, tally=tally)


class Journal:
    """The open journal: appends one line at a time, in input order; use as a context manager."""

    def __init__(self, out: Path) -> None:
        # Unbuffered: a line is with the operating system once written, and survives a kill.
        self._findings: BinaryIO = cast(BinaryIO, (out / FINDINGS).open("ab", buffering=0))
        self._failures: BinaryIO = cast(BinaryIO, (out / FAILURES).open("ab", buffering=0))
        if self._failures.tell() == 0:
            _append(self._failures, failures_header())

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._findings.close()
        self._failures.close()

    def add_finding(self, record: dict[str, Any]) -> None:
        """Append a finding's record."""
        _append(self._findings, record_line(record))

    def add_failure(self, path: str, code: str, message: str) -> None:
        """Append a failure."""
        _append(self._failures, failure_line(path, code, message))

    def sync(self) -> None:
        """Make sure that all lines are on disk."""
        os.fsync(self._findings.fileno())
        os.fsync(self._failures.fileno())


_PathOf = Callable[[bytes], tuple[str, dict[str, Any]]]
"""Reads one line: the input's path and, for a finding, its record."""


class _Cursor:
    """Walks over the whole, well-formed lines of one journal file."""

    def __init__(self, file: Path, path_of: _PathOf, *, header: bytes = b"") -> None:
        self._file, self._path_of = file, path_of
        self._lines = self._read()
        self._good = 0  # bytes up to the end of the last line taken
        self._line = b""
        self.path: str | None = None
        self._record: dict[str, Any] = {}
        if header and next(self._lines, None) == header:
            self._good = len(header)
        elif header:
            self._lines = iter(())
        self._next()

    def advance(self) -> dict[str, Any]:
        """Take the current line: return its content and go to the next."""
        record = self._record
        self._good += len(self._line)
        self._next()
        return record

    def count_ahead(self) -> int:
        """Count the whole lines not taken, the current one included; leaves nothing to take."""
        return (self.path is not None) + sum(1 for _ in self._lines)

    def cut(self) -> None:
        """Drop everything that was not taken."""
        if self._file.exists() and self._file.stat().st_size > self._good:
            os.truncate(self._file, self._good)

    def _read(self) -> Iterator[bytes]:
        if self._file.exists():
            with self._file.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):  # a torn last line does not count
                        yield line

    def _next(self) -> None:
        self._line, self.path = next(self._lines, b""), None
        if self._line:
            try:
                self.path, self._record = self._path_of(self._line)
            except (ValueError, KeyError, TypeError, csv.Error):
                self._lines = iter(())  # a power cut can leave a line of zeros: stop before it


def _finding_path(line: bytes) -> tuple[str, dict[str, Any]]:
    record = json.loads(line)
    for name in ("image_id", "positive", "lesions"):
        record[name]  # a KeyError says that this is not a record
    return record["path"], record


def _failure_path(line: bytes) -> tuple[str, dict[str, Any]]:
    (path, _, _), *_ = csv.reader(io.StringIO(line.decode("utf-8")), strict=True)
    return path, {}


def _append(file: BinaryIO, line: str) -> None:
    view = memoryview(line.encode("utf-8"))
    while view:
        view = view[file.write(view) :]
