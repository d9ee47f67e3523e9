"""Volumes and thickness, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hand_volumes import axial

from pneumoseg.ct.measure import greatest_thickness_mm, voxel_volumes_ml
from pneumoseg.study import Geometry


def test_voxels_of_even_slices() -> None:
    assert voxel_volumes_ml(3, (5.0, 2.0, 2.0), axial((5.0, 2.0, 2.0))) == pytest.approx([0.02] * 3)
    assert voxel_volumes_ml(3, None, None) is None


def test_uneven_slices_stand_for_half_the_way_to_either_neighbour() -> None:
    """A missing slice: offsets 0, 2, 6, 8 mm; extents 2, 3, 3, 2 mm of 1 mm² pixels."""
    geometry = axial((8 / 3, 1.0, 1.0), slice_offsets_mm=(0.0, 2.0, 6.0, 8.0))
    found = voxel_volumes_ml(4, (8 / 3, 1.0, 1.0), geometry)
    assert found == pytest.approx([0.002, 0.003, 0.003, 0.002])


def test_a_tilted_gantry_makes_voxels_smaller() -> None:
    """Tilt of 60°: slices 4 mm apart along the table are 2 mm apart along their normal."""
    tilted = np.array(
        [
            [0, 0, 1, 0],
            [0, np.cos(np.pi / 3), 0, 0],
            [-4, np.sin(np.pi / 3), 0, 0],
            [0, 0, 0, 1.0],
        ]
    )
    assert voxel_volumes_ml(2, (2.0, 1.0, 1.0), Geometry(tilted)) == pytest.approx([0.002] * 2)


@pytest.mark.parametrize(("width", "thickness"), [(1, 1.0), (3, 3.0), (5, 5.0), (4, 3.0)])
def test_thickness_of_a_strip(width: int, thickness: float) -> None:
    """Odd widths are exact, even ones a pixel less."""
    mask = np.zeros((2, 40, 40), np.bool_)
    mask[1, 10 : 10 + width, :] = True
    assert greatest_thickness_mm(mask, (9.0, 1.0, 1.0)) == pytest.approx(thickness, abs=1e-4)


def test_thickness_counts_in_mm_and_pixels_need_not_be_square() -> None:
    """A disc of radius 10 mm in pixels of 1 × 2 mm is 20 mm thick, less at most two pixels."""
    row, col = np.mgrid[:40, :40]
    disc = (row - 20) ** 2 + (2.0 * (col - 20)) ** 2 <= 10**2
    assert greatest_thickness_mm(disc[None], (1.0, 1.0, 2.0)) == pytest.approx(18.0, abs=2.0)


def test_a_mask_that_touches_its_array_ends_there() -> None:
    assert greatest_thickness_mm(np.ones((1, 7, 30), np.bool_), (1, 2.0, 2.0)) == pytest.approx(14)


def test_no_mask_has_no_thickness() -> None:
    assert greatest_thickness_mm(np.zeros((2, 5, 5), np.bool_), (1.0, 1.0, 1.0)) == 0.0
