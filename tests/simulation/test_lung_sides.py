"""Any mask of the lungs becomes two lungs, each up to its wall."""

from __future__ import annotations

import numpy as np
from chest_ct import chest_ct

from pneumoseg.simulation.lung_sides import lung_sides


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
