"""Depth intervals by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.phantom.intervals import Ellipsoid, intersect, length, overlap


def test_an_ellipsoid_is_as_deep_as_its_axis_and_empty_beside_it() -> None:
    line = np.array([0.0, 30.0], dtype=np.float32)
    interval = Ellipsoid((0, 5, 0), (10, 7, 20)).interval(line, line)
    depth = length(interval)
    assert depth[0, 0] == pytest.approx(14)
    assert interval[0][0, 0] == pytest.approx(-2)
    assert (depth[1] == 0).all() and depth[0, 1] == 0


def test_intervals_overlap_by_hand() -> None:
    first = (np.float32([0, 0, 0]), np.float32([10, 10, 10]))
    second = (np.float32([4, 10, 1e4]), np.float32([20, 12, -1e4]))
    assert overlap(first, second).tolist() == [6, 0, 0]
    assert length(intersect(first, second)).tolist() == [6, 0, 0]
