"""Tells what a file is by its first bytes, never by its name.

Signatures: DICOM PS3.10 7.1, PNG 5.2, JPEG ISO/IEC 10918-1 B.1.1.3, RFC 9649 (WebP), TIFF 6.0,
NIfTI-1.1 and NIfTI-2 (nifti.nimh.nih.gov), RFC 1952 (gzip).
"""

from __future__ import annotations

import enum
import string
import zlib
from typing import Literal

HEAD_BYTES = 1024
"""How much of a file :func:`sniff` wants to see."""
PREAMBLE_BYTES = 128
NIFTI_HEADER_BYTES = 540
"""Of NIfTI-2; NIfTI-1 has 348."""

GZIP = b"\x1f\x8b"


class Format(enum.Enum):
    """What a file holds; the value names it to a user."""

    DICOM = "DICOM"
    RASTER = "PNG, JPEG, WebP or TIFF"
    NIFTI = "NIfTI"
    EMPTY = "an empty file"
    ARCHIVE = "an archive"
    DOCUMENT = "a document"
    JPEG_2000 = "JPEG 2000"
    UNKNOWN = "an unknown format"


_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", Format.RASTER),
    (b"\xff\xd8\xff", Format.RASTER),
    (b"II*\0", Format.RASTER),
    (b"MM\0*", Format.RASTER),
    (b"II+\0", Format.RASTER),  # BigTIFF
    (b"MM\0+", Format.RASTER),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Format.JPEG_2000),
    (b"\xff\x4f\xff\x51", Format.JPEG_2000),
    (b"PK\x03\x04", Format.ARCHIVE),
    (b"PK\x05\x06", Format.ARCHIVE),
    (GZIP, Format.ARCHIVE),
    (b"BZh", Format.ARCHIVE),
    (b"\xfd7zXZ\0", Format.ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", Format.ARCHIVE),
    (b"Rar!\x1a\x07", Format.ARCHIVE),
    (b"\x28\xb5\x2f\xfd", Format.ARCHIVE),
    (b"%PDF-", Format.DOCUMENT),
    (b"{\\rtf", Format.DOCUMENT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Format.DOCUMENT),  # OLE: old Word and Excel
)
_PRINTABLE = frozenset(string.printable.encode())
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def sniff(head: bytes) -> Format:
    """Name the format of a file that begins with ``head`` (up to ``HEAD_BYTES`` bytes)."""
    if not head:
        return Format.EMPTY
    if head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM":
        return Format.DICOM  # before the others: a preamble may hold a TIFF header (dual format)
    if _is_nifti(inflated(head) or head):
        return Format.NIFTI
    for signature, found in _SIGNATURES:
        if head.startswith(signature):
            return found
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Format.RASTER
    if head[257:262] == b"ustar":
        return Format.ARCHIVE
    if _is_bare_dicom(head):
        return Format.DICOM
    if head.startswith(_BYTE_ORDER_MARKS) or _is_text(head):
        return Format.DOCUMENT
    return Format.UNKNOWN


def inflated(head: bytes) -> bytes:
    """The first bytes inside a gzip file that begins with ``head``; empty where it is none."""
    if not head.startswith(GZIP):
        return b""
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, NIFTI_HEADER_BYTES)
    except zlib.error:
        return b""


def _is_nifti(head: bytes) -> bool:
    """NIfTI-1 and -2, either byte order; the header of a pair with a file of its own, too."""
    sizes = (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    return (348 in sizes and head[344:347] in (b"n+1", b"ni1")) or (
        540 in sizes and head[4:7] in (b"n+2", b"ni2")
    )


def _is_bare_dicom(head: bytes) -> bool:
    """DICOM without preamble: begins with an element of group 0002 or 0008, in any encoding."""
    if len(head) < 8:
        return False
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        group = int.from_bytes(head[0:2], order)
        element = int.from_bytes(head[2:4], order)
        if group not in (0x0002, 0x0008) or element > 0x0100:
            continue
        if head[4:6].isalpha() and head[4:6].isupper():
            return True  # explicit VR
        length = int.from_bytes(head[4:8], order)
        if order == "little" and length <= 128 and length % 2 == 0:
            return True  # implicit VR
    return False


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character cut at the end is still text
            return False
        text = head[: error.start].decode("utf-8")
    return all(ord(c) > 127 or ord(c) in _PRINTABLE for c in text)
