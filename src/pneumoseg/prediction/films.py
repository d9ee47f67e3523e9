"""The road of films: read ahead, through both stages, with their pictures to records.

Reading, outlining and writing go on beside the networks (:mod:`pneumoseg.prediction.stages`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pneumoseg.prediction.modality import Decided, Inputs, signature
from pneumoseg.prediction.read_ahead import Failure, Prepared, read_ahead
from pneumoseg.prediction.run import Recovered, Run
from pneumoseg.prediction.run_folder import Entry, RunFolder
from pneumoseg.prediction.settings import PredictSettings, picture_folders
from pneumoseg.prediction.stages import in_stages
from pneumoseg.storage.record import AGGREGATED, MASKS, OVERLAYS, SPLIT, FindingRecord, read_records
from pneumoseg.study import Finding, Modality
from pneumoseg.writing.overlay import write_mask, write_overlay
from pneumoseg.writing.tables import finding_record, write_tables

if TYPE_CHECKING:  # OpenVINO takes a second to import
    from pathlib import Path

    from pneumoseg.pipeline_inference import Cascade


@dataclass(frozen=True)
class FilmRoad:
    """Films through a cascade.

    Attributes:
        decided: the call.
        files: its inputs.
        cascade: both stages.
    """

    decided: Decided
    files: Inputs[Path]
    cascade: Cascade

    kind = Entry
    tables = (AGGREGATED, SPLIT)

    @property
    def settings(self) -> PredictSettings:
        """The call."""
        return self.decided.settings

    @cached_property
    def call(self) -> dict[str, Any]:
        """What must be the same for the run to be resumed."""
        pictures = self.decided.pictures
        return signature(self.settings, self.cascade, Modality.XRAY, pictures=pictures)

    @property
    def journalled_together(self) -> int:
        """A batch."""
        return self.settings.batch_size

    @property
    def folders(self) -> tuple[str, ...]:
        """Of the pictures that were asked for."""
        return picture_folders(self.settings)

    def inputs(self, folder: RunFolder[Entry], recovered: Recovered) -> Iterator[Entry]:
        """A file each."""
        return map(Entry.of, self.files)

    def results(
        self, left: Iterator[Entry], run: Run[Entry]
    ) -> Generator[tuple[Entry, FindingRecord | Failure], None, None]:
        """Films as they come out of stage two, order kept."""
        size, keeps_images = self.settings.batch_size, self.settings.overlays

        def checked(entry: Entry, film: Prepared | Failure) -> tuple[Entry, Prepared | Failure]:
            """Refuse a second film with an image id that a film before it has."""
            if isinstance(film, Failure):
                return entry, film
            return entry, run.claimed(film.film.source.image_id) or film

        def finished(entry: Entry, prepared: Prepared, finding: Finding) -> FindingRecord:
            """A film's record, its pictures written first: a finished input has them."""
            image_id = finding.source.image_id
            if prepared.image is not None:
                write_overlay(run.folder.picture(OVERLAYS, image_id), prepared.image, finding)
            if self.settings.masks:
                write_mask(run.folder.picture(MASKS, image_id), finding)
            return finding_record(
                finding,
                path=entry.path,
                segmenter_threshold=self.cascade.config.segmenter_threshold,
                spacing_mm=prepared.film.spacing_mm,
            )

        reading = read_ahead(
            left,
            self.cascade.prepare,
            window=2 * size,
            pictures=self.decided.pictures,
            keep_images=keeps_images,
        )
        with closing(reading) as arriving:
            stages = in_stages(
                self.cascade,
                (checked(*item) for item in arriving),
                batch_size=size,
                finish=finished,
                keeps_images=keeps_images,
            )
            with closing(stages) as results:
                yield from results

    def derive(self, folder: RunFolder[Entry], *, stale: bool) -> None:
        """The challenge's two CSVs."""
        if stale:
            records = read_records(folder.findings, FindingRecord)
            write_tables(records, folder.out / AGGREGATED, folder.out / SPLIT)
