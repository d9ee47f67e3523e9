"""Decodes JPEG Extended of 12 bits (T.81 process 4) with GDCM, called directly.

pydicom leaves this syntax to a GPL decoder and refuses GDCM; yet GDCM decodes it exactly: it was
compared with libjpeg-turbo on textured images (largest difference 0). It writes one line
("Unsupported JPEG data precision 12") to standard error before it finds its 12-bit codec; that
cannot be turned off.
"""

from __future__ import annotations

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import JPEGExtended12Bit

from pneumoseg.errors import InputError


def decode_jpeg_extended(codestream: bytes, rows: int, cols: int, bits: int) -> NDArray[np.uint16]:
    """Decode one grey codestream.

    Args:
        codestream: complete, from SOI to EOI; its header says ``rows``, ``cols`` and ``bits``.
        rows: of the image.
        cols: of the image.
        bits: 9 to 12.

    Returns:
        uint16 (rows, cols).

    Raises:
        InputError: ``damaged``.
    """
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
    photometric = gdcm.PhotometricInterpretation.GetPIType(
        "MONOCHROME2"
    )  # polarity is applied later
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    syntax = gdcm.TransferSyntax.GetTSType(str(JPEGExtended12Bit))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, 0))
    buffer: str | None = image.GetBuffer()
    if buffer is None:
        raise InputError("the 12-bit JPEG cannot be decoded", code="damaged")
    # GDCM gives a char* as str; surrogates stand for the bytes that are not UTF-8.
    values = np.frombuffer(buffer.encode("utf-8", "surrogateescape"), dtype="<u2")
    if values.size != rows * cols:
        raise InputError(
            f"the 12-bit JPEG gave {values.size} of {rows * cols} pixels", code="damaged"
        )
    return values.reshape(rows, cols).astype(np.uint16)
