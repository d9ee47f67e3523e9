"""Reads single frames of a multi-frame DICOM object from where they lie in the file.

The object is never held as a whole. Frames of uncompressed objects have one size and follow each
other (PS3.5 8.1); compressed ones are found by the offset tables or by their fragments (PS3.5 A.4).
"""

from __future__ import annotations

import copy
import io
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from pneumoseg.errors import InputError
from pneumoseg.reading.decoding import check_size
from pneumoseg.reading.dicom.fence import fenced_dicom, text, whole
from pneumoseg.reading.dicom.file import parse
from pneumoseg.reading.dicom.pixels import NATIVE
from pneumoseg.reading.file import load

_TAGS = [
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "NumberOfFrames",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
]
_LONG_HEAD_VRS = (b"OB", b"OW", b"UN")
"""Explicit VRs of pixel data: 2 reserved bytes and a 4-byte length follow, PS3.5 7.1.2."""


@dataclass(frozen=True, eq=False)
class MultiFrameFile:
    """An object whose frames are read one by one.

    Attributes:
        path: the file.
        template: the image pixel module, without pixels.
        syntax: transfer syntax.
        frames: how many.
        offset: of the first byte of the value of PixelData in the file, or in ``inflated``.
        inflated: the value of PixelData where the file is deflated; None for others.
    """

    path: Path
    template: Dataset
    syntax: UID
    frames: int
    offset: int
    inflated: bytes | None

    def frame(self, index: int) -> Dataset:
        """One frame as an object of its own, its pixels as stored.

        Raises:
            InputError: ``truncated``, ``damaged`` or ``unreadable``.
        """
        source: AbstractContextManager[BinaryIO]
        try:
            source = (
                self.path.open("rb")
                if self.inflated is None
                else nullcontext(io.BytesIO(self.inflated))
            )
            with source as file:
                file.seek(self.offset)
                data = (
                    self._native(file, index) if self.syntax in NATIVE else self._own(file, index)
                )
        except OSError as error:
            raise InputError(
                f"the file cannot be read: {error.strerror or error}", code="unreadable"
            ) from error
        one = copy.copy(self.template)
        one.file_meta = self.template.file_meta
        one.PixelData = data
        one["PixelData"].VR = "OW" if self.syntax in NATIVE else "OB"
        return one

    def _native(self, file: BinaryIO, index: int) -> bytes:
        samples = whole(self.template, "SamplesPerPixel") or 1
        sizes = [whole(self.template, k) or 0 for k in ("Rows", "Columns", "BitsAllocated")]
        length = sizes[0] * sizes[1] * samples * sizes[2] // 8
        file.seek(index * length, io.SEEK_CUR)
        data = file.read(length)
        if len(data) < length:
            raise InputError(
                f"frame {index + 1} has {len(data)} of {length} bytes; copy it again from its "
                "origin",
                code="truncated",
            )
        return data

    def _own(self, file: BinaryIO, index: int) -> bytes:
        tables = [
            self.template.get(k) for k in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
        ]
        offsets, lengths = tables
        with fenced_dicom("the compressed frames are cut short or damaged", "truncated"):
            codestream = get_frame(
                file,
                index,
                extended_offsets=(offsets, lengths) if offsets and lengths else None,
                number_of_frames=self.frames,
            )
        if not codestream:
            raise InputError(
                f"the file ends before frame {index + 1}; copy it again from its origin",
                code="truncated",
            )
        return encapsulate([codestream])


def open_multiframe(path: Path) -> MultiFrameFile:
    """Find the frames of an object.

    Raises:
        InputError: ``truncated``, ``damaged``, ``too-small`` or ``too-large``.
    """
    inflated: bytes | None = None
    with fenced_dicom("the DICOM header cannot be read"), path.open("rb") as file:
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        syntax = UID(text(header.file_meta, "TransferSyntaxUID"))
        if syntax != DeflatedExplicitVRLittleEndian:
            offset = file.tell() + _head_length(file.read(12), header)
    if syntax == DeflatedExplicitVRLittleEndian:
        whole_object = parse(load(path))
        with fenced_dicom("the pixel data cannot be read"):
            value = whole_object.get("PixelData")
        inflated, offset = value if isinstance(value, bytes) else b"", 0
    check_size(whole(header, "Rows") or 0, whole(header, "Columns") or 0)
    return MultiFrameFile(
        path, header, syntax, whole(header, "NumberOfFrames") or 1, offset, inflated
    )


def _head_length(head: bytes, header: Dataset) -> int:
    """Bytes from the tag of PixelData to its value."""
    is_implicit, is_little = header.original_encoding
    tag = b"\xe0\x7f\x10\x00" if is_little else b"\x7f\xe0\x00\x10"
    if head[:4] != tag or (not is_implicit and head[4:6] not in _LONG_HEAD_VRS):
        raise InputError(
            "the file ends before its pixel data; copy it again from its origin", code="truncated"
        )
    return 8 if is_implicit else 12
