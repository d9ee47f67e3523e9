"""The skeleton of every run, be it of films, of volumes, or on many workers.

Hold the folder, recover what an earlier call left, list the inputs, do what is left, append each
result to the journal in the manifest's order, derive the tables. What differs is a :class:`Road`.

While a run is unfinished its folder has no tables: where they are, they are complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from typing import Any, Generic, Protocol

from pneumoseg.prediction.journal import Journal, Recovered, begin
from pneumoseg.prediction.read_ahead import Failure, duplicate_id
from pneumoseg.prediction.run_folder import AnyEntry, RunFolder, digest
from pneumoseg.prediction.settings import PredictionSummary, PredictSettings, Progress
from pneumoseg.runtime import Choice
from pneumoseg.storage.record import FAILURES, FINDINGS, AnyRecord
from pneumoseg.writing.tables import printable

OnProgress = Callable[[Progress], None]


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


def _name(image_id: str) -> bytes:
    return digest(printable(image_id))
