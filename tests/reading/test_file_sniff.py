"""Formats by their first bytes."""

from __future__ import annotations

import gzip
import struct

import pytest

from pneumoseg.reading.file import HEAD_BYTES, Format, inflated, sniff

NIFTI_1 = struct.pack("<i", 348) + bytes(340) + b"n+1\0"
NIFTI_1_BIG = struct.pack(">i", 348) + bytes(340) + b"ni1\0"
NIFTI_2 = struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n" + bytes(528)
PREAMBLE = bytes(128) + b"DICM"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", Format.EMPTY),
        (PREAMBLE, Format.DICOM),
        (b"II*\0" + bytes(124) + b"DICM", Format.DICOM),  # also a TIFF: a dual-format file
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", Format.DICOM),  # no preamble, explicit VR
        (b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100", Format.DICOM),  # big endian
        (b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100", Format.DICOM),  # implicit VR
        (b"\x08\x00\x05\x00\x0b\x00\x00\x00ISO_IR 100", Format.UNKNOWN),  # an odd length
        (b"\x10\x00\x10\x00PN\x04\x00A^B ", Format.UNKNOWN),  # cannot begin with group 0010
        (NIFTI_1, Format.NIFTI),
        (NIFTI_1_BIG, Format.NIFTI),
        (NIFTI_2, Format.NIFTI),
        (gzip.compress(NIFTI_1), Format.NIFTI),
        (gzip.compress(b"anything else"), Format.ARCHIVE),
        (b"\x89PNG\r\n\x1a\n", Format.RASTER),
        (b"\xff\xd8\xff\xe0", Format.RASTER),
        (b"MM\0*", Format.RASTER),
        (b"RIFF\x10\0\0\0WEBPVP8 ", Format.RASTER),
        (b"RIFF\x10\0\0\0WAVEfmt ", Format.UNKNOWN),
        (b"\xff\x4f\xff\x51", Format.JPEG_2000),
        (b"PK\x03\x04", Format.ARCHIVE),
        (bytes(257) + b"ustar", Format.ARCHIVE),
        (b"%PDF-1.7", Format.DOCUMENT),
        (b"ImageId,EncodedPixels\n", Format.DOCUMENT),
        ("Röntgen".encode(), Format.DOCUMENT),
        ("Röntgen".encode()[:2], Format.DOCUMENT),  # the cut falls into a character
        ("Röntgen".encode("utf-16"), Format.DOCUMENT),
        (b"\x01\x02\x03\x04", Format.UNKNOWN),
        (b"text, then \x00 bytes", Format.UNKNOWN),
    ],
)
def test_a_file_is_told_by_how_it_begins(head: bytes, expected: Format) -> None:
    assert sniff(head[:HEAD_BYTES]) is expected


def test_a_damaged_gzip_file_is_empty_inside() -> None:
    assert inflated(b"\x1f\x8b" + b"\xff" * 30) == b""
    assert inflated(b"no gzip") == b""
    assert inflated(gzip.compress(b"abc")) == b"abc"


def test_no_more_of_a_bomb_is_unpacked_than_a_header() -> None:
    assert len(inflated(gzip.compress(bytes(10_000_000))[:HEAD_BYTES])) == 540
