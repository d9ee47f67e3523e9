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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from pneumoseg.errors import DataError, UsageError
from pneumoseg.prediction.run_folder import START_ANEW, AnyEntry, RunFolder, digest
from pneumoseg.storage.files import AppendedFile, cut, whole_lines
from pneumoseg.storage.record import MANIFEST, AnyRecord, of_json
from pneumoseg.storage.strict import JsonObject
from pneumoseg.writing.tables import failure_line, failures_header, printable


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

    def with_record(self, record: AnyRecord) -> Tally:
        """Count one finding's record."""
        return replace(
            self,
            read=self.read + 1,
            suspected=self.suspected + record.positive,
            with_lesion=self.with_lesion + bool(record.lesions),
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
    folder: RunFolder[AnyEntry], call: Mapping[str, Any], *, batch_size: int, overwrite: bool
) -> Recovered:
    """Make a folder this call's: anew, or going on after what an earlier call of its kind did.

    Args:
        folder: the run's, held.
        call: what must be the same for a run to be resumed.
        batch_size: how many inputs are journalled together.
        overwrite: remove an earlier run first.

    Raises:
        UsageError: the folder holds another call's run, or one that cannot be resumed.
    """
    if overwrite:
        folder.remove_run()
    earlier = folder.read_run()
    if earlier is None:
        # First of all: it marks the folder as a run's.
        folder.write_run(call, batch_size, None)
        return Recovered()
    folder.check_same_call(earlier["call"], call)
    return recover(folder, may_lie_ahead=earlier["batch_size"])


def recover(folder: RunFolder[AnyEntry], *, may_lie_ahead: int) -> Recovered:
    """Find the prefix of the manifest that is done and cut the journal back to exactly that.

    Args:
        folder: the run's, held.
        may_lie_ahead: whole lines beyond the prefix that a power cut explains (one batch).

    Raises:
        UsageError: a finished input has changed since, or the journal does not follow the manifest
            or is damaged.
    """
    found = Recovered()
    findings = _Cursor(folder.findings, _finding)
    failures = _Cursor(folder.failures, _failure, header=failures_header().encode())
    tally = found.tally
    changed: str | None = None
    for entry in folder.read_manifest():
        path = printable(entry.path)
        if findings.path == path:
            record = findings.advance()
            tally = tally.with_record(record)
            found.image_ids.add(digest(record.image_id))
        elif failures.path == path:
            failures.advance()
            tally = tally.with_failure()
        else:
            break
        found.inputs.add(digest(entry.absolute))
        if changed is None and entry.changed:
            changed = entry.path
    if changed is not None:
        raise UsageError(
            f"{changed} has changed since it was predicted into {folder.out}; {START_ANEW}"
        )
    if findings.count_ahead() + failures.count_ahead() > may_lie_ahead:
        raise UsageError(
            f"the results in {folder.out} do not follow its {MANIFEST}, as if a file had been "
            f"edited; {START_ANEW}"
        )
    findings.cut()
    failures.cut()
    return replace(found, tally=tally)


class Journal:
    """The open journal: appends one line at a time, in input order; use as a context manager."""

    def __init__(self, folder: RunFolder[AnyEntry]) -> None:
        with ExitStack() as stack:
            self._findings = stack.enter_context(AppendedFile(folder.findings))
            self._failures = stack.enter_context(AppendedFile(folder.failures))
            if self._failures.was_empty:
                self._failures.append(failures_header())
            self._open = stack.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def add_finding(self, record: AnyRecord) -> None:
        """Append a finding's record."""
        self._findings.append(record.to_json())

    def add_failure(self, path: str, code: str, message: str) -> None:
        """Append a failure."""
        self._failures.append(failure_line(path, code, message))

    def sync(self) -> None:
        """Make sure that all lines are on disk."""
        self._findings.sync()
        self._failures.sync()


_Content = TypeVar("_Content")


class _Cursor(Generic[_Content]):
    """Walks over the whole, well-formed lines of one journal file."""

    def __init__(
        self,
        file: Path,
        read: Callable[[bytes, str], tuple[str | None, _Content]],
        *,
        header: bytes = b"",
    ) -> None:
        self._file, self._read = file, read
        self._lines: Iterator[bytes] = whole_lines(file)
        self._good = 0  # bytes up to the end of the last line taken
        self._line, self._number = b"", 0
        self.path: str | None = None
        self._content: _Content
        if header and next(self._lines, None) == header:
            self._good, self._number = len(header), 1
        elif header:
            self._lines = iter(())
        self._next()

    def advance(self) -> _Content:
        """Take the current line: return its content and go to the next."""
        content = self._content
        self._good += len(self._line)
        self._next()
        return content

    def count_ahead(self) -> int:
        """Count the whole lines not taken, the current one included; leaves nothing to take."""
        return (self.path is not None) + sum(1 for _ in self._lines)

    def cut(self) -> None:
        """Drop everything that was not taken."""
        cut(self._file, self._good)

    def _next(self) -> None:
        self._line, self.path = next(self._lines, b""), None
        self._number += 1
        if self._line:
            try:
                where = f"{self._file}, line {self._number}"
                self.path, self._content = self._read(self._line, where)
            except (_Torn, ValueError, csv.Error):
                self._lines = iter(())  # a power cut can leave a line of zeros: stop before it


class _Torn(Exception):
    """A line is no record at all, as after a power cut."""


def _finding(line: bytes, where: str) -> tuple[str | None, AnyRecord]:
    """A record that is there but damaged is not for us to cut away: that DataError goes on."""
    try:
        found = JsonObject.parsed(line.decode("utf-8"), where)
    except DataError as error:
        raise _Torn from error
    record = of_json(found)
    return record.path, record


def _failure(line: bytes, where: str) -> tuple[str | None, None]:
    (path, _, _), *_ = csv.reader(io.StringIO(line.decode("utf-8")), strict=True)
    return path, None
