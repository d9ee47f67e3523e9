"""Projection: Beer and Lambert, the mask on the side it is seen on, collimation."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.phantom import (
    Collapse,
    Exposure,
    make_body,
    project,
    transmit,
)
from pneumoseg.phantom.projection import MIN_AIR_PATH_MM
from pneumoseg.study import Side

SIZE = 160


def exposure(field_mm: float = 360.0) -> Exposure:
    return Exposure(field_mm=field_mm, centre_mm=(100.0, 0.0))


def test_a_slab_of_water_absorbs_by_beer_and_lambert() -> None:
    # mu = 0.0195 / mm: 100 mm let exp(-1.95) = 14.23 % through, and two slabs multiply.
    slab = np.array([0.0, 100.0, 200.0], dtype=np.float32)
    assert transmit(slab) == pytest.approx([1.0, 0.142274, 0.142274**2], rel=1e-4)


def test_the_mask_lies_on_the_displayed_side() -> None:
    """The patient's right is on the viewer's left."""
    for side, half in ((Side.RIGHT, 0), (Side.LEFT, 1)):
        body = make_body(4, collapse=Collapse(side, 0.2))
        _, mask, _ = project(body, "PA", np.random.default_rng(0), size=SIZE, exposure=exposure())
        assert mask[:, half * SIZE // 2 :][:, : SIZE // 2].sum() > 0.99 * mask.sum()


def test_the_mask_follows_the_air_path_of_the_body() -> None:
    body = make_body(4, collapse=Collapse(Side.LEFT, 0.2))
    _, mask, spacing = project(body, "PA", np.random.default_rng(0), size=SIZE, exposure=exposure())
    centres = (np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2) * spacing
    maps = body.maps((centres + 100).astype(np.float32), centres.astype(np.float32))
    expected = maps.pleural_air >= MIN_AIR_PATH_MM
    assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.9
    shorter = project(
        body, "PA", np.random.default_rng(0), size=SIZE, exposure=exposure(), min_air_path_mm=2.0
    )[1]
    assert shorter.sum() > mask.sum() and (shorter >= mask).all()


def test_collimation_blackens_film_and_mask() -> None:
    cut = Exposure(360.0, (100.0, 0.0), collimation=(0.3, 0.0, 0.0, 0.0))
    body = make_body(4, collapse=Collapse(Side.LEFT, 0.3))
    film, mask, _ = project(body, "PA", np.random.default_rng(0), size=100, exposure=cut)
    assert not film[:30].any() and not mask[:30].any() and film[30:].any()
