"""The body: one seed, one patient; air where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import body, scan

from pneumoseg.phantom import make_body, make_ct

SPACING = (4.0, 4.0, 4.0)


def test_the_same_seed_gives_the_same_body_and_another_seed_another() -> None:
    assert np.array_equal(
        make_ct(make_body(3), spacing_mm=SPACING).hu, make_ct(make_body(3), spacing_mm=SPACING).hu
    )
    assert make_body(3).anatomy != make_body(4).anatomy


def test_a_healthy_chest_has_no_pleural_air() -> None:
    assert not scan(1).pleural_air.any()
    assert scan(1).right_lung.any() and scan(1).left_lung.any()


def test_maps_refuse_an_uneven_grid() -> None:
    line = np.arange(0, 50, 2, dtype=np.float32)
    with pytest.raises(ValueError, match="even spacing"):
        body(1).maps(line, 1.5 * line)


def test_bullae_are_air_in_the_lung_and_no_pneumothorax() -> None:
    bullous = make_ct(make_body(9, bullae=True), spacing_mm=SPACING, noise_hu=0)
    lungs = bullous.right_lung | bullous.left_lung
    plain = make_ct(make_body(9), spacing_mm=SPACING, noise_hu=0)
    assert np.count_nonzero(bullous.hu[lungs] == -1000) > np.count_nonzero(plain.hu[lungs] == -1000)
    assert not bullous.pleural_air.any()
