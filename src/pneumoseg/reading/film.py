"""What holds for a film of any file format: its size, and that there is something to see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import InputError

MIN_SIDE = 64
"""Pixels; below this no pleural line can be seen."""
MAX_SIDE = 20_000
MAX_PIXELS = 100_000_000
"""A 43 cm × 43 cm detector of 0.1 mm pixels has 18.5 million; a stitched long film about 30."""
GREY_TOLERANCE = 3
"""Levels of 255 by which the channels of a grey film may differ after lossy compression."""


def check_size(rows: int, cols: int) -> None:
    """Refuse a film before it is decoded.

    Raises:
        InputError: ``too-small``, ``too-large`` or (not positive) ``damaged``.
    """
    if rows < 1 or cols < 1:
        raise InputError(f"the header gives {rows} rows and {cols} columns", code="damaged")
    if rows > MAX_SIDE or cols > MAX_SIDE or rows * cols > MAX_PIXELS:
        raise InputError(
            f"the image is {cols}×{rows} pixels; a film has at most {MAX_SIDE} a side and "
            f"{MAX_PIXELS // 1_000_000} million in all",
            code="too-large",
        )
    if rows < MIN_SIDE or cols < MIN_SIDE:
        raise InputError(
            f"the image is {cols}×{rows} pixels; at least {MIN_SIDE} a side are needed",
            code="too-small",
        )


def grey_of(colours: NDArray[np.integer]) -> NDArray[np.integer]:
    """The grey film stored as colours.

    Args:
        colours: unsigned integers (rows, cols, 3): red, green, blue.

    Returns:
        The green channel (rows, cols): where the three differ by lossy compression, it is the
        closest to luminance.

    Raises:
        InputError: ``colour-image`` where the channels differ by more than ``GREY_TOLERANCE``.
    """
    scale = np.iinfo(colours.dtype).max // 255
    lowest = np.minimum(np.minimum(colours[..., 0], colours[..., 1]), colours[..., 2])
    highest = np.maximum(np.maximum(colours[..., 0], colours[..., 1]), colours[..., 2])
    if int((highest - lowest).max()) > GREY_TOLERANCE * scale:
        raise InputError(
            "the image has colours; an X-ray is grey (a photo or a screenshot is not read)",
            code="colour-image",
        )
    return np.ascontiguousarray(colours[..., 1])


def check_contrast(pixels: NDArray[np.float32]) -> None:
    """Refuse a film on which nothing can be seen.

    Args:
        pixels: of any shape; or each value that occurs among them.

    Raises:
        InputError: ``constant-image``.
    """
    if pixels.min() == pixels.max():
        raise InputError(
            "every pixel has the same brightness; there is nothing to see", code="constant-image"
        )
