"""The skeleton of every run, be it of films, of volumes, or on many workers; and its journal.

Hold the folder, recover what an earlier call left, list the inputs, do what is left, append each
result to the journal in the manifest's order, derive the tables. What differs is a :class:`Road`.
While a run is unfinished its folder has no tables: where they are, they are complete.

A run may be killed at any byte and started again. Every input of the manifest
(:mod:`pneumoseg.prediction.run_folder`) ends as one line of ``predictions.jsonl`` or of
``failures.csv``. Lines are appended in input order, each with one write, and synced to disk once a
batch. So after a kill the two files hold a prefix of the manifest and at most one torn line, which
is dropped. After a power cut they may hold up to one batch of lines beyond that prefix; those
inputs are done again.

Memory: nothing here grows with the number of inputs but two sets of 16-byte digests (paths while
the manifest is made, image ids during the run), about 0.1 GB each for a million inputs.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Protocol

from pneumoseg.errors import DataError, UsageError
from pneumoseg.prediction.read_ahead import Failure, duplicate_id
from pneumoseg.prediction.run_folder import START_ANEW, AnyEntry, RunFolder, digest
from pneumoseg.prediction.settings import PredictionSummary, PredictSettings, Progress
from pneumoseg.runtime import Choice
from pneumoseg.storage.files import AppendedFile, Cursor, Torn
from pneumoseg.storage.record import FAILURES, FINDINGS, MANIFEST, AnyRecord, of_json
from pneumoseg.storage.strict import JsonObject
from pneumoseg.writing.tables import failure_line, failures_header, printable

OnProgress = Callable[[Progress], None]


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


class Road(Protocol[AnyEntry]):
    """What films, volumes and many workers do each in their own way."""

    @property
    def settings(self) -> PredictSettings:
        """The call, its bundle and runtime named."""

    @property
    def kind(self) -> type[AnyEntry]:
        """What the lines of the manifest are."""

    @property
    def call(self) -> dict[str, Any]:
        """What must be the same for the run to be resumed."""

    @property
    def journalled_together(self) -> int:
        """Results that are brought to disk at a time."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders that lie beside them."""

    def inputs(self, folder: RunFolder[AnyEntry], recovered: Recovered) -> Iterable[AnyEntry]:
        """All inputs in order, those that are done among them; taken once."""

    def results(
        self, left: Iterator[AnyEntry], run: Run[AnyEntry]
    ) -> Generator[tuple[AnyEntry, AnyRecord | Failure], None, None]:
        """Do what is left, order kept; what lies beside a record is written before it is given."""

    def derive(self, folder: RunFolder[AnyEntry], *, stale: bool) -> None:
        """Derive from the journal what can be: the tables only where they are stale or missing."""


def finish(
    road: Road[AnyEntry], on_progress: OnProgress | None, *, networks: Choice, started: float
) -> PredictionSummary:
    """Do what no earlier call has done, and derive the tables.

    Args:
        road: what the run is about.
        on_progress: told after each input.
        networks: what runs them, for the summary.
        started: when the call was made, by :func:`time.perf_counter`.

    Raises:
        UsageError: the folder cannot be written to, holds another call's run, or is being written
            to by another process.
    """
    settings, size = road.settings, road.journalled_together
    folder = RunFolder(settings.out, road.kind)
    with folder.held():
        recovered = begin(folder, road.call, batch_size=size, overwrite=settings.overwrite)
        tally, done_before = recovered.tally, recovered.tally.done
        total = folder.write_manifest(done_before, road.inputs(folder, recovered), recovered.inputs)
        if total > done_before:
            folder.write_run(road.call, size, None)
            run = Run(folder, recovered, total, on_progress)
            run.finish(road)
            tally = run.tally
        tables = tuple(folder.out / name for name in road.tables)
        stale = total > done_before or not all(table.exists() for table in tables)
        road.derive(folder, stale=stale)
        if stale:
            folder.write_run(road.call, size, asdict(tally))
    return PredictionSummary(
        **asdict(tally),
        done_before=done_before,
        seconds=time.perf_counter() - started,
        out=folder.out,
        files=(*tables, *(folder.out / name for name in (FINDINGS, FAILURES, *road.folders))),
        networks=networks,
    )


class Run(Generic[AnyEntry]):
    """Where a run stands: its counts, and the image ids that are taken."""

    def __init__(
        self,
        folder: RunFolder[AnyEntry],
        recovered: Recovered,
        total: int,
        on_progress: OnProgress | None,
    ) -> None:
        self.folder, self.total, self.tally = folder, total, recovered.tally
        self._image_ids, self._on_progress = set(recovered.image_ids), on_progress

    def taken(self, image_id: str) -> Failure | None:
        """Why an input cannot have an image id: one before it has it."""
        return duplicate_id(image_id) if _name(image_id) in self._image_ids else None

    def claimed(self, image_id: str) -> Failure | None:
        """Take an image id for an input; why not, where one before it has it."""
        taken = self.taken(image_id)
        self._image_ids.add(_name(image_id))
        return taken

    def finish(self, road: Road[AnyEntry]) -> None:
        """Do what is left, and journal each result as it comes."""
        self.folder.remove(road.tables)  # no table is better than one that misses inputs
        for name in road.folders:
            (self.folder.out / name).mkdir(exist_ok=True)
        left = islice(self.folder.read_manifest(), self.tally.done, None)
        with Journal(self.folder) as journal, closing(road.results(left, self)) as results:
            for number, (entry, result) in enumerate(results, start=1):
                self._write(entry, result, journal)
                if number % road.journalled_together == 0:
                    journal.sync()
                self.tell(entry)
            journal.sync()

    def tell(self, entry: AnyEntry, share: float = 0.0) -> None:
        """Tell where the run stands; ``share`` of the entry is done and not yet counted."""
        if self._on_progress is not None:
            done, failed, suspected = self.tally.done, self.tally.failed, self.tally.suspected
            self._on_progress(Progress(done, self.total, failed, suspected, entry.path, share))

    def _write(self, entry: AnyEntry, result: AnyRecord | Failure, journal: Journal) -> None:
        if isinstance(result, Failure):
            journal.add_failure(entry.path, result.code, result.message)
            self.tally = self.tally.with_failure()
        else:
            journal.add_finding(result)
            self.tally = self.tally.with_record(result)


def _name(image_id: str) -> bytes:
    return digest(printable(image_id))


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
    findings = Cursor(folder.findings, _finding)
    failures = Cursor(folder.failures, _failure, header=failures_header().encode())
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


def _finding(line: bytes, where: str) -> tuple[str | None, AnyRecord]:
    """A record that is there but damaged is not for us to cut away: that DataError goes on."""
    try:
        found = JsonObject.parsed(line.decode("utf-8"), where)
    except DataError as error:
        raise Torn from error
    record = of_json(found)
    return record.path, record


def _failure(line: bytes, where: str) -> tuple[str | None, None]:
    try:
        (path, _, _), *_ = csv.reader(io.StringIO(line.decode("utf-8")), strict=True)
    except csv.Error as error:
        raise Torn from error
    return path, None
