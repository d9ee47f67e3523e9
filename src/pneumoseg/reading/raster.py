"""PNG, JPEG, WebP and TIFF films, through Pillow."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from pneumoseg.errors import InputError
from pneumoseg.reading.decoding import check_contrast, check_size, fenced, grey_of
from pneumoseg.study import Image, Source, Units

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
DEPTHS = (8, 10, 12, 14, 16)
"""Bits a detector may use of a 16-bit file."""
EXIF_ORIENTATION = 0x0112
TIFF_PHOTOMETRIC = 262
"""TIFF 6.0: 0 is WhiteIsZero, the film inverted."""
_GREY_8, _GREY_16 = ("L", "LA", "La"), ("I;16", "I;16L", "I;16B", "I;16N", "I")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "CMYK", "LAB", "HSV")


@dataclass(frozen=True, eq=False)
class GreyPicture:
    """Grey values as stored.

    Attributes:
        values: uint8 or uint16, (rows, cols), upright.
        is_inverted: whether the lowest value is white (16-bit TIFF).
    """

    values: NDArray[np.integer]
    is_inverted: bool


def read_raster(content: bytes, path: Path) -> Image:
    """Read a grey picture of 8 or 16 bits.

    8 bits are divided by 255. 16 bits are divided by the largest value of the smallest depth of
    ``DEPTHS`` that holds the brightest pixel: detectors of 10 to 14 bits are stored in 16. An alpha
    channel is dropped; EXIF orientation is honoured. The picture has no spacing: resolution in
    such files is that of print, not of the detector.

    Args:
        content: the whole file.
        path: where it came from; its stem is the image's id.

    Raises:
        InputError: ``damaged``, ``truncated``, ``multi-frame``, ``colour-image``,
            ``unsupported-pixels``, ``too-small``, ``too-large`` or ``constant-image``.
    """
    notes: list[str] = []
    pixels = unit_interval(read_grey(content, notes), notes)
    check_contrast(pixels)
    source = Source(image_id=path.stem, path=path, notes=tuple(notes))
    return Image(pixels=pixels, units=Units.UNIT_INTERVAL, spacing_mm=None, source=source)


def read_grey(content: bytes, notes: list[str]) -> GreyPicture:
    """Decode a grey picture; ``notes`` receives what had to be decided.

    Raises:
        InputError: as for :func:`read_raster`, but for ``constant-image``.
    """
    picture = _open(content)
    with picture:
        _check_frames(picture)
        check_size(picture.height, picture.width)
        if picture.mode not in _GREY_8 + _GREY_16 + _COLOUR:
            raise InputError(
                f"pixels of kind {picture.mode!r} are not read; save it as 8- or 16-bit grey",
                code="unsupported-pixels",
            )
        is_inverted_16 = _is_inverted_16(picture)
        picture_upright = _decode(picture, notes)
        return GreyPicture(_stored(picture_upright, notes), is_inverted_16)


def unit_interval(picture: GreyPicture, notes: list[str]) -> NDArray[np.float32]:
    """Brightness in [0, 1], float32 (rows, cols); see :func:`read_raster` for the depth."""
    brightest = _brightest(picture.values, notes)
    pixels = picture.values.astype(np.float32)
    pixels /= np.float32(brightest)
    if picture.is_inverted:
        notes.append("TIFF WhiteIsZero: inverted")
        pixels = np.float32(1.0) - pixels
    return pixels


def _open(content: bytes) -> Pillow.Image:
    with fenced("the image header cannot be read"):
        try:
            return Pillow.open(io.BytesIO(content), formats=FORMATS)
        except Pillow.DecompressionBombError as error:
            raise InputError(f"the image is too large: {error}", code="too-large") from error


def _check_frames(picture: Pillow.Image) -> None:
    with fenced("the image's pages cannot be counted"):
        frames = int(getattr(picture, "n_frames", 1))
    if frames != 1:
        raise InputError(
            f"the file has {frames} pages or frames; give one film a file", code="multi-frame"
        )


def _is_inverted_16(picture: Pillow.Image) -> bool:
    """Pillow undoes TIFF's WhiteIsZero for 8 bits only."""
    tags = getattr(picture, "tag_v2", None)
    return picture.mode in _GREY_16 and tags is not None and tags.get(TIFF_PHOTOMETRIC) == 0


def _decode(picture: Pillow.Image, notes: list[str]) -> Pillow.Image:
    with fenced("the image cannot be decoded"):
        try:
            picture.load()
        except OSError as error:
            if "truncated" in str(error):
                raise InputError(
                    "the file ends before the image does; copy it again from its origin",
                    code="truncated",
                ) from error
            raise
        orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
        if orientation == 1:
            return picture
        notes.append(f"EXIF orientation {orientation}: turned upright")
        return ImageOps.exif_transpose(picture)


def _stored(picture: Pillow.Image, notes: list[str]) -> NDArray[np.integer]:
    """Grey values as stored, uint8 or uint16 (rows, cols)."""
    with fenced("the image's colours cannot be converted"):
        if picture.mode in _GREY_8:
            grey = picture if picture.mode == "L" else picture.getchannel(0)
            return np.asarray(grey, dtype=np.uint8)
        if picture.mode not in _GREY_16:
            colours = np.asarray(picture.convert("RGB"), dtype=np.uint8)
            notes.append("grey stored as colour")
            return grey_of(colours)
        values = np.asarray(picture)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(
            "values of more than 16 bits are not read; save it as 8- or 16-bit grey",
            code="unsupported-pixels",
        )
    return values.astype(np.uint16)


def _brightest(stored: NDArray[np.integer], notes: list[str]) -> int:
    """The stored value that stands for white."""
    if stored.dtype == np.uint8:
        return 255
    highest = int(stored.max())
    depth = next(bits for bits in DEPTHS if highest < 2**bits)
    if depth < 16:
        notes.append(f"16-bit file whose values fit {depth} bits: read as {depth} bits")
    return int(2**depth) - 1
