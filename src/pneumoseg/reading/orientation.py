"""Brings stored voxels to the canonical axes of :class:`~pneumoseg.study.Geometry`.

Only axes are permuted and turned round; an oblique volume goes to the nearest axes of the patient
and stays oblique. Coordinates are DICOM's, LPS (PS3.3 C.7.6.2.1.1): x grows to the patient's left,
y to posterior, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from pneumoseg.study import Geometry

CANONICAL_DIRECTIONS = ((2, -1.0), (1, 1.0), (0, 1.0))
"""Of each canonical axis, the coordinate (x, y, z as 0, 1, 2) and which way it runs along it:
slices from head to feet, rows from anterior to posterior, columns from right to left."""
VOXEL_MM = (0.01, 100.0)
"""Smallest and largest side of a voxel: a CT of a chest has none beyond; a damaged header may."""
FARTHEST_MM = 1e5
"""Largest coordinate of a patient, who lies within some metres of the scanner's centre."""
_FIRST_CHOICE = (2, 1, 0)
"""Stored axes of slices, rows and columns in an axial volume; kept where axes lie at 45°."""


@dataclass(frozen=True)
class AxisMap:
    """How canonical axes lie in the stored array; see :class:`~pneumoseg.study.Geometry`."""

    stored_axes: tuple[int, int, int]
    stored_flips: tuple[bool, bool, bool]

    def view(self, stored: NDArray[np.generic]) -> NDArray[np.generic]:
        """The stored array (three axes) along canonical axes; a view, nothing is copied."""
        turned = tuple(slice(None, None, -1 if flip else 1) for flip in self.stored_flips)
        return stored.transpose(self.stored_axes)[turned]


def axis_map(affine: NDArray[np.float64]) -> AxisMap:
    """Find the axes nearest to the patient's.

    Args:
        affine: float64 (4, 4), stored index (three axes, 1) to LPS mm; not singular.

    Returns:
        The permutation for which the sum of the cosines between stored and patient's axes is
        largest.
    """
    columns = affine[:3, :3]
    cosines = columns / np.linalg.norm(columns, axis=0)
    choices = [_FIRST_CHOICE, *permutations(range(3))]

    def nearness(axes: tuple[int, ...]) -> float:
        return float(
            sum(
                abs(cosines[world, axis])
                for (world, _), axis in zip(CANONICAL_DIRECTIONS, axes, strict=True)
            )
        )

    best = max(nearness(axes) for axes in choices)
    axes = next(axes for axes in choices if nearness(axes) > best - 1e-9)
    flips = [
        bool(cosines[world, axis] * sign < 0)
        for (world, sign), axis in zip(CANONICAL_DIRECTIONS, axes, strict=True)
    ]
    return AxisMap((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def canonical_geometry(
    affine: NDArray[np.float64],
    stored_shape: tuple[int, int, int],
    slice_offsets_mm: tuple[float, ...] | None = None,
) -> Geometry:
    """The geometry of a volume from its stored axes.

    Args:
        affine: float64 (4, 4), stored index to LPS mm; not singular.
        stored_shape: of the stored array.
        slice_offsets_mm: as :class:`~pneumoseg.study.Geometry` has it.
    """
    found = axis_map(affine)
    to_stored = np.zeros((4, 4))
    to_stored[3, 3] = 1.0
    for canonical, (axis, flip) in enumerate(
        zip(found.stored_axes, found.stored_flips, strict=True)
    ):
        to_stored[axis, canonical] = -1.0 if flip else 1.0
        to_stored[axis, 3] = stored_shape[axis] - 1 if flip else 0
    return Geometry(affine @ to_stored, found.stored_axes, found.stored_flips, slice_offsets_mm)


def spacing_of(geometry: Geometry) -> tuple[float, float, float]:
    """Between slices along their normal, between rows, between columns, in mm.

    The product is the volume of a voxel, also where the axes are sheared.
    """
    columns = geometry.affine[:3, :3]
    rows, cols = (float(np.linalg.norm(columns[:, axis])) for axis in (1, 2))
    return abs(float(np.linalg.det(columns))) / (rows * cols), rows, cols
