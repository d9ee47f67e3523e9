"""Vessels are laid on the grid without losing any of them."""

from __future__ import annotations

import numpy as np

from pneumoseg.phantom.vessels import splat


def test_splat_keeps_the_weight_and_shares_it_bilinearly() -> None:
    total = splat(np.float32([1.25]), np.float32([2.5]), np.float32([8.0]), (4, 5))
    assert total[1].tolist() == [0, 0, 3, 3, 0]
    assert total[2].tolist() == [0, 0, 1, 1, 0]
    assert splat(np.float32([9]), np.float32([9]), np.float32([1]), (4, 5)).sum() == 0
