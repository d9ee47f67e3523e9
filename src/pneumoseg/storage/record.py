"""What a run keeps of each input, and where: file names, and the record of a finding.

``predictions.jsonl`` holds one record a finding, of a film (:class:`FindingRecord`) or of a CT
volume (:class:`VolumeRecord`); the fields are the keys, in their order. All else a run says of its
findings is derived from these lines: tables, page, Parquet, evaluation. Fields with a default are
missing in lines of earlier versions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from pneumoseg import rle as run_lengths
from pneumoseg.errors import DataError
from pneumoseg.storage.strict import JsonObject
from pneumoseg.study import Modality

RUN, MANIFEST = "run.json", "inputs.jsonl"
FINDINGS, FAILURES = "predictions.jsonl", "failures.csv"
AGGREGATED, SPLIT = "predictions_aggregated.csv", "predictions_split.csv"
VOLUMES = "volumes.csv"
OVERLAYS, MASKS = "overlays", "masks"
PARQUET = "predictions_parquet"

XRAY, CT = Modality.XRAY.value, Modality.CT.value
_FILM_AXES, _VOLUME_AXES = ("rows", "cols"), ("slices", "rows", "cols")


@dataclass(frozen=True, kw_only=True)
class LesionRecord:
    """A lesion of a film; areas in pixels and mm² of the film, None where they are not known."""

    area_px: int = 0
    area_mm2: float | None = None
    score: float
    side: str | None = None
    rle: str

    @classmethod
    def of_json(cls, found: JsonObject) -> Self:
        """Read it back."""
        return cls(
            area_px=found.later("area_px", found.whole, 0),
            area_mm2=found.maybe("area_mm2", found.number),
            score=found.probability("score"),
            side=found.maybe("side", found.text),
            rle=found.text("rle"),
        )


@dataclass(frozen=True, kw_only=True)
class FindingRecord:
    """A finding of a film.

    ``shape`` is (rows, cols); areas in source pixels and mm²; ``area_mm2`` and ``spacing_mm`` are
    None where the spacing is unknown, ``side`` where the side is; ``rle`` is the united mask
    (relative, column by column, on ``shape``) or ``"-1"``. ``segmented`` tells an empty mask (stage
    two ran) from none (it did not). ``seconds`` is computing time, reading not included.
    """

    image_id: str
    path: str | None = None
    shape: tuple[int, int]
    spacing_mm: tuple[float, ...] | None = None
    patient_orientation: tuple[str, str] | None = None
    logit: float | None = None
    probability: float
    positive: bool
    classifier_threshold: float
    segmenter_threshold: float | None = None
    segmented: bool
    area_px: int = 0
    area_mm2: float | None = None
    lesions: tuple[LesionRecord, ...] = ()
    rle: str = run_lengths.EMPTY
    seconds: float | None = None
    bundle: str = "unknown"
    bundle_version: str = ""
    software_version: str = ""
    runtime: str = ""
    device: str = "cpu"
    precision: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of_json(cls, found: JsonObject) -> Self:
        """Read it back."""
        rows, cols = found.shape("shape", _FILM_AXES)
        lesions = found.objects("lesions") if "lesions" in found.fields else iter(())
        return cls(
            image_id=found.text("image_id"),
            path=found.maybe("path", found.text),
            shape=(rows, cols),
            spacing_mm=found.maybe("spacing_mm", lambda name: found.spacing(name, 2)),
            patient_orientation=found.maybe("patient_orientation", found.pair),
            logit=found.maybe("logit", found.number),
            probability=found.probability("probability"),
            positive=found.flag("positive"),
            classifier_threshold=found.probability("classifier_threshold"),
            segmenter_threshold=found.maybe("segmenter_threshold", found.probability),
            segmented=found.flag("segmented"),
            area_px=found.later("area_px", found.whole, 0),
            area_mm2=found.maybe("area_mm2", found.number),
            lesions=tuple(LesionRecord.of_json(one) for one in lesions),
            rle=found.later("rle", found.text, run_lengths.EMPTY),
            seconds=found.maybe("seconds", found.at_least_0),
            notes=found.later("notes", found.texts, ()),
            **_origin(found),
        )

    def to_json(self) -> str:
        """One line of pure ASCII, with its line end."""
        return _line(self)


@dataclass(frozen=True, kw_only=True)
class LesionInSlice:
    """A lesion's part in one slice, numbered from 1 at the head; run lengths as stored."""

    slice: int
    area_px: int
    area_mm2: float | None
    rle: str

    @classmethod
    def of_json(cls, found: JsonObject) -> Self:
        """Read it back."""
        return cls(
            slice=found.whole("slice"),
            area_px=found.later("area_px", found.whole, 0),
            area_mm2=found.maybe("area_mm2", found.number),
            rle=found.text("rle"),
        )


@dataclass(frozen=True, kw_only=True)
class VolumeLesionRecord:
    """A lesion of a volume and its part in each of its slices, numbered from 1 at the head."""

    voxels: int
    volume_ml: float | None
    score: float
    side: str | None
    greatest_thickness_mm: float | None
    first_slice: int
    last_slice: int
    slices: tuple[LesionInSlice, ...]

    @classmethod
    def of_json(cls, found: JsonObject) -> Self:
        """Read it back."""
        return cls(
            voxels=found.whole("voxels"),
            volume_ml=found.maybe("volume_ml", found.number),
            score=found.probability("score"),
            side=found.maybe("side", found.text),
            greatest_thickness_mm=found.maybe("greatest_thickness_mm", found.number),
            first_slice=found.whole("first_slice"),
            last_slice=found.whole("last_slice"),
            slices=tuple(LesionInSlice.of_json(one) for one in found.objects("slices")),
        )


@dataclass(frozen=True, kw_only=True)
class SliceRecord:
    """A slice: what it is called, and its united run lengths on the grid as stored."""

    image_id: str
    probability: float
    segmented: bool
    rle: str

    @classmethod
    def of_json(cls, found: JsonObject) -> Self:
        """Read it back."""
        return cls(
            image_id=found.text("image_id"),
            probability=found.probability("probability"),
            segmented=found.flag("segmented"),
            rle=found.later("rle", found.text, run_lengths.EMPTY),
        )


@dataclass(frozen=True, kw_only=True)
class VolumeRecord:
    """A finding of a CT volume.

    ``shape`` is (slices, rows, cols) on canonical axes, ``slice_shape`` (rows, cols) as stored;
    slices are numbered from 1 at the head; mL and mm are None where the spacing is unknown.
    """

    image_id: str
    path: str | None
    modality: str = field(default=CT, init=False)
    study_instance_uid: str | None
    series_instance_uid: str | None
    shape: tuple[int, int, int]
    slice_shape: tuple[int, int]
    spacing_mm: tuple[float, ...] | None
    logit: float
    probability: float
    positive: bool
    classifier_threshold: float
    segmenter_threshold: float
    segmented: bool
    voxels: int
    volume_ml: float | None
    share_of_hemithorax: float | None
    hemithorax_shares: Mapping[str, float]
    side: str | None
    greatest_thickness_mm: float | None
    first_slice: int | None
    last_slice: int | None
    lesions: tuple[VolumeLesionRecord, ...]
    slices: tuple[SliceRecord, ...]
    seconds: float | None
    bundle: str = "unknown"
    bundle_version: str = ""
    software_version: str = ""
    runtime: str = ""
    device: str = "cpu"
    precision: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of_json(cls, found: JsonObject) -> Self:
        """Read it back."""
        slices, rows, cols = found.shape("shape", _VOLUME_AXES)
        stored_rows, stored_cols = found.shape("slice_shape", _FILM_AXES)
        return cls(
            image_id=found.text("image_id"),
            path=found.maybe("path", found.text),
            study_instance_uid=found.maybe("study_instance_uid", found.text),
            series_instance_uid=found.maybe("series_instance_uid", found.text),
            shape=(slices, rows, cols),
            slice_shape=(stored_rows, stored_cols),
            spacing_mm=found.maybe("spacing_mm", lambda name: found.spacing(name, 3)),
            logit=found.number("logit"),
            probability=found.probability("probability"),
            positive=found.flag("positive"),
            classifier_threshold=found.probability("classifier_threshold"),
            segmenter_threshold=found.probability("segmenter_threshold"),
            segmented=found.flag("segmented"),
            voxels=found.whole("voxels"),
            volume_ml=found.maybe("volume_ml", found.number),
            share_of_hemithorax=found.maybe("share_of_hemithorax", found.number),
            hemithorax_shares=found.later("hemithorax_shares", found.numbers_by_name, {}),
            side=found.maybe("side", found.text),
            greatest_thickness_mm=found.maybe("greatest_thickness_mm", found.number),
            first_slice=found.maybe("first_slice", found.whole),
            last_slice=found.maybe("last_slice", found.whole),
            lesions=tuple(VolumeLesionRecord.of_json(one) for one in found.objects("lesions")),
            slices=tuple(SliceRecord.of_json(one) for one in found.objects("slices")),
            seconds=found.maybe("seconds", found.at_least_0),
            notes=found.later("notes", found.texts, ()),
            **_origin(found),
        )

    def to_json(self) -> str:
        """One line of pure ASCII, with its line end."""
        return _line(self)


AnyRecord = FindingRecord | VolumeRecord
_Record = TypeVar("_Record", FindingRecord, VolumeRecord)


def from_json(line: str, where: str) -> AnyRecord:
    """Read one line of ``predictions.jsonl``.

    Args:
        line: one JSON object.
        where: file and line, for the message.

    Raises:
        DataError: the line is damaged, or a field is missing or of another kind than expected.
    """
    return of_json(JsonObject.parsed(line, where))


def of_json(found: JsonObject) -> AnyRecord:
    """The record that an object holds, of a film where it does not say.

    Raises:
        DataError: a field is missing or of another kind than expected.
    """
    modality = found.fields.get("modality", XRAY)
    if modality == XRAY:
        return FindingRecord.of_json(found)
    if modality == CT:
        return VolumeRecord.of_json(found)
    raise DataError(f"{found.where}: field 'modality' must be {XRAY} or {CT}, got {modality!r}")


def numbered_records(path: Path) -> Iterator[tuple[str, AnyRecord]]:
    """Read ``predictions.jsonl`` one record at a time, in input order, each with file and line.

    Raises:
        OSError: it cannot be read.
        DataError: it is not UTF-8, or a line is damaged; the message names it.
    """
    try:
        with path.open("r", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{path}, line {number}"
                    yield where, from_json(line, where)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})") from error


def read_records(path: Path, kind: type[_Record]) -> Iterator[_Record]:
    """The same where all are findings of one kind.

    Raises:
        DataError: as :func:`numbered_records`, or a line is of the other kind.
    """
    for where, record in numbered_records(path):
        if not isinstance(record, kind):
            raise DataError(f"{where}: this run is of {kind.__name__}, not {type(record).__name__}")
        yield record


def _line(record: AnyRecord) -> str:
    return json.dumps(asdict(record), allow_nan=False, separators=(",", ":")) + "\n"


def _origin(found: JsonObject) -> dict[str, Any]:
    """What made a finding."""
    before = {"bundle": "unknown", "device": "cpu"}
    names = ("bundle", "bundle_version", "software_version", "runtime", "device", "precision")
    return {name: found.later(name, found.text, before.get(name, "")) for name in names}
