"""Reads one file whatever it is: told by its first bytes, handed to the reader of that format.

A name never tells. Signatures: DICOM PS3.10 7.1, PNG 5.2, JPEG ISO/IEC 10918-1 B.1.1.3, RFC 9649
(WebP), TIFF 6.0, NIfTI-1.1 and NIfTI-2 (nifti.nimh.nih.gov), RFC 1952 (gzip).
"""

from __future__ import annotations

import enum
import os
import stat
import string
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from pneumoseg.errors import InputError
from pneumoseg.reading.dicom.file import read_dicom
from pneumoseg.reading.raster import read_raster
from pneumoseg.study import Image

MAX_FILE_BYTES = 1 << 30
"""1 GiB: the largest film (100 megapixels of 16 bits) is a fifth of it."""
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

_REFUSALS: dict[Format, tuple[str, str]] = {
    Format.EMPTY: ("empty-file", "the file has 0 bytes; copy it again from its origin"),
    Format.ARCHIVE: ("archive", "this is an archive; unpack it and give the folder"),
    Format.DOCUMENT: (
        "document",
        "this is a text or office document; give DICOM, PNG, JPEG, WebP, TIFF or NIfTI",
    ),
    Format.JPEG_2000: (
        "unknown-format",
        "this is JPEG 2000 outside DICOM, which is not read; convert it to PNG",
    ),
    Format.UNKNOWN: (
        "unknown-format",
        "this is no format read here; give DICOM, PNG, JPEG, WebP, TIFF or NIfTI",
    ),
}


def read(path: str | Path) -> Image:
    """Read one X-ray from one file, told by its content.

    Thread-safe; the file is closed again before it is decoded. A header or a table of pixels of any
    size is refused before memory is taken for it.

    Args:
        path: a DICOM, PNG, JPEG, WebP or TIFF file.

    Returns:
        Unit-interval pixels (rows, cols), 0 black to 1 white as a reader sees the film (MONOCHROME1
        inverted, VOI applied), the spacing where the file gives it, and in ``source.notes`` what
        had to be decided.

    Raises:
        InputError: the file cannot be used; ``code`` says why (the list is in
            :mod:`pneumoseg.reading`).
    """
    path = Path(path)
    content, found = _load(path)
    if found is Format.NIFTI:
        raise InputError(
            "this is NIfTI, a volume; a chest X-ray (DICOM, PNG, JPEG, WebP, TIFF) is expected",
            code="not-an-xray",
        )
    if found is Format.DICOM:
        return read_dicom(content, path)
    return read_raster(content, path)


def look(path: Path) -> tuple[bytes, Format]:
    """The first bytes of a file, and what it is by them.

    Raises:
        InputError: ``not-a-file``, ``unreadable``, or the file is of no format read here.
    """
    with _opened(path) as file:
        head = file.read(HEAD_BYTES)
    found = sniff(head)
    _check_format(found)
    return head, found


def load(path: Path) -> bytes:
    """The whole of a file.

    All of it at once: a damaged length field then cannot ask for more memory than the file has.

    Raises:
        InputError: ``not-a-file``, ``unreadable`` or ``too-large``.
    """
    with _opened(path) as file:
        return _rest(file)


def _load(path: Path) -> tuple[bytes, Format]:
    """The file's bytes and its format; only the head is read where the format is refused."""
    with _opened(path) as file:
        head = file.read(HEAD_BYTES)
        found = sniff(head)
        _check_format(found)
        file.seek(0)  # reading the head again is quicker than joining it to the rest
        return _rest(file), found


def _check_format(found: Format) -> None:
    if found in _REFUSALS:
        code, message = _REFUSALS[found]
        raise InputError(message, code=code)


def _rest(file: BinaryIO) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_FILE_BYTES:
        raise InputError(
            f"the file has {size >> 20} MiB; a film has at most {MAX_FILE_BYTES >> 20} MiB",
            code="too-large",
        )
    # No more than the file has: the buffer is taken before it is filled.
    return file.read(size)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a plain file, its troubles turned into InputError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            if path.is_dir():
                list(path.iterdir())  # where it may not be listed, that is the reason to give
            raise InputError("this is a folder, pipe or device; give a file", code="not-a-file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(
            f"the file cannot be opened: {error.strerror or error}; check path and permissions",
            code="unreadable",
        ) from error
    except ValueError as error:  # a NUL byte in the name
        raise InputError(f"the file cannot be opened: {error}", code="unreadable") from error


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
