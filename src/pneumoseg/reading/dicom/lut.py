"""Modality and VOI lookup tables, PS3.3 C.11.1.1 and C.11.2.1.1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pneumoseg.reading.dicom.fence import DICOM_ERRORS, numbers, values


@dataclass(frozen=True, eq=False)
class LookupTable:
    """Entries for the inputs ``first``, ``first + 1``, ...; beyond its ends the end values hold."""

    first: int
    entries: NDArray[np.float64]
    bits: int
    """Significant bits of an entry."""

    def apply(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Look up each input, rounded to a whole number."""
        index = np.clip(np.rint(inputs) - self.first, 0, self.entries.size - 1)
        return np.asarray(self.entries[index.astype(np.int64)])


def lookup_table(item: Dataset, signed: bool, notes: list[str]) -> LookupTable | None:
    """Read one item of a LUT sequence.

    Args:
        item: with LUTDescriptor and LUTData.
        signed: whether the inputs may be negative: the first input is then a signed number,
            whatever VR it came with.
        notes: receives why a table is not used.

    Returns:
        The table, or None where it is unusable.
    """
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != 3:
        notes.append("a lookup table without a usable LUTDescriptor: ignored")
        return None
    count = int(descriptor[0]) & 0xFFFF or 65536  # 0 stands for 65536
    first, bits = int(descriptor[1]) & 0xFFFF, int(descriptor[2])
    if signed and first >= 32768:
        first -= 65536
    entries = _entries(item, count, bits)
    if entries is None or not 1 <= bits <= 16:
        notes.append("a lookup table without usable LUTData: ignored")
        return None
    needed = int(entries.max()).bit_length()
    if needed > bits:
        notes.append(f"a lookup table of {bits} bits holds values of {needed}: read as {needed}")
        bits = needed
    return LookupTable(first, entries.astype(np.float64), bits)


def _entries(item: Dataset, count: int, bits: int) -> NDArray[np.uint16] | None:
    """LUTData as ``count`` numbers; 8-bit entries may be packed two to a word, low byte first."""
    data = values(item, "LUTData")
    if len(data) == 1 and isinstance(data[0], bytes):
        little = _is_little(item)
        words = np.frombuffer(data[0][: len(data[0]) // 2 * 2], dtype="<u2" if little else ">u2")
    else:
        try:
            words = np.array([int(v) & 0xFFFF for v in data], dtype=np.uint16)
        except (TypeError, ValueError, OverflowError):
            return None
    if bits <= 8 and words.size < count <= 2 * words.size:
        return words.astype("<u2").view(np.uint8)[:count].astype(np.uint16)
    return words[:count].astype(np.uint16) if words.size >= count else None


def _is_little(item: Dataset) -> bool:
    try:
        return item.original_encoding[1] is not False
    except DICOM_ERRORS:
        return True
