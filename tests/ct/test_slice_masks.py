"""Packed masks come back voxel by voxel, with the mean probability of each component."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.ct.slice_masks import SliceMasks

SHAPE = (6, 20, 30)


def plane(*voxels: tuple[int, int, float]) -> np.ndarray:
    made = np.zeros(SHAPE[1:], dtype=np.float32)
    for row, col, probability in voxels:
        made[row, col] = probability
    return made


def test_slices_without_a_voxel_at_the_threshold_are_not_kept() -> None:
    masks = SliceMasks(SHAPE)
    masks.add(2, plane((1, 1, 0.49)), 0.5)
    assert masks.runs() == []
    masks.add(2, plane((1, 1, 0.5)), 0.5)  # it belongs to the mask from the threshold on
    assert masks.runs() == [(2, 3)]


def test_runs_break_where_a_slice_has_no_mask_whatever_the_order() -> None:
    masks = SliceMasks(SHAPE)
    for index in (4, 0, 1, 5):
        masks.add(index, plane((3, 3, 1.0)), 0.5)
    assert masks.runs() == [(0, 2), (4, 6)]


def test_a_run_comes_back_cropped_to_all_of_its_slices() -> None:
    """Slice 1 reaches to row 2 and column 3, slice 2 to row 9 and column 17."""
    masks = SliceMasks(SHAPE)
    masks.add(1, plane((2, 3, 0.9), (4, 5, 0.9)), 0.5)
    masks.add(2, plane((9, 17, 0.9)), 0.5)
    box, mask = masks.unpack(1, 3)
    assert box == (slice(1, 3), slice(2, 10), slice(3, 18))
    whole = np.zeros(SHAPE, dtype=np.bool_)
    whole[box] = mask
    assert np.argwhere(whole).tolist() == [[1, 2, 3], [1, 4, 5], [2, 9, 17]]


def test_the_mean_probability_is_each_component_s_own() -> None:
    """Two components: (1 + 0.6) / 2 over two slices, and 0.8 alone, to a step of 1/255."""
    masks = SliceMasks(SHAPE)
    masks.add(0, plane((2, 2, 1.0), (2, 8, 0.8)), 0.5)
    masks.add(1, plane((2, 2, 0.6)), 0.5)
    _, mask = masks.unpack(0, 2)
    labels = np.zeros(mask.shape, dtype=np.uint16)
    labels[:, 0, 0] = 1
    labels[0, 0, 6] = 2
    found = masks.mean_probabilities(0, labels, 2)
    assert found == pytest.approx([0, 0.8, 0.8], abs=1 / 255)
