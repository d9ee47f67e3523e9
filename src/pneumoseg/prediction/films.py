"""The road of films: what is left of a run, through both stages, into the journal.

Reading, outlining and writing go on beside the networks (:mod:`pneumoseg.prediction.stages`); each
result is appended to the journal (:mod:`pneumoseg.prediction.journal`), and the CSVs are derived at
the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from pneumoseg.prediction.call import describe_call, finish_tables, picture_folders
from pneumoseg.prediction.journal import Journal, Recovered, Tally, begin
from pneumoseg.prediction.modality import Decided
from pneumoseg.prediction.read_ahead import (
    Failure,
    Predictor,
    Prepared,
    duplicate_id,
    read_ahead,
)
from pneumoseg.prediction.run_folder import (
    AGGREGATED,
    MASKS,
    OVERLAYS,
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
    own_results,
)
from pneumoseg.prediction.stages import in_stages
from pneumoseg.reading import walk
from pneumoseg.storage.lock import locked
from pneumoseg.study import Finding
from pneumoseg.writing.overlay import safe_file_name, write_mask, write_overlay
from pneumoseg.writing.tables import finding_record, printable


def run_films(
    decided: Decided,
    on_progress: Callable[[Progress], None] | None,
    load: Callable[[PredictSettings], Predictor],
) -> PredictionSummary:
    """Predict the films that are not done yet and write the tables.

    Args:
        decided: the call, and what its inputs are.
        on_progress: told after each input.
        load: makes the cascade.
    """
    started = time.perf_counter()
    settings = decided.settings
    predictor = load(settings)
    with writing_to(settings.out):
        settings.out.mkdir(parents=True, exist_ok=True)
        with locked(settings.out):
            call = describe_call(settings, predictor, pictures=decided.pictures)
            size = settings.batch_size
            recovered = begin(settings.out, call, batch_size=size, overwrite=settings.overwrite)
            done_before = recovered.tally.done
            entries = map(Entry.of, input_files(settings))
            total = write_manifest(settings.out, done_before, entries, recovered.inputs, Entry)
            tally = recovered.tally
            if total > done_before:
                write_run(settings.out, run_document(call, size, None))
                tally = _Run(decided, predictor, recovered, total, on_progress).finish()
            files = finish_tables(settings, call, tally, fresh=total > done_before)
    seconds = time.perf_counter() - started
    return PredictionSummary(
        **asdict(tally), done_before=done_before, seconds=seconds, out=settings.out, files=files
    )


class _Run:
    """The loop over the inputs that are left."""

    def __init__(
        self,
        decided: Decided,
        predictor: Predictor,
        recovered: Recovered,
        total: int,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._settings, self._pictures = decided.settings, decided.pictures
        self._predictor = predictor
        self._tally, self._total, self._on_progress = recovered.tally, total, on_progress
        self._image_ids = set(recovered.image_ids)

    def finish(self) -> Tally:
        """Do what is left, batch by batch; the journal is on disk after each."""
        out = self._settings.out
        for name in (AGGREGATED, SPLIT):
            (out / name).unlink(missing_ok=True)  # no table is better than one that misses inputs
        for name in picture_folders(self._settings):
            (out / name).mkdir(exist_ok=True)
        left = islice(read_manifest(out, Entry), self._tally.done, None)
        size, keep_images = self._settings.batch_size, self._settings.overlays
        reading = read_ahead(
            left,
            self._predictor.prepare,
            window=2 * size,
            pictures=self._pictures,
            keep_images=keep_images,
        )
        with Journal(out) as journal, closing(reading) as arriving:
            checked = (self._checked(*item) for item in arriving)
            results = in_stages(
                self._predictor,
                checked,
                batch_size=size,
                finish=self._finish_film,
                keeps_images=keep_images,
            )
            with closing(results) as finished:
                while batch := list(islice(finished, size)):
                    self._write(batch, journal)
        return self._tally

    def _checked(
        self, entry: Entry, prepared: Prepared | Failure
    ) -> tuple[Entry, Prepared | Failure]:
        """Refuse a second film with an image id that a film before it has."""
        if isinstance(prepared, Failure):
            return entry, prepared
        image_id = prepared.film.source.image_id
        name = digest(printable(image_id))
        if name in self._image_ids:
            return entry, duplicate_id(image_id)
        self._image_ids.add(name)
        return entry, prepared

    def _finish_film(self, entry: Entry, prepared: Prepared, finding: Finding) -> dict[str, Any]:
        """A film's record, its pictures written first: a finished input has them."""
        name = safe_file_name(printable(finding.source.image_id)) + ".png"
        if prepared.image is not None:
            write_overlay(self._settings.out / OVERLAYS / name, prepared.image, finding)
        if self._settings.masks:
            write_mask(self._settings.out / MASKS / name, finding)
        return finding_record(
            finding,
            segmenter_threshold=self._predictor.config.segmenter_threshold,
            spacing_mm=prepared.film.spacing_mm,
        ) | {"path": printable(entry.path)}

    def _write(self, batch: list[tuple[Entry, dict[str, Any] | Failure]], journal: Journal) -> None:
        """Append a batch's results to the journal; they are on disk afterwards."""
        for entry, result in batch:
            if isinstance(result, Failure):
                journal.add_failure(entry.path, result.code, result.message)
                self._tally = self._tally.with_failure()
            else:
                journal.add_finding(result)
                self._tally = self._tally.with_record(result)
            if self._on_progress is not None:
                tally = self._tally
                self._on_progress(
                    Progress(tally.done, self._total, tally.failed, tally.suspected, entry.path)
                )
        journal.sync()


def input_files(settings: PredictSettings) -> Iterator[Path]:
    """All files in order, without the results of this very run where they lie among them."""
    is_own_result = own_results(settings)
    return (path for path in walk(settings.paths) if not is_own_result(path))
