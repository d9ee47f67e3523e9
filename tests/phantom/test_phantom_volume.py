"""The body's CT: the film's tissue, in HU."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import body, scan

from pneumoseg.phantom import Collapse, make_body, make_ct
from pneumoseg.study import Side, Units

SPACING = (4.0, 4.0, 4.0)


def test_film_and_ct_hold_the_same_tissue() -> None:
    """Water-equivalent paths summed through the CT equal those integrated for the film."""
    patient = make_body(8, collapse=Collapse(Side.LEFT, 0.2))
    ct = make_ct(patient, spacing_mm=(2.0, 2.0, 2.0), noise_hu=0)
    z, x = (ct.origin_mm[a] + 2.0 * np.arange(ct.hu.shape[a], dtype=np.float32) for a in (0, 2))
    maps = patient.maps(z.astype(np.float32), x.astype(np.float32))
    trunk = np.abs(x) < 95  # without the arms, which a CT leaves out
    summed = ((ct.hu / 1000 + 1).sum(axis=1) * 2.0)[:, trunk]
    assert np.median(np.abs(summed - maps.water[:, trunk])) < 1.5
    assert summed.mean() == pytest.approx(maps.water[:, trunk].mean(), rel=0.02)
    air = (ct.pleural_air.sum(axis=1) * 2.0)[:, trunk]
    assert np.abs(air - maps.pleural_air[:, trunk]).max() < 8.1  # four surfaces, a voxel each


def test_a_ct_becomes_an_image_in_hu() -> None:
    image = scan(1, 0.3).image("ct-1")
    assert image.units is Units.HU and image.spacing_mm == SPACING
    assert scan(1, 0.3).mask().volume_ml == pytest.approx(
        np.count_nonzero(scan(1, 0.3).pleural_air) * 64 / 1000
    )


def test_a_spacing_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        make_ct(body(1), spacing_mm=(0.0, 1.0, 1.0))
