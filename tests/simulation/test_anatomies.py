"""What is put right in a scan before anything is drawn into it."""

from __future__ import annotations

import numpy as np
import pytest
from chest_ct import SOFT_HU, chest_ct

from pneumoseg.simulation.anatomies import calibrated_to_air, quieted


def test_a_squeezed_scale_is_stretched_until_air_is_air() -> None:
    """Slices with air at -800 would teach that pneumothorax is grey."""
    hu, _ = chest_ct()
    squeezed = np.where(hu < 0, 0.8 * hu, hu).astype(np.float32)
    back = calibrated_to_air(squeezed)
    assert back[0, 0, 0] == pytest.approx(-1000)
    assert back[0, 62, 38] == pytest.approx(-850)
    assert back[0, 64, 64] == pytest.approx(SOFT_HU * 1.25)
    np.testing.assert_array_equal(calibrated_to_air(hu), hu)  # a scan that is right stays


def test_noise_that_no_scanner_makes_is_taken_out() -> None:
    """Air drawn into noise of 90 HU is cut off at the lowest value, which real air is not."""
    hu, _ = chest_ct()
    rng = np.random.default_rng(0)
    loud = hu + rng.uniform(-120, 120, hu.shape).astype(np.float32)
    quiet = quieted(loud, 70.0)
    for row, column in ((62, 38), (64, 64)):
        before, after = (
            one[0, row - 4 : row + 5, column - 4 : column + 5] for one in (loud, quiet)
        )
        assert after.std() < 0.25 * before.std()
        assert after.mean() == pytest.approx(before.mean(), abs=12)
    wall = quiet[0, 62, 16:22] - hu[0, 62, 16:22]  # the edge of the lung stays where it was
    assert np.abs(wall).max() < 160
