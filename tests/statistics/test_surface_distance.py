"""Borders in mm, on masks small enough to count."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.statistics.surface_distance import surface_distance


def box(top: int, left: int, rows: int, cols: int) -> np.ndarray:
    mask = np.zeros((40, 40), dtype=np.bool_)
    mask[top : top + rows, left : left + cols] = True
    return mask


def test_the_same_mask_is_nowhere_apart() -> None:
    found = surface_distance(box(5, 5, 8, 6), box(5, 5, 8, 6), (1.0, 1.0))
    assert found is not None and (found.hd95_mm, found.average_mm) == (0, 0)


@pytest.mark.parametrize(("moved", "mm"), [((3, 0), 6.0), ((0, 3), 1.5)])
def test_one_pixel_moved_is_as_far_as_the_spacing_says(moved: tuple[int, int], mm: float) -> None:
    """Three pixels: of 2 mm down, of 0.5 mm across."""
    other = box(10 + moved[0], 10 + moved[1], 1, 1)
    found = surface_distance(box(10, 10, 1, 1), other, (2.0, 0.5))
    assert found is not None and (found.hd95_mm, found.average_mm) == (mm, mm)


def test_a_filled_and_a_hollow_box_have_one_border() -> None:
    hollow = box(5, 5, 9, 9) & ~box(6, 6, 7, 7)
    found = surface_distance(box(5, 5, 9, 9), hollow, (1.0, 1.0))
    assert found is not None and found.average_mm == 0


def test_the_mean_is_over_both_borders_and_one_stray_pixel_does_not_rule() -> None:
    """A row of 30 pixels and the same with one stray, 9 rows off: 9 of 61 distances' sum."""
    line, stray = box(10, 2, 1, 30), box(10, 2, 1, 30)
    stray[19, 16] = True
    found = surface_distance(stray, line, (1.0, 1.0))
    assert found is not None
    assert found.average_mm == pytest.approx(9 / 61)
    assert found.hd95_mm == 0  # the largest distance is 9


def test_an_empty_mask_has_no_border() -> None:
    empty = np.zeros((40, 40), dtype=np.bool_)
    assert surface_distance(empty, box(5, 5, 2, 2), (1.0, 1.0)) is None
    assert surface_distance(box(5, 5, 2, 2), empty, (1.0, 1.0)) is None
