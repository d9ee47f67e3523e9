"""Pictures of a CT finding: a montage of slices, and three planes through the largest lesion.

Shown as a reader sees them: lung window, the patient's right on the left, outlines drawn and not
filled, proportions as in the patient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.preprocess import Window
from pneumoseg.study import Image, Mask, Source, Units
from pneumoseg.writing.overlay import NOTICE, draw_overlay, with_caption, write_png

LUNG_WINDOW = Window()
"""The common lung window, whatever the bundle's networks are shown."""
TILE_SIDE = 256
SINGLE_SIDE = 768
"""Longer side of a tile, and of one slice alone, in pixels."""
MOST_TILES = 24
_GAP = 4
_BACKGROUND = 12
_LABEL_COLOUR = (200, 200, 200)

Picture = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Plane:
    """A cut through a volume.

    Attributes:
        hu: float32 (rows, cols).
        mask: bool, same shape; None where there is no outline to draw.
        pixel_mm: between rows and between columns; (1, 1) where it is not known.
        label: short text in its corner.
        truth: bool, the true mask, where it is known.
    """

    hu: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    pixel_mm: tuple[float, float]
    label: str = ""
    truth: NDArray[np.bool_] | None = None


def draw_plane(plane: Plane, side: int) -> Picture:
    """Draw one cut with its outlines.

    Args:
        plane: what to draw.
        side: longer side of the picture in pixels.

    Returns:
        uint8 RGB (height, width, 3), proportions as in the patient.
    """
    rows, cols = plane.hu.shape
    height, width = rows * plane.pixel_mm[0], cols * plane.pixel_mm[1]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))  # cv2: width, height
    shown = cv2.resize(LUNG_WINDOW.apply(plane.hu), size, interpolation=cv2.INTER_LINEAR)
    image = Image(
        np.clip(shown, 0.0, 1.0).astype(np.float32), Units.UNIT_INTERVAL, None, Source("plane")
    )
    picture = draw_overlay(
        image, _resized(plane.mask, size), truth=_resized(plane.truth, size), max_side=max(size)
    )
    if plane.label:
        place = (6, picture.shape[0] - 8)
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(picture, plane.label, place, font, 0.4, _LABEL_COLOUR, 1, cv2.LINE_AA)
    return picture


def write_montage(path: Path, planes: Sequence[Plane], caption: Sequence[str]) -> None:
    """Write slices side by side, row after row, over a caption, as an RGB PNG.

    Args:
        path: the file; there whole or not at all.
        planes: at least one, at most :data:`MOST_TILES`; one alone is drawn large.
        caption: lines of text; a notice is put behind them.

    Raises:
        OSError: the file cannot be written.
    """
    side = SINGLE_SIDE if len(planes) == 1 else TILE_SIDE
    across = math.ceil(math.sqrt(len(planes) * 1.5))
    tiles = [draw_plane(plane, side) for plane in planes]
    strips = [_beside(tiles[start : start + across]) for start in range(0, len(tiles), across)]
    _write(path, _below(strips), caption)


def write_planes(
    path: Path, axial: Plane, coronal: Plane, sagittal: Plane, caption: Sequence[str]
) -> None:
    """Write three planes side by side at one scale, as an RGB PNG.

    Raises:
        OSError: the file cannot be written.
    """
    planes = (axial, coronal, sagittal)
    longest = max(_longer_mm(plane) for plane in planes)
    pictures = [
        draw_plane(plane, max(1, round(2 * TILE_SIDE * _longer_mm(plane) / longest)))
        for plane in planes
    ]
    _write(path, _beside(pictures), caption)


def spread(count: int, most: int = MOST_TILES) -> list[int]:
    """At most ``most`` of ``count`` places, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [int(k) for k in np.unique(np.rint(np.linspace(0, count - 1, most)).astype(int))]


def _longer_mm(plane: Plane) -> float:
    rows, cols = plane.hu.shape
    return float(max(rows * plane.pixel_mm[0], cols * plane.pixel_mm[1]))


def _resized(mask: NDArray[np.bool_] | None, size: tuple[int, int]) -> Mask | None:
    """A mask on the picture's pixels; covered by half or more, so that its area stays."""
    if mask is None:
        return None
    shares = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return Mask(np.asarray(shares >= 0.5))


def _beside(pictures: Sequence[Picture]) -> Picture:
    height = max(picture.shape[0] for picture in pictures)
    padded = [
        np.pad(
            picture,
            ((0, height - picture.shape[0]), (0, _GAP), (0, 0)),
            constant_values=_BACKGROUND,
        )
        for picture in pictures
    ]
    return np.concatenate(padded, axis=1)


def _below(strips: Sequence[Picture]) -> Picture:
    width = max(strip.shape[1] for strip in strips)
    padded = [
        np.pad(strip, ((0, _GAP), (0, width - strip.shape[1]), (0, 0)), constant_values=_BACKGROUND)
        for strip in strips
    ]
    return np.concatenate(padded, axis=0)


def _write(path: Path, picture: Picture, caption: Sequence[str]) -> None:
    write_png(path, with_caption(picture, [*caption, NOTICE])[..., ::-1])
