"""Films with a tube and without: they differ in the tube alone."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.audits.tube_films import (
    BRIGHTNESS_PER_MM,
    WITH_TUBE,
    paint,
    phantom_films,
    phantom_with_tube,
    water_on,
)
from pneumoseg.phantom.distractors import CHEST_TUBE, ECG_LEADS
from pneumoseg.preprocess import to_grid
from pneumoseg.study import Image, Source, Units


def image(level: float = 0.5, size: int = 256) -> Image:
    pixels = np.full((size, size), level, dtype=np.float32)
    return Image(pixels, Units.UNIT_INTERVAL, None, Source("film"))


def test_phantoms_differ_in_the_tube_alone() -> None:
    healthy, positive = phantom_films(1, 30003, 128)
    assert (healthy.label, positive.label) == (False, True)
    assert healthy.patient_id == positive.patient_id
    assert positive.truth.any()
    assert not healthy.truth.any()
    for film in (healthy, positive):
        bare = to_grid(film.image)[0].astype(int)
        change = phantom_with_tube(film)[WITH_TUBE].astype(int) - bare
        assert change.max() >= 4, "the tube must be on the film"
        assert np.mean(np.abs(change) > 2) < 0.1, "nothing but the tube may change"


def test_a_painted_tube_adds_its_water() -> None:
    water = water_on(image(), CHEST_TUBE, seed=0)
    assert water.shape == (256, 256)
    assert (water == water_on(image(), CHEST_TUBE, seed=0)).all()
    assert not (water == water_on(image(), CHEST_TUBE, seed=1)).all()
    assert not (water == water_on(image(), ECG_LEADS, seed=0)).all()
    added = paint(image(), water, 2.0).pixels - 0.5
    assert added == pytest.approx(2 * BRIGHTNESS_PER_MM * water, abs=1e-6)
    assert paint(image(1.0), water, 2.0).pixels.max() == 1.0
