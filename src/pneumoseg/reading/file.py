"""Reads one file whatever it is: looks at its content and hands it to the reader of that format."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pneumoseg.errors import InputError
from pneumoseg.reading.dicom.file import read_dicom
from pneumoseg.reading.raster import read_raster
from pneumoseg.reading.sniff import HEAD_BYTES, Format, sniff
from pneumoseg.study import Image

MAX_FILE_BYTES = 1 << 30
"""1 GiB: the largest film (100 megapixels of 16 bits) is a fifth of it."""

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
