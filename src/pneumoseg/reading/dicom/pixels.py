"""Decodes the stored values of a one-frame DICOM image, whatever its transfer syntax.

Every syntax has one decoder, the strictest there is: a second, more lenient one would fill the
missing part of a truncated film with grey. Syntaxes: PS3.5 Annex A; image pixel module: PS3.3
C.7.6.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from pneumoseg.errors import InputError
from pneumoseg.reading.decoding import check_size, grey_of
from pneumoseg.reading.dicom.fence import fenced_dicom, text, whole
from pneumoseg.reading.dicom.gdcm import decode_with_gdcm
from pneumoseg.reading.dicom.jpeg_header import JpegHeader, has_end, jpeg_header

NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
GDCM = "gdcm"
_PLUGINS: dict[str, tuple[str, ...]] = {
    uid.JPEGBaseline8Bit: ("pillow",),
    uid.JPEGExtended12Bit: ("pylibjpeg",),
    uid.JPEGLossless: (GDCM,),
    uid.JPEGLosslessSV1: (GDCM,),
    uid.JPEGLSLossless: ("pyjpegls",),
    uid.JPEGLSNearLossless: ("pyjpegls",),
    uid.JPEG2000Lossless: ("pylibjpeg",),
    uid.JPEG2000: ("pylibjpeg",),
    uid.HTJ2KLossless: ("pylibjpeg",),
    uid.HTJ2KLosslessRPCL: ("pylibjpeg",),
    uid.HTJ2K: ("pylibjpeg",),
    uid.RLELossless: ("pydicom",),  # pylibjpeg-rle panics on damaged segments
}
"""pydicom's plugins, the first installed one is used."""
_JPEG_FAMILY = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
)
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
NEEDS_END = (GDCM, "pyjpegls")
"""GDCM fills a missing end in silence; CharLS takes seconds to notice it on a small image."""


@dataclass(frozen=True, eq=False)
class StoredPixels:
    """Stored values (PS3.3 C.7.6.3.1.4), unused bits removed, sign applied.

    Attributes:
        values: whole numbers (rows, cols).
        bits: significant bits of a value.
        signed: whether values are two's complement.
        photometric: MONOCHROME1 or MONOCHROME2; grey stored as colour counts as MONOCHROME2.
    """

    values: NDArray[np.integer]
    bits: int
    signed: bool
    photometric: str


@dataclass(frozen=True)
class _Layout:
    rows: int
    cols: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    syntax: uid.UID


def decode(dataset: Dataset, notes: list[str]) -> StoredPixels:
    """Decode a grey film.

    Raises:
        InputError: ``damaged``, ``truncated``, ``no-decoder``, ``colour-image``,
            ``unsupported-pixels``, ``too-small`` or ``too-large``.
    """
    layout = _layout(dataset, notes)
    with fenced_dicom("the pixel data cannot be read"):
        data = dataset.get("PixelData")
    if not isinstance(data, bytes) or not data:
        raise InputError(
            "the file ends before its pixel data; copy it again from its origin", code="truncated"
        )
    if layout.syntax in NATIVE:
        return _grey(_decode_native(dataset, layout, len(data)), layout, notes)
    return _decode_compressed(dataset, data, layout, notes)


def _layout(dataset: Dataset, notes: list[str]) -> _Layout:
    """The image pixel module, checked; what is missing and has one sensible value is noted."""
    samples, photometric = _colour_model(dataset, notes)
    rows, cols = whole(dataset, "Rows"), whole(dataset, "Columns")
    allocated = whole(dataset, "BitsAllocated")
    if rows is None or cols is None or allocated is None:
        raise InputError("Rows, Columns or BitsAllocated are missing", code="damaged")
    check_size(rows, cols)
    if allocated not in (8, 16):
        raise InputError(
            f"{allocated} bits a pixel are not read; a film has 8 or 16", code="unsupported-pixels"
        )
    stored = whole(dataset, "BitsStored")
    if stored is None or not 1 <= stored <= allocated:
        notes.append(f"BitsStored {stored} is unusable: taken for {allocated}")
        stored = allocated
    high_bit = whole(dataset, "HighBit")
    if high_bit is None or not stored - 1 <= high_bit < allocated:
        notes.append(f"HighBit {high_bit} is unusable: taken for {stored - 1}")
        high_bit = stored - 1
    signed = whole(dataset, "PixelRepresentation") == 1
    syntax = _syntax(dataset, notes)
    return _Layout(rows, cols, samples, photometric, allocated, stored, high_bit, signed, syntax)


def _colour_model(dataset: Dataset, notes: list[str]) -> tuple[int, str]:
    samples = whole(dataset, "SamplesPerPixel") or 1
    photometric = text(dataset, "PhotometricInterpretation").upper()
    if photometric == "PALETTE COLOR":
        raise InputError("the image has a colour palette; an X-ray is grey", code="colour-image")
    if not photometric and samples == 1:
        notes.append("PhotometricInterpretation is missing: taken for MONOCHROME2")
        photometric = "MONOCHROME2"
    if (samples, photometric) not in {(1, p) for p in GREY} | {(3, p) for p in COLOUR}:
        raise InputError(
            f"{samples} samples a pixel of {photometric[:24]!r} are not read; MONOCHROME1 or "
            "MONOCHROME2 is expected",
            code="unsupported-pixels",
        )
    return samples, photometric


def _syntax(dataset: Dataset, notes: list[str]) -> uid.UID:
    found = text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID")
    if found:
        return uid.UID(found)
    # A file without its meta header: only an uncompressed one can be read from how it is encoded.
    is_implicit, is_little = dataset.original_encoding
    notes.append("TransferSyntaxUID is missing: taken for uncompressed")
    if is_implicit:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRLittleEndian if is_little else uid.ExplicitVRBigEndian


def _decode_native(dataset: Dataset, layout: _Layout, length: int) -> NDArray[np.integer]:
    samples = 2 if layout.photometric == "YBR_FULL_422" else layout.samples
    expected = layout.rows * layout.cols * samples * layout.allocated // 8
    if length < expected:
        raise InputError(
            f"the pixel data have {length} of {expected} bytes; copy it again from its origin",
            code="truncated",
        )
    # A view of the file's bytes is neither copied nor changed.
    options: dict[str, int] = {"correct_unused_bits": False, "view_only": True}
    return _call_pydicom(dataset, layout, "", options)


def _decode_compressed(
    dataset: Dataset, data: bytes, layout: _Layout, notes: list[str]
) -> StoredPixels:
    if layout.syntax not in _PLUGINS:
        raise InputError(
            f"pixel data compressed as {layout.syntax.name[:64]} are not read; convert the file "
            "to an uncompressed or JPEG 2000 transfer syntax",
            code="no-decoder",
        )
    with fenced_dicom("the compressed pixel data are cut short or damaged", "truncated"):
        codestream = get_frame(data, 0, number_of_frames=1)
    options: dict[str, int] = {}
    bits = layout.stored
    if layout.syntax in _JPEG_FAMILY:
        header = _checked_header(codestream, layout)
        bits = header.precision
        if bits != layout.stored:
            notes.append(f"BitsStored is {layout.stored} but the JPEG has {bits} bits")
        options = {"bits_stored": bits, "bits_allocated": 8 if bits <= 8 else 16}
    plugin = _plugin(layout, bits)
    if plugin in NEEDS_END and not has_end(codestream):
        raise InputError(
            "the compressed image ends early; copy it again from its origin", code="truncated"
        )
    if plugin == GDCM:
        values = _gdcm_values(codestream, layout, bits)
    else:
        values = _call_pydicom(dataset, layout, plugin, options)
    return _grey(values, layout, notes, bits)


def _gdcm_values(codestream: bytes, layout: _Layout, bits: int) -> NDArray[np.integer]:
    if layout.samples == 3 and layout.photometric != "RGB":
        raise InputError(
            f"{layout.photometric} in {layout.syntax.name[:40]} is not read; convert it to grey",
            code="unsupported-pixels",
        )
    shape = (layout.rows, layout.cols, layout.samples)
    values = decode_with_gdcm(codestream, shape, bits, str(layout.syntax))
    if not layout.signed:
        return values
    unused = values.dtype.itemsize * 8 - bits  # JPEG has no sign: bring its bit to the top and back
    signed = np.dtype(f"i{values.dtype.itemsize}")
    return np.asarray(np.left_shift(values, unused).view(signed) >> unused)


def _checked_header(codestream: bytes, layout: _Layout) -> JpegHeader:
    header = jpeg_header(codestream)
    if header is None:
        raise InputError("the pixel data hold no JPEG image", code="damaged")
    if (header.rows, header.cols, header.components) != (layout.rows, layout.cols, layout.samples):
        raise InputError(
            f"the JPEG has {header.cols}×{header.rows} pixels of {header.components} samples, the "
            f"header says {layout.cols}×{layout.rows} of {layout.samples}",
            code="damaged",
        )
    if not 2 <= header.precision <= 16:
        raise InputError(f"a JPEG of {header.precision} bits is damaged", code="damaged")
    return header


def _plugin(layout: _Layout, bits: int) -> str:
    """The decoder to use for a compressed syntax."""
    names = _PLUGINS[layout.syntax]
    if layout.syntax == uid.JPEGExtended12Bit:
        if layout.samples == 1 and bits > 8:
            return GDCM
        names = ("pillow",) if bits <= 8 else names
    available = get_decoder(layout.syntax).available_plugins
    for name in names:
        if name in available:
            return name
    raise InputError(
        f"no decoder for {layout.syntax.name[:64]} of {bits} bits is installed: install {names[0]}",
        code="no-decoder",
    )


def _call_pydicom(
    dataset: Dataset, layout: _Layout, plugin: str, options: dict[str, int]
) -> NDArray[np.integer]:
    settings: dict[str, Any] = {
        "number_of_frames": 1,
        "photometric_interpretation": layout.photometric,
        "samples_per_pixel": layout.samples,
        "pixel_representation": int(layout.signed),
        "bits_stored": layout.stored,
        **options,
    }
    with fenced_dicom("the pixel data cannot be decoded"):
        values, _ = get_decoder(layout.syntax).as_array(
            dataset, index=0, decoding_plugin=plugin, **settings
        )
        return np.asarray(values)


def _grey(
    values: NDArray[np.integer], layout: _Layout, notes: list[str], bits: int | None = None
) -> StoredPixels:
    """Keep the significant bits and, of colours, the grey."""
    if layout.samples == 3:
        notes.append("grey stored as colour")
        return StoredPixels(grey_of(values), layout.allocated, False, "MONOCHROME2")
    if layout.syntax in NATIVE or layout.syntax == uid.RLELossless:
        values = _significant(values, layout)
    return StoredPixels(values, bits or layout.stored, layout.signed, layout.photometric)


def _significant(values: NDArray[np.integer], layout: _Layout) -> NDArray[np.integer]:
    """Bits HighBit - BitsStored + 1 to HighBit; the others may hold overlays (PS3.5 8.1.1)."""
    if layout.stored == layout.allocated:
        return values
    unused_below = layout.high_bit + 1 - layout.stored
    if not layout.signed:
        most = 2**layout.stored - 1
        if unused_below == 0 and values.max() <= most:
            return values  # nothing is hidden in the unused bits: the usual file
        return np.asarray(np.right_shift(values, unused_below) & most, values.dtype)
    # Left then right: the right shift of a signed type fills with the sign.
    shifted = np.left_shift(values, layout.allocated - 1 - layout.high_bit)
    return np.asarray(np.right_shift(shifted, layout.allocated - layout.stored), values.dtype)
