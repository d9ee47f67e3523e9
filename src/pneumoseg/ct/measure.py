"""Volumes in mL and thickness in mm of what lies in a CT volume, uneven and tilted slices included.

A voxel's volume is its slice's extent along the normal of the slices times the spacings within the
slice (:meth:`pneumoseg.study.Geometry.slice_extents_mm`): the determinant of the affine where
slices are even, whatever the gantry's tilt, and half the way to either neighbour where they are
not.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.study import Geometry

_SQUARE_WITHIN = 1e-3
_CUBIC_MM_PER_ML = 1000.0


def voxel_volumes_ml(
    slices: int, spacing_mm: tuple[float, float, float] | None, geometry: Geometry | None
) -> NDArray[np.float64] | None:
    """Volume of a voxel of each slice in mL, float64 (slices,); None where it is not known."""
    if spacing_mm is None:
        return None
    extents = np.full(slices, spacing_mm[0])
    if geometry is not None:
        extents = geometry.slice_extents_mm(slices)
    return np.asarray(extents * spacing_mm[1] * spacing_mm[2] / _CUBIC_MM_PER_ML)


def greatest_thickness_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> float:
    """Widest place of a mask within its slices, in mm.

    In each slice, the diameter of the largest circle inside the mask: twice the largest distance
    of a pixel's centre to the border half-way to the nearest pixel outside (exact Euclidean
    distance transform, Felzenszwalb and Huttenlocher 2012). It is what a reader measures between
    lung and chest wall on an axial slice, and too small by one or two pixels at most. Slices are
    not crossed: they are thicker than pixels, and a thin shell is often but one slice high at its
    ends.

    Args:
        mask: bool (slices, rows, cols), what lies outside the array is outside the mask.
        spacing_mm: between slices, rows, columns.
    """
    widest = 0.0
    for plane in mask:
        if not plane.any():
            continue
        square, pixel_mm = _square_pixels(plane, spacing_mm[1], spacing_mm[2])
        distance = cv2.distanceTransform(
            np.pad(square, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        widest = max(widest, (2.0 * float(distance.max()) - 1.0) * pixel_mm)
    return widest


def _square_pixels(
    plane: NDArray[np.bool_], row_mm: float, col_mm: float
) -> tuple[NDArray[np.bool_], float]:
    """The plane with square pixels of the finer spacing."""
    finer = min(row_mm, col_mm)
    if abs(row_mm - col_mm) <= _SQUARE_WITHIN * finer:
        return plane, finer
    size = (
        max(1, round(plane.shape[1] * col_mm / finer)),
        max(1, round(plane.shape[0] * row_mm / finer)),
    )
    resized = cv2.resize(plane.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized > 0), finer
