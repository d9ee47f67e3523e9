"""The noise of a scan is measured, and drawn again, with its grain."""

from __future__ import annotations

import numpy as np
import pytest
from chest_ct import chest_ct

from pneumoseg.simulation.scan_noise import gaussian_noise, measure_noise


def correlation(noise: np.ndarray) -> float:
    """Between neighbouring columns."""
    return float(np.corrcoef(noise[..., 1:].ravel(), noise[..., :-1].ravel())[0, 1])


@pytest.mark.parametrize("grain_px", [0.3, 0.8])
def test_noise_is_measured_with_its_grain(grain_px: float) -> None:
    """White noise in the gap of a smooth scan, or the reverse, would betray the gap."""
    hu, labels = chest_ct(8)
    true = gaussian_noise(20.0, grain_px, 0.6)
    noise = true.draw(hu.shape, np.random.default_rng(0))
    found = measure_noise(hu + noise, labels > 0)
    assert found.sigma_hu == pytest.approx(20.0, rel=0.25)
    drawn = found.draw((4, 96, 96), np.random.default_rng(1))
    assert drawn.std() == pytest.approx(found.sigma_hu, rel=0.05)
    assert correlation(drawn) == pytest.approx(correlation(noise), abs=0.2)
