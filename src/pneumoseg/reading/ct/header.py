"""What the header of a DICOM CT file says of its slices; pixels are not read.

CT image: PS3.3 A.3; enhanced CT: PS3.3 A.38, its functional groups C.7.6.16.2.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pneumoseg.errors import InputError
from pneumoseg.reading.dicom.fence import fenced_dicom, items, number, numbers, text, texts, whole
from pneumoseg.reading.dicom.file import DICOMDIR_CLASS, NO_IMAGE_MODALITIES, parse
from pneumoseg.reading.file import load
from pneumoseg.reading.orientation import FARTHEST_MM, VOXEL_MM

_STORAGE = "1.2.840.10008.5.1.4.1.1."
CT_CLASSES = (f"{_STORAGE}2", f"{_STORAGE}2.1", f"{_STORAGE}2.2")
"""CT, Enhanced CT and Legacy Converted Enhanced CT Image Storage."""
_CAPTURE_CLASSES = tuple(f"{_STORAGE}7{end}" for end in ("", ".1", ".2", ".3", ".4"))
SPLITTING = (
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "StackID",
    "NominalPercentageOfCardiacPhase",
    "ConvolutionKernel",
    "SliceThickness",
    "KVP",
    "ImageType",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "SOPInstanceUID",
)
"""Attributes by which volumes of one series differ, tried in this order. The last tells enhanced
objects apart; for single slices it is left empty, as it differs with every one."""
_TAGS = [
    *SPLITTING,
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceLocation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "SOPClassUID",
    "Modality",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "SeriesDescription",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DirectoryRecordSequence",
]
_FUNCTIONAL_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "FrameContentSequence",
    "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence",
    "CTReconstructionSequence",
    "CardiacSynchronizationSequence",
)
"""Where an enhanced object keeps what a single slice has at its top."""
_SCOUT_WORD = re.compile(
    r"(?<![a-z])(scout|topogram|topo|surview|scano(gram)?|localizer|localiser|pilot)(?![a-z])",
    re.IGNORECASE,
)
_HU_TYPES = ("", "HU", "US", "HU_MOD")
"""PS3.3 C.11.1.1.2; scanners write US (unspecified) for HU, too."""
LOCALIZER, REPORT, CAPTURE = "localizer", "report", "secondary capture"


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """One slice: a file, or a frame of one.

    Attributes:
        path: the file.
        frame: index of the frame from 0; None for a file of one slice.
        sop_instance_uid: of the object.
        shape: rows and columns as stored.
        position_mm: ImagePositionPatient, the centre of the first pixel, LPS; None where missing.
        orientation: ImageOrientationPatient, along a row and down a column; None where missing.
        pixel_spacing_mm: between rows, between columns; None where missing.
        thickness_mm: SliceThickness, None where missing.
        slice_location_mm: SliceLocation, None where missing.
        rescale: slope and intercept; None where missing.
        labels: values of :data:`SPLITTING`, in its order.
    """

    path: Path
    frame: int | None
    sop_instance_uid: str
    shape: tuple[int, int]
    position_mm: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, float] | None
    thickness_mm: float | None
    slice_location_mm: float | None
    rescale: tuple[float, float] | None
    labels: tuple[str, ...]

    def normal(self) -> tuple[float, float, float] | None:
        """Unit normal of the slice's plane; None where the orientation is missing or unusable."""
        if self.orientation is None:
            return None
        along, down = np.reshape(self.orientation, (2, 3))
        normal = np.cross(along, down)
        # Two unit vectors at right angles, to the few digits that are written.
        if abs(along @ down) > 0.01 or max(abs(v @ v - 1) for v in (along, down, normal)) > 0.02:
            return None
        x, y, z = (float(n) for n in normal / np.linalg.norm(normal))
        return x, y, z

    def is_axial(self) -> bool:
        """Whether the slice lies across the body, as far as its orientation tells."""
        normal = self.normal()
        return normal is None or abs(normal[2]) > max(abs(normal[0]), abs(normal[1]))


@dataclass(frozen=True, slots=True)
class CtFile:
    """One DICOM file: slices of CT, or something that comes with them and is left aside.

    Attributes:
        path: the file.
        series_instance_uid: empty where missing.
        study_instance_uid: empty where missing.
        slices: its slices; none where it is left aside or refused.
        aside: ``LOCALIZER``, ``REPORT`` or ``CAPTURE``; empty otherwise.
        modality: of an image of another kind; empty otherwise.
    """

    path: Path
    series_instance_uid: str
    study_instance_uid: str
    slices: tuple[SliceHeader, ...] = ()
    aside: str = ""
    modality: str = ""


def read_header(path: Path, head: bytes) -> CtFile:
    """Read the header of one DICOM file.

    Args:
        path: the file.
        head: its first bytes.

    Raises:
        InputError: ``dicomdir``, ``damaged``, ``truncated``, ``too-large`` or ``not-hu``.
    """
    dataset = _dataset(path, head)
    sop_class, modality = text(dataset, "SOPClassUID"), text(dataset, "Modality").upper()
    if sop_class == DICOMDIR_CLASS or "DirectoryRecordSequence" in dataset:
        raise InputError(
            "this is a DICOMDIR, the index of a medium; give the folder with its images",
            code="dicomdir",
        )
    if sop_class in CT_CLASSES:
        kind = _aside(dataset)
    elif modality in NO_IMAGE_MODALITIES or whole(dataset, "Rows") is None:
        kind = REPORT
    elif modality == "CT":
        kind = CAPTURE if sop_class in _CAPTURE_CLASSES else _aside(dataset)
    else:
        kind = ""
    return CtFile(
        path,
        sys.intern(text(dataset, "SeriesInstanceUID")),
        sys.intern(text(dataset, "StudyInstanceUID")),
        _slices(dataset, path) if not kind and _is_ct(sop_class, modality) else (),
        kind,
        "" if kind or _is_ct(sop_class, modality) else modality[:16] or "unknown",
    )


def _is_ct(sop_class: str, modality: str) -> bool:
    return sop_class in CT_CLASSES or modality == "CT"


def _dataset(path: Path, head: bytes) -> Dataset:
    if DeflatedExplicitVRLittleEndian.encode() in head:
        return parse(load(path))  # it has to be inflated as a whole, which is guarded there
    with fenced_dicom("the DICOM header cannot be read"), path.open("rb") as file:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        has_elements = len(dataset) > 0
    if not has_elements:
        raise InputError("the file ends within its DICOM header", code="truncated")
    return dataset


def _aside(dataset: Dataset) -> str:
    """``LOCALIZER`` where the object is one, else empty."""
    if "LOCALIZER" in (word.upper() for word in texts(dataset, "ImageType")):
        return LOCALIZER
    if _SCOUT_WORD.search(text(dataset, "SeriesDescription")) is None:
        return ""
    orientation = numbers(dataset, "ImageOrientationPatient")
    if len(orientation) != 6:
        return ""
    normal = np.cross(orientation[:3], orientation[3:])
    return "" if abs(normal[2]) > 0.7 else LOCALIZER


def _slices(dataset: Dataset, path: Path) -> tuple[SliceHeader, ...]:
    frames = whole(dataset, "NumberOfFrames")
    shared = next(iter(items(dataset, "SharedFunctionalGroupsSequence")), Dataset())
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")
    if not groups and (frames or 1) == 1:
        return (_one_slice(dataset, path, None, [dataset]),)
    if frames != len(groups):
        raise InputError(
            f"the object has {frames} frames and describes {len(groups)} of them; "
            "copy it again from its origin",
            code="damaged",
        )
    return tuple(
        _one_slice(dataset, path, index, _frame_sources(group, shared))
        for index, group in enumerate(groups)
    )


def _frame_sources(group: Dataset, shared: Dataset) -> list[Dataset]:
    """Where a frame's attributes may stand: items of its own functional groups, then the shared."""
    found = (items(group, name) or items(shared, name) for name in _FUNCTIONAL_GROUPS)
    return [item for some in found for item in some[:1]]


_IN_A_FRAME = {"AcquisitionNumber": "FrameAcquisitionNumber", "ImageType": "FrameType"}
"""Attributes that are called otherwise in functional groups."""


def _one_slice(
    dataset: Dataset, path: Path, frame: int | None, sources: list[Dataset]
) -> SliceHeader:
    def found(keyword: str) -> Dataset:
        return next((source for source in sources if keyword in source), Dataset())

    def three(keyword: str, length: int) -> tuple[float, ...] | None:
        values = numbers(found(keyword), keyword)
        return values if len(values) == length else None

    def label(keyword: str) -> str:
        if keyword == "SOPInstanceUID":
            return "" if frame is None else text(dataset, keyword)
        name = keyword if frame is None else _IN_A_FRAME.get(keyword, keyword)
        return sys.intern("\\".join(texts(found(name), name)))

    kind = text(found("RescaleType"), "RescaleType").upper()
    if kind not in _HU_TYPES:
        raise InputError(
            f"the values are {kind[:16]!r} (RescaleType), not HU; give the CT images themselves",
            code="not-hu",
        )
    position, spacing = three("ImagePositionPatient", 3), three("PixelSpacing", 2)
    slope = number(found("RescaleSlope"), "RescaleSlope")
    intercept = number(found("RescaleIntercept"), "RescaleIntercept")
    thickness = number(found("SliceThickness"), "SliceThickness")
    location = number(found("SliceLocation"), "SliceLocation")
    rows, cols = whole(dataset, "Rows"), whole(dataset, "Columns")
    return SliceHeader(
        path=path,
        frame=frame,
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        shape=(rows or 0, cols or 0),
        position_mm=(position[0], position[1], position[2]) if _is_place(position) else None,
        orientation=three("ImageOrientationPatient", 6),
        pixel_spacing_mm=(spacing[0], spacing[1]) if _is_size(spacing) else None,
        thickness_mm=thickness if thickness and _is_size((thickness,)) else None,
        slice_location_mm=location if location is not None and _is_place((location,)) else None,
        rescale=None if not slope or intercept is None else (slope, intercept),
        labels=tuple(label(keyword) for keyword in SPLITTING),
    )


def _is_place(values: tuple[float, ...] | None) -> TypeGuard[tuple[float, ...]]:
    return values is not None and max(abs(v) for v in values) < FARTHEST_MM


def _is_size(values: tuple[float, ...] | None) -> TypeGuard[tuple[float, ...]]:
    return values is not None and all(VOXEL_MM[0] <= v <= VOXEL_MM[1] for v in values)
