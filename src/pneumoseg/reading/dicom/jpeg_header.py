"""Reads the frame header of a JPEG or JPEG-LS codestream, ITU-T T.81 B.2.2 and T.87 C.2.2.

A native decoder is told size and depth by DICOM attributes; where the codestream says otherwise,
that is found here, before the decoder trips over it.
"""

from __future__ import annotations

from dataclasses import dataclass

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""SOF0 to SOF15 without DHT, JPG and DAC; SOF55 of JPEG-LS."""
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD9)) | {0x01}
_TAIL_BYTES = 1024
"""How much fill may follow the end marker; encapsulation pads to an even length."""


@dataclass(frozen=True)
class JpegHeader:
    """What SOFn says: bits per sample, rows and columns in pixels, number of components."""

    precision: int
    rows: int
    cols: int
    components: int


def jpeg_header(codestream: bytes) -> JpegHeader | None:
    """Find the frame header; None where there is none before the first scan."""
    if codestream[:2] != bytes((0xFF, _START)):
        return None
    at = 2
    while at + 4 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in (_SCAN, _END):
            return None
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        if marker in _FRAME_MARKERS:
            body = codestream[at + 4 : at + 10]
            if len(body) < 6:
                return None
            return JpegHeader(
                body[0],
                int.from_bytes(body[1:3], "big"),
                int.from_bytes(body[3:5], "big"),
                body[5],
            )
        at += 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
    return None


def has_end(codestream: bytes) -> bool:
    """Whether the end marker is there; entropy-coded data cannot contain it by chance (B.1.1.5)."""
    return bytes((0xFF, _END)) in codestream[-_TAIL_BYTES:]
