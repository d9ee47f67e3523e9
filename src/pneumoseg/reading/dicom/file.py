"""A DICOM file to a film: header, acceptance, pixels, display, and where it came from."""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pneumoseg.errors import InputError
from pneumoseg.reading.dicom.acceptance import (
    check_chest,
    check_frontal,
    check_kind,
    is_other_image,
)
from pneumoseg.reading.dicom.display import display
from pneumoseg.reading.dicom.fence import fenced_dicom, numbers, text, texts
from pneumoseg.reading.dicom.pixels import decode
from pneumoseg.reading.foreign import quiet
from pneumoseg.study import Image, Source, Units

MAX_INFLATED_BYTES = 1 << 30
"""What a deflated data set may grow to; deflate shrinks zeros a thousandfold."""
MAX_NOTES = 8
USABLE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
"""A UID has digits and dots; letters are met. An id becomes a file name, so a path is refused."""
_TELLING = ["SOPClassUID", "Modality", "Rows", "DirectoryRecordSequence"]
_META_OFFSET = 132
"""Preamble and ``DICM``; the group length element of 12 bytes follows, PS3.10 7.1."""


def read_dicom(content: bytes, path: Path) -> Image:
    """Read a frontal chest X-ray.

    Args:
        content: the whole file, with or without preamble and meta header.
        path: where it came from.

    Returns:
        Unit-interval pixels (rows, cols); see :func:`pneumoseg.reading.dicom.display.display` for
        the brightness. ``image_id`` is the SOPInstanceUID, where it is missing the file's stem.

    Raises:
        InputError: with one of the codes of :mod:`pneumoseg.reading`.
    """
    notes: list[str] = []
    with quiet() as messages:
        dataset = parse(content)
        check_kind(dataset)
        check_chest(dataset, notes)
        check_frontal(dataset, notes)
        stored = decode(dataset, notes)
        pixels = display(stored, dataset, notes)
        spacing_mm = _spacing(dataset, notes)
        if text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING":
            notes.append("raw detector data (FOR PROCESSING): the contrast is not that of a film")
        source = _source(dataset, path, notes, messages)
    return Image(pixels=pixels, units=Units.UNIT_INTERVAL, spacing_mm=spacing_mm, source=source)


def parse(content: bytes) -> Dataset:
    """Parse a whole file, with or without preamble and meta header.

    Raises:
        InputError: ``damaged``, ``truncated`` or ``too-large``.
    """
    _check_inflated_size(content)
    with fenced_dicom("the DICOM header cannot be read"):
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        has_elements = len(dataset) > 0
    if not has_elements:
        raise InputError("the file ends within its DICOM header", code="truncated")
    return dataset


def is_other_than_ct(path: Path, head: bytes) -> bool:
    """Whether a DICOM file surely is an image of another modality than CT, by a few of its tags.

    Args:
        path: the file.
        head: its first bytes.

    Returns:
        False also where it cannot be told so easily: of a deflated file, a report, an index.

    Raises:
        InputError: ``damaged``.
    """
    if DeflatedExplicitVRLittleEndian.encode() in head:
        return False
    with fenced_dicom("the DICOM header cannot be read"), path.open("rb") as file:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TELLING)
    with quiet():
        return is_other_image(dataset)


def _check_inflated_size(content: bytes) -> None:
    """Refuse a deflate bomb before pydicom inflates it in one go."""
    meta_length = int.from_bytes(content[_META_OFFSET + 8 : _META_OFFSET + 12], "little")
    start = _META_OFFSET + 12 + meta_length
    if DeflatedExplicitVRLittleEndian.encode() not in content[:start]:
        return
    with fenced_dicom("the deflated data set cannot be read"):
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(content[start:], MAX_INFLATED_BYTES)
        is_larger = bool(inflater.unconsumed_tail)
        is_cut = not inflater.eof and not is_larger
    if is_larger:
        raise InputError(
            f"the file inflates to more than {MAX_INFLATED_BYTES >> 20} MiB", code="too-large"
        )
    if is_cut:
        raise InputError(
            "the file ends within its deflated data; copy it again from its origin",
            code="truncated",
        )


def _spacing(dataset: Dataset, notes: list[str]) -> tuple[float, float] | None:
    """Millimetres between rows and between columns, PS3.3 10.7.1 and C.8.11.4; None if unknown."""
    for keyword, remark in (
        ("PixelSpacing", ""),
        ("ImagerPixelSpacing", "spacing is that at the detector (ImagerPixelSpacing)"),
        ("NominalScannedPixelSpacing", "spacing is that of the scanned film"),
    ):
        spacing = numbers(dataset, keyword)
        if not spacing:
            continue
        if len(spacing) != 2 or min(spacing) <= 0:
            notes.append(f"{keyword} {[round(s, 6) for s in spacing[:3]]} is unusable: ignored")
            continue
        if remark:
            notes.append(remark)
        return spacing[0], spacing[1]
    return None


def _source(dataset: Dataset, path: Path, notes: list[str], messages: list[str]) -> Source:
    meta = getattr(dataset, "file_meta", Dataset())
    sop_instance_uid = text(dataset, "SOPInstanceUID") or text(meta, "MediaStorageSOPInstanceUID")
    is_usable = USABLE_ID.fullmatch(sop_instance_uid) is not None
    if not is_usable:
        notes.append("SOPInstanceUID is missing or malformed: the file's name is the image's id")
    orientation = texts(dataset, "PatientOrientation")
    is_oriented = len(orientation) == 2 and all(orientation)
    return Source(
        image_id=sop_instance_uid if is_usable else path.stem,
        path=path,
        sop_instance_uid=sop_instance_uid or None,
        series_instance_uid=text(dataset, "SeriesInstanceUID") or None,
        study_instance_uid=text(dataset, "StudyInstanceUID") or None,
        patient_id=text(dataset, "PatientID") or None,
        view_position=text(dataset, "ViewPosition").upper() or None,
        patient_orientation=(orientation[0], orientation[1]) if is_oriented else None,
        notes=tuple(dict.fromkeys(notes + messages))[:MAX_NOTES],
    )
