"""``pneumoseg predict``: many files through the cascade, in order, in bounded memory, resumable.

Here the call is checked, and before anything is run it is decided what it comes to: X-rays or CT,
which bundle, which runtime. Then films go their road, read ahead, through both stages
(:mod:`pneumoseg.prediction.stages`), with their pictures to records; and volumes theirs
(:mod:`pneumoseg.prediction.volumes.run`), on one skeleton (:mod:`pneumoseg.prediction.run`). Many
workers are another engine, :mod:`pneumoseg.prediction.ray`.

Nothing is guessed. What is said counts first: ``--modality``, else the bundle that was named. Where
nothing is said, the first input that tells by its content does (a DICOM image by its class and
Modality, NIfTI is CT), and every other is held to that: inputs of the other kind end in
``failures.csv``. A picture (PNG, JPEG, WebP, TIFF) does not tell; without a word about it, it is
not used.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoseg.bundle import Bundle, load_bundle
from pneumoseg.errors import InputError, UsageError
from pneumoseg.prediction.read_ahead import Failure, Prepared, read_ahead
from pneumoseg.prediction.run import OnProgress, Recovered, Run, finish
from pneumoseg.prediction.run_folder import Entry, RunFolder
from pneumoseg.prediction.settings import (
    Decided,
    Inputs,
    PredictionSummary,
    PredictSettings,
    Progress,
    check_out,
    own_results,
    picture_folders,
    require_some,
    signature,
)
from pneumoseg.prediction.stages import in_stages, prepare_for_many_films
from pneumoseg.prediction.volumes.run import VolumeRoad
from pneumoseg.reading import walk
from pneumoseg.reading.dicom.file import is_other_than_ct
from pneumoseg.reading.file import Format, look
from pneumoseg.runtime import choose_runtime
from pneumoseg.storage.record import AGGREGATED, MASKS, OVERLAYS, SPLIT, FindingRecord, read_records
from pneumoseg.study import Finding, Modality
from pneumoseg.writing.overlay import write_mask, write_overlay
from pneumoseg.writing.tables import finding_record, write_tables

if TYPE_CHECKING:  # OpenVINO takes a second to import
    from pneumoseg.ct.inference import VolumeCascade
    from pneumoseg.pipeline_inference import Cascade

__all__ = ["PredictSettings", "PredictionSummary", "Progress", "run_predict"]

DEFAULT_BUNDLES = {Modality.XRAY: "cxr", Modality.CT: "ct"}
_CT_ONLY = ("min_volume_ml", "window_center", "window_width")
_XRAY_ONLY = ("top_threshold", "top_min_pixels", "mirror", "operating_point")


def run_predict(
    settings: PredictSettings,
    *,
    on_progress: OnProgress | None = None,
    load: Callable[[PredictSettings], Any] | None = None,
) -> PredictionSummary:
    """Predict all inputs that are not done yet and write the tables.

    Args:
        settings: the call.
        on_progress: told after each input, and after each batch of a volume's slices.
        load: makes the cascade, of films or of volumes; the one of the bundle by default.

    Returns:
        The counts, the files and the exit code.

    Raises:
        UsageError: another engine is asked for, a path is missing, there is no file at all, the
            folder cannot be written to, holds another call's run, or is being written to by another
            process.
    """
    started = time.perf_counter()
    if settings.engine != "local":
        raise UsageError(
            f"run_predict is the local engine, this call asks for {settings.engine}; call "
            "pneumoseg.prediction.ray.run_archive"
        )
    prepare_for_many_films()
    check_out(settings)
    is_own_result = own_results(settings)
    files = Inputs(path for path in walk(settings.paths) if not is_own_result(path))
    require_some(files, settings)
    decided = decide(settings, files.look())
    settings, networks = decided.settings, decided.networks
    if decided.modality is Modality.CT:
        volumes = load(settings) if load else load_volume_cascade(settings, decided.bundle)
        road = VolumeRoad(decided, files, volumes)
        return finish(road, on_progress, networks=networks, started=started)
    cascade = load(settings) if load else load_cascade(settings, decided.bundle)
    films = FilmRoad(decided, files, cascade)
    return finish(films, on_progress, networks=networks, started=started)


def decide(settings: PredictSettings, inputs: Iterable[Path]) -> Decided:
    """Decide what a run is about.

    Args:
        settings: the call.
        inputs: its files, looked at in order until one tells.

    Raises:
        BundleError: the bundle is damaged, or not made for the modality that was named.
        RuntimeUnavailableError: what is asked for is not available here.
        UsageError: there are only pictures and nothing says what they show; an option was given
            that the modality does not have; or the runtime, device or precision is unknown.
    """
    networks = choose_runtime(
        settings.runtime, device=settings.device, precision=settings.precision
    )
    modality = None if settings.modality == "auto" else Modality(settings.modality)
    bundle = None
    if settings.bundle is not None:
        bundle = load_bundle(settings.bundle)
        if modality is not None:
            bundle.require(modality)
        modality = bundle.card.modality
    pictures = modality is not None
    if modality is None:
        modality = _first_that_tells(inputs)
    _check_options(settings, modality)
    settings = dataclasses.replace(
        settings,
        bundle=settings.bundle or DEFAULT_BUNDLES[modality],
        runtime=networks.runtime,
        device=networks.device,
    )
    return Decided(modality, settings, pictures, networks, bundle)


def load_cascade(settings: PredictSettings, bundle: Bundle | None = None) -> Cascade:
    """Load the cascade as a call asks, from the bundle where it is open already."""
    from pneumoseg.pipeline_inference import Cascade

    return Cascade.load(
        bundle or settings.bundle or DEFAULT_BUNDLES[Modality.XRAY],
        runtime=settings.runtime,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        streams=settings.streams,
        operating_point=settings.operating_point or "screening",
        classifier_threshold=settings.classifier_threshold,
        segmenter_threshold=settings.segmenter_threshold,
        min_pixels=settings.min_pixels,
        top_threshold=settings.top_threshold,
        top_min_pixels=settings.top_min_pixels,
        min_volume_ml=settings.min_volume_ml,
        gate=settings.gate,
        mirror=settings.mirror,
    )


def load_volume_cascade(settings: PredictSettings, bundle: Bundle | None = None) -> VolumeCascade:
    """Load the cascade of volumes as a call asks, from the bundle where it is open already."""
    from pneumoseg.ct.inference import VolumeCascade

    cascade = load_cascade(settings, bundle)
    return VolumeCascade.of(cascade, batch_slices=settings.batch_size)


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


def _first_that_tells(inputs: Iterable[Path]) -> Modality:
    picture: Path | None = None
    for path in inputs:
        try:
            head, found = look(path)
            if found is Format.NIFTI:
                return Modality.CT
            if found is Format.RASTER:
                picture = picture or path
            elif found is Format.DICOM:
                told = Modality.XRAY if is_other_than_ct(path, head) else _by_header(path, head)
                if told is not None:
                    return told
        except InputError:
            continue  # it gets its line among the failures
    if picture is not None:
        raise UsageError(
            f"the picture {picture} does not say whether it is an X-ray or a slice of a CT; add "
            "--modality xray or --modality ct"
        )
    return Modality.XRAY  # nothing here can be used; the run says of each file why


def _by_header(path: Path, head: bytes) -> Modality | None:
    """What the whole header says; None of what may come with either."""
    from pneumoseg.reading.ct.header import LOCALIZER, read_header  # X-rays do without

    header = read_header(path, head)
    if header.slices or header.aside == LOCALIZER:
        return Modality.CT
    return Modality.XRAY if header.modality else None


def _check_options(settings: PredictSettings, modality: Modality) -> None:
    others = _CT_ONLY if modality is Modality.XRAY else _XRAY_ONLY
    for name in others:
        if getattr(settings, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is not for {modality.value}; leave it out, or give "
                "the --modality it is for"
            )
