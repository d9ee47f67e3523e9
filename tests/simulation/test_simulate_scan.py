"""What is measured in a scan before anything is drawn into it, and what is drawn beside it."""

from __future__ import annotations

import numpy as np
import pytest
from chest_ct import SOFT_HU, chest_ct

from pneumoseg.simulation.acquisition import ACQUISITION, MOTION
from pneumoseg.simulation.anatomies import calibrated_to_air, quieted
from pneumoseg.simulation.hard_negatives import IN_THE_LUNG, OUTSIDE_THE_LUNG
from pneumoseg.simulation.lung_sides import lung_sides
from pneumoseg.simulation.phantom_scan import scan_phantom
from pneumoseg.simulation.scan_noise import gaussian_noise, measure_noise
from pneumoseg.simulation.scene import Scene


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


def test_lungs_that_touch_are_parted() -> None:
    """One label for both lungs would collapse them through the mediastinum."""
    hu, labels = chest_ct()
    joined = labels > 0
    joined[0, 60:62, 50:78] = True  # a bridge two rows high
    sides = lung_sides(hu, joined)
    assert (sides[labels == 1] == 1).all()
    assert (sides[labels == 2] == 2).all()


def test_a_mask_that_stops_short_is_grown_to_the_wall() -> None:
    """Lung left between mask and wall would stand in the gap as a bright rim."""
    hu, labels = chest_ct()
    short = np.zeros_like(labels, dtype=bool)
    short[0, 2:-2, 2:-2] = np.all(
        [np.roll(labels[0] > 0, (d, a), (0, 1)) for d in (-2, 0, 2) for a in (-2, 0, 2)], axis=0
    )[2:-2, 2:-2]
    assert short.sum() < 0.9 * (labels > 0).sum()
    grown = lung_sides(hu, short) > 0
    assert (grown & (labels > 0)).sum() > 0.98 * (labels > 0).sum()
    assert (grown & (labels == 0)).sum() < 0.05 * (labels > 0).sum()


def test_one_lung_alone_gets_its_side() -> None:
    hu, labels = chest_ct()
    assert set(np.unique(lung_sides(hu, labels == 2))) == {0, 2}


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


@pytest.mark.parametrize("name", [*IN_THE_LUNG, *OUTSIDE_THE_LUNG])
def test_each_distractor_is_drawn_where_it_belongs(name: str) -> None:
    """Air drawn outside may not reach into a lung, where no mask knows of it, nor the reverse."""
    hu, labels = chest_ct(5, noise_hu=5.0)
    hu[:, 52:76, 58:70] -= 110  # fat between the lungs
    scene = Scene(hu, labels, gaussian_noise(5.0, 0.5, 0.6), (2.0, 1.0, 1.0))
    painter = {**IN_THE_LUNG, **OUTSIDE_THE_LUNG}[name]
    drawn = [painter(scene, np.random.default_rng(seed)) for seed in range(8)]
    done = [one for one in drawn if one is not None]
    assert done, "it never finds room"
    for one in done:
        assert one.dtype == np.float32 and one.shape == hu.shape
        changed = np.abs(one - hu) > 50
        wrong = labels == 0 if name in IN_THE_LUNG else labels > 0
        assert changed.sum() > 20
        assert (changed & wrong).sum() <= 0.03 * changed.sum()


@pytest.mark.parametrize("name", list(ACQUISITION))
def test_scanners_keep_the_mean_and_change_the_rest(name: str) -> None:
    hu, _ = chest_ct(3, noise_hu=15.0)
    before = hu.copy()
    changed = ACQUISITION[name](hu, gaussian_noise(15.0, 0.5, 0.6), np.random.default_rng(3))
    np.testing.assert_array_equal(hu, before)  # nothing mutates its arguments
    assert changed.dtype == np.float32 and (changed != hu).any()
    assert abs(float(changed.mean() - hu.mean())) < (15 if name == MOTION else 5)


def test_a_phantom_scan_lies_in_the_patient_as_the_body_does() -> None:
    """Left and right, up and down of the written volumes hang on this affine."""
    scan = scan_phantom(3, (20.0, 3.0, 3.0))
    assert scan.hu.shape[1] == scan.hu.shape[2]
    assert scan.spacing_mm == (20.0, 3.0, 3.0)
    right, left = (np.argwhere(scan.lungs == label).mean(axis=0) for label in (1, 2))
    to_right, to_left = (scan.affine @ [*place, 1] for place in (right, left))
    assert to_right[0] < -20 < 20 < to_left[0]  # x grows to the patient's left
    head, foot = (scan.affine @ [index, 0, 0, 1] for index in (0, 5))
    assert head[2] - foot[2] == pytest.approx(100.0)
