"""One side of a chest, measured: distances, the wall's shine, and the lung without it."""

from __future__ import annotations

import numpy as np
import pytest
from chest_ct import LUNG_HU, SOFT_HU, chest_ct

from pneumoseg.simulation.hemithorax import RIM_PX, Hemithorax, clean_lung, open_hemithorax
from pneumoseg.simulation.scan_noise import gaussian_noise
from pneumoseg.study import Side

NOISE = gaussian_noise(1.0, 0.5, 0.6)


def opened(side: Side) -> tuple[np.ndarray, Hemithorax]:
    hu, labels = chest_ct(3)
    chest = open_hemithorax(hu, labels, side, (5.0, 2.0, 2.0), NOISE)
    assert chest is not None
    return hu[chest.box], chest


@pytest.mark.parametrize(("side", "label"), [(Side.RIGHT, 1), (Side.LEFT, 2)])
def test_the_box_holds_the_whole_lung_with_room(side: Side, label: int) -> None:
    _, labels = chest_ct(3)
    _, chest = opened(side)
    assert chest.side is side
    assert chest.inside.sum() == (labels == label).sum()
    assert not chest.inside[:, :4].any() and not chest.inside[:, :, -4:].any()


def test_reach_is_in_pixels_and_hull_in_mm() -> None:
    """The right lung's middle is 19 pixels of 2 mm from its edge, and it is convex."""
    _, chest = opened(Side.RIGHT)
    assert chest.reach[1].max() == pytest.approx(19, abs=1)
    assert chest.hull[1].max() == pytest.approx(2 * 19, abs=3)
    assert (chest.reach[chest.inside] > 0).all() and (chest.reach[~chest.inside] < 0).all()


def test_the_wall_shines_at_the_edge_alone() -> None:
    _, chest = opened(Side.RIGHT)
    assert chest.wall_share.min() >= 0 and chest.wall_share.max() <= 1
    assert chest.wall_share[chest.reach > RIM_PX + 1].max() < 0.05
    outside = (chest.reach < -RIM_PX) & (chest.reach > -4)
    assert chest.wall_share[outside].min() > 0.9
    edge = np.abs(chest.reach) < 1
    assert chest.wall_hu[edge].mean() == pytest.approx(SOFT_HU, abs=60)


def test_the_hilum_lies_on_the_side_of_the_heart() -> None:
    """From the right lung the heart is at higher columns, from the left one at lower."""
    for side, higher in ((Side.RIGHT, True), (Side.LEFT, False)):
        _, chest = opened(side)
        middle = np.argwhere(chest.inside).mean(axis=0)[2] * 2.0
        assert (chest.hilum_mm[2] > middle) == higher


def test_a_cleaned_lung_has_no_wall_in_it() -> None:
    part, chest = opened(Side.RIGHT)
    before = part.copy()
    cleaned = clean_lung(part, chest)
    assert np.array_equal(part, before)
    assert cleaned[1] == pytest.approx(LUNG_HU, abs=5)  # everywhere, also where the wall was
    core = chest.reach >= RIM_PX
    assert np.array_equal(cleaned[core], part[core])


def test_a_slice_without_lung_is_filled_with_usual_lung() -> None:
    part, chest = opened(Side.RIGHT)
    inside, reach = chest.inside.copy(), chest.reach.copy()
    inside[0], reach[0] = False, -9.0
    changed = Hemithorax(**{**vars(chest), "inside": inside, "reach": reach})
    assert (clean_lung(part, changed)[0] == LUNG_HU).all()


def test_a_side_that_is_not_there_is_none() -> None:
    hu, labels = chest_ct(3)
    labels[labels == 2] = 0
    assert open_hemithorax(hu, labels, Side.LEFT, (5.0, 2.0, 2.0), NOISE) is None
