"""The road of CT: volume by volume, in bounded memory.

The same skeleton as for films (:mod:`pneumoseg.prediction.run`), with a volume for a film: a killed
run goes on at the volume it was in. Slices are read ahead inside a volume
(:mod:`pneumoseg.ct.inference`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoseg.ct.finding import VolumeFinding
from pneumoseg.errors import UsageError
from pneumoseg.prediction.read_ahead import (
    PROCESSING_ERRORS,
    PROCESSING_FAILED,
    UNKNOWN_PICTURE,
    Failure,
    failure_of,
)
from pneumoseg.prediction.run import Recovered, Run
from pneumoseg.prediction.run_folder import (
    NIFTI_ENDING,
    PLANES_ENDING,
    START_ANEW,
    RunFolder,
    digest,
)
from pneumoseg.prediction.settings import Decided, Inputs, PredictSettings, signature
from pneumoseg.prediction.volumes.entry import VolumeEntry
from pneumoseg.prediction.volumes.pictures import write_pictures
from pneumoseg.prediction.volumes.record import volume_record
from pneumoseg.preprocess import Window
from pneumoseg.reading.volumes import open_volume, volumes_among
from pneumoseg.storage.record import (
    AGGREGATED,
    MASKS,
    OVERLAYS,
    SPLIT,
    VOLUMES,
    VolumeRecord,
    read_records,
)
from pneumoseg.study import Mask, Modality, Volume
from pneumoseg.writing.nifti import write_mask
from pneumoseg.writing.overlay import write_mask_picture
from pneumoseg.writing.volume_tables import write_volume_tables

if TYPE_CHECKING:  # OpenVINO takes a second to import
    from pneumoseg.ct.inference import VolumeCascade


@dataclass(frozen=True)
class VolumeRoad:
    """Volumes through a cascade.

    Attributes:
        decided: the call.
        files: its inputs, of which several may make one volume.
        cascade: both stages.
    """

    decided: Decided
    files: Inputs[Path]
    cascade: VolumeCascade

    kind = VolumeEntry
    journalled_together = 1
    tables = (AGGREGATED, SPLIT, VOLUMES)

    @property
    def settings(self) -> PredictSettings:
        """The call."""
        return self.decided.settings

    @cached_property
    def call(self) -> dict[str, Any]:
        """What must be the same for the run to be resumed."""
        pictures = self.decided.pictures
        return signature(self.settings, self.cascade, Modality.CT, pictures=pictures)

    @property
    def folders(self) -> tuple[str, ...]:
        """Masks always, overlays where they were asked for."""
        return (MASKS, OVERLAYS) if self.settings.overlays else (MASKS,)

    def inputs(self, folder: RunFolder[VolumeEntry], recovered: Recovered) -> Iterator[VolumeEntry]:
        """What is found now.

        Raises:
            UsageError: a finished volume has other files than it had.
        """
        finished = {
            digest(entry.absolute): (entry.size, entry.mtime_ns)
            for entry in islice(folder.read_manifest(), recovered.tally.done)
        }
        for found in volumes_among(self.files):
            entry = VolumeEntry.of_found(found)
            now = (entry.size, entry.mtime_ns)
            if finished.get(digest(entry.absolute), now) != now:
                raise UsageError(
                    f"{entry.path} has changed since it was predicted into {folder.out}; "
                    f"{START_ANEW}"
                )
            yield entry

    def results(
        self, left: Iterator[VolumeEntry], run: Run[VolumeEntry]
    ) -> Generator[tuple[VolumeEntry, VolumeRecord | Failure], None, None]:
        """One volume after the other."""
        for entry in left:
            yield entry, self._result(entry, run)

    def derive(self, folder: RunFolder[VolumeEntry], *, stale: bool) -> None:
        """The challenge's two CSVs, by slice, and the one by volume."""
        if stale:
            records = read_records(folder.findings, VolumeRecord)
            write_volume_tables(records, *(folder.out / name for name in self.tables))

    def _result(self, entry: VolumeEntry, run: Run[VolumeEntry]) -> VolumeRecord | Failure:
        """One volume from its files to its record, its pictures written."""
        found = entry.volume()
        if found is None:
            return Failure(entry.code, entry.message)
        if found.kind == "picture" and not self.decided.pictures:
            return UNKNOWN_PICTURE
        if (taken := run.taken(found.name)) is not None:
            return taken
        try:
            volume = open_volume(found, window=self._window())
            finding = self.cascade.predict(
                volume, on_slices=lambda done, slices: run.tell(entry, done / slices)
            )
        except UsageError:
            raise  # the bundle is unusable here; that concerns every volume
        except (*PROCESSING_ERRORS, OSError) as error:
            return failure_of(error, "processed", PROCESSING_FAILED)
        run.claimed(found.name)  # only now: a volume that failed leaves its name to the next
        self._write_pictures(volume, finding, run.folder)
        return volume_record(finding, self.cascade.config, path=entry.path)

    def _write_pictures(
        self, volume: Volume, finding: VolumeFinding, folder: RunFolder[VolumeEntry]
    ) -> None:
        """Before the journal's line, so that a finished volume has its mask."""
        name = finding.source.image_id
        parts = [(lesion.box, lesion.inside) for lesion in finding.lesions]
        if finding.geometry is not None:
            path = folder.picture(MASKS, name, NIFTI_ENDING)
            write_mask(path, parts, finding.shape, finding.geometry)
        elif finding.shape[0] == 1:
            mask = finding.as_finding().mask
            plane = None if mask is None else Mask(mask.pixels[0])
            write_mask_picture(folder.picture(MASKS, name), plane, finding.shape[1:])
        if self.settings.overlays:
            montage = folder.picture(OVERLAYS, name)
            write_pictures(montage, folder.picture(OVERLAYS, name, PLANES_ENDING), volume, finding)

    def _window(self) -> Window | None:
        center, width = self.settings.window_center, self.settings.window_width
        return None if center is None or width is None else Window(center, width)
