"""Three-dimensional lesions: connected, filtered by volume, measured, on the right side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hand_volumes import axial

from pneumoseg.ct.lesions import Smallest, VolumeLesion, find_volume_lesions, lesion_plane
from pneumoseg.ct.slice_masks import SliceMasks
from pneumoseg.study import Geometry, Side

SHAPE = (6, 30, 40)
SPACING = (5.0, 2.0, 2.0)  # a voxel is 0.02 mL


def masks_of(parts: Sequence[tuple[tuple[slice, slice, slice], float]]) -> SliceMasks:
    maps = np.zeros(SHAPE, np.float32)
    for box, probability in parts:
        maps[box] = probability
    masks = SliceMasks(SHAPE)
    for index, plane in enumerate(maps):
        masks.add(index, plane, 0.5)
    return masks


def find(
    masks: SliceMasks,
    *,
    volume_ml: float = 0.0,
    spacing: tuple[float, float, float] | None = SPACING,
    geometry: Geometry | None = None,
    midline: float = 19.5,
    area_px: float = 0.0,
) -> tuple[VolumeLesion, ...]:
    return find_volume_lesions(
        masks,
        smallest=Smallest(volume_ml, area_px),
        midlines=np.full(SHAPE[0], midline),
        spacing_mm=spacing,
        geometry=geometry,
    )


def test_packed_masks_come_back() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random(SHAPE, dtype=np.float32)
    maps[3] = 0
    masks = SliceMasks(SHAPE)
    for index, plane in enumerate(maps):
        masks.add(index, plane, 0.7)
    assert masks.runs() == [(0, 3), (4, 6)]
    for start, stop in masks.runs():
        box, mask = masks.unpack(start, stop)
        whole = np.zeros(SHAPE, np.bool_)
        whole[box] = mask
        assert np.array_equal(whole[start:stop], maps[start:stop] >= 0.7)
        labels = mask * np.where(np.arange(mask.shape[2]) < 20, 1, 2).astype(np.uint16)
        means = masks.mean_probabilities(start, labels, 2)
        for label in (1, 2):
            expected = float(maps[box][labels == label].mean())
            assert means[label] == pytest.approx(expected, abs=0.001)


def test_two_boxes_that_touch_at_a_corner_across_slices_are_one_lesion() -> None:
    """Breaks with any connectivity below 26."""
    corner = masks_of(
        [
            (np.s_[1:2, 5:10, 5:10], 0.9),
            (np.s_[2:3, 10:15, 10:15], 0.6),
        ]
    )
    (lesion,) = find(corner)
    assert lesion.voxels == 50
    assert lesion.score == pytest.approx(0.75, abs=0.002)
    assert (lesion.first_slice, lesion.last_slice) == (1, 2)
    assert lesion.volume_ml == pytest.approx(1.0)
    assert lesion.greatest_thickness_mm == pytest.approx(10.0, abs=1e-3)  # 5 pixels of 2 mm
    assert lesion.side is Side.RIGHT


def test_lesions_are_largest_first_disjoint_and_of_their_side() -> None:
    boxes = [np.s_[0:1, 0:4, 0:4], np.s_[0:3, 10:20, 25:35], np.s_[4:6, 5:10, 15:25]]
    found = find(masks_of([(box, 1.0) for box in boxes]))
    assert [x.voxels for x in found] == [300, 100, 16]
    # the third box lies over the middle, five columns to either side
    assert [x.side for x in found] == [Side.LEFT, None, Side.RIGHT]
    union = np.stack([lesion_plane(found, k, SHAPE) for k in range(SHAPE[0])])
    assert union.sum() == 416


def test_the_smallest_is_given_in_ml() -> None:
    """16 voxels of 0.02 mL are 0.32 mL."""
    masks = masks_of([(np.s_[0:1, 0:4, 0:4], 1.0), (np.s_[2:4, 10:20, 10:20], 1.0)])
    assert [x.voxels for x in find(masks, volume_ml=0.32)] == [200, 16]
    assert [x.voxels for x in find(masks, volume_ml=0.33)] == [200]


def test_uneven_slices_weigh_what_they_stand_for() -> None:
    """Extents 2, 3, 3, 2, 2, 2 mm: 10 pixels of 4 mm² in slices 1 and 2 are 0.24 mL."""
    geometry = axial((2.4, 2.0, 2.0), slice_offsets_mm=(0.0, 2.0, 6.0, 8.0, 10.0, 12.0))
    masks = masks_of([(np.s_[1:3, 5:6, 5:15], 1.0)])
    (lesion,) = find(masks, spacing=(2.4, 2.0, 2.0), geometry=geometry)
    assert lesion.volume_ml == pytest.approx(0.24)


def test_without_spacing_the_largest_slice_counts_in_pixels() -> None:
    masks = masks_of([(np.s_[0:3, 0:4, 0:4], 1.0), (np.s_[5:6, 10:15, 10:15], 1.0)])
    (lesion,) = find(masks, spacing=None, area_px=20)
    assert lesion.voxels == 25
    assert lesion.volume_ml is None and lesion.greatest_thickness_mm is None


def test_nothing_outlined_is_no_lesion() -> None:
    assert find(masks_of([])) == ()
