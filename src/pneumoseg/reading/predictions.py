"""Reading back the folder that ``pneumoseg predict`` leaves behind.

The decisions come from ``predictions.jsonl``, the masks from ``predictions_aggregated.csv``, so
that what is measured is the very table one would submit. Both must speak of the same images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoseg.errors import DataError, UsageError
from pneumoseg.reading.siim_csv import read_columns, read_mask_rows, strip_image_suffix
from pneumoseg.study import Modality

PREDICTIONS = "predictions.jsonl"
AGGREGATED = "predictions_aggregated.csv"
FAILURES = "failures.csv"
FILM, CT = Modality.XRAY.value, Modality.CT.value


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
    """Read the predictions of a folder, in the order they were made; of CT, slice by slice.

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
    path = folder / PREDICTIONS
    predictions: dict[str, Prediction] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                where = f"{path}, line {number}"
                for prediction in _of_line(line, masks, where) if line.strip() else ():
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
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})") from error
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


def _of_line(line: str, masks: dict[str, list[str]], where: str) -> Iterator[Prediction]:
    """One line, checked field by field: a film, or the slices of a volume from the head."""
    try:
        record: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON ({error.msg}); was the run cut short? run predict again to finish"
        ) from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected a JSON object, got {line.strip()[:40]!r}")
    modality = record.get("modality", FILM)
    if modality == FILM:
        yield _film(record, masks, where)
    elif modality == CT:
        yield from _slices(record, masks, where)
    else:
        raise DataError(f"{where}: field 'modality' must be {FILM} or {CT}, got {modality!r}")


def _film(record: dict[str, Any], masks: dict[str, list[str]], where: str) -> Prediction:
    image_id = strip_image_suffix(_field(record, "image_id", str, where))
    return Prediction(
        image_id=image_id,
        shape=_shape(record, "shape", where),
        probability=_probability(record, "probability", where),
        positive=_field(record, "positive", bool, where),
        classifier_threshold=_probability(record, "classifier_threshold", where),
        segmented=_field(record, "segmented", bool, where),
        bundle=_bundle(record),
        run_lengths=_row(image_id, masks, where),
        lesions=_lesions(record, where),
        path=_optional(record, "path", str, where),
        spacing_mm=_pair(record, "spacing_mm", (int, float), where),
        patient_orientation=_pair(record, "patient_orientation", (str,), where),
        seconds=_seconds(record, where),
    )


def _slices(
    record: dict[str, Any], masks: dict[str, list[str]], where: str
) -> Iterator[Prediction]:
    """A volume's slices, each with its part of the volume's lesions."""
    slices = _objects(record, "slices", where)
    threshold = _probability(record, "classifier_threshold", where)
    shape = _shape(record, "slice_shape", where)
    seconds = _seconds(record, where)
    inside: dict[int, list[OutlinedLesion]] = {}
    for lesion in _objects(record, "lesions", where):
        score = _probability(lesion, "score", where)
        for one in _objects(lesion, "slices", where):
            outlined = OutlinedLesion(_field(one, "rle", str, where), score)
            inside.setdefault(_field(one, "slice", int, where), []).append(outlined)
    for number, one in enumerate(slices, start=1):
        image_id = strip_image_suffix(_field(one, "image_id", str, where))
        probability = _probability(one, "probability", where)
        yield Prediction(
            image_id=image_id,
            shape=shape,
            probability=probability,
            positive=probability >= threshold,
            classifier_threshold=threshold,
            segmented=_field(one, "segmented", bool, where),
            bundle=_bundle(record),
            run_lengths=_row(image_id, masks, where),
            lesions=tuple(inside.get(number, ())),
            seconds=None if seconds is None else seconds / len(slices),
            volume_id=_field(record, "image_id", str, where),
        )


def _row(image_id: str, masks: dict[str, list[str]], where: str) -> str:
    if image_id not in masks:
        raise DataError(f"{where}: image {image_id} has no row in {AGGREGATED}; run predict again")
    return masks[image_id][0]


def _bundle(record: dict[str, Any]) -> str:
    return f"{record.get('bundle', 'unknown')} {record.get('bundle_version', '')}".strip()


def _objects(record: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    value = record.get(name)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise DataError(f"{where}: field {name!r} must be a list of objects, got {value!r:.60}")
    return value


def _field(record: dict[str, Any], name: str, kind: type, where: str) -> Any:
    value = record.get(name)
    if type(value) is not kind:
        raise DataError(f"{where}: field {name!r} must be {kind.__name__}, got {value!r}")
    return value


def _probability(record: dict[str, Any], name: str, where: str) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise DataError(f"{where}: field {name!r} must lie in [0, 1], got {value!r}")
    return float(value)


def _optional(record: dict[str, Any], name: str, kind: type, where: str) -> Any:
    return None if record.get(name) is None else _field(record, name, kind, where)


def _pair(record: dict[str, Any], name: str, kinds: tuple[type, ...], where: str) -> Any:
    """Two values of a kind as a tuple, None where the record has none."""
    value = record.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or any(type(v) not in kinds for v in value):
        raise DataError(f"{where}: field {name!r} must be two values or null, got {value!r}")
    if kinds != (str,) and not all(v > 0 for v in value):
        raise DataError(f"{where}: field {name!r} must be above 0, got {value!r}")
    return tuple(value)


def _seconds(record: dict[str, Any], where: str) -> float | None:
    value = record.get("seconds")
    if value is not None and (type(value) not in (int, float) or not 0 <= value < math.inf):
        raise DataError(f"{where}: field 'seconds' must be 0 or more, got {value!r}")
    return None if value is None else float(value)


def _lesions(record: dict[str, Any], where: str) -> tuple[OutlinedLesion, ...]:
    lesions = _objects({"lesions": []} | record, "lesions", where)
    return tuple(
        OutlinedLesion(_field(lesion, "rle", str, where), _probability(lesion, "score", where))
        for lesion in lesions
    )


def _shape(record: dict[str, Any], name: str, where: str) -> tuple[int, int]:
    value = _field(record, name, list, where)
    if len(value) != 2 or not all(type(side) is int and side > 0 for side in value):
        raise DataError(f"{where}: field {name!r} must be [rows, cols], got {value!r}")
    return value[0], value[1]
