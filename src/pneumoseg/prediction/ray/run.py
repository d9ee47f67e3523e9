"""The road of many workers: one downward read from the call to the tables.

The skeleton is that of every run (:mod:`pneumoseg.prediction.run`). Here the inputs that are left
go to the workers segment by segment, their outcomes come back in the manifest's order, and the
Parquet parts are kept beside the journal. The driver's memory holds one segment of names, one part
of records, and the digests the journal needs.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pneumoseg.errors import UsageError
from pneumoseg.prediction.local import decide, load_cascade
from pneumoseg.prediction.ray.cluster import Request, Workers, connected, require_ray
from pneumoseg.prediction.ray.engine import BATCHES_IN_BLOCK, Engine
from pneumoseg.prediction.ray.inputs import files_to_look_at, list_entries
from pneumoseg.prediction.ray.parts import Parts
from pneumoseg.prediction.ray.remote_files import url_of
from pneumoseg.prediction.ray.worker import Load, Outcome, Work
from pneumoseg.prediction.read_ahead import Failure
from pneumoseg.prediction.run import OnProgress, Recovered, Run, finish
from pneumoseg.prediction.run_folder import Entry, RunFolder
from pneumoseg.prediction.settings import (
    Decided,
    Inputs,
    PredictionSummary,
    PredictSettings,
    check_out,
    picture_folders,
    require_some,
    signature,
)
from pneumoseg.prediction.stages import prepare_for_many_films
from pneumoseg.storage.files import whole_file
from pneumoseg.storage.record import AGGREGATED, PARQUET, SPLIT, FindingRecord, read_records
from pneumoseg.study import Modality
from pneumoseg.writing.tables import write_tables

SEGMENT = 32_768
"""Inputs that Ray Data is given at once: it keeps a note of each block until all are done. The
workers are started anew for each segment, a few seconds in many minutes."""

_Item = TypeVar("_Item")


def run_archive(
    settings: PredictSettings,
    *,
    on_progress: OnProgress | None = None,
    load: Load | None = None,
) -> PredictionSummary:
    """Predict all inputs that are not done yet on many workers, and write the tables and parts.

    Args:
        settings: the call; ``threads`` are those of one worker. Paths may be URLs.
        on_progress: told after each input.
        load: makes the cascade, importable on the workers; the shipped one by default.

    Returns:
        The counts, the files and the exit code.

    Raises:
        RuntimeUnavailableError: Ray is not installed, or workers cannot go on.
        UsageError: as :func:`pneumoseg.prediction.local.run_predict`; the inputs are CT; or the
            cluster does not answer or is too small.
    """
    started = time.perf_counter()
    prepare_for_many_films()
    require_ray()
    request = Request(settings.workers, settings.threads, settings.gpus)
    check_out(settings)
    entries = Inputs(list_entries(settings))
    require_some(entries, settings)
    decided = decide(settings, files_to_look_at(entries.look()))
    if decided.modality is Modality.CT:
        raise UsageError(
            "--engine ray is for X-rays, these inputs are CT; predict them with --engine local, or "
            "add --modality xray"
        )
    road = ArchiveRoad(decided, entries, request, load or load_cascade, _call(decided, load))
    return finish(road, on_progress, networks=decided.networks, started=started)


@dataclass
class ArchiveRoad:
    """Films through the cascades of many workers.

    Attributes:
        decided: the call.
        entries: its inputs.
        request: of the cluster.
        load: makes a worker's cascade.
        call: what must be the same for the run to be resumed, and on every worker.
    """

    decided: Decided
    entries: Inputs[Entry]
    request: Request
    load: Load
    call: dict[str, Any]
    _parts: Parts | None = None

    kind = Entry
    tables = (AGGREGATED, SPLIT)

    @property
    def settings(self) -> PredictSettings:
        """The call."""
        return self.decided.settings

    @property
    def journalled_together(self) -> int:
        """A batch."""
        return self.settings.batch_size

    @property
    def folders(self) -> tuple[str, ...]:
        """Of the pictures that were asked for, and of the parts."""
        return (*picture_folders(self.settings), PARQUET)

    def inputs(self, folder: RunFolder[Entry], recovered: Recovered) -> Iterator[Entry]:
        """Files of this machine, then those by URL."""
        return iter(self.entries)

    def results(
        self, left: Iterator[Entry], run: Run[Entry]
    ) -> Generator[tuple[Entry, FindingRecord | Failure], None, None]:
        """Segment by segment, each outcome's pictures written first."""
        self._parts = parts = _caught_up(run.folder)
        size = BATCHES_IN_BLOCK * self.settings.batch_size
        blocks = -(-(run.total - run.tally.done) // size)
        with (
            connected(self.settings.ray_address, self.request, blocks=blocks) as workers,
            closing(self._engine(workers)) as engine,
        ):
            for segment in _cut(left, SEGMENT):
                with closing(engine.predict(segment)) as arriving:
                    for entry, outcome in arriving:
                        result = self._result(entry, outcome, run)
                        yield entry, result
                        if isinstance(result, FindingRecord):
                            parts.add(result)

    def derive(self, folder: RunFolder[Entry], *, stale: bool) -> None:
        """The parts, and the challenge's two CSVs."""
        (self._parts or _caught_up(folder)).finish()
        if stale:
            records = read_records(folder.findings, FindingRecord)
            write_tables(records, folder.out / AGGREGATED, folder.out / SPLIT)

    def _engine(self, workers: Workers) -> Engine:
        settings = replace(self.settings, threads=workers.threads)
        return Engine(Work(settings, self.decided.pictures, self.load, self.call), workers)

    def _result(self, entry: Entry, outcome: Outcome, run: Run[Entry]) -> FindingRecord | Failure:
        """What an outcome comes to here: an id that is taken, a mount that misses."""
        if outcome.unseen_by is not None and Path(entry.absolute).exists():
            raise UsageError(
                f"the machine {outcome.unseen_by} does not see {entry.absolute}; mount the films "
                "at the same place on all machines, or give them by URL"
            )
        if outcome.image_id is not None and (taken := run.claimed(outcome.image_id)) is not None:
            return taken
        if outcome.record is None:
            if outcome.failure is None:
                raise ValueError(f"no outcome for {entry.path}")
            return outcome.failure
        for name, content in outcome.pictures.items():
            with whole_file(run.folder.picture(name, outcome.record.image_id)) as part:
                part.write_bytes(content)
        return outcome.record


def _call(decided: Decided, load: Load | None) -> dict[str, Any]:
    """The run's signature; loading the cascade here says what is wrong with it before all else."""
    settings = decided.settings
    cascade = load(settings) if load else load_cascade(settings, decided.bundle)
    call = signature(settings, cascade, Modality.XRAY, pictures=decided.pictures)
    return call | {"paths": [url_of(path) or str(path.resolve()) for path in settings.paths]}


def _caught_up(folder: RunFolder[Entry]) -> Parts:
    parts = Parts(folder)
    parts.catch_up()
    return parts


def _cut(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while piece := list(islice(items, size)):
        yield piece
