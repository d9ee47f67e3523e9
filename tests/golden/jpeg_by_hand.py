"""Writes JPEG codestreams by hand, from ITU-T T.81, so that decoders are held to the standard.

Two processes that no encoder at hand writes: sequential DCT with 8 or 12 bits in which every 8×8
block has one value (so that the decoded value is exact), and lossless with any predictor.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

# One Huffman table for all: category k has the code k of 5 bits (all of one length, none all ones).
CODE_BITS = 5
CATEGORIES = 17


class _Bits:
    def __init__(self) -> None:
        self.text: list[str] = []

    def put(self, value: int, bits: int) -> None:
        if bits:
            self.text.append(format(value, f"0{bits}b"))

    def put_difference(self, difference: int) -> None:
        """Category, then the additional bits, T.81 F.1.2.1."""
        category = abs(difference).bit_length()
        self.put(category, CODE_BITS)
        if category < 16:  # lossless category 16 has none, T.81 H.1.2.2
            self.put(difference if difference > 0 else difference + 2**category - 1, category)

    def stuffed(self) -> bytes:
        bits = "".join(self.text)
        bits += "1" * (-len(bits) % 8)
        data = int(bits, 2).to_bytes(len(bits) // 8, "big")
        return data.replace(b"\xff", b"\xff\x00")


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _huffman(table: int, symbols: list[int]) -> bytes:
    counts = [0] * 16
    counts[CODE_BITS - 1] = len(symbols)
    return _segment(0xC4, bytes([table, *counts, *symbols]))


def _frame(sof: int, precision: int, rows: int, cols: int) -> bytes:
    return _segment(sof, struct.pack(">BHHBBBB", precision, rows, cols, 1, 1, 0x11, 0))


def sequential(blocks: NDArray[np.integer], precision: int) -> bytes:
    """One grey value for each 8×8 block, (rows / 8, cols / 8): SOF0 for 8 bits, SOF1 for 12."""
    rows, cols = blocks.shape[0] * 8, blocks.shape[1] * 8
    bits, before = _Bits(), 0
    for value in blocks.reshape(-1).tolist():
        # The DC coefficient of a flat block is 8 times its value (T.81 A.3.3); quantised by 8.
        level = value - 2 ** (precision - 1)
        bits.put_difference(level - before)
        bits.put(0, 1)  # end of block: the only AC symbol
        before = level
    ac_counts = [1] + [0] * 15
    return b"".join(
        [
            b"\xff\xd8",
            _segment(0xDB, bytes([0] + [8] * 64)),
            _frame(0xC0 if precision == 8 else 0xC1, precision, rows, cols),
            _huffman(0x00, list(range(16 if precision == 12 else 12))),
            _segment(0xC4, bytes([0x10, *ac_counts, 0x00])),
            _segment(0xDA, bytes([1, 1, 0x00, 0, 63, 0])),
            bits.stuffed(),
            b"\xff\xd9",
        ]
    )


def lossless(values: NDArray[np.integer], precision: int, predictor: int) -> bytes:
    """Process 14, selection values 1 to 7, T.81 Annex H; values (rows, cols)."""
    rows, cols = values.shape
    bits = _Bits()
    v = values.astype(int).tolist()
    for y in range(rows):
        for x in range(cols):
            bits.put_difference(
                (v[y][x] - _predict(v, y, x, precision, predictor) + 32768) % 65536 - 32768
            )
    return b"".join(
        [
            b"\xff\xd8",
            _frame(0xC3, precision, rows, cols),
            _huffman(0x00, list(range(CATEGORIES))),
            _segment(0xDA, bytes([1, 1, 0x00, predictor, 0, 0])),
            bits.stuffed(),
            b"\xff\xd9",
        ]
    )


def _predict(v: list[list[int]], y: int, x: int, precision: int, predictor: int) -> int:
    if y == 0:
        return 2 ** (precision - 1) if x == 0 else v[0][x - 1]
    if x == 0:
        return v[y - 1][0]
    a, b, c = v[y][x - 1], v[y - 1][x], v[y - 1][x - 1]
    return {
        1: a,
        2: b,
        3: c,
        4: a + b - c,
        5: a + ((b - c) >> 1),
        6: b + ((a - c) >> 1),
        7: (a + b) >> 1,
    }[predictor]
