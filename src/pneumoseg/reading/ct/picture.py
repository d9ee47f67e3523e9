"""A picture of one CT slice (PNG, JPEG, WebP, TIFF): grey values brought back to HU.

A picture holds no HU but what a window showed of them, no spacing, and nothing of how it lay in the
patient; what has to be assumed is noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.preprocess import Window
from pneumoseg.reading.decoding import check_contrast
from pneumoseg.reading.hounsfield import as_hu
from pneumoseg.reading.raster import DEPTHS, GreyPicture, read_grey, unit_interval
from pneumoseg.study import Modality, Source

HU_OFFSET = 1024
"""Collections of 16-bit slices store HU + 1024, so that air is near 0."""
OFFSET_BRIGHTEST = (1100, 8191)
"""The densest bone or metal of such a slice, as stored: above water's 1024, within 13 bits."""
_USUAL_DISPLAY = (
    "the patient's right is taken to be on the left of the picture, anterior at its top"
)


@dataclass(frozen=True, eq=False)
class PictureVolume:
    """One slice; a :class:`~pneumoseg.study.Volume` without spacing, place and UIDs.

    Attributes:
        source: where it came from, and what was assumed.
        pixels: float32 (rows, cols) in HU.
    """

    source: Source
    pixels: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, rows, cols)."""
        rows, cols = self.pixels.shape
        return 1, rows, cols

    @property
    def spacing_mm(self) -> None:
        """A picture's resolution is that of print, not of the scanner."""
        return None

    @property
    def geometry(self) -> None:
        """Where the slice lay is not known."""
        return None

    @property
    def sop_instance_uids(self) -> None:
        """A picture has no UID."""
        return None

    def slices(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Give the slice: float32 (rows, cols) in HU."""
        yield from (self.pixels,)[slice(start, stop)]


def open_picture(content: bytes, path: Path, name: str, window: Window | None) -> PictureVolume:
    """Read a picture of a slice.

    With a window, black is its lower end and white its upper one, linearly. Without one, a 16-bit
    picture whose values look like HU + 1024 is taken for that (a windowed picture saturates, so
    that its brightest value is the largest of its depth); any other picture is taken to show the
    usual lung window, the defaults of :class:`~pneumoseg.preprocess.Window`.

    Args:
        content: the whole file.
        path: where it came from.
        name: its ``image_id``.
        window: the window the picture was made with; None where it is not known.

    Raises:
        InputError: as :func:`pneumoseg.reading.raster.read_raster` says.
    """
    notes: list[str] = []
    picture = read_grey(content, notes)
    if window is None and _is_offset_hu(picture):
        hu = as_hu(picture.values.astype(np.float64) - HU_OFFSET)
        notes.append(f"16-bit picture without a window: HU taken to be its values − {HU_OFFSET}")
    else:
        shown = window or Window()
        low = shown.center - shown.width / 2
        hu = unit_interval(picture, notes) * np.float32(shown.width) + np.float32(low)
        notes.append(
            f"picture of a slice: black to white taken for {low:g} to {low + shown.width:g} HU "
            f"({'window assumed' if window is None else 'window given'}: centre {shown.center:g}, "
            f"width {shown.width:g})"
        )
    check_contrast(hu)
    notes.append(_USUAL_DISPLAY)
    source = Source(image_id=name, path=path, modality=Modality.CT, notes=tuple(notes))
    return PictureVolume(source, hu)


def _is_offset_hu(picture: GreyPicture) -> bool:
    if picture.values.dtype != np.uint16 or picture.is_inverted:
        return False
    brightest = int(picture.values.max())
    saturated = {2**bits - 1 for bits in DEPTHS}
    low, high = OFFSET_BRIGHTEST
    return low <= brightest <= high and brightest not in saturated
