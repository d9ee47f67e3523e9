"""The archive run: one downward read from the call to the tables.

Check the call, hold the folder, recover what an earlier run left, list the inputs, send them to the
workers segment by segment, append each outcome to the journal in the manifest's order, keep the
Parquet parts beside it, and derive the CSVs at the end. The driver's memory holds one segment of
names, one part of records, and the digests the journal needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pneumoseg.errors import UsageError
from pneumoseg.prediction.call import (
    describe_call,
    finish_tables,
    load_cascade,
    picture_folders,
    with_runtime,
)
from pneumoseg.prediction.journal import Journal, Recovered, Tally, begin
from pneumoseg.prediction.modality import Decided, decide_modality
from pneumoseg.prediction.process import prepare_for_many_films
from pneumoseg.prediction.ray.cluster import Crew, Share, connected, require_ray
from pneumoseg.prediction.ray.engine import BATCHES_IN_BLOCK, Engine
from pneumoseg.prediction.ray.inputs import files_to_look_at, list_entries
from pneumoseg.prediction.ray.parts import Parts
from pneumoseg.prediction.ray.remote_files import url_of
from pneumoseg.prediction.ray.worker import Load, Outcome, Work
from pneumoseg.prediction.read_ahead import Failure, duplicate_id
from pneumoseg.prediction.run_folder import (
    AGGREGATED,
    SPLIT,
    Entry,
    digest,
    read_manifest,
    run_document,
    write_manifest,
    write_run,
    writing_to,
)
from pneumoseg.prediction.settings import (
    PredictionSummary,
    PredictSettings,
    Progress,
    check_out,
)
from pneumoseg.storage.lock import locked
from pneumoseg.storage.whole_file import whole_file
from pneumoseg.study import Modality
from pneumoseg.writing.overlay import safe_file_name
from pneumoseg.writing.tables import printable

SEGMENT = 32_768
"""Inputs that Ray Data is given at once: it keeps a note of each block until all are done. The
workers are started anew for each segment, a few seconds in many minutes."""

_Item = TypeVar("_Item")


def run_archive(
    settings: PredictSettings,
    *,
    on_progress: Callable[[Progress], None] | None = None,
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
    share = Share(settings.workers, settings.threads, settings.gpus)
    check_out(settings)
    if next(list_entries(settings), None) is None:
        raise UsageError(
            f"no file was found in {', '.join(map(str, settings.paths))}; "
            "give files, or folders that hold some"
        )
    settings = with_runtime(settings)
    decided = _decided(settings)
    settings, load = decided.settings, load or load_cascade
    call = _call(decided, load)
    out = settings.out
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            size = settings.batch_size
            recovered = begin(out, call, batch_size=size, overwrite=settings.overwrite)
            done_before = recovered.tally.done
            total = write_manifest(
                out, done_before, list_entries(settings), recovered.inputs, Entry
            )
            tally, parts = recovered.tally, Parts(out)
            parts.catch_up()
            if total > done_before:
                write_run(out, run_document(call, size, None))
                blocks = -(-(total - done_before) // (BATCHES_IN_BLOCK * size))
                with connected(settings.ray_address, share, blocks=blocks) as crew:
                    run = _Run(decided, recovered, total, parts, on_progress)
                    tally = run.finish(_engine(decided, load, call, crew))
            folder = parts.finish()
            files = finish_tables(settings, call, tally, fresh=total > done_before)
    return PredictionSummary(
        **asdict(tally),
        done_before=done_before,
        seconds=time.perf_counter() - started,
        out=out,
        files=(*files, folder),
    )


class _Run:
    """The loop over the inputs that are left."""

    def __init__(
        self,
        decided: Decided,
        recovered: Recovered,
        total: int,
        parts: Parts,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._settings, self._parts = decided.settings, parts
        self._tally, self._total, self._on_progress = recovered.tally, total, on_progress
        self._image_ids = set(recovered.image_ids)

    def finish(self, engine: Engine) -> Tally:
        """Do what is left, segment by segment; the journal is on disk after each batch."""
        out = self._settings.out
        for name in (AGGREGATED, SPLIT):
            (out / name).unlink(missing_ok=True)  # no table is better than one that misses inputs
        for name in picture_folders(self._settings):
            (out / name).mkdir(exist_ok=True)
        left = islice(read_manifest(out, Entry), self._tally.done, None)
        with Journal(out) as journal, closing(engine):
            for segment in _cut(left, SEGMENT):
                with closing(engine.predict(segment)) as arriving:
                    for number, (entry, outcome) in enumerate(arriving, start=1):
                        self._write(entry, self._checked(entry, outcome), journal)
                        if number % self._settings.batch_size == 0:
                            journal.sync()
                journal.sync()
        return self._tally

    def _checked(self, entry: Entry, outcome: Outcome) -> Outcome:
        """Refuse a second film with an image id that a film before it has."""
        if outcome.unseen_by is not None and Path(entry.absolute).exists():
            raise UsageError(
                f"the machine {outcome.unseen_by} does not see {entry.absolute}; mount the films "
                "at the same place on all machines, or give them by URL"
            )
        if outcome.image_id is None:
            return outcome
        name = digest(printable(outcome.image_id))
        if name in self._image_ids:
            return Outcome(failure=duplicate_id(outcome.image_id))
        self._image_ids.add(name)
        return outcome

    def _write(self, entry: Entry, outcome: Outcome, journal: Journal) -> None:
        """Append an outcome to the journal, its pictures written first."""
        record = outcome.record
        if record is not None:
            name = safe_file_name(record["image_id"]) + ".png"
            for folder, content in outcome.pictures.items():
                with whole_file(self._settings.out / folder / name) as part:
                    part.write_bytes(content)
            journal.add_finding(record)
            self._parts.add(record)
            self._tally = self._tally.with_record(record)
        elif isinstance(outcome.failure, Failure):
            journal.add_failure(entry.path, outcome.failure.code, outcome.failure.message)
            self._tally = self._tally.with_failure()
        if self._on_progress is not None:
            tally = self._tally
            self._on_progress(
                Progress(tally.done, self._total, tally.failed, tally.suspected, entry.path)
            )


def _decided(settings: PredictSettings) -> Decided:
    decided = decide_modality(settings, files_to_look_at(settings))
    if decided.modality is Modality.CT:
        raise UsageError(
            "--engine ray is for X-rays, these inputs are CT; predict them with --engine local, or "
            "add --modality xray"
        )
    return decided


def _call(decided: Decided, load: Load) -> dict[str, Any]:
    """The run's signature; loading the cascade here says what is wrong with it before all else."""
    settings = decided.settings
    call = describe_call(settings, load(settings), pictures=decided.pictures)
    return call | {"paths": [url_of(path) or str(path.resolve()) for path in settings.paths]}


def _engine(decided: Decided, load: Load, call: dict[str, Any], crew: Crew) -> Engine:
    settings = replace(decided.settings, threads=crew.threads)
    return Engine(Work(settings, decided.pictures, load, call), crew)


def _cut(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while piece := list(islice(items, size)):
        yield piece
