"""Lookup tables: what the descriptor means, and how entries may be packed."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pneumoseg.reading.dicom.lut import LookupTable, lookup_table


def item(descriptor: list[int] | None, data: object, vr: str = "US") -> Dataset:
    made = Dataset()
    if descriptor is not None:
        made.add_new("LUTDescriptor", "US", descriptor)
    made.add_new("LUTData", vr, data)
    return made


def table(descriptor: list[int], data: object, vr: str = "US", signed: bool = False) -> LookupTable:
    notes: list[str] = []
    made = lookup_table(item(descriptor, data, vr), signed, notes)
    assert made is not None and notes == []
    return made


def test_inputs_are_rounded_and_held_at_the_ends() -> None:
    """Entries for 10, 11 and 12; 11.4 is 11, and what lies beyond takes the end's."""
    made = table([3, 10, 8], [5, 60, 200])
    assert made.apply(np.array([-7.0, 10.0, 11.4, 11.6, 99.0])).tolist() == [5, 5, 60, 200, 200]


def test_a_first_input_of_a_signed_image_is_a_signed_number() -> None:
    """65526 read as US is −10: a table for −10, −9."""
    made = table([2, 65526, 8], [1, 2], signed=True)
    assert made.first == -10
    assert made.apply(np.array([-10.0, -9.0])).tolist() == [1, 2]
    assert table([2, 65526, 8], [1, 2]).first == 65526


def test_zero_entries_stand_for_65536() -> None:
    made = table([0, 0, 16], list(range(65536)))
    assert made.entries.size == 65536
    assert made.apply(np.array([65535.0])).tolist() == [65535]


def test_bytes_are_words_of_the_file_s_order() -> None:
    """0x0102 little endian is 02 01."""
    assert table([2, 0, 16], b"\x02\x01\x04\x03", "OW").entries.tolist() == [0x0102, 0x0304]


def test_entries_of_8_bits_may_be_packed_two_to_a_word() -> None:
    """Low byte first: 0x0201 holds 1, then 2; an odd third entry leaves a byte over."""
    assert table([3, 0, 8], [0x0201, 0x0003]).entries.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("descriptor", "data", "note"),
    [
        (None, [1, 2], "without a usable LUTDescriptor"),
        ([2, 0], [1, 2], "without a usable LUTDescriptor"),
        ([5, 0, 16], [1, 2], "without usable LUTData"),
        ([2, 0, 0], [1, 2], "without usable LUTData"),
        ([2, 0, 17], [1, 2], "without usable LUTData"),
    ],
)
def test_an_unusable_table_is_noted_and_not_used(
    descriptor: list[int] | None, data: list[int], note: str
) -> None:
    notes: list[str] = []
    assert lookup_table(item(descriptor, data), False, notes) is None
    assert len(notes) == 1 and note in notes[0]


def test_entries_beyond_their_bits_widen_the_table() -> None:
    """1000 needs 10 bits where the descriptor says 8: white would come four times too soon."""
    notes: list[str] = []
    made = lookup_table(item([2, 0, 8], [7, 1000]), False, notes)
    assert made is not None and made.bits == 10
    assert notes == ["a lookup table of 8 bits holds values of 10: read as 10"]
