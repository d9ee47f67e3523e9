"""The process in which GDCM decodes: it ends the process on some damaged files.

GDCM throws C++ exceptions that nobody catches, seen on JPEG lossless files with a flipped byte. Run
as ``python -m``, it serves requests on standard input until that is closed; the other end is
:mod:`pneumoseg.reading.dicom.gdcm`.

Protocol: a request is :data:`REQUEST` and the codestream; an answer is :data:`ANSWER`, 0 bytes
long for failure, and the values, little endian, 8 bits where ``bits`` is up to 8 and else 16.
"""

from __future__ import annotations

import struct
import sys

REQUEST = struct.Struct("<IIBB64sI")
"""Rows, columns, samples, bits, transfer syntax UID padded with zeros, bytes of the codestream."""
ANSWER = struct.Struct("<I")


def decode(codestream: bytes, shape: tuple[int, int, int], bits: int, syntax: str) -> bytes:
    """Decode one JPEG.

    pydicom's plugin for GDCM refuses JPEG Extended of 12 bits; GDCM decodes it exactly (compared
    with libjpeg-turbo on textured images: largest difference 0), so it is called directly.

    Args:
        codestream: complete, from SOI to EOI; its header agrees with the other arguments.
        shape: rows, columns, samples a pixel (1, or 3 for RGB).
        bits: precision, 2 to 16.
        syntax: UID of a JPEG transfer syntax.

    Returns:
        Unsigned values, row by row, samples interleaved; empty where GDCM fails.
    """
    import gdcm  # only in this process

    rows, cols, samples = shape
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(codestream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((cols, rows, 1))
    image.SetDataElement(element)
    colours = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2" if samples == 1 else "RGB")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(colours))
    if samples > 1:
        image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    allocated = 8 if bits <= 8 else 16
    image.SetPixelFormat(gdcm.PixelFormat(samples, allocated, bits, bits - 1, 0))
    buffer: str | None = image.GetBuffer()
    # GDCM gives a char* as str; surrogates stand for the bytes that are not UTF-8.
    return b"" if buffer is None else buffer.encode("utf-8", "surrogateescape")


def serve() -> None:
    """Answer requests until standard input ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        rows, cols, samples, bits, syntax, length = REQUEST.unpack(head)
        codestream = requests.read(length)
        values = decode(codestream, (rows, cols, samples), bits, syntax.rstrip(b"\0").decode())
        answers.write(ANSWER.pack(len(values)) + values)
        answers.flush()


if __name__ == "__main__":
    serve()
