"""The one road from pixels to tensor and back, used by training, calibration and inference alike.

A film of any size and shape is letterboxed onto the 512×512 *grid* as uint8 (what the training
cache stores), the grid is brought to the network's input size and normalised, and probabilities
come back the same way: cropped to the film, resized bilinearly to its own pixels and only then
thresholded. Nothing here depends on a network library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.study import Image, Units

GRID_SIZE = 512
"""Side of the working grid in pixels: the size of the training cache and the unit of ``min_pixels``
(seed).
"""


@dataclass(frozen=True)
class Placement:
    """Where a film of ``rows`` × ``cols`` lies on the grid: the box it fills, in grid pixels."""

    rows: int
    cols: int
    top: int
    left: int
    height: int
    width: int

    @classmethod
    def letterbox(cls, rows: int, cols: int) -> Placement:
        """Fit (rows, cols) into the grid, proportions kept, centred."""
        scale = GRID_SIZE / max(rows, cols)
        height, width = max(1, round(rows * scale)), max(1, round(cols * scale))
        return cls(rows, cols, (GRID_SIZE - height) // 2, (GRID_SIZE - width) // 2, height, width)

    @property
    def source_pixels_per_grid_pixel(self) -> float:
        """Area of one grid pixel in source pixels: turns ``min_pixels`` into source pixels."""
        return (self.rows * self.cols) / (self.height * self.width)


@dataclass(frozen=True)
class Normalisation:
    """What a network was trained to see: ``(x - mean) / std`` with x in [0, 1]."""

    mean: float = 0.5
    std: float = 0.5


@dataclass(frozen=True)
class Window:
    """The range of HU that is shown as 0 to 1: ``(x - (center - width / 2)) / width``, clipped.

    DICOM PS3.3 C.11.2.1.3.2, LINEAR_EXACT.
    """

    center: float = -600.0
    width: float = 1500.0
    """The defaults are the common lung window."""

    def apply(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """HU of any shape to the unit interval, float32 of the same shape."""
        low = self.center - self.width / 2
        shown = (hu - np.float32(low)) * np.float32(1.0 / self.width)
        return np.asarray(np.clip(shown, 0.0, 1.0), dtype=np.float32)


def to_grid(image: Image) -> tuple[NDArray[np.uint8], Placement]:
    """Letterbox an X-ray onto the grid.

    Args:
        image: units must be the unit interval, pixels (rows, cols).

    Returns:
        uint8 (512, 512), 0 black to 255 white with black bars, and the placement that undoes it.

    Raises:
        ValueError: not a two-dimensional unit-interval image.
    """
    if image.units is not Units.UNIT_INTERVAL or image.pixels.ndim != 2:
        raise ValueError(
            f"expected a unit-interval film (rows, cols), got {image.units.value} {image.shape}"
        )
    return _letterboxed(image.pixels)


def slice_to_grid(hu: NDArray[np.float32], window: Window) -> tuple[NDArray[np.uint8], Placement]:
    """Letterbox a CT slice, as its window shows it, onto the grid.

    Args:
        hu: float32 (rows, cols).
        window: of the bundle's card.

    Returns:
        As :func:`to_grid`.
    """
    return _letterboxed(window.apply(hu))


def _letterboxed(shown: NDArray[np.float32]) -> tuple[NDArray[np.uint8], Placement]:
    """Unit-interval pixels (rows, cols) on the grid, and their placement."""
    placement = Placement.letterbox(*shown.shape)
    resized = _resize(shown, placement.height, placement.width)
    grid = np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.uint8)
    grid[
        placement.top : placement.top + placement.height,
        placement.left : placement.left + placement.width,
    ] = np.rint(np.clip(resized, 0.0, 1.0) * 255.0).astype(np.uint8)
    return grid, placement


def mask_to_grid(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Letterbox a mask like its film.

    Returns:
        uint8 (512, 512) of 0 and 1: a grid pixel is 1 where at least half of it is covered.
    """
    rows, cols = mask.shape
    placement = Placement.letterbox(rows, cols)
    resized = _resize(mask.astype(np.float32), placement.height, placement.width)
    grid = np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.uint8)
    grid[
        placement.top : placement.top + placement.height,
        placement.left : placement.left + placement.width,
    ] = resized >= 0.5
    return grid


def to_tensor(
    grid: NDArray[np.uint8], size: int, normalisation: Normalisation
) -> NDArray[np.float32]:
    """Bring a grid to a network's input.

    Args:
        grid: uint8 (512, 512) from :func:`to_grid`.
        size: side of the network input in pixels.
        normalisation: from the bundle's card.

    Returns:
        float32 (1, size, size), C-contiguous: one channel.
    """
    pixels = grid if grid.shape == (size, size) else _resize(grid, size, size)
    tensor = pixels.astype(np.float32) * np.float32(1.0 / (255.0 * normalisation.std))
    tensor -= np.float32(normalisation.mean / normalisation.std)
    return tensor[None]


def mask_to_input(mask: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Bring a 0/1 mask of the grid to the network's size.

    Returns:
        float32 0/1 (1, size, size): 1 where at least half of the pixel is covered.
    """
    covered = to_tensor(mask * np.uint8(255), size, Normalisation(mean=0.0, std=1.0))
    return (covered >= 0.5).astype(np.float32)


def to_source_grid(probabilities: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Bring a probability map back to the film's own pixels, bilinearly.

    Args:
        probabilities: float32 (size, size) in [0, 1], as the network saw the letterboxed grid.
        placement: from :func:`to_grid` of the same film.

    Returns:
        float32 (rows, cols) in [0, 1]. Threshold it after this step, never before.
    """
    grid = _resize(probabilities, GRID_SIZE, GRID_SIZE)
    film = grid[
        placement.top : placement.top + placement.height,
        placement.left : placement.left + placement.width,
    ]
    if film.shape == (placement.rows, placement.cols):
        return np.ascontiguousarray(film, dtype=np.float32)
    resized = cv2.resize(film, (placement.cols, placement.rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32)


_Pixel = TypeVar("_Pixel", np.uint8, np.float32)


def _resize(pixels: NDArray[_Pixel], rows: int, cols: int) -> NDArray[_Pixel]:
    """Area-average when shrinking, bilinear when growing: no aliasing either way."""
    if pixels.shape == (rows, cols):
        return pixels
    shrinking = rows <= pixels.shape[0] and cols <= pixels.shape[1]
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (cols, rows), interpolation=method), dtype=pixels.dtype)
