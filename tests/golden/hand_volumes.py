"""CT volumes whose every answer can be worked out on paper, for the tiny CT bundle.

A body of water in air with two lungs, (slices, 128, 128), canonical axes: the right lung at columns
20 to 49, the left at 78 to 107, rows 40 to 89. "Lesions" are boxes of 1000 HU: the tiny CT bundle's
window shows 0 HU as black and 1000 HU as white, and white is what its networks look for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoseg.ct.array_volume import ArrayVolume
from pneumoseg.study import Geometry, Modality, Source

SIDE = 128
SPACING_MM = (5.0, 2.0, 2.0)
LESION_HU = 1000
Box = tuple[slice, slice, slice]


def hand_hu(slices: int = 12, lesions: Sequence[Box] = ()) -> NDArray[np.float32]:
    hu = np.full((slices, SIDE, SIDE), -1000.0, np.float32)
    hu[:, 20:108, 8:120] = 0.0
    hu[:, 40:90, 20:50] = -800.0
    hu[:, 40:90, 78:108] = -800.0
    for box in lesions:
        hu[box] = LESION_HU
    return hu


def axial(spacing_mm: tuple[float, float, float], **more: object) -> Geometry:
    """Slices straight across the body."""
    between, down, across = spacing_mm
    affine = np.array([[0, 0, across, 0], [0, down, 0, 0], [-between, 0, 0, 0], [0, 0, 0, 1.0]])
    return Geometry(affine, **more)


def hand_volume(
    slices: int = 12,
    lesions: Sequence[Box] = (),
    *,
    spacing_mm: tuple[float, float, float] | None = SPACING_MM,
    name: str = "hand",
    modality: Modality = Modality.CT,
) -> ArrayVolume:
    geometry = None if spacing_mm is None else axial(spacing_mm)
    source = Source(name, modality=modality)
    return ArrayVolume(hand_hu(slices, lesions), source, spacing_mm, geometry)
