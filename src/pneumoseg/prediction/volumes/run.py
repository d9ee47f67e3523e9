"""``pneumoseg predict`` on CT: volume by volume, resumable, in bounded memory.

The same folder, lock, manifest and journal as for films (:mod:`pneumoseg.prediction.run_folder`,
:mod:`pneumoseg.prediction.journal`), with a volume for a film: a killed run goes on at the volume
it was in. Slices are read ahead inside a volume (:mod:`pneumoseg.ct.inference`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from pneumoseg.ct.finding import VolumeFinding
from pneumoseg.errors import UsageError
from pneumoseg.prediction.call import shared_call, with_runtime
from pneumoseg.prediction.journal import Journal, Recovered, Tally, begin
from pneumoseg.prediction.read_ahead import (
    PROCESSING_ERRORS,
    PROCESSING_FAILED,
    UNKNOWN_PICTURE,
    Failure,
    PredictorBundle,
    duplicate_id,
    failure_of,
)
from pneumoseg.prediction.run_folder import (
    AGGREGATED,
    FAILURES,
    FINDINGS,
    MASKS,
    NIFTI_ENDING,
    OVERLAYS,
    PICTURE_ENDING,
    PLANES_ENDING,
    SPLIT,
    START_ANEW,
    VOLUMES,
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
from pneumoseg.prediction.volumes.entry import VolumeEntry
from pneumoseg.prediction.volumes.pictures import write_pictures
from pneumoseg.prediction.volumes.record import volume_record
from pneumoseg.preprocess import Window
from pneumoseg.reading.volumes import find_volumes, open_volume
from pneumoseg.settings import PipelineConfig
from pneumoseg.storage.lock import locked
from pneumoseg.study import Mask, Modality, Volume
from pneumoseg.writing.nifti import write_mask
from pneumoseg.writing.overlay import safe_file_name, write_mask_picture
from pneumoseg.writing.tables import printable, read_records
from pneumoseg.writing.volume_tables import write_volume_tables


class VolumePredictor(Protocol):
    """What a run needs of :class:`~pneumoseg.ct.inference.VolumeCascade`."""

    @property
    def config(self) -> PipelineConfig:
        """The operating point in force."""

    @property
    def bundle(self) -> PredictorBundle:
        """The bundle, for its name and version."""

    def predict(
        self, volume: Volume, *, on_slices: Callable[[int, int], None] | None = None
    ) -> VolumeFinding:
        """Give a volume its finding."""


def run_volumes(
    settings: PredictSettings,
    *,
    pictures: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    load: Callable[[PredictSettings], VolumePredictor] | None = None,
) -> PredictionSummary:
    """Predict all volumes that are not done yet and write the tables.

    Args:
        settings: the call, its modality decided.
        pictures: whether files that do not say what they show are taken for slices of CT.
        on_progress: told after each batch of slices and after each volume.
        load: makes the cascade; the one of the bundle by default.

    Returns:
        The counts, the files and the exit code.

    Raises:
        UsageError: a path is missing, the folder cannot be written to, holds another call's run, or
            is being written to by another process; or the bundle is unusable.
    """
    started = time.perf_counter()
    settings = with_runtime(settings)
    predictor = (load or _load_cascade)(settings)
    out = settings.out
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            call = _call(settings, predictor, pictures)
            # One volume is journalled at a time.
            recovered = begin(
                out, call, batch_size=1, overwrite=settings.overwrite, kind=VolumeEntry
            )
            done_before = recovered.tally.done
            entries = _entries(settings, recovered)
            total = write_manifest(out, done_before, entries, recovered.inputs, VolumeEntry)
            tally = recovered.tally
            if total > done_before:
                write_run(out, run_document(call, 1, None))
                tally = _Run(settings, predictor, pictures, recovered, total, on_progress).finish()
            files = _finish(settings, call, tally, fresh=total > done_before)
    seconds = time.perf_counter() - started
    return PredictionSummary(
        **asdict(tally), done_before=done_before, seconds=seconds, out=out, files=files
    )


@dataclass
class _Run:
    """The loop over the volumes that are left."""

    settings: PredictSettings
    predictor: VolumePredictor
    pictures: bool
    recovered: Recovered
    total: int
    on_progress: Callable[[Progress], None] | None

    def __post_init__(self) -> None:
        self._tally = self.recovered.tally
        self._image_ids = set(self.recovered.image_ids)

    def finish(self) -> Tally:
        """Do what is left; the journal is on disk after each volume."""
        out = self.settings.out
        for name in (AGGREGATED, SPLIT, VOLUMES):
            (out / name).unlink(missing_ok=True)  # no table is better than one that misses inputs
        for name in _folders(self.settings):
            (out / name).mkdir(exist_ok=True)
        with Journal(out) as journal:
            for entry in islice(read_manifest(out, VolumeEntry), self._tally.done, None):
                result = self._do(entry)
                if isinstance(result, Failure):
                    journal.add_failure(entry.path, result.code, result.message)
                    self._tally = self._tally.with_failure()
                else:
                    journal.add_finding(result)
                    self._tally = self._tally.with_record(result)
                journal.sync()
                self._tell(entry, 0.0)
        return self._tally

    def _do(self, entry: VolumeEntry) -> dict[str, Any] | Failure:
        """One volume from its files to its record, its pictures written."""
        found = entry.volume()
        if found is None:
            return Failure(entry.code, entry.message)
        if found.kind == "picture" and not self.pictures:
            return UNKNOWN_PICTURE
        name = digest(printable(found.name))
        if name in self._image_ids:
            return duplicate_id(found.name)
        try:
            volume = open_volume(found, window=_window(self.settings))
            finding = self.predictor.predict(
                volume, on_slices=lambda done, slices: self._tell(entry, done / slices)
            )
        except UsageError:
            raise  # the bundle is unusable here; that concerns every volume
        except (*PROCESSING_ERRORS, OSError) as error:
            return failure_of(error, "processed", PROCESSING_FAILED)
        self._image_ids.add(name)
        self._write_pictures(volume, finding)
        return volume_record(finding, self.predictor.config) | {"path": printable(entry.path)}

    def _write_pictures(self, volume: Volume, finding: VolumeFinding) -> None:
        """Before the journal's line, so that a finished volume has its mask."""
        out, name = self.settings.out, safe_file_name(printable(finding.source.image_id))
        parts = [(lesion.box, lesion.inside) for lesion in finding.lesions]
        if finding.geometry is not None:
            write_mask(
                out / MASKS / f"{name}{NIFTI_ENDING}", parts, finding.shape, finding.geometry
            )
        elif finding.shape[0] == 1:
            mask = finding.as_finding().mask
            plane = None if mask is None else Mask(mask.pixels[0])
            write_mask_picture(out / MASKS / f"{name}{PICTURE_ENDING}", plane, finding.shape[1:])
        if self.settings.overlays:
            write_pictures(
                out / OVERLAYS / f"{name}{PICTURE_ENDING}",
                out / OVERLAYS / f"{name}{PLANES_ENDING}",
                volume,
                finding,
            )

    def _tell(self, entry: VolumeEntry, share: float) -> None:
        if self.on_progress is not None:
            tally = self._tally
            self.on_progress(
                Progress(tally.done, self.total, tally.failed, tally.suspected, entry.path, share)
            )


def _entries(settings: PredictSettings, recovered: Recovered) -> Iterator[VolumeEntry]:
    """What is found now, without this run's own results.

    Raises:
        UsageError: a finished volume has other files than it had.
    """
    is_own_result = own_results(settings)
    finished = {
        digest(entry.absolute): (entry.size, entry.mtime_ns)
        for entry in islice(read_manifest(settings.out, VolumeEntry), recovered.tally.done)
    }
    for found in find_volumes(settings.paths):
        if is_own_result(found.path):
            continue
        entry = VolumeEntry.of_found(found)
        if finished.get(digest(entry.absolute), (entry.size, entry.mtime_ns)) != (
            entry.size,
            entry.mtime_ns,
        ):
            raise UsageError(
                f"{entry.path} has changed since it was predicted into {settings.out}; {START_ANEW}"
            )
        yield entry


def _finish(
    settings: PredictSettings, call: dict[str, Any], tally: Tally, *, fresh: bool
) -> tuple[Path, ...]:
    """Derive the CSVs and sign the run off; nothing is written where nothing changed."""
    out = settings.out
    tables = (out / AGGREGATED, out / SPLIT, out / VOLUMES)
    if fresh or not all(path.exists() for path in tables):
        write_volume_tables(read_records(out / FINDINGS), *tables)
        write_run(out, run_document(call, 1, asdict(tally)))
    return (*tables, out / FINDINGS, out / FAILURES, *(out / x for x in _folders(settings)))


def _call(settings: PredictSettings, predictor: VolumePredictor, pictures: bool) -> dict[str, Any]:
    """What must be the same for a run to be resumed."""
    own = {"window_center": settings.window_center, "window_width": settings.window_width}
    return shared_call(settings, predictor.bundle, predictor.config, Modality.CT, pictures) | own


def _folders(settings: PredictSettings) -> tuple[str, ...]:
    return (MASKS, OVERLAYS) if settings.overlays else (MASKS,)


def _window(settings: PredictSettings) -> Window | None:
    if settings.window_center is None or settings.window_width is None:
        return None
    return Window(settings.window_center, settings.window_width)


def _load_cascade(settings: PredictSettings) -> VolumePredictor:
    """Load the cascade as the call asks."""
    from pneumoseg.ct.inference import VolumeCascade  # here: OpenVINO takes a second to import

    return VolumeCascade.load(
        settings.bundle or Modality.CT.value,
        runtime=settings.runtime,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        streams=settings.streams,
        batch_slices=settings.batch_size,
        classifier_threshold=settings.classifier_threshold,
        segmenter_threshold=settings.segmenter_threshold,
        min_pixels=settings.min_pixels,
        min_volume_ml=settings.min_volume_ml,
        gate=settings.gate,
    )
