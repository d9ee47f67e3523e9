"""The fence of :mod:`pneumoseg.reading.foreign`, with pydicom's own exceptions."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pydicom.pixels.decoders  # noqa: F401 - makes the loggers that speak while reading
from pydicom.errors import BytesLengthException, InvalidDicomError

from pneumoseg.reading.foreign import FOREIGN_ERRORS, collect_from, fenced

DICOM_ERRORS: tuple[type[Exception], ...] = (
    *FOREIGN_ERRORS,
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom and its decoder plugins were seen to raise on damaged files."""


collect_from("pydicom")


def fenced_dicom(doing: str, code: str = "damaged") -> AbstractContextManager[None]:
    """Call pydicom inside this; see :func:`pneumoseg.reading.foreign.fenced`."""
    return fenced(doing, code, DICOM_ERRORS)
