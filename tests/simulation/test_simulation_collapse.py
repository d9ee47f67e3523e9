"""A collapsed lung: as much as stated, where stated, with its mass, and nothing else changed."""

from __future__ import annotations

import numpy as np
import pytest
from chest_ct import LUNG_HU, SOFT_HU, chest_ct
from scipy import ndimage

from pneumoseg.simulation.collapse import Collapsed, CollapseShape, breathe, collapse
from pneumoseg.simulation.hemithorax import open_hemithorax
from pneumoseg.simulation.scan_noise import gaussian_noise
from pneumoseg.study import Side

NOISE = gaussian_noise(5.0, 0.5, 0.6)
FRONT = (0.0, -1.0, 0.0)


def depth(mask: np.ndarray) -> np.ndarray:
    """Distance to the edge of a mask in pixels, from inside."""
    return np.asarray(ndimage.distance_transform_edt(mask))


def collapsed(
    degree: float, *, slices: int = 1, side: Side = Side.RIGHT, **changes: object
) -> tuple[Collapsed, np.ndarray, np.ndarray]:
    hu, labels = chest_ct(slices)
    spacing = (2.0, 1.0, 1.0)
    chest = open_hemithorax(hu, labels, side, spacing, NOISE)
    assert chest is not None
    settings = {"towards": FRONT, "focus": 2.0, **changes}
    shape = CollapseShape(side, degree, **settings)  # type: ignore[arg-type]
    return collapse(hu, chest, shape, NOISE, np.random.default_rng(1)), hu, labels


@pytest.mark.parametrize("degree", [0.03, 0.15, 0.4, 0.8])
@pytest.mark.parametrize("slices", [1, 12])
def test_the_lung_loses_the_stated_share(degree: float, slices: int) -> None:
    """The truth table would state a degree that the volume does not show."""
    result, _, labels = collapsed(degree, slices=slices)
    assert result.degree == pytest.approx(degree, abs=0.01)
    # Voxels half filled by lung or wall blur the count by the surface, not by the volume.
    assert result.air.sum() / (labels == 1).sum() == pytest.approx(degree, abs=0.04)


def test_the_gap_is_air_and_in_front() -> None:
    """Supine, free air rises; a gap of any other density would be a tell."""
    result, _, labels = collapsed(0.15)
    rows = np.argwhere(result.air)[:, 1]
    assert rows.mean() < np.argwhere(labels == 1)[:, 1].mean() - 15
    deep = result.hu[0][depth(result.air[0]) > 2.5]
    assert deep.size > 40
    assert np.mean(deep) == pytest.approx(-1000, abs=5)
    assert np.std(deep) == pytest.approx(5.0, rel=0.5)


def test_nothing_outside_the_lung_changes() -> None:
    """A seam in the chest wall would betray the simulated side."""
    result, hu, labels = collapsed(0.4)
    near = np.zeros(labels.shape, dtype=bool)
    rows, columns = np.nonzero(labels[0] == 1)
    for down in range(-2, 3):
        for across in range(-2, 3):
            near[0, rows + down, columns + across] = True
    np.testing.assert_array_equal(result.hu[~near], hu[~near])
    assert not result.air[~near].any()
    assert not result.air[labels == 2].any()


def test_the_mass_of_the_lung_is_kept() -> None:
    """Density rises as volume falls: half the room, twice the tissue share of 0.15."""
    result, _, labels = collapsed(0.5, slices=16, focus=0.0)
    lung = result.hu[(labels == 1) & (result.hu > -900) & (result.hu < -400)]
    share = float(np.median(lung)) / 1000 + 1
    assert share * (1 - result.degree) == pytest.approx(0.15, rel=0.05)


def test_vessels_come_along() -> None:
    """A vessel left in the gap, or one that stays while the lung leaves, is no pneumothorax."""
    hu, labels = chest_ct()
    hu[0, 44:47, 29:32] = SOFT_HU  # lateral and anterior, 3 pixels wide
    chest = open_hemithorax(hu, labels, Side.RIGHT, (1.0, 1.0, 1.0), NOISE)
    assert chest is not None
    shape = CollapseShape(Side.RIGHT, 0.3, FRONT, 0.0)
    result = collapse(hu, chest, shape, NOISE, np.random.default_rng(0))
    bright = np.argwhere((result.hu[0] > -350) & (depth(labels[0] == 1) > 5))
    assert bright.size
    row, column = bright.mean(axis=0)
    assert row > 46 and column > 31  # towards the hilum, behind and medial of it
    assert result.hu[0][depth(result.air[0]) > 2.5].max() < -950


def test_fluid_lies_behind_and_is_not_in_the_mask() -> None:
    """A hydropneumothorax: the mask is its air alone."""
    result, _, labels = collapsed(0.4, focus=0.0, fluid_rows=0.4)
    rows = np.flatnonzero((labels == 1).any(axis=(0, 2)))
    level = rows[-1] - 0.4 * (rows[-1] - rows[0])
    assert np.argwhere(result.air)[:, 1].max() <= level + 1
    behind = result.hu[0, int(level) + 3 :, :][labels[0, int(level) + 3 :, :] == 1]
    assert (np.abs(behind - 12) < 20).sum() > 50


def test_fluid_alone_leaves_no_air() -> None:
    """A pleural effusion is a negative."""
    result, _, _ = collapsed(0.2, towards=(0.0, 1.0, 0.0), fluid_rows=1.0)
    assert not result.air.any()


def test_breath_moves_the_inside_alone() -> None:
    """It leaves the traces of resampling on negatives, and neither gap nor moved wall."""
    hu, labels = chest_ct(noise_hu=10.0)
    chest = open_hemithorax(hu, labels, Side.LEFT, (1.0, 1.0, 1.0), NOISE)
    assert chest is not None
    moved = breathe(hu, chest, CollapseShape(Side.LEFT, 0.1, FRONT, 1.0), 0.1)
    edge = depth(labels[0] == 2) <= 2
    np.testing.assert_array_equal(moved[0][edge], hu[0][edge])
    assert (moved != hu).sum() > 300
    assert moved[labels == 2].min() > LUNG_HU - 100


def test_a_side_without_lung_is_none() -> None:
    hu, labels = chest_ct()
    labels[labels == 2] = 0
    assert open_hemithorax(hu, labels, Side.LEFT, (1.0, 1.0, 1.0), NOISE) is None
