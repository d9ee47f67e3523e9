"""The frame header of a codestream, found past everything that may stand before it."""

from __future__ import annotations

import pytest

from pneumoseg.reading.dicom.jpeg_header import JpegHeader, has_end, jpeg_header

START, END = b"\xff\xd8", b"\xff\xd9"
FRAME = b"\x00\x0b" + b"\x0c" + b"\x04\x00" + b"\x03\x20" + b"\x01"
"""Length 11, 12 bits, 1024 rows, 800 columns, one component."""
EXPECTED = JpegHeader(12, 1024, 800, 1)
TABLES = b"\xff\xc4\x00\x05abc"
"""DHT: its marker lies among the frame markers, but it is none."""


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xF7])
def test_size_and_depth_of_each_kind_of_frame(marker: int) -> None:
    assert jpeg_header(START + bytes((0xFF, marker)) + FRAME) == EXPECTED


def test_what_stands_before_the_frame_is_passed_over() -> None:
    """Application data, Huffman tables, fill bytes and a marker without a length."""
    before = b"\xff\xe0\x00\x04JF" + TABLES + b"\xff\xff" + b"\xff\x01"
    assert jpeg_header(START + before + b"\xff\xc1" + FRAME) == EXPECTED


@pytest.mark.parametrize(
    "codestream",
    [
        b"",
        b"\x00\x01" + b"\xff\xc0" + FRAME,  # no start
        START + TABLES,  # ends before a frame
        START + b"\xff\xda" + b"\xff\xc0" + FRAME,  # the scan comes first
        START + END + b"\xff\xc0" + FRAME,
        START + b"\xff\xc0" + FRAME[:5],  # cut
        START + b"\x12" + b"\xff\xc0" + FRAME,  # no marker where one belongs
    ],
)
def test_without_a_frame_header_there_is_none(codestream: bytes) -> None:
    assert jpeg_header(codestream) is None


def test_the_end_may_be_followed_by_fill() -> None:
    assert has_end(START + END)
    assert has_end(START + END + b"\x00" * 1000)
    assert not has_end(START + b"\xff\x00")
    assert not has_end(START + END + b"\x00" * 2000)
