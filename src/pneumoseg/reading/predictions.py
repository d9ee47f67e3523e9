"""Reading back the folder that ``pneumoseg predict`` leaves behind.

The decisions come from ``predictions.jsonl``, the masks from ``predictions_aggregated.csv``, so
that what is measured is the very table one would submit. Both must speak of the same images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.errors import DataError, UsageError
from pneumoseg.reading.siim_csv import read_columns, read_mask_rows, strip_image_suffix
from pneumoseg.storage.record import (
    AGGREGATED,
    FAILURES,
    FINDINGS,
    AnyRecord,
    FindingRecord,
    VolumeRecord,
    numbered_records,
)


@dataclass(frozen=True)
class OutlinedLesion:
    """One lesion of a film: its run lengths on the film's grid and its mean probability."""

    run_lengths: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """What the cascade said of one film, or of one slice of a CT volume.

    ``run_lengths`` is the united mask on ``shape``.

    The fields with a default are None or empty where the record does not say.
    """

    image_id: str
    shape: tuple[int, int]
    probability: float
    positive: bool
    classifier_threshold: float
    segmented: bool
    bundle: str
    run_lengths: str
    lesions: tuple[OutlinedLesion, ...] = ()
    path: str | None = None
    spacing_mm: tuple[float, float] | None = None
    patient_orientation: tuple[str, str] | None = None
    seconds: float | None = None
    """Computing time of the film, reading not included."""
    volume_id: str | None = None
    """Of a slice: the volume it belongs to."""


def read_predictions(folder: Path) -> list[Prediction]:
    """Read the predictions of a folder, in the order they were made; for CT, slice by slice.

    Raises:
        UsageError: the folder or one of its two files is missing.
        DataError: a line is damaged or lacks a field, an image is there twice, or the two files
            speak of different images.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give the --out folder of pneumoseg predict")
    masks = read_mask_rows(folder / AGGREGATED)
    for image_id, texts in masks.items():
        if len(texts) > 1:
            raise DataError(
                f"{folder / AGGREGATED}: image {image_id} has {len(texts)} rows where one was "
                "expected; each image may be predicted once"
            )
    path = folder / FINDINGS
    predictions: dict[str, Prediction] = {}
    try:
        for where, record in numbered_records(path):
            for prediction in _of_record(record, masks, where):
                if prediction.image_id in predictions:
                    raise DataError(
                        f"{where}: image {prediction.image_id} is there twice; each image may "
                        "be predicted once"
                    )
                predictions[prediction.image_id] = prediction
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; give the --out folder of pneumoseg predict"
        ) from error
    lone = next((image_id for image_id in masks if image_id not in predictions), None)
    if lone is not None:
        raise DataError(f"image {lone} is in {AGGREGATED} but not in {path}; run predict again")
    return list(predictions.values())


def count_failures(folder: Path) -> int:
    """Count the rows of ``failures.csv``, 0 where there is none.

    Raises:
        DataError: the file is not a CSV.
    """
    path = folder / FAILURES
    return sum(1 for _ in read_columns(path, ("path", "code"))) if path.is_file() else 0


def _of_record(record: AnyRecord, masks: dict[str, list[str]], where: str) -> Iterator[Prediction]:
    """A film, or the slices of a volume from the head."""
    if isinstance(record, VolumeRecord):
        yield from _slices(record, masks, where)
    else:
        yield _film(record, masks, where)


def _film(record: FindingRecord, masks: dict[str, list[str]], where: str) -> Prediction:
    image_id, spacing = strip_image_suffix(record.image_id), record.spacing_mm
    return Prediction(
        image_id=image_id,
        shape=record.shape,
        probability=record.probability,
        positive=record.positive,
        classifier_threshold=record.classifier_threshold,
        segmented=record.segmented,
        bundle=_bundle(record),
        run_lengths=_row(image_id, masks, where),
        lesions=tuple(OutlinedLesion(lesion.rle, lesion.score) for lesion in record.lesions),
        path=record.path,
        spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
        patient_orientation=record.patient_orientation,
        seconds=record.seconds,
    )


def _slices(record: VolumeRecord, masks: dict[str, list[str]], where: str) -> Iterator[Prediction]:
    """A volume's slices, each with its part of the volume's lesions."""
    threshold, seconds = record.classifier_threshold, record.seconds
    inside: dict[int, list[OutlinedLesion]] = {}
    for lesion in record.lesions:
        for part in lesion.slices:
            inside.setdefault(part.slice, []).append(OutlinedLesion(part.rle, lesion.score))
    for number, one in enumerate(record.slices, start=1):
        image_id = strip_image_suffix(one.image_id)
        yield Prediction(
            image_id=image_id,
            shape=record.slice_shape,
            probability=one.probability,
            positive=one.probability >= threshold,
            classifier_threshold=threshold,
            segmented=one.segmented,
            bundle=_bundle(record),
            run_lengths=_row(image_id, masks, where),
            lesions=tuple(inside.get(number, ())),
            seconds=None if seconds is None else seconds / len(record.slices),
            volume_id=record.image_id,
        )


def _row(image_id: str, masks: dict[str, list[str]], where: str) -> str:
    if image_id not in masks:
        raise DataError(f"{where}: image {image_id} has no row in {AGGREGATED}; run predict again")
    return masks[image_id][0]


def _bundle(record: AnyRecord) -> str:
    return f"{record.bundle} {record.bundle_version}".strip()
