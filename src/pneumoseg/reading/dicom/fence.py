"""pydicom behind a fence: its exceptions as ours, and attributes that may be missing or malformed.

pydicom converts a value when it is first asked for, and raises then. Here a value that cannot be
converted counts as missing, as one that is empty does; whoever needs it says so.
"""

from __future__ import annotations

import math
from collections.abc import MutableSequence
from contextlib import AbstractContextManager
from typing import Any

import pydicom.pixels.decoders  # noqa: F401 - makes the loggers that speak while reading
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from pneumoseg.reading.decoding import FOREIGN_ERRORS, collect_from, fenced

DICOM_ERRORS: tuple[type[Exception], ...] = (
    *FOREIGN_ERRORS,
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom and its decoder plugins were seen to raise on damaged files."""
MAX_CHARACTERS = 256
"""Longest text kept of a value."""

collect_from("pydicom")


def fenced_dicom(doing: str, code: str = "damaged") -> AbstractContextManager[None]:
    """Call pydicom inside this; see :func:`pneumoseg.reading.decoding.fenced`."""
    return fenced(doing, code, DICOM_ERRORS)


def values(dataset: Dataset, keyword: str) -> tuple[Any, ...]:
    """All values of an attribute, empty where it is missing, empty or malformed."""
    try:
        value = dataset.get(keyword)
        if value is None or (isinstance(value, (str, bytes)) and not value):
            return ()
        if isinstance(value, (MutableSequence, tuple)):  # MultiValue, Sequence, list
            return tuple(value)
    except DICOM_ERRORS:
        return ()
    return (value,)


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values as one printable line each, unpadded; bytes (an unknown VR) are taken as ASCII."""
    found = []
    for value in values(dataset, keyword):
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
        # A damaged length field can make a value of half the file.
        found.append("".join(filter(str.isprintable, text[:MAX_CHARACTERS])).strip())
    return tuple(found)


def text(dataset: Dataset, keyword: str) -> str:
    """The first value as text, ``""`` where there is none."""
    return next(iter(texts(dataset, keyword)), "")


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All values as finite numbers; empty where one of them is not."""
    try:
        found = tuple(float(value) for value in values(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if all(math.isfinite(number) for number in found) else ()


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value as a finite number, None where there is none."""
    return next(iter(numbers(dataset, keyword)), None)


def whole(dataset: Dataset, keyword: str) -> int | None:
    """The first value as a whole number, None where there is none."""
    found = number(dataset, keyword)
    return None if found is None or found != int(found) else int(found)


def items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence, none where it is missing or malformed."""
    return tuple(item for item in values(dataset, keyword) if isinstance(item, Dataset))
