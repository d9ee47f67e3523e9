"""Scanners differ in blur, noise and motion, not in what they see."""

from __future__ import annotations

import numpy as np
import pytest
from chest_ct import chest_ct

from pneumoseg.simulation.acquisition import ACQUISITION, MOTION
from pneumoseg.simulation.scan_noise import gaussian_noise


@pytest.mark.parametrize("name", list(ACQUISITION))
def test_scanners_keep_the_mean_and_change_the_rest(name: str) -> None:
    hu, _ = chest_ct(3, noise_hu=15.0)
    before = hu.copy()
    changed = ACQUISITION[name](hu, gaussian_noise(15.0, 0.5, 0.6), np.random.default_rng(3))
    np.testing.assert_array_equal(hu, before)  # nothing mutates its arguments
    assert changed.dtype == np.float32 and (changed != hu).any()
    assert abs(float(changed.mean() - hu.mean())) < (15 if name == MOTION else 5)
